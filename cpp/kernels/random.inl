// random.inl: uniform and normal numbers and dropout from the counter-based stream (philox.hpp). Promise: element i
// depends on (key, counter, i) alone, so any split gives the same numbers; uniform and dropout give the same bits on
// every level and as the reference, normal differs from it by a few ULP. Blocks are computed side by side.

#include "core/philox.hpp"

constexpr i64 kBlocks = kVecBytes == 64 ? 32 : 16;  // Philox blocks per step, as many as the registers hold
constexpr i64 kWords = 4 * kBlocks;                 // words per step

// words [4*kBlocks] = blocks first .. first+kBlocks-1 after the position `seed`, in stream order.
#if defined(__AVX2__)
// The upper halves of the lanes hold what earlier products left there: products and the final join read the lower ones.
static __attribute__((noinline)) void philox_words(const Seed& seed, u64 first, u32* __restrict words) {
    constexpr int kParts = int(kBlocks) / kWordLanes;
    const Words m0 = words_set(kPhiloxM0), m1 = words_set(kPhiloxM1), lanes = words_load(kBlockOf);
    Words c0[kParts], c1[kParts], c2[kParts], c3[kParts];
    for (int v = 0; v < kParts; ++v) {
        c0[v] = words_add(words_set(seed.counter + first + u64(v * kWordLanes)), lanes);
        c1[v] = words_high(c0[v]);
        c2[v] = c3[v] = words_set(0);
    }
    u32 k0 = u32(seed.key), k1 = u32(seed.key >> 32);
    for (int round = 0; round < 10; ++round) {
        const Words key0 = words_set(k0), key1 = words_set(k1);
        for (int v = 0; v < kParts; ++v) {
            const Words p0 = words_mul(c0[v], m0), p1 = words_mul(c2[v], m1);
            c0[v] = words_xor3(words_high(p1), c1[v], key0);
            c2[v] = words_xor3(words_high(p0), c3[v], key1);
            c1[v] = p1;
            c3[v] = p0;
        }
        k0 += kPhiloxW0;
        k1 += kPhiloxW1;
    }
    for (int v = 0; v < kParts; ++v) {
        store_blocks(words + 4 * v * kWordLanes, words_join(c0[v], c1[v]), words_join(c2[v], c3[v]));
    }
}
#else
struct PhiloxState {
    u32 c0, c1, c2, c3;
};
static inline PhiloxState philox_round(PhiloxState s, u32 k0, u32 k1) {
    const u64 p0 = u64(kPhiloxM0) * u32(s.c0), p1 = u64(kPhiloxM1) * u32(s.c2);
    return {u32(p1 >> 32) ^ s.c1 ^ k0, u32(p1), u32(p0 >> 32) ^ s.c3 ^ k1, u32(p0)};
}
template <int Round>
static inline PhiloxState philox_rounds(PhiloxState s, u32 k0, u32 k1) {
    if constexpr (Round < 10) {
        s = philox_rounds<Round + 1>(philox_round(s, k0, k1), k0 + kPhiloxW0, k1 + kPhiloxW1);
    }
    return s;
}

// Straight-line rounds in a loop over blocks, apart from the index arithmetic: the form the compiler turns into 32x32
// -> 64 bit vector products.
static __attribute__((noinline)) void philox_words(const Seed& seed, u64 first, u32* __restrict words) {
    u32 lo[kBlocks], hi[kBlocks];
    u32 r0[kBlocks], r1[kBlocks], r2[kBlocks], r3[kBlocks];
    for (i64 b = 0; b < kBlocks; ++b) {
        const u64 c = seed.counter + first + u64(b);
        lo[b] = u32(c);
        hi[b] = u32(c >> 32);
    }
    const u32 key0 = u32(seed.key), key1 = u32(seed.key >> 32);
    for (i64 b = 0; b < kBlocks; ++b) {
        const PhiloxState s = philox_rounds<0>({lo[b], hi[b], 0, 0}, key0, key1);
        r0[b] = s.c0;
        r1[b] = s.c1;
        r2[b] = s.c2;
        r3[b] = s.c3;
    }
    for (i64 b = 0; b < kBlocks; ++b) {
        words[4 * b] = u32(r0[b]);
        words[4 * b + 1] = u32(r1[b]);
        words[4 * b + 2] = u32(r2[b]);
        words[4 * b + 3] = u32(r3[b]);
    }
}
#endif

// Elements per step and the words of element e of a step.
template <typename T>
constexpr i64 kPerStep = kWords / (i64(sizeof(T)) / 4);

