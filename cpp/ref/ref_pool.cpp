// ref_pool.cpp: pooling on x [N,H,W,C] -> y [N,P,Q,C], and bilinear warping. Window p covers input rows
// p*stride - pad .. + kernel - 1. Cells outside the image never take part in a maximum; an average divides by the
// window clipped to the image or, with count_include_pad, clipped to the image padded by `pad` on every side.
#include "ref/ref.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rb::ref {
namespace {

struct Range {
    i64 begin, end;  // input rows (or columns) of a window inside the image
    i64 padded;      // length of the window clipped to the padded image
};

Range window(i64 p, i64 kernel, i64 stride, i64 pad, i64 H) {
    i64 start = p * stride - pad;
    return {std::max<i64>(start, 0), std::min(start + kernel, H), std::min(start + kernel, H + pad) - start};
}

template <typename A>
double divisor(const A& a, const Range& h, const Range& w) {
    return a.count_include_pad ? double(h.padded * w.padded) : double((h.end - h.begin) * (w.end - w.begin));
}

}  // namespace

template <typename T>
void max_pool2d(const max_pool2d_args& a) {
    const i64 H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    for_each_index(a.y.shape, 4, [&](const i64* i) {
        const Range hs = window(i[1], a.kernel_h, a.stride_h, a.pad_h, H);
        const Range ws = window(i[2], a.kernel_w, a.stride_w, a.pad_w, W);
        T best = -std::numeric_limits<T>::infinity();
        i64 where = hs.begin * W + ws.begin;
        bool found_nan = false;
        for (i64 h = hs.begin; h < hs.end; ++h)
            for (i64 w = ws.begin; w < ws.end; ++w) {
                T v = ptr<T>(a.x)[((i[0] * H + h) * W + w) * C + i[3]];
                if (!found_nan && (v > best || v != v)) {
                    best = v;
                    where = h * W + w;
                    found_nan = v != v;
                }
            }
        i64 to = offset_at(a.y, i, 4);
        ptr<T>(a.y)[to] = best;
        ptr<i32>(a.idx)[to] = i32(where);
    });
}

template <typename T>
void max_pool2d_dx(const max_pool2d_dx_args& a) {
    const i64 HW = a.dx.shape[1] * a.dx.shape[2], C = a.dx.shape[3];
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    i64 from = 0;
    for_each_index(a.dy.shape, 4, [&](const i64* i) {
        ptr<T>(a.dx)[(i[0] * HW + ptr<i32>(a.idx)[from]) * C + i[3]] += ptr<T>(a.dy)[from];
        ++from;
    });
}

template <typename T>
void max_pool2d_gather(const max_pool2d_gather_args& a) {
    const i64 HW = a.x.shape[1] * a.x.shape[2], C = a.x.shape[3];
    i64 to = 0;
    for_each_index(a.y.shape, 4, [&](const i64* i) {
        ptr<T>(a.y)[to] = ptr<T>(a.x)[(i[0] * HW + ptr<i32>(a.idx)[to]) * C + i[3]];
        ++to;
    });
}

template <typename T>
void avg_pool2d(const avg_pool2d_args& a) {
    const i64 H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    for_each_index(a.y.shape, 4, [&](const i64* i) {
        const Range hs = window(i[1], a.kernel_h, a.stride_h, a.pad_h, H);
        const Range ws = window(i[2], a.kernel_w, a.stride_w, a.pad_w, W);
        double s = 0.0;
        for (i64 h = hs.begin; h < hs.end; ++h)
            for (i64 w = ws.begin; w < ws.end; ++w) s += double(ptr<T>(a.x)[((i[0] * H + h) * W + w) * C + i[3]]);
        ptr<T>(a.y)[offset_at(a.y, i, 4)] = T(s / divisor(a, hs, ws));
    });
}

template <typename T>
void avg_pool2d_dx(const avg_pool2d_dx_args& a) {
    const i64 H = a.dx.shape[1], W = a.dx.shape[2], C = a.dx.shape[3];
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    for_each_index(a.dy.shape, 4, [&](const i64* i) {
        const Range hs = window(i[1], a.kernel_h, a.stride_h, a.pad_h, H);
        const Range ws = window(i[2], a.kernel_w, a.stride_w, a.pad_w, W);
        T g = T(ptr<T>(a.dy)[offset_at(a.dy, i, 4)] / divisor(a, hs, ws));
        for (i64 h = hs.begin; h < hs.end; ++h)
            for (i64 w = ws.begin; w < ws.end; ++w) ptr<T>(a.dx)[((i[0] * H + h) * W + w) * C + i[3]] += g;
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

RB_REF_INSTANTIATE(max_pool2d)
RB_REF_INSTANTIATE(max_pool2d_dx)
RB_REF_INSTANTIATE(max_pool2d_gather)
RB_REF_INSTANTIATE(avg_pool2d)
RB_REF_INSTANTIATE(avg_pool2d_dx)
RB_REF_INSTANTIATE(warp_affine)

}  // namespace rb::ref
