// vec.hpp: registers of L lanes, the only file with intrinsics. Included inside the unnamed namespace of one level.
//
// Vec<T, L> names one register type and the operations on it; V<T> is the widest of the level and H<T> half of it
// (at the base level the same as V<T>).
//   level     V<float>  V<double>   fma
//   avx512    16        8           fused
//   avx2      8         4           fused
//   base      4         2           multiply, then add (fused on aarch64); GCC vectors, so that any machine builds it
// load_n / store_n touch exactly the first n of L elements (0 <= n <= L) and load zeros in the others; load_m / store_m
// are the same for a mask M made once with first(n).
// fma(a, b, c) = a * b + c rounds like rb_fma of math.inl, so that vector bodies and scalar tails agree to the bit.

#define RB_INLINE static inline __attribute__((always_inline))

template <typename T, int L>
struct Vec;

#if defined(__AVX512F__) && defined(__AVX512VL__)
constexpr int kVecBytes = 64;
constexpr int kHalfBytes = 32;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int kVecBytes = 32;
constexpr int kHalfBytes = 16;
#else
constexpr int kVecBytes = 16;
constexpr int kHalfBytes = 16;
#endif

template <typename T>
using V = Vec<T, kVecBytes / int(sizeof(T))>;
template <typename T>
using H = Vec<T, kHalfBytes / int(sizeof(T))>;

#if defined(__AVX512F__) && defined(__AVX512VL__)

template <>
struct Vec<float, 16> {
    using T = float;
    using R = __m512;
    using M = __mmask16;
    static constexpr int L = 16;
    RB_INLINE M first(int n) { return static_cast<M>((1u << n) - 1u); }
    RB_INLINE R zero() { return _mm512_setzero_ps(); }
    RB_INLINE R set(T x) { return _mm512_set1_ps(x); }
    RB_INLINE R load(const T* p) { return _mm512_loadu_ps(p); }
    RB_INLINE R load_n(const T* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
    RB_INLINE void store(T* p, R v) { _mm512_storeu_ps(p, v); }
    RB_INLINE void store_n(T* p, R v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
    RB_INLINE R load_m(const T* p, M m) { return _mm512_maskz_loadu_ps(m, p); }
    RB_INLINE void store_m(T* p, R v, M m) { _mm512_mask_storeu_ps(p, m, v); }
    RB_INLINE R fma(R a, R b, R c) { return _mm512_fmadd_ps(a, b, c); }
};

template <>
struct Vec<double, 8> {
    using T = double;
    using R = __m512d;
    using M = __mmask8;
    static constexpr int L = 8;
    RB_INLINE M first(int n) { return static_cast<M>((1u << n) - 1u); }
    RB_INLINE R zero() { return _mm512_setzero_pd(); }
    RB_INLINE R set(T x) { return _mm512_set1_pd(x); }
    RB_INLINE R load(const T* p) { return _mm512_loadu_pd(p); }
    RB_INLINE R load_n(const T* p, int n) { return _mm512_maskz_loadu_pd(first(n), p); }
    RB_INLINE void store(T* p, R v) { _mm512_storeu_pd(p, v); }
    RB_INLINE void store_n(T* p, R v, int n) { _mm512_mask_storeu_pd(p, first(n), v); }
    RB_INLINE R load_m(const T* p, M m) { return _mm512_maskz_loadu_pd(m, p); }
    RB_INLINE void store_m(T* p, R v, M m) { _mm512_mask_storeu_pd(p, m, v); }
    RB_INLINE R fma(R a, R b, R c) { return _mm512_fmadd_pd(a, b, c); }
};

#endif

#if defined(__AVX2__) && defined(__FMA__)

// Eight set words followed by eight clear ones: loading at [8 - n] gives a mask of n words.
alignas(64) constexpr i32 kMaskWords[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

template <>
struct Vec<float, 8> {
    using T = float;
    using R = __m256;
    static constexpr int L = 8;
    RB_INLINE R zero() { return _mm256_setzero_ps(); }
    RB_INLINE R set(T x) { return _mm256_set1_ps(x); }
    RB_INLINE R load(const T* p) { return _mm256_loadu_ps(p); }
#if defined(__AVX512VL__)
    using M = __mmask8;
    RB_INLINE M first(int n) { return static_cast<M>((1u << n) - 1u); }
    RB_INLINE R load_n(const T* p, int n) { return _mm256_maskz_loadu_ps(first(n), p); }
    RB_INLINE void store_n(T* p, R v, int n) { _mm256_mask_storeu_ps(p, first(n), v); }
    RB_INLINE R load_m(const T* p, M m) { return _mm256_maskz_loadu_ps(m, p); }
    RB_INLINE void store_m(T* p, R v, M m) { _mm256_mask_storeu_ps(p, m, v); }
#else
    using M = int;
    RB_INLINE M first(int n) { return n; }
    RB_INLINE R load_n(const T* p, int n) {
        return _mm256_maskload_ps(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWords + 8 - n)));
    }
    RB_INLINE void store_n(T* p, R v, int n) {  // by parts: masked stores are slow on some cores
        if (n >= 8) return store(p, v);
        __m128 part = _mm256_castps256_ps128(v);
        if (n & 4) {
            _mm_storeu_ps(p, part);
            part = _mm256_extractf128_ps(v, 1);
            p += 4;
        }
        if (n & 2) {
            _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
            part = _mm_movehl_ps(part, part);
            p += 2;
        }
        if (n & 1) _mm_store_ss(p, part);
    }
    RB_INLINE R load_m(const T* p, M m) { return load_n(p, m); }
    RB_INLINE void store_m(T* p, R v, M m) { store_n(p, v, m); }
#endif
    RB_INLINE void store(T* p, R v) { _mm256_storeu_ps(p, v); }
    RB_INLINE R fma(R a, R b, R c) { return _mm256_fmadd_ps(a, b, c); }
};

template <>
struct Vec<double, 4> {
    using T = double;
    using R = __m256d;
    static constexpr int L = 4;
    RB_INLINE R zero() { return _mm256_setzero_pd(); }
    RB_INLINE R set(T x) { return _mm256_set1_pd(x); }
    RB_INLINE R load(const T* p) { return _mm256_loadu_pd(p); }
#if defined(__AVX512VL__)
    using M = __mmask8;
    RB_INLINE M first(int n) { return static_cast<M>((1u << n) - 1u); }
    RB_INLINE R load_n(const T* p, int n) { return _mm256_maskz_loadu_pd(first(n), p); }
    RB_INLINE void store_n(T* p, R v, int n) { _mm256_mask_storeu_pd(p, first(n), v); }
    RB_INLINE R load_m(const T* p, M m) { return _mm256_maskz_loadu_pd(m, p); }
    RB_INLINE void store_m(T* p, R v, M m) { _mm256_mask_storeu_pd(p, m, v); }
#else
    using M = int;
    RB_INLINE M first(int n) { return n; }
    RB_INLINE R load_n(const T* p, int n) {
        return _mm256_maskload_pd(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWords + 8 - 2 * n)));
    }
    RB_INLINE void store_n(T* p, R v, int n) {  // by parts: masked stores are slow on some cores
        if (n >= 4) return store(p, v);
        __m128d part = _mm256_castpd256_pd128(v);
        if (n & 2) {
            _mm_storeu_pd(p, part);
            part = _mm256_extractf128_pd(v, 1);
            p += 2;
        }
        if (n & 1) _mm_store_sd(p, part);
    }
    RB_INLINE R load_m(const T* p, M m) { return load_n(p, m); }
    RB_INLINE void store_m(T* p, R v, M m) { store_n(p, v, m); }
