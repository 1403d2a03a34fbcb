// ref_filter.cpp: one kernel over every channel of an image, by the definition in ops.def; complex products.
#include "ref/ref.hpp"

#include <cstddef>
#include <vector>

namespace rb::ref {
namespace {

// The index an extended axis of length n shows at i, -1 for the constant. Walks step by step: it is the definition.
i64 source(i64 i, i64 n, i64 mode) {
    while (i < 0 || i >= n) {
        if (mode == 0) return -1;
        if (mode == 1) return i < 0 ? 0 : n - 1;
        if (mode == 2) i = i < 0 ? -1 - i : 2 * n - 1 - i;
        if (mode == 3) i = n == 1 ? 0 : i < 0 ? -i : 2 * n - 2 - i;
        if (mode == 4) i += i < 0 ? n : -n;
    }
    return i;
}

template <typename T, typename Args>
void correlate(const Args& a, const std::vector<double>& w, i64 R, i64 S) {
    const i64 H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    for_each_index(a.y.shape, 4, [&](const i64* i) {
        double sum = 0;
        for (i64 r = 0; r < R; ++r)
            for (i64 s = 0; s < S; ++s) {
                const i64 h = source(i[1] + r - a.top, H, a.mode), v = source(i[2] + s - a.left, W, a.mode);
                const double x =
                    h < 0 || v < 0 ? double(T(a.cval)) : double(ptr<T>(a.x)[((i[0] * H + h) * W + v) * C + i[3]]);
                sum += w[std::size_t(r * S + s)] * x;
            }
        ptr<T>(a.y)[offset_at(a.y, i, 4)] = T(sum);
    });
}

template <typename T>
std::vector<double> plain(const View& w) {
    return {ptr<T>(w), ptr<T>(w) + numel(w)};
}

}  // namespace

template <typename T>
void filter2d(const filter2d_args& a) {
    correlate<T>(a, plain<T>(a.w), a.w.shape[0], a.w.shape[1]);
}

template <typename T>
void filter2d_sep(const filter2d_sep_args& a) {
    const i64 K = a.u.shape[0], R = a.u.shape[1], S = a.v.shape[1];
    std::vector<double> w(std::size_t(R * S), 0.0);
    for (i64 k = 0; k < K; ++k)
        for (i64 r = 0; r < R; ++r)
            for (i64 s = 0; s < S; ++s)
                w[std::size_t(r * S + s)] += double(ptr<T>(a.u)[k * R + r]) * double(ptr<T>(a.v)[k * S + s]);
    correlate<T>(a, w, R, S);
}

template <typename T>
void filter2d_fft(const filter2d_fft_args& a) {
    correlate<T>(a, plain<T>(a.w), a.w.shape[0], a.w.shape[1]);
}

template <typename T>
void complex_mul(const complex_mul_args& a) {
    const i64 m = a.y.shape[0], n = a.y.shape[1];
    for (i64 i = 0; i < m * n; ++i) {
        const T *p = ptr<T>(a.a) + 2 * i, *q = ptr<T>(a.b) + 2 * (i % n);
        const double pr = double(p[0]), pi = a.conj ? -double(p[1]) : double(p[1]), qr = double(q[0]),
                     qi = double(q[1]);
        ptr<T>(a.y)[2 * i] = T(pr * qr - pi * qi);
        ptr<T>(a.y)[2 * i + 1] = T(pr * qi + pi * qr);
    }
}

RB_REF_INSTANTIATE(filter2d)
RB_REF_INSTANTIATE(filter2d_sep)
RB_REF_INSTANTIATE(filter2d_fft)
RB_REF_INSTANTIATE(complex_mul)

}  // namespace rb::ref
