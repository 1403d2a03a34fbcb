// warp.inl: bilinear sampling of images under an affine map. x [N,H,W,C], m [N,2,3], y [N,P,Q,C]. Promise: samples
// outside the image count as zero; any matrix is fine, NaN and infinities included (they sample nothing).

template <typename T>
static inline T rb_floor(T x) {
    return sizeof(T) == 4 ? T(__builtin_floorf(float(x))) : T(__builtin_floor(double(x)));
}

template <typename T>
static void warp_affine_run(const void* args, Ctx&) {
    const warp_affine_args& a = *static_cast<const warp_affine_args*>(args);
    const T *x = static_cast<const T*>(a.x.data), *m = static_cast<const T*>(a.m.data);
    T* y = static_cast<T*>(a.y.data);
    const i64 H = a.x.shape[1], W = a.x.shape[2], C = a.x.shape[3];
    const i64 N = a.y.shape[0], P = a.y.shape[1], Q = a.y.shape[2];
    parallel(N * P, double(Q) * (6.0 + 1.0 * double(C)), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / P, p = u % P;
            const T* k = m + n * 6;
            const T* image = x + n * H * W * C;
            for (i64 q = 0; q < Q; ++q) {
                T* __restrict out = y + (u * Q + q) * C;
                const T h = rb_fma(k[0], T(p), rb_fma(k[1], T(q), k[2]));
                const T w = rb_fma(k[3], T(p), rb_fma(k[4], T(q), k[5]));
                if (!(h > T(-1) && h < T(H) && w > T(-1) && w < T(W))) {
                    for (i64 c = 0; c < C; ++c) out[c] = T(0);
                    continue;
                }
                const T fh = rb_floor(h), fw = rb_floor(w), dh = h - fh, dw = w - fw;
                i64 h0 = i64(fh), w0 = i64(fw), h1 = h0 + 1, w1 = w0 + 1;
                // Weights of the four neighbours; a neighbour outside gets weight zero and the address of one inside.
                T wh0 = T(1) - dh, wh1 = dh, ww0 = T(1) - dw, ww1 = dw;
                if (h0 < 0) h0 = h1, wh0 = T(0);
                if (w0 < 0) w0 = w1, ww0 = T(0);
                if (h1 >= H) h1 = h0 = h0 < H ? h0 : H - 1, wh1 = T(0);
                if (w1 >= W) w1 = w0 = w0 < W ? w0 : W - 1, ww1 = T(0);
                const T* __restrict p00 = image + (h0 * W + w0) * C, * __restrict p01 = image + (h0 * W + w1) * C;
                const T* __restrict p10 = image + (h1 * W + w0) * C, * __restrict p11 = image + (h1 * W + w1) * C;
                const bool inside = wh0 != T(0) && wh1 != T(0) && ww0 != T(0) && ww1 != T(0);
                for (i64 c = 0; c < C; ++c) {
                    if (inside) {
                        out[c] =
                            rb_fma(wh0, rb_fma(ww0, p00[c], ww1 * p01[c]), wh1 * rb_fma(ww0, p10[c], ww1 * p11[c]));
                    } else {  // a zero weight must not turn a NaN or infinity it does not see into NaN
                        T s = T(0);
                        if (wh0 != T(0) && ww0 != T(0)) s = rb_fma(wh0 * ww0, p00[c], s);
                        if (wh0 != T(0) && ww1 != T(0)) s = rb_fma(wh0 * ww1, p01[c], s);
                        if (wh1 != T(0) && ww0 != T(0)) s = rb_fma(wh1 * ww0, p10[c], s);
                        if (wh1 != T(0) && ww1 != T(0)) s = rb_fma(wh1 * ww1, p11[c], s);
                        out[c] = s;
                    }
                }
            }
        }
    });
}

constexpr void add_warp(Table& t) {
    add_simd<warp_affine_run<float>, warp_affine_run<double>>(t, op_warp_affine);
}