#endif
    RB_INLINE void store(T* p, R v) { _mm256_storeu_pd(p, v); }
    RB_INLINE R fma(R a, R b, R c) { return _mm256_fmadd_pd(a, b, c); }
};

template <>
struct Vec<float, 4> {
    using T = float;
    using R = __m128;
    using M = int;
    static constexpr int L = 4;
    RB_INLINE R zero() { return _mm_setzero_ps(); }
    RB_INLINE R set(T x) { return _mm_set1_ps(x); }
    RB_INLINE R load(const T* p) { return _mm_loadu_ps(p); }
    RB_INLINE R load_n(const T* p, int n) {
        return _mm_maskload_ps(p, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kMaskWords + 8 - n)));
    }
    RB_INLINE void store(T* p, R v) { _mm_storeu_ps(p, v); }
    RB_INLINE void store_n(T* p, R v, int n) {
        if (n >= 4) return store(p, v);
        if (n & 2) _mm_storel_pi(reinterpret_cast<__m64*>(p), v);
        if (n & 1) _mm_store_ss(p + (n & 2), n & 2 ? _mm_movehl_ps(v, v) : v);
    }
    RB_INLINE M first(int n) { return n; }
    RB_INLINE R load_m(const T* p, M m) { return load_n(p, m); }
    RB_INLINE void store_m(T* p, R v, M m) { store_n(p, v, m); }
    RB_INLINE R fma(R a, R b, R c) { return _mm_fmadd_ps(a, b, c); }
};

