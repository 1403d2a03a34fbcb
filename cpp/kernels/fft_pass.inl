// fft_pass.inl: the butterflies. A lane-wise transform works on L transforms at once: element i of all of them is one
// vector of real parts and one of imaginary parts, so no step moves values between lanes and every length vectorises
// alike. A pass turns x [radix][m][s] into y [m][radix][s] (Stockham: the order sorts itself out), with n = radix m s:
//   y[p][j][q] = e^(-2 pi i p j / (radix m)) sum_k e^(-2 pi i j k / radix) x[k][p][q]
// All of it is forward; the inverse swaps real and imaginary parts on the way in and out.

// cos and sin of 2 pi k / r, 1 <= k <= r/2, for the odd radices.
template <int R>
struct OddRoots;
template <>
struct OddRoots<3> {
    static constexpr double c[2] = {1.0, -0.5}, s[2] = {0.0, 0.86602540378443864676};
};
template <>
struct OddRoots<5> {
    static constexpr double c[3] = {1.0, 0.30901699437494742410, -0.80901699437494742410};
    static constexpr double s[3] = {0.0, 0.95105651629515357212, 0.58778525229247312917};
};
template <>
struct OddRoots<7> {
    static constexpr double c[4] = {1.0, 0.62348980185873353053, -0.22252093395631440429, -0.90096886790241912624};
    static constexpr double s[4] = {0.0, 0.78183148246802980871, 0.97492791218182360702, 0.43388373911755812048};
};
template <>
struct OddRoots<11> {
    static constexpr double c[6] = {1.0,
                                    0.84125353283118116886,
                                    0.41541501300188642553,
                                    -0.14231483827328514044,
                                    -0.65486073394528506406,
                                    -0.95949297361449738989};
    static constexpr double s[6] = {0.0,
                                    0.54064081745559758211,
                                    0.90963199535451837141,
                                    0.98982144188093273238,
                                    0.75574957435425828377,
                                    0.28173255684142969771};
};
template <>
struct OddRoots<13> {
    static constexpr double c[7] = {1.0,
                                    0.88545602565320989590,
                                    0.56806474673115580251,
                                    0.12053668025532305335,
                                    -0.35460488704253562597,
                                    -0.74851074817110109863,
                                    -0.97094181742605202716};
    static constexpr double s[7] = {0.0,
                                    0.46472317204376854566,
                                    0.82298386589365639458,
                                    0.99270887409805399280,
                                    0.93501624268541482344,
                                    0.66312265824079520238,
                                    0.23931566428755776715};
};

// In place: (re, im)[j] = sum_k e^(-2 pi i j k / N) (re, im)[k].
template <class VT, int N>
RB_INLINE void butterfly(typename VT::R* re, typename VT::R* im) {
    using R = typename VT::R;
    using T = typename VT::T;
    if constexpr (N == 2) {
        const R a = re[0], b = im[0];
        re[0] = a + re[1], im[0] = b + im[1];
        re[1] = a - re[1], im[1] = b - im[1];
    } else if constexpr (N == 4) {
        const R sr = re[0] + re[2], si = im[0] + im[2], dr = re[0] - re[2], di = im[0] - im[2];
        const R tr = re[1] + re[3], ti = im[1] + im[3], er = re[1] - re[3], ei = im[1] - im[3];
        re[0] = sr + tr, im[0] = si + ti;
        re[1] = dr + ei, im[1] = di - er;
        re[2] = sr - tr, im[2] = si - ti;
        re[3] = dr - ei, im[3] = di + er;
    } else if constexpr (N == 8) {
        R ar[4] = {re[0], re[2], re[4], re[6]}, ai[4] = {im[0], im[2], im[4], im[6]};
        R br[4] = {re[1], re[3], re[5], re[7]}, bi[4] = {im[1], im[3], im[5], im[7]};
        butterfly<VT, 4>(ar, ai);
        butterfly<VT, 4>(br, bi);
        const R h = VT::set(T(0.70710678118654752440));
        const R pr = (br[1] + bi[1]) * h, pi = (bi[1] - br[1]) * h;  // (1 - i) / sqrt 2
        const R qr = (bi[3] - br[3]) * h, qi = (br[3] + bi[3]) * h;  // minus (-1 - i) / sqrt 2, up to the sign of qi
        re[0] = ar[0] + br[0], im[0] = ai[0] + bi[0];
        re[4] = ar[0] - br[0], im[4] = ai[0] - bi[0];
        re[1] = ar[1] + pr, im[1] = ai[1] + pi;
        re[5] = ar[1] - pr, im[5] = ai[1] - pi;
        re[2] = ar[2] + bi[2], im[2] = ai[2] - br[2];
        re[6] = ar[2] - bi[2], im[6] = ai[2] + br[2];
        re[3] = ar[3] + qr, im[3] = ai[3] - qi;
        re[7] = ar[3] - qr, im[7] = ai[3] + qi;
    } else {
        constexpr int H = N / 2;
        R sr[H], si[H], dr[H], di[H];  // x_k + x_{N-k} and x_k - x_{N-k}
#pragma GCC unroll 6
        for (int k = 1; k <= H; ++k) {
            sr[k - 1] = re[k] + re[N - k], si[k - 1] = im[k] + im[N - k];
            dr[k - 1] = re[k] - re[N - k], di[k - 1] = im[k] - im[N - k];
        }
        const R zr = re[0], zi = im[0];
#pragma GCC unroll 6
        for (int k = 0; k < H; ++k) re[0] = re[0] + sr[k], im[0] = im[0] + si[k];
#pragma GCC unroll 6
        for (int j = 1; j <= H; ++j) {
            R cr = zr, ci = zi, er = VT::zero(), ei = VT::zero();
#pragma GCC unroll 6
            for (int k = 1; k <= H; ++k) {
                const int jk = j * k % N, fold = jk <= H ? jk : N - jk;
                const R c = VT::set(T(OddRoots<N>::c[fold]));
                const R s = VT::set(jk <= H ? T(OddRoots<N>::s[fold]) : T(-OddRoots<N>::s[fold]));
                cr = VT::fma(c, sr[k - 1], cr), ci = VT::fma(c, si[k - 1], ci);
                er = VT::fma(s, dr[k - 1], er), ei = VT::fma(s, di[k - 1], ei);
            }
            re[j] = cr + ei, im[j] = ci - er;
            re[N - j] = cr - ei, im[N - j] = ci + er;
        }
    }
}