static inline float uniform_word(const u32* w, i64 e, float) {
    return uniform_from(w[e]);
}
static inline double uniform_word(const u32* w, i64 e, double) {
    // 53 random bits without a 64-bit integer conversion: 52 as a mantissa, the last one added.
    const u64 bits = (u64(w[2 * e + 1]) << 32 | w[2 * e]) >> 11;
    return (from_bits(u64{0x3ff0000000000000} | bits >> 1) - 1.0) + from_bits((bits & 1) * u64{0x3ca0000000000000});
}
static inline float open_uniform_word(const u32* w, i64 e, float) {
    return open_uniform_from(w[e]);
}
static inline double open_uniform_word(const u32* w, i64 e, double) {
    return uniform_word(w, e, double()) + 0x1p-53;
}

// Dropout keeps where u >= p: u * 2^24 (2^53) is an integer, so the test is one on integers.
static inline bool keep_word(const u32* w, i64 e, u64 threshold, float) {
    return w[e] >> 8 >= u32(threshold);
}
static inline bool keep_word(const u32* w, i64 e, u64 threshold, double) {
    return (u64(w[2 * e + 1]) << 32 | w[2 * e]) >> 11 >= threshold;
}

// Runs body(words, first element, elements) step by step over [0, n); elements < kPerStep only at the end.
template <typename T, typename F>
static void for_each_step(i64 n, const Seed& seed, double cost, const F& body) {
    constexpr i64 L = kPerStep<T>, kStepsPerUnit = 16;
    const i64 steps = (n + L - 1) / L, units = (steps + kStepsPerUnit - 1) / kStepsPerUnit;
    const i64 longest = n < L * kStepsPerUnit ? n : L * kStepsPerUnit;
    parallel(units, cost * double(longest), [&](i64 begin, i64 end) {
        const i64 last = end * kStepsPerUnit < steps ? end * kStepsPerUnit : steps;
        for (i64 s = begin * kStepsPerUnit; s < last; ++s) {
            u32 words[kWords];
            philox_words(seed, u64(s) * kBlocks, words);
            body(words, s * L, n - s * L < L ? n - s * L : L);
        }
    });
}

// Words to out [n], n <= kPerStep; parameters by value so that stores cannot make the compiler reload them.
template <typename T>
static inline void uniform_words(const u32* __restrict w, T* __restrict out, i64 n, T low, T span) {
    if (n == kPerStep<T>) {
        for (i64 e = 0; e < kPerStep<T>; ++e) out[e] = low + span * uniform_word(w, e, T());
    } else {
        for (i64 e = 0; e < n; ++e) out[e] = low + span * uniform_word(w, e, T());
    }
}
template <typename T>
static inline void dropout_words(const u32* __restrict w, const T* __restrict in, T* __restrict out, i64 n, T scale,
                                 u64 threshold) {
    if (n == kPerStep<T>) {
        for (i64 e = 0; e < kPerStep<T>; ++e) {
            const T v = in[e] * scale;
            out[e] = keep_word(w, e, threshold, T()) ? v : T(0);
        }
    } else {
        for (i64 e = 0; e < n; ++e) out[e] = keep_word(w, e, threshold, T()) ? in[e] * scale : T(0);
    }
}

template <typename T>
static void uniform_run(const void* args, Ctx&) {
    const uniform_args& a = *static_cast<const uniform_args*>(args);
    T* y = static_cast<T*>(a.y.data);
    const T low = T(a.low), span = T(a.high - a.low);
    for_each_step<T>(numel(a.y), a.seed, sizeof(T) / 4 * 0.4,
                     [&](const u32* w, i64 i, i64 n) { uniform_words(w, y + i, n, low, span); });
}

template <typename T>
static void dropout_run(const void* args, Ctx&) {
    const dropout_args& a = *static_cast<const dropout_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const T scale = T(1.0 / (1.0 - a.p));
    const u64 threshold = u64(__builtin_ceil(a.p * (sizeof(T) == 4 ? 0x1p24 : 0x1p53)));
    for_each_step<T>(numel(a.y), a.seed, sizeof(T) / 4 * 0.5,
                     [&](const u32* w, i64 i, i64 n) { dropout_words(w, x + i, y + i, n, scale, threshold); });
}