template <>
struct Vec<double, 2> {
    using T = double;
    using R = __m128d;
    using M = int;
    static constexpr int L = 2;
    RB_INLINE R zero() { return _mm_setzero_pd(); }
    RB_INLINE R set(T x) { return _mm_set1_pd(x); }
    RB_INLINE R load(const T* p) { return _mm_loadu_pd(p); }
    RB_INLINE R load_n(const T* p, int n) {
        return _mm_maskload_pd(p, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kMaskWords + 8 - 2 * n)));
    }
    RB_INLINE void store(T* p, R v) { _mm_storeu_pd(p, v); }
    RB_INLINE void store_n(T* p, R v, int n) {
        if (n >= 2) return store(p, v);
        if (n & 1) _mm_store_sd(p, v);
    }
    RB_INLINE M first(int n) { return n; }
    RB_INLINE R load_m(const T* p, M m) { return load_n(p, m); }
    RB_INLINE void store_m(T* p, R v, M m) { store_n(p, v, m); }
    RB_INLINE R fma(R a, R b, R c) { return _mm_fmadd_pd(a, b, c); }
};

#else

// GCC vectors of 16 bytes: SSE2 on x86-64, NEON on aarch64, plain code elsewhere.
typedef float f32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));

template <>
struct Vec<float, 4> {
    using T = float;
    using R = f32x4;
    using M = int;
    static constexpr int L = 4;
    RB_INLINE R zero() { return R{0, 0, 0, 0}; }
    RB_INLINE R set(T x) { return R{x, x, x, x}; }
    RB_INLINE R load(const T* p) {
        R v;
        __builtin_memcpy(&v, p, sizeof v);
        return v;
    }
    RB_INLINE R load_n(const T* p, int n) {
        R v = zero();
        for (int i = 0; i < n; ++i) v[i] = p[i];
        return v;
    }
    RB_INLINE void store(T* p, R v) { __builtin_memcpy(p, &v, sizeof v); }
    RB_INLINE void store_n(T* p, R v, int n) {
        for (int i = 0; i < n; ++i) p[i] = v[i];
    }
    RB_INLINE M first(int n) { return n; }
    RB_INLINE R load_m(const T* p, M m) { return load_n(p, m); }
    RB_INLINE void store_m(T* p, R v, M m) { store_n(p, v, m); }
    RB_INLINE R fma(R a, R b, R c) {
#if defined(__aarch64__)
        return vfmaq_f32(c, a, b);
#else
        return a * b + c;
#endif
    }
};

template <>
struct Vec<double, 2> {
    using T = double;
    using R = f64x2;
    using M = int;
    static constexpr int L = 2;
    RB_INLINE R zero() { return R{0, 0}; }
    RB_INLINE R set(T x) { return R{x, x}; }
    RB_INLINE R load(const T* p) {
        R v;
        __builtin_memcpy(&v, p, sizeof v);
        return v;
    }
    RB_INLINE R load_n(const T* p, int n) {
        R v = zero();
        for (int i = 0; i < n; ++i) v[i] = p[i];
        return v;
    }
    RB_INLINE void store(T* p, R v) { __builtin_memcpy(p, &v, sizeof v); }
    RB_INLINE void store_n(T* p, R v, int n) {
        for (int i = 0; i < n; ++i) p[i] = v[i];
    }
    RB_INLINE M first(int n) { return n; }
    RB_INLINE R load_m(const T* p, M m) { return load_n(p, m); }
    RB_INLINE void store_m(T* p, R v, M m) { store_n(p, v, m); }
    RB_INLINE R fma(R a, R b, R c) {
#if defined(__aarch64__)
        return vfmaq_f64(c, a, b);
#else
        return a * b + c;
#endif
    }
};

#endif

// GCC gives operators +, -, *, / and comparisons to every register type above; these use them directly.

// max(v, 0) lane by lane like rb_relu: NaN stays NaN, -0 becomes +0.
template <typename R>
RB_INLINE R vec_relu(R v) {
    return v <= R{} ? R{} : v;
}

// Transposed loads: t[q] lane l = p[l*stride + q], for q < 16/sizeof(T) and all L lanes. Each 16-byte part of a row is
// loaded into the 128-bit lane where it belongs; what remains is a small transpose inside those lanes.
template <class VT>
constexpr int kQuad = 16 / int(sizeof(typename VT::T));

// Does load_transposed_lines exist for this register type?
template <class VT>
constexpr bool kHasLines = sizeof(typename VT::R) == 64;

typedef float Quad32 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double Quad64 __attribute__((vector_size(16), aligned(8), may_alias));