// Where a pass takes element i from and where it puts it: `get(i, re, im)` and `put(i, re, im)`.

// The buffer [n][re, im][L] that passes hand on.
template <class VT>
struct Buffer {
    using T = typename VT::T;
    using R = typename VT::R;
    T* p;
    RB_INLINE void load(const T* p, i64 i, R& re, R& im) {
        re = VT::load(p + i * 2 * VT::L);
        im = VT::load(p + i * 2 * VT::L + VT::L);
    }
    __attribute__((always_inline)) void get(i64 i, R& re, R& im) const { load(p, i, re, im); }
    __attribute__((always_inline)) void put(i64 i, R re, R im) const {
        VT::store(p + i * 2 * VT::L, re);
        VT::store(p + i * 2 * VT::L + VT::L, im);
    }
};

// Complex numbers in memory, those of the lanes side by side: element i at p + i stride; `lanes` <= L of them, and
// zeros from element `length` on. Inverse transforms see them swapped.
template <class VT, bool Inverse>
struct Source {
    using T = typename VT::T;
    using R = typename VT::R;
    const T* p;
    i64 stride, length;
    int lanes;
    __attribute__((always_inline)) void get(i64 i, R& re, R& im) const {
        constexpr int L = VT::L;
        if (i >= length) {
            re = im = VT::zero();
            return;
        }
        const T* at = p + i * stride;
        R a, b;
        if (lanes == L) {
            a = VT::load(at), b = VT::load(at + L);
        } else {
            a = VT::load_n(at, 2 * lanes < L ? 2 * lanes : L);
            b = 2 * lanes > L ? VT::load_n(at + L, 2 * lanes - L) : VT::zero();
        }
        if constexpr (Inverse) {
            split_pairs(a, b, im, re);
        } else {
            split_pairs(a, b, re, im);
        }
    }
};

template <class VT, bool Inverse>
struct Target {
    using T = typename VT::T;
    using R = typename VT::R;
    T* p;
    i64 stride;
    int lanes;
    R scale;
    __attribute__((always_inline)) void put(i64 i, R re, R im) const {
        constexpr int L = VT::L;
        T* at = p + i * stride;
        R a, b;
        re = re * scale, im = im * scale;
        if constexpr (Inverse) {
            join_pairs(im, re, a, b);
        } else {
            join_pairs(re, im, a, b);
        }
        if (lanes == L) {
            VT::store(at, a), VT::store(at + L, b);
        } else {
            VT::store_n(at, a, 2 * lanes < L ? 2 * lanes : L);
            if (2 * lanes > L) VT::store_n(at + L, b, 2 * lanes - L);
        }
    }
};

// A buffer at either end, swapped for inverse transforms; scaled on the way out.
template <class VT, bool Inverse>
struct Lanes {
    using R = typename VT::R;
    typename VT::T* p;
    R scale;
    __attribute__((always_inline)) void get(i64 i, R& re, R& im) const {
        Buffer<VT>::load(p, i, Inverse ? im : re, Inverse ? re : im);
    }
    __attribute__((always_inline)) void put(i64 i, R re, R im) const {
        Buffer<VT>{p}.put(i, (Inverse ? im : re) * scale, (Inverse ? re : im) * scale);
    }
};

