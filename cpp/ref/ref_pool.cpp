// ref_pool.cpp: pooling on x [N,D,H,W,C] -> y [N,O,P,Q,C], and bilinear warping. Window p of an axis has taps
// p*stride - pad + t*dil for t < kernel. Taps outside the image never take part in a maximum; an average divides by the
// window clipped to the image or, with count_include_pad, clipped to the image padded by `pad` on every side. An
// adaptive window is [floor(p*in/out), ceil((p+1)*in/out)).
#include "ref/ref.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace rb::ref {
namespace {

struct Taps {
    std::vector<i64> at;  // positions inside the image
    i64 padded;           // length of the window clipped to the padded image
};

// kernel, stride, pad, dil by axis
using Axes = i64[3][4];

Taps taps(i64 p, i64 in, i64 out, const i64 (&g)[4], bool adaptive) {
    Taps t{{}, 0};
    if (adaptive) {
        for (i64 h = 0; h < in; ++h) {
            if ((h + 1) * out > p * in && h * out < (p + 1) * in) t.at.push_back(h);  // the cells overlap
        }
        t.padded = i64(t.at.size());
        return t;
    }
    for (i64 k = 0; k < g[0]; ++k) {
        const i64 h = p * g[1] - g[2] + k * g[3];
        if (h >= 0 && h < in) t.at.push_back(h);
        if (h < in + g[2]) ++t.padded;
    }
    return t;
}

// body(index of y, taps of the window by axis)
template <typename F>
void for_each_window(const View& x, const View& y, const Axes& g, bool adaptive, const F& body) {
    for_each_index(y.shape, 5, [&](const i64* i) {
        Taps t[3];
        for (int d = 0; d < 3; ++d) t[d] = taps(i[d + 1], x.shape[d + 1], y.shape[d + 1], g[d], adaptive);
        body(i, t);
    });
}

template <typename F>
void for_each_pixel(const View& x, const Taps (&t)[3], const F& body) {
    for (i64 d : t[0].at)
        for (i64 h : t[1].at)
            for (i64 w : t[2].at) body((d * x.shape[2] + h) * x.shape[3] + w);
}

double divisor(i64 include, const Taps (&t)[3]) {
    double n = 1.0;
    for (const Taps& a : t) n *= include ? double(a.padded) : double(a.at.size());
    return n;
}

i64 pixels(const View& x) {
    return x.shape[1] * x.shape[2] * x.shape[3];
}

}  // namespace

template <typename T>
void max_pool(const max_pool_args& a) {
    const i64 C = a.x.shape[4];
    const Axes g = {{a.kernel_d, a.stride_d, a.pad_d, a.dil_d},
                    {a.kernel_h, a.stride_h, a.pad_h, a.dil_h},
                    {a.kernel_w, a.stride_w, a.pad_w, a.dil_w}};
    for_each_window(a.x, a.y, g, a.adaptive != 0, [&](const i64* i, const Taps(&t)[3]) {
        T best = T(0);
        i64 where = -1;
        for_each_pixel(a.x, t, [&](i64 at) {
            const T v = ptr<T>(a.x)[(i[0] * pixels(a.x) + at) * C + i[4]];
            const bool better = a.minimum ? v < best : v > best;
            if (where < 0 || (best == best && (better || v != v))) {
                best = v;
                where = at;
            }
        });
        const i64 to = offset_at(a.y, i, 5);
        ptr<T>(a.y)[to] = best;
        ptr<i32>(a.idx)[to] = i32(where);
    });
}

template <typename T>
void max_pool_dx(const max_pool_dx_args& a) {
    const i64 C = a.dx.shape[4];
    const Axes g = {{a.kernel_d, a.stride_d, a.pad_d, a.dil_d},
                    {a.kernel_h, a.stride_h, a.pad_h, a.dil_h},
                    {a.kernel_w, a.stride_w, a.pad_w, a.dil_w}};
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    for_each_window(a.dx, a.dy, g, a.adaptive != 0, [&](const i64* i, const Taps(&t)[3]) {
        const i64 from = offset_at(a.dy, i, 5);
        for_each_pixel(a.dx, t, [&](i64 at) {
            if (ptr<i32>(a.idx)[from] == at) ptr<T>(a.dx)[(i[0] * pixels(a.dx) + at) * C + i[4]] += ptr<T>(a.dy)[from];
        });
    });
}