#if defined(__AVX512F__) && defined(__AVX512VL__)
RB_INLINE __m512 gather_lanes(const float* p, i64 s) {  // p, p+s, p+2s, p+3s
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(p + s));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(p + 2 * s));
    return _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(p + 3 * s));
}
RB_INLINE void load_transposed(const float* p, i64 stride, __m512 t[4]) {
    const __m512 a = gather_lanes(p, 4 * stride), b = gather_lanes(p + stride, 4 * stride);
    const __m512 c = gather_lanes(p + 2 * stride, 4 * stride), d = gather_lanes(p + 3 * stride, 4 * stride);
    const __m512d ab_lo = _mm512_castps_pd(_mm512_maskz_unpacklo_ps(0xffff, a, b)),
                  ab_hi = _mm512_castps_pd(_mm512_maskz_unpackhi_ps(0xffff, a, b));
    const __m512d cd_lo = _mm512_castps_pd(_mm512_maskz_unpacklo_ps(0xffff, c, d)),
                  cd_hi = _mm512_castps_pd(_mm512_maskz_unpackhi_ps(0xffff, c, d));
    t[0] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, ab_lo, cd_lo));
    t[1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, ab_lo, cd_lo));
    t[2] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, ab_hi, cd_hi));
    t[3] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, ab_hi, cd_hi));
}
// 4x4 transpose of 128-bit parts
RB_INLINE void transpose_parts(__m512 a, __m512 b, __m512 c, __m512 d, __m512* t, int step) {
    const __mmask16 all = 0xffff;
    const __m512 ab_lo = _mm512_maskz_shuffle_f32x4(all, a, b, 0x44),
                 ab_hi = _mm512_maskz_shuffle_f32x4(all, a, b, 0xee);
    const __m512 cd_lo = _mm512_maskz_shuffle_f32x4(all, c, d, 0x44),
                 cd_hi = _mm512_maskz_shuffle_f32x4(all, c, d, 0xee);
    t[0] = _mm512_maskz_shuffle_f32x4(all, ab_lo, cd_lo, 0x88);
    t[step] = _mm512_maskz_shuffle_f32x4(all, ab_lo, cd_lo, 0xdd);
    t[2 * step] = _mm512_maskz_shuffle_f32x4(all, ab_hi, cd_hi, 0x88);
    t[3 * step] = _mm512_maskz_shuffle_f32x4(all, ab_hi, cd_hi, 0xdd);
}
// Whole cache lines: t[q] for q < 64/sizeof(T), each row touched once (rows a power of two apart share cache sets).
RB_INLINE void load_transposed_lines(const float* p, i64 stride, __m512 t[16]) {
    __m512 u[16];  // u[4*g + q]: part l holds element 4*l + q of rows 4g..4g+3
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
        const float* r = p + 4 * g * stride;
        const __m512 a = _mm512_loadu_ps(r), b = _mm512_loadu_ps(r + stride);
        const __m512 c = _mm512_loadu_ps(r + 2 * stride), d = _mm512_loadu_ps(r + 3 * stride);
        const __m512d ab_lo = _mm512_castps_pd(_mm512_maskz_unpacklo_ps(0xffff, a, b));
        const __m512d ab_hi = _mm512_castps_pd(_mm512_maskz_unpackhi_ps(0xffff, a, b));
        const __m512d cd_lo = _mm512_castps_pd(_mm512_maskz_unpacklo_ps(0xffff, c, d));
        const __m512d cd_hi = _mm512_castps_pd(_mm512_maskz_unpackhi_ps(0xffff, c, d));
        u[4 * g] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, ab_lo, cd_lo));
        u[4 * g + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, ab_lo, cd_lo));
        u[4 * g + 2] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, ab_hi, cd_hi));
        u[4 * g + 3] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, ab_hi, cd_hi));
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) transpose_parts(u[q], u[4 + q], u[8 + q], u[12 + q], t + q, 4);
}
RB_INLINE void load_transposed_lines(const double* p, i64 stride, __m512d t[8]) {
    __m512 u[8], w[8];
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
        const __m512d a = _mm512_loadu_pd(p + 2 * g * stride), b = _mm512_loadu_pd(p + (2 * g + 1) * stride);
        u[2 * g] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, a, b));
        u[2 * g + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, a, b));
    }
#pragma GCC unroll 2
    for (int q = 0; q < 2; ++q) transpose_parts(u[q], u[2 + q], u[4 + q], u[6 + q], w + q, 2);
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) t[q] = _mm512_castps_pd(w[q]);
}
RB_INLINE __m512d gather_lanes(const double* p, i64 s) {
    __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(p));
    v = _mm512_mask_broadcast_f64x2(v, 0x0c, _mm_loadu_pd(p + s));
    v = _mm512_mask_broadcast_f64x2(v, 0x30, _mm_loadu_pd(p + 2 * s));
    return _mm512_mask_broadcast_f64x2(v, 0xc0, _mm_loadu_pd(p + 3 * s));
}
RB_INLINE void load_transposed(const double* p, i64 stride, __m512d t[2]) {
    const __m512d a = gather_lanes(p, 2 * stride), b = gather_lanes(p + stride, 2 * stride);
    t[0] = _mm512_maskz_unpacklo_pd(0xff, a, b);
    t[1] = _mm512_maskz_unpackhi_pd(0xff, a, b);
}
#endif