// The buffer again, times the outer twiddles of a split transform: row k of re and im [n1][n2], from column i2 on.
template <class VT>
struct Twiddled {
    using T = typename VT::T;
    using R = typename VT::R;
    T* p;
    const T *re, *im;
    i64 stride;
    int lanes;
    __attribute__((always_inline)) void put(i64 i, R a, R b) const {
        const R c = lanes == VT::L ? VT::load(re + i * stride) : VT::load_n(re + i * stride, lanes);
        const R s = lanes == VT::L ? VT::load(im + i * stride) : VT::load_n(im + i * stride, lanes);
        const R bs = b * s, as = a * s;
        VT::store(p + i * 2 * VT::L, VT::fma(a, c, -bs));
        VT::store(p + i * 2 * VT::L + VT::L, VT::fma(b, c, as));
    }
};

// One pass; w: the stage's twiddles [m][N - 1]. The rows p = 0 need none.
template <class VT, int N, class In, class Out>
static void pass(const In in, const Out out, const typename VT::T* w, i64 m, i64 s) {
    using R = typename VT::R;
    for (i64 p = 0; p < m; ++p, w += 2 * (N - 1)) {
        for (i64 q = 0; q < s; ++q) {
            R re[N], im[N];
#pragma GCC unroll 16
            for (int k = 0; k < N; ++k) in.get((k * m + p) * s + q, re[k], im[k]);
            butterfly<VT, N>(re, im);
            out.put(p * N * s + q, re[0], im[0]);
            if (p == 0) {
#pragma GCC unroll 16
                for (int j = 1; j < N; ++j) out.put(j * s + q, re[j], im[j]);
            } else {
#pragma GCC unroll 16
                for (int j = 1; j < N; ++j) {
                    const R c = VT::set(w[2 * j - 2]), d = VT::set(w[2 * j - 1]);
                    const R bd = im[j] * d, ad = re[j] * d;
                    out.put((p * N + j) * s + q, VT::fma(re[j], c, -bd), VT::fma(im[j], c, ad));
                }
            }
        }
    }
}

template <class VT>
static void inner_pass(int radix, const typename VT::T* x, typename VT::T* y, const typename VT::T* w, i64 m, i64 s) {
    const Buffer<VT> in{const_cast<typename VT::T*>(x)}, out{y};
    switch (radix) {
        case 2:
            return pass<VT, 2>(in, out, w, m, s);
        case 3:
            return pass<VT, 3>(in, out, w, m, s);
        case 4:
            return pass<VT, 4>(in, out, w, m, s);
        case 5:
            return pass<VT, 5>(in, out, w, m, s);
        case 7:
            return pass<VT, 7>(in, out, w, m, s);
        case 8:
            return pass<VT, 8>(in, out, w, m, s);
        case 11:
            return pass<VT, 11>(in, out, w, m, s);
        default:
            return pass<VT, 13>(in, out, w, m, s);
    }
}

// L transforms of length st.n from `in` to `out`, with buffers a and b [n][re, im][L]; w: the stage twiddles. The first
// and the last pass read and write the outside themselves when their radix is 4 or 8 (see fft_stages). `in` has been
// read through before `out` is written: they may be the same memory.
template <class VT, class In, class Out>
static void lanes_fft(const FftStages& st, const typename VT::T* w, const In& in, const Out& out, typename VT::T* a,
                      typename VT::T* b) {
    using T = typename VT::T;
    using R = typename VT::R;
    i64 m = st.n, s = 1;
    int i = 0;
    if (st.count > 0 && (st.radix[0] == 4 || st.radix[0] == 8)) {
        const int r = st.radix[0];
        m /= r;
        if (r == 4) {
            pass<VT, 4>(in, Buffer<VT>{a}, w, m, s);
        } else {
            pass<VT, 8>(in, Buffer<VT>{a}, w, m, s);
        }
        w += 2 * (r - 1) * m;
        s = r;
        i = 1;
    } else {
        for (i64 k = 0; k < st.n; ++k) {
            R re, im;
            in.get(k, re, im);
            Buffer<VT>{a}.put(k, re, im);
        }
    }
    for (; i < st.count; ++i) {
        const int r = st.radix[i];
        m /= r;
        if (m == 1 && r == 4) return pass<VT, 4>(Buffer<VT>{a}, out, w, m, s);
        if (m == 1 && r == 8) return pass<VT, 8>(Buffer<VT>{a}, out, w, m, s);
        inner_pass<VT>(r, a, b, w, m, s);
        w += 2 * (r - 1) * m;
        s *= r;
        T* swap = a;
        a = b, b = swap;
    }
    for (i64 k = 0; k < st.n; ++k) {
        R re, im;
        Buffer<VT>::load(a, k, re, im);
        out.put(k, re, im);
    }
}