// (cos, sin) of 2 pi u, u in [0,1): u = quadrant/4 + f with |f| <= 1/8, Chebyshev fits in f^2.
static inline void cos_sin_turns(float u, float& c, float& s) {
    const float shifted = rb_fma(u, 4.0f, kRoundF);
    const u32 quadrant = to_bits(shifted);
    const float f = rb_fma(shifted - kRoundF, -0.25f, u), z = f * f;
    float p = -75.40161f;
    p = rb_fma(p, z, 81.592545f);
    p = rb_fma(p, z, -41.341663f);
    p = rb_fma(p, z, 6.2831855f) * f;
    float q = 59.22017f;
    q = rb_fma(q, z, -85.44285f);
    q = rb_fma(q, z, 64.939316f);
    q = rb_fma(q, z, -19.739208f);
    q = rb_fma(q, z, 1.0f);
    const float even = quadrant & 1 ? p : q, odd = quadrant & 1 ? q : p;
    c = from_bits(to_bits(even) ^ ((quadrant + 1) << 30 & 0x80000000u));
    s = from_bits(to_bits(odd) ^ (quadrant << 30 & 0x80000000u));
}
static inline void cos_sin_turns(double u, double& c, double& s) {
    const double shifted = rb_fma(u, 4.0, kRoundD);
    const u64 quadrant = to_bits(shifted);
    const double f = rb_fma(shifted - kRoundD, -0.25, u), z = f * f;
    double p = -0x1.6c5b875d4e739p-1;
    p = rb_fma(p, z, 0x1.e8eed12ee00a3p+1);
    p = rb_fma(p, z, -0x1.e3074b4ff3058p+3);
    p = rb_fma(p, z, 0x1.50783485cbd83p+5);
    p = rb_fma(p, z, -0x1.32d2cce62ac22p+6);
    p = rb_fma(p, z, 0x1.466bc6775aad9p+6);
    p = rb_fma(p, z, -0x1.4abbce625be53p+5);
    p = rb_fma(p, z, 0x1.921fb54442d18p+2) * f;
    double q = 0x1.1e2a69fa47a81p-2;
    q = rb_fma(q, z, -0x1.b6dd6cfa280afp+0);
    q = rb_fma(q, z, 0x1.f9d3854812ae6p+2);
    q = rb_fma(q, z, -0x1.a6d1f29f1c7fap+4);
    q = rb_fma(q, z, 0x1.e1f5068919a8ap+5);
    q = rb_fma(q, z, -0x1.55d3c7e3cbfedp+6);
    q = rb_fma(q, z, 0x1.03c1f081b5ac4p+6);
    q = rb_fma(q, z, -0x1.3bd3cc9be45dep+4);
    q = rb_fma(q, z, 1.0);
    const u64 sign = u64{1} << 63;
    const double even = quadrant & 1 ? p : q, odd = quadrant & 1 ? q : p;
    c = from_bits(to_bits(even) ^ ((quadrant + 1) << 62 & sign));
    s = from_bits(to_bits(odd) ^ (quadrant << 62 & sign));
}

template <typename T>
static inline void normal_words(const u32* __restrict w, T* __restrict out, i64 n, T mean, T std) {
    constexpr i64 kPairs = kPerStep<T> / 2;
    T radius[kPairs], turns[kPairs], z[2 * kPairs];
    for (i64 j = 0; j < kPairs; ++j) {
        radius[j] = open_uniform_word(w, 2 * j, T());
        turns[j] = uniform_word(w, 2 * j + 1, T());
    }
    for (i64 j = 0; j < kPairs; ++j) {
        T c, s;
        cos_sin_turns(turns[j], c, s);
        const T r = rb_sqrt(T(-2) * rb_log(radius[j]));
        radius[j] = r * c;
        turns[j] = r * s;
    }
    for (i64 j = 0; j < kPairs; ++j) {
        z[2 * j] = rb_fma(std, radius[j], mean);
        z[2 * j + 1] = rb_fma(std, turns[j], mean);
    }
    memcpy(out, z, size_t(n) * sizeof(T));
}

template <typename T>
static void normal_run(const void* args, Ctx&) {
    const normal_args& a = *static_cast<const normal_args*>(args);
    T* y = static_cast<T*>(a.y.data);
    const T mean = T(a.mean), std = T(a.std);
    for_each_step<T>(numel(a.y), a.seed, sizeof(T) / 4 * 1.0,
                     [&](const u32* w, i64 i, i64 n) { normal_words(w, y + i, n, mean, std); });
}

constexpr void add_random(Table& t) {
    add_simd<uniform_run<float>, uniform_run<double>>(t, op_uniform);
    add_simd<normal_run<float>, normal_run<double>>(t, op_normal);
    add_simd<dropout_run<float>, dropout_run<double>>(t, op_dropout);
}