#if defined(__AVX2__) && defined(__FMA__)
RB_INLINE __m256 gather_lanes2(const float* p, i64 s) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + s), 1);
}
RB_INLINE void load_transposed(const float* p, i64 stride, __m256 t[4]) {
    const __m256 a = gather_lanes2(p, 4 * stride), b = gather_lanes2(p + stride, 4 * stride);
    const __m256 c = gather_lanes2(p + 2 * stride, 4 * stride), d = gather_lanes2(p + 3 * stride, 4 * stride);
    const __m256d ab_lo = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                  ab_hi = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    const __m256d cd_lo = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)),
                  cd_hi = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    t[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_lo, cd_lo));
    t[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_lo, cd_lo));
    t[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_hi, cd_hi));
    t[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_hi, cd_hi));
}
RB_INLINE void load_transposed(const double* p, i64 stride, __m256d t[2]) {
    const __m256d a = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + 2 * stride), 1);
    const __m256d b =
        _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p + stride)), _mm_loadu_pd(p + 3 * stride), 1);
    t[0] = _mm256_unpacklo_pd(a, b);
    t[1] = _mm256_unpackhi_pd(a, b);
}
#endif

template <typename R>
RB_INLINE void load_transposed(const float* p, i64 stride, R t[4]) {
    static_assert(sizeof(R) == 16);
    typedef i32 I __attribute__((vector_size(16)));
    const Quad32 a = *reinterpret_cast<const Quad32*>(p), b = *reinterpret_cast<const Quad32*>(p + stride);
    const Quad32 c = *reinterpret_cast<const Quad32*>(p + 2 * stride);
    const Quad32 d = *reinterpret_cast<const Quad32*>(p + 3 * stride);
    const Quad32 ab_lo = __builtin_shuffle(a, b, I{0, 4, 1, 5}), ab_hi = __builtin_shuffle(a, b, I{2, 6, 3, 7});
    const Quad32 cd_lo = __builtin_shuffle(c, d, I{0, 4, 1, 5}), cd_hi = __builtin_shuffle(c, d, I{2, 6, 3, 7});
    t[0] = R(__builtin_shuffle(ab_lo, cd_lo, I{0, 1, 4, 5}));
    t[1] = R(__builtin_shuffle(ab_lo, cd_lo, I{2, 3, 6, 7}));
    t[2] = R(__builtin_shuffle(ab_hi, cd_hi, I{0, 1, 4, 5}));
    t[3] = R(__builtin_shuffle(ab_hi, cd_hi, I{2, 3, 6, 7}));
}
template <typename R>
RB_INLINE void load_transposed(const double* p, i64 stride, R t[2]) {
    static_assert(sizeof(R) == 16);
    typedef i64 I __attribute__((vector_size(16)));
    const Quad64 a = *reinterpret_cast<const Quad64*>(p), b = *reinterpret_cast<const Quad64*>(p + stride);
    t[0] = R(__builtin_shuffle(a, b, I{0, 2}));
    t[1] = R(__builtin_shuffle(a, b, I{1, 3}));
}
// Only so that code under kHasLines parses at every level.
template <typename T, typename R>
RB_INLINE void load_transposed_lines(const T* p, i64 stride, R* t) {
    (void)p, (void)stride, (void)t;
}

// --- stores past the caches: y [n] = line [n], line in the first-level cache. y needs the alignment of its type only;
// what stands before and after whole vectors is stored the usual way. stream_end orders these stores before later ones.
#if defined(__x86_64__)
template <typename T>
static inline void stream_out(const T* line, T* y, i64 n) {
    const i64 before = i64((kVecBytes - reinterpret_cast<u64>(y) % kVecBytes) % kVecBytes) / i64(sizeof(T));
    i64 i = before < n ? before : n;
    memcpy(y, line, size_t(i) * sizeof(T));
    constexpr i64 L = kVecBytes / i64(sizeof(T));
    for (; i + L <= n; i += L) {
#if defined(__AVX512F__)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(y + i), _mm512_loadu_si512(line + i));
#elif defined(__AVX2__)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(y + i),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(line + i)));
#else
        _mm_stream_si128(reinterpret_cast<__m128i*>(y + i),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(line + i)));
#endif
    }
    memcpy(y + i, line + i, size_t(n - i) * sizeof(T));
}
RB_INLINE void stream_end() {
    _mm_sfence();
}
#else
template <typename T>
static inline void stream_out(const T* line, T* y, i64 n) {
    memcpy(y, line, size_t(n) * sizeof(T));
}
RB_INLINE void stream_end() {}
#endif

