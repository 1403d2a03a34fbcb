// ref_conv.cpp: 2-D cross-correlation and its two gradients. x [N,H,W,C], w [K,R,S,C/groups], y [N,P,Q,K]; output
// pixel p reads input rows p*stride - pad + r*dil, zero outside the image.
#include "ref/ref.hpp"

namespace rb::ref {

template <typename T>
void conv2d(const conv2d_args& a) {
    const i64 N = a.x.shape[0], H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    const i64 K = a.w.shape[0], R = a.w.shape[1], S = a.w.shape[2], P = a.y.shape[1], Q = a.y.shape[2];
    const i64 Cg = C / a.groups, Kg = K / a.groups;
    for (i64 n = 0; n < N; ++n)
        for (i64 p = 0; p < P; ++p)
            for (i64 q = 0; q < Q; ++q)
                for (i64 k = 0; k < K; ++k) {
                    double s = 0.0;
                    for (i64 r = 0; r < R; ++r)
                        for (i64 t = 0; t < S; ++t) {
                            i64 h = p * a.stride_h - a.pad_h + r * a.dil_h;
                            i64 w = q * a.stride_w - a.pad_w + t * a.dil_w;
                            if (h < 0 || h >= H || w < 0 || w >= W) continue;
                            for (i64 c = 0; c < Cg; ++c)
                                s += double(ptr<T>(a.x)[((n * H + h) * W + w) * C + k / Kg * Cg + c]) *
                                     double(ptr<T>(a.w)[((k * R + r) * S + t) * Cg + c]);
                        }
                    if (present(a.bias)) s += double(ptr<T>(a.bias)[k]);
                    ptr<T>(a.y)[((n * P + p) * Q + q) * K + k] = T(activate(s, a.act));
                }
}

template <typename T>
void conv2d_dx(const conv2d_dx_args& a) {
    const i64 N = a.dx.shape[0], H = a.dx.shape[1], W = a.dx.shape[2], C = a.dx.shape[3];
    const i64 K = a.w.shape[0], R = a.w.shape[1], S = a.w.shape[2], P = a.dy.shape[1], Q = a.dy.shape[2];
    const i64 Cg = C / a.groups, Kg = K / a.groups;
    for (i64 n = 0; n < N; ++n)
        for (i64 h = 0; h < H; ++h)
            for (i64 w = 0; w < W; ++w)
                for (i64 c = 0; c < C; ++c) {
                    double s = 0.0;
                    for (i64 r = 0; r < R; ++r)
                        for (i64 t = 0; t < S; ++t) {
                            i64 ph = h + a.pad_h - r * a.dil_h, qw = w + a.pad_w - t * a.dil_w;
                            if (ph < 0 || qw < 0 || ph % a.stride_h || qw % a.stride_w) continue;
                            i64 p = ph / a.stride_h, q = qw / a.stride_w;
                            if (p >= P || q >= Q) continue;
                            i64 g = c / Cg;
                            for (i64 k = g * Kg; k < (g + 1) * Kg; ++k)
                                s += double(ptr<T>(a.dy)[((n * P + p) * Q + q) * K + k]) *
                                     double(ptr<T>(a.w)[((k * R + r) * S + t) * Cg + c % Cg]);
                        }
                    ptr<T>(a.dx)[((n * H + h) * W + w) * C + c] = T(s);
                }
}

template <typename T>
void conv2d_dw(const conv2d_dw_args& a) {
    const i64 N = a.x.shape[0], H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    const i64 K = a.dw.shape[0], R = a.dw.shape[1], S = a.dw.shape[2], P = a.dy.shape[1], Q = a.dy.shape[2];
    const i64 Cg = C / a.groups, Kg = K / a.groups;
    for (i64 k = 0; k < K; ++k)
        for (i64 r = 0; r < R; ++r)
            for (i64 t = 0; t < S; ++t)
                for (i64 c = 0; c < Cg; ++c) {
                    double s = 0.0;
                    for (i64 n = 0; n < N; ++n)
                        for (i64 p = 0; p < P; ++p)
                            for (i64 q = 0; q < Q; ++q) {
                                i64 h = p * a.stride_h - a.pad_h + r * a.dil_h;
                                i64 w = q * a.stride_w - a.pad_w + t * a.dil_w;
                                if (h < 0 || h >= H || w < 0 || w >= W) continue;
                                s += double(ptr<T>(a.x)[((n * H + h) * W + w) * C + k / Kg * Cg + c]) *
                                     double(ptr<T>(a.dy)[((n * P + p) * Q + q) * K + k]);
                            }
                    ptr<T>(a.dw)[((k * R + r) * S + t) * Cg + c] = T(s);
                }
}

RB_REF_INSTANTIATE(conv2d)
RB_REF_INSTANTIATE(conv2d_dx)
RB_REF_INSTANTIATE(conv2d_dw)

}  // namespace rb::ref