template <typename T>
void max_pool_gather(const max_pool_gather_args& a) {
    const i64 C = a.x.shape[4];
    i64 to = 0;
    for_each_index(a.y.shape, 5, [&](const i64* i) {
        ptr<T>(a.y)[to] = ptr<T>(a.x)[(i[0] * pixels(a.x) + ptr<i32>(a.idx)[to]) * C + i[4]];
        ++to;
    });
}

template <typename T>
void max_unpool(const max_unpool_args& a) {
    const i64 C = a.y.shape[4];
    std::fill_n(ptr<T>(a.y), numel(a.y), T(0));
    i64 from = 0;
    for_each_index(a.x.shape, 5, [&](const i64* i) {
        ptr<T>(a.y)[(i[0] * pixels(a.y) + ptr<i32>(a.idx)[from]) * C + i[4]] += ptr<T>(a.x)[from];
        ++from;
    });
}

template <typename T>
void avg_pool(const avg_pool_args& a) {
    const i64 C = a.x.shape[4];
    const Axes g = {{a.kernel_d, a.stride_d, a.pad_d, 1},
                    {a.kernel_h, a.stride_h, a.pad_h, 1},
                    {a.kernel_w, a.stride_w, a.pad_w, 1}};
    for_each_window(a.x, a.y, g, a.adaptive != 0, [&](const i64* i, const Taps(&t)[3]) {
        double s = 0.0;
        for_each_pixel(a.x, t, [&](i64 at) { s += double(ptr<T>(a.x)[(i[0] * pixels(a.x) + at) * C + i[4]]); });
        ptr<T>(a.y)[offset_at(a.y, i, 5)] = T(s / divisor(a.count_include_pad, t));
    });
}

template <typename T>
void avg_pool_dx(const avg_pool_dx_args& a) {
    const i64 C = a.dx.shape[4];
    const Axes g = {{a.kernel_d, a.stride_d, a.pad_d, 1},
                    {a.kernel_h, a.stride_h, a.pad_h, 1},
                    {a.kernel_w, a.stride_w, a.pad_w, 1}};
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    for_each_window(a.dx, a.dy, g, a.adaptive != 0, [&](const i64* i, const Taps(&t)[3]) {
        const T v = T(double(ptr<T>(a.dy)[offset_at(a.dy, i, 5)]) / divisor(a.count_include_pad, t));
        for_each_pixel(a.dx, t, [&](i64 at) { ptr<T>(a.dx)[(i[0] * pixels(a.dx) + at) * C + i[4]] += v; });
    });
}

template <typename T>
void warp_affine(const warp_affine_args& a) {
    const i64 H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    auto tap = [&](double weight, i64 n, i64 h, i64 w, i64 c) {
        if (weight == 0.0 || h < 0 || h >= H || w < 0 || w >= W) return 0.0;
        return weight * double(ptr<T>(a.x)[((n * H + h) * W + w) * C + c]);
    };
    for_each_index(a.y.shape, 4, [&](const i64* i) {
        const i64 n = i[0], c = i[3];
        const T* m = ptr<T>(a.m) + n * 6;  // [2,3]
        double h = double(m[0]) * i[1] + double(m[1]) * i[2] + m[2];
        double w = double(m[3]) * i[1] + double(m[4]) * i[2] + m[5];
        double v = 0.0;
        if (h > -1.0 && h < double(H) && w > -1.0 && w < double(W)) {  // false for NaN
            i64 h0 = i64(std::floor(h)), w0 = i64(std::floor(w));
            double u = h - h0, t = w - w0;
            v = tap((1 - u) * (1 - t), n, h0, w0, c) + tap((1 - u) * t, n, h0, w0 + 1, c) +
                tap(u * (1 - t), n, h0 + 1, w0, c) + tap(u * t, n, h0 + 1, w0 + 1, c);
        }
        ptr<T>(a.y)[offset_at(a.y, i, 4)] = T(v);
    });
}

RB_REF_INSTANTIATE(max_pool)
RB_REF_INSTANTIATE(max_pool_dx)
RB_REF_INSTANTIATE(max_pool_gather)
RB_REF_INSTANTIATE(max_unpool)
RB_REF_INSTANTIATE(avg_pool)
RB_REF_INSTANTIATE(avg_pool_dx)
RB_REF_INSTANTIATE(warp_affine)

}  // namespace rb::ref