// --- 64-bit lanes that carry 32-bit words, for Philox: kWordLanes blocks side by side. mul: the low halves' full
// product; xor3: a ^ b ^ c. store_blocks writes 4 words per lane in the order of the blocks when lane j carries block
// kBlockOf[j].
#if defined(__AVX2__)
constexpr int kWordLanes = kVecBytes / 8;
#if defined(__AVX512F__)
using Words = __m512i;
alignas(64) constexpr u64 kBlockOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};
RB_INLINE Words words_set(u64 x) {
    return _mm512_set1_epi64(i64(x));
}
RB_INLINE Words words_load(const u64* p) {
    return _mm512_loadu_si512(p);
}
RB_INLINE Words words_add(Words a, Words b) {
    return _mm512_add_epi64(a, b);
}
RB_INLINE Words words_mul(Words a, Words b) {
    return _mm512_mul_epu32(a, b);
}
RB_INLINE Words words_high(Words a) {
    return _mm512_srli_epi64(a, 32);
}
RB_INLINE Words words_xor3(Words a, Words b, Words c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
RB_INLINE Words words_join(Words low, Words high) {  // low half of low, low half of high above it
    return _mm512_mask_shuffle_epi32(low, 0xAAAA, high, _MM_PERM_CCAA);
}
RB_INLINE void store_blocks(u32* p, Words a, Words b) {
    _mm512_storeu_si512(p, _mm512_unpacklo_epi64(a, b));
    _mm512_storeu_si512(p + 16, _mm512_unpackhi_epi64(a, b));
}
#else
using Words = __m256i;
alignas(64) constexpr u64 kBlockOf[4] = {0, 2, 1, 3};
RB_INLINE Words words_set(u64 x) {
    return _mm256_set1_epi64x(i64(x));
}
RB_INLINE Words words_load(const u64* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
RB_INLINE Words words_add(Words a, Words b) {
    return _mm256_add_epi64(a, b);
}
RB_INLINE Words words_mul(Words a, Words b) {
    return _mm256_mul_epu32(a, b);
}
RB_INLINE Words words_high(Words a) {
    return _mm256_srli_epi64(a, 32);
}
RB_INLINE Words words_xor3(Words a, Words b, Words c) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}
RB_INLINE Words words_join(Words low, Words high) {
    return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA);
}
RB_INLINE void store_blocks(u32* p, Words a, Words b) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_unpacklo_epi64(a, b));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), _mm256_unpackhi_epi64(a, b));
}
#endif
#endif

// --- quads: 16 bytes, kQuad elements. set_quad: the quad at p in every 16-byte part of a register.
template <class VT>
RB_INLINE typename VT::R set_quad(const typename VT::T* p) {
    [[maybe_unused]] constexpr bool single = sizeof(typename VT::T) == 4;
#if defined(__AVX512F__) && defined(__AVX512VL__)
    if constexpr (sizeof(typename VT::R) == 64 && single) return _mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(p));
    if constexpr (sizeof(typename VT::R) == 64 && !single) return _mm512_maskz_broadcast_f64x2(0xff, _mm_loadu_pd(p));
#endif
#if defined(__AVX2__) && defined(__FMA__)
    if constexpr (sizeof(typename VT::R) == 32 && single)
        return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
    if constexpr (sizeof(typename VT::R) == 32 && !single)
        return _mm256_broadcast_pd(reinterpret_cast<const __m128d*>(p));
#endif
    if constexpr (sizeof(typename VT::R) == 16) return VT::load(p);
}

// Registers of at most 32 bytes filled from quads: load_quads(p, s) has those at p and, where it fits, p + s.
#if defined(__AVX2__) && defined(__FMA__)
template <typename T>
struct Quads;
template <>
struct Quads<float> : Vec<float, 8> {
    RB_INLINE R load_quads(const T* p, i64 s) {
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + s), 1);
    }
};
template <>
struct Quads<double> : Vec<double, 4> {
    RB_INLINE R load_quads(const T* p, i64 s) {
        return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + s), 1);
    }
};
#else
template <typename T>
struct Quads : V<T> {
    RB_INLINE typename V<T>::R load_quads(const T* p, i64) { return V<T>::load(p); }
};
#endif

// --- bfloat16. PairVec: each word of its registers is a pair of bfloat16 numbers, but for c of fma(a, b, c), which
// adds the product of the upper and then that of the lower halves, as `fma` each, subnormals counting as 0. FusedVec:
// fma of floats that rounds once, where the level has none: the sum of a float and a product of two bfloat16 numbers in
// double is exact or so far from a tie of floats that rounding it again changes nothing.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
template <int L>
struct PairVec : Vec<float, L> {
    using R = typename Vec<float, L>::R;
    RB_INLINE R fma(R a, R b, R c) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
        return c;
    }
};
using Pairs = __m512i;
RB_INLINE __m256i load_halves(const u16* p, int n) {
    return _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1u), p);
}
RB_INLINE __m256i no_halves() {
    return _mm256_setzero_si256();
}
RB_INLINE Pairs join_halves(__m256i low, __m256i high) {
    const Pairs wide = _mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, high), 16);
    return _mm512_or_si512(_mm512_maskz_cvtepu16_epi32(0xffff, low), wide);
}
RB_INLINE Pairs round_words(const float* p, int n) {  // bf16_of_bits of n floats, in the lower halves
    const Pairs u = _mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1u), p);
    const Pairs high = _mm512_maskz_srli_epi32(0xffff, u, 16), one = _mm512_set1_epi32(1);
    const Pairs half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(high, one));
    const Pairs near = _mm512_maskz_srli_epi32(0xffff, _mm512_add_epi32(u, half), 16);
    const __mmask16 nan =
        _mm512_cmpgt_epu32_mask(_mm512_and_si512(u, _mm512_set1_epi32(0x7fffffff)), _mm512_set1_epi32(0x7f800000));
    return _mm512_mask_or_epi32(near, nan, high, _mm512_set1_epi32(0x40));
}
RB_INLINE Pairs no_words() {
    return _mm512_setzero_si512();
}
RB_INLINE Pairs join_words(Pairs low, Pairs high) {
    return _mm512_or_si512(low, _mm512_maskz_slli_epi32(0xffff, high, 16));
}
RB_INLINE void store_words(float* p, Pairs v, int n) {
    _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1u), v);
}
#endif
#if !defined(__FMA__) && !defined(__aarch64__)
struct FusedVec : Vec<float, 4> {
    RB_INLINE R fma(R a, R b, R c) {
        typedef double Double4 __attribute__((vector_size(32)));
        const Double4 x = __builtin_convertvector(a, Double4), y = __builtin_convertvector(b, Double4);
        return __builtin_convertvector(__builtin_convertvector(c, Double4) + x * y, R);
    }
};
#endif

// --- pairs: complex numbers lie as (re, im, re, im, ...). split_pairs: the even and the odd elements of a and b behind
// each other; join_pairs undoes it; reversed: the last lane first.
template <typename R>
RB_INLINE void split_pairs(R a, R b, R& even, R& odd) {
    constexpr int L = int(sizeof(R) / sizeof(a[0]));
    if constexpr (L == 2) {
        even = __builtin_shufflevector(a, b, 0, 2);
        odd = __builtin_shufflevector(a, b, 1, 3);
    } else if constexpr (L == 4) {
        even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
        odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
    } else if constexpr (L == 8) {
        even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
        odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    } else {
        even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    }
}
template <typename R>
RB_INLINE void join_pairs(R even, R odd, R& a, R& b) {
    constexpr int L = int(sizeof(R) / sizeof(a[0]));
    if constexpr (L == 2) {
        a = __builtin_shufflevector(even, odd, 0, 2);
        b = __builtin_shufflevector(even, odd, 1, 3);
    } else if constexpr (L == 4) {
        a = __builtin_shufflevector(even, odd, 0, 4, 1, 5);
        b = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
    } else if constexpr (L == 8) {
        a = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
        b = __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
    } else {
        a = __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        b = __builtin_shufflevector(even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}
template <typename R>
RB_INLINE R reversed(R a) {
    constexpr int L = int(sizeof(R) / sizeof(a[0]));
    if constexpr (L == 2) return __builtin_shufflevector(a, a, 1, 0);
    if constexpr (L == 4) return __builtin_shufflevector(a, a, 3, 2, 1, 0);
    if constexpr (L == 8) return __builtin_shufflevector(a, a, 7, 6, 5, 4, 3, 2, 1, 0);
    if constexpr (L == 16) return __builtin_shufflevector(a, a, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

// --- registers of any number of bytes as plain vector types, and their halves
template <typename T, int Bytes>
struct VecOf {
    typedef T type __attribute__((vector_size(Bytes)));
};
template <typename T, int Bytes>
using VecT = typename VecOf<T, Bytes>::type;

template <typename V, typename T>
static inline V vec_load(const T* p) {
    V v;
    memcpy(&v, p, sizeof(V));
    return v;
}
template <typename V, typename T>
static inline void vec_store(T* p, V v) {
    memcpy(p, &v, sizeof(V));
}

template <typename R>
RB_INLINE auto lower_half(R a) {
    constexpr int L = int(sizeof(R) / sizeof(a[0]));
    if constexpr (L == 4) return __builtin_shufflevector(a, a, 0, 1);
    if constexpr (L == 8) return __builtin_shufflevector(a, a, 0, 1, 2, 3);
    if constexpr (L == 16) return __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7);
}
template <typename R>
RB_INLINE auto upper_half(R a) {
    constexpr int L = int(sizeof(R) / sizeof(a[0]));
    if constexpr (L == 4) return __builtin_shufflevector(a, a, 2, 3);
    if constexpr (L == 8) return __builtin_shufflevector(a, a, 4, 5, 6, 7);
    if constexpr (L == 16) return __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
}

template <typename R>
RB_INLINE R vec_max(R a, R b) {  // rb_max lane by lane: what is not a number stays
#if defined(__AVX512F__) && defined(__AVX512VL__)
    if constexpr (sizeof(R) == 64 && sizeof(a[0]) == 4) {
        const __mmask16 odd = _mm512_cmp_ps_mask(__m512(a), __m512(a), _CMP_UNORD_Q);
        return R(_mm512_mask_mov_ps(_mm512_maskz_max_ps(0xffff, __m512(a), __m512(b)), odd, __m512(a)));
    } else if constexpr (sizeof(R) == 64) {
        const __mmask8 odd = _mm512_cmp_pd_mask(__m512d(a), __m512d(a), _CMP_UNORD_Q);
        return R(_mm512_mask_mov_pd(_mm512_maskz_max_pd(0xff, __m512d(a), __m512d(b)), odd, __m512d(a)));
    }
#endif
    const R m = a > b ? a : b;
    return a != a ? a : m;
}
template <typename R>
RB_INLINE R vec_min(R a, R b) {  // rb_min lane by lane: what is not a number stays
#if defined(__AVX512F__) && defined(__AVX512VL__)
    if constexpr (sizeof(R) == 64 && sizeof(a[0]) == 4) {
        const __mmask16 odd = _mm512_cmp_ps_mask(__m512(a), __m512(a), _CMP_UNORD_Q);
        return R(_mm512_mask_mov_ps(_mm512_maskz_min_ps(0xffff, __m512(a), __m512(b)), odd, __m512(a)));
    } else if constexpr (sizeof(R) == 64) {
        const __mmask8 odd = _mm512_cmp_pd_mask(__m512d(a), __m512d(a), _CMP_UNORD_Q);
        return R(_mm512_mask_mov_pd(_mm512_maskz_min_pd(0xff, __m512d(a), __m512d(b)), odd, __m512d(a)));
    }
#endif
    const R m = a < b ? a : b;
    return a != a ? a : m;
}

// --- the better of two values with the place it was found at, lane by lane: v and `at` replace best and where, if v is
// larger (Min: smaller) or the first that is not a number. `where`: integers as wide as the values.
template <bool Min, typename R, typename I>
RB_INLINE void take_better(R v, I at, R& best, I& where) {
#if defined(__AVX512F__) && defined(__AVX512VL__)
    constexpr int kTest = Min ? _CMP_NGE_UQ : _CMP_NLE_UQ;
    if constexpr (sizeof(R) == 64 && sizeof(v[0]) == 4) {
        const __mmask16 ordered = _mm512_cmp_ps_mask(__m512(best), __m512(best), _CMP_ORD_Q);
        const __mmask16 take = _mm512_mask_cmp_ps_mask(ordered, __m512(v), __m512(best), kTest);
        best = R(_mm512_mask_mov_ps(__m512(best), take, __m512(v)));
        where = I(_mm512_mask_mov_epi32(__m512i(where), take, __m512i(at)));
        return;
    } else if constexpr (sizeof(R) == 64) {
        const __mmask8 ordered = _mm512_cmp_pd_mask(__m512d(best), __m512d(best), _CMP_ORD_Q);
        const __mmask8 take = _mm512_mask_cmp_pd_mask(ordered, __m512d(v), __m512d(best), kTest);
        best = R(_mm512_mask_mov_pd(__m512d(best), take, __m512d(v)));
        where = I(_mm512_mask_mov_epi64(__m512i(where), take, __m512i(at)));
        return;
    }
#endif
    const I take = (best == best) & (Min ? ~(v >= best) : ~(v <= best));
    best = take ? v : best;
    where = take ? at : where;
}
