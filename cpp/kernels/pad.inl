// pad.inl: borders around x [N,D,H,W,C], and windows along one axis laid side by side, with their adjoints. Promise:
// ref_pad.cpp's definitions; outputs of pad and unfold are copies, bit for bit; sums of the adjoints run in rising
// order of the elements they add.

// Position of x that position i (counted from x's first, negative before it) copies; -1: the constant. n > 0.
static inline i64 pad_source(i64 i, i64 n, i64 mode) {
    if (i >= 0 && i < n) return i;
    if (mode == pad_constant) return -1;
    if (mode == pad_edge) return i < 0 ? 0 : n - 1;
    const i64 period = mode == pad_wrap ? n : mode == pad_symmetric ? 2 * n : n > 1 ? 2 * n - 2 : 1;
    i64 j = i % period;
    if (j < 0) j += period;
    if (j < n) return j;
    return mode == pad_symmetric ? period - 1 - j : period - j;
}

template <typename T>
static inline void copy_pixels(T* __restrict y, const T* __restrict x, i64 n) {
    for (i64 i = 0; i < n; ++i) y[i] = x[i];
}
template <typename T>
static inline void add_pixels(T* __restrict y, const T* __restrict x, i64 n) {
    for (i64 i = 0; i < n; ++i) y[i] += x[i];
}

template <typename T>
static void pad_run(const void* args, Ctx&) {
    const pad_args& a = *static_cast<const pad_args*>(args);
    const i64 D = a.x.shape[1], H = a.x.shape[2], W = a.x.shape[3], C = a.x.shape[4];
    const i64 O = a.y.shape[1], P = a.y.shape[2], Q = a.y.shape[3];
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const T value = T(a.value);
    parallel(a.y.shape[0] * O * P, 2.0 + 0.3 * double(Q * C), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 d = D ? pad_source(u / P % O - a.front_d, D, a.mode) : -1;
            const i64 h = H ? pad_source(u % P - a.front_h, H, a.mode) : -1;
            T* to = y + u * Q * C;
            if (d < 0 || h < 0 || W == 0) {
                for (i64 i = 0; i < Q * C; ++i) to[i] = value;
                continue;
            }
            const T* from = x + ((u / (O * P) * D + d) * H + h) * W * C;
            for (i64 q = 0; q < Q; ++q) {
                if (q == a.front_w) {
                    memcpy(to + q * C, from, size_t(W * C) * sizeof(T));
                    q += W - 1;
                    continue;
                }
                const i64 w = pad_source(q - a.front_w, W, a.mode);
                if (w >= 0) {
                    copy_pixels(to + q * C, from + w * C, C);
                } else {
                    for (i64 c = 0; c < C; ++c) to[q * C + c] = value;
                }
            }
        }
    });
}

// The positions of a padded axis that copy position h of x, in rising order: visit(p).
template <typename F>
static inline void pad_copies(i64 h, i64 n, i64 front, i64 padded, i64 mode, const F& visit) {
    if (mode == pad_constant) {
        visit(front + h);
        return;
    }
    for (i64 p = 0; p < front; ++p)
        if (pad_source(p - front, n, mode) == h) visit(p);
    visit(front + h);
    for (i64 p = front + n; p < padded; ++p)
        if (pad_source(p - front, n, mode) == h) visit(p);
}

// to [W,C] += the pixels of the padded row from [Q,C] that copy it. Not inlined: there are nine places that call it.
template <typename T>
__attribute__((noinline)) static void add_padded_row(const pad_dx_args& a, const T* from, T* to) {
    const i64 W = a.dx.shape[3], C = a.dx.shape[4], Q = a.dy.shape[3];
    const bool borders = a.mode != pad_constant && W > 0;
    for (i64 q = 0; borders && q < a.front_w; ++q)
        add_pixels(to + pad_source(q - a.front_w, W, a.mode) * C, from + q * C, C);
    add_pixels(to, from + a.front_w * C, W * C);
    for (i64 q = a.front_w + W; borders && q < Q; ++q)
        add_pixels(to + pad_source(q - a.front_w, W, a.mode) * C, from + q * C, C);
}

template <typename T>
static void pad_dx_run(const void* args, Ctx&) {
    const pad_dx_args& a = *static_cast<const pad_dx_args*>(args);
    const i64 D = a.dx.shape[1], H = a.dx.shape[2], W = a.dx.shape[3], C = a.dx.shape[4];
    const i64 O = a.dy.shape[1], P = a.dy.shape[2], Q = a.dy.shape[3];
    const T* dy = static_cast<const T*>(a.dy.data);
    T* dx = static_cast<T*>(a.dx.data);
    const double search = a.mode == pad_constant ? 0.0 : double(O - D + P - H) * 2.0;
    parallel(a.dx.shape[0] * D * H, 2.0 + search + 0.4 * double(Q * C), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            T* to = dx + u * W * C;
            memset(to, 0, size_t(W * C) * sizeof(T));
            pad_copies(u / H % D, D, a.front_d, O, a.mode, [&](i64 o) {
                pad_copies(u % H, H, a.front_h, P, a.mode,
                           [&](i64 p) { add_padded_row(a, dy + ((u / (D * H) * O + o) * P + p) * Q * C, to); });
            });
        }
    });
}

// --- windows along axis A: y[n,p,i,r,c] = x[n, p*stride - pad + r*dil, i, c], zero outside
template <typename T>
static void unfold_run(const void* args, Ctx&) {
    const unfold_args& a = *static_cast<const unfold_args*>(args);
    const i64 A = a.x.shape[1], I = a.x.shape[2], C = a.x.shape[3], P = a.y.shape[1], R = a.y.shape[3];
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    parallel(a.y.shape[0] * P, 2.0 + double(I * R) * (1.0 + 0.3 * double(C)), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 top = u % P * a.stride - a.pad;
            const T* image = x + u / P * A * I * C;
            T* to = y + u * I * R * C;
            if (I == 1 && a.dil == 1 && top >= 0 && top + R <= A) {  // one run
                memcpy(to, image + top * C, size_t(R * C) * sizeof(T));
                continue;
            }
            for (i64 r = 0; r < R; ++r) {
                const i64 h = top + r * a.dil;
                const bool inside = h >= 0 && h < A;
                for (i64 i = 0; i < I; ++i) {
                    T* pixel = to + (i * R + r) * C;
                    if (inside) {
                        copy_pixels(pixel, image + (h * I + i) * C, C);
                    } else {
                        for (i64 c = 0; c < C; ++c) pixel[c] = T(0);
                    }
                }
            }
        }
    });
}

template <typename T>
static void fold_run(const void* args, Ctx&) {
    const fold_args& a = *static_cast<const fold_args*>(args);
    const i64 A = a.x.shape[1], I = a.x.shape[2], C = a.x.shape[3], P = a.y.shape[1], R = a.y.shape[3];
    const T* y = static_cast<const T*>(a.y.data);
    T* x = static_cast<T*>(a.x.data);
    const double overlap = 1.0 + double(R) / double(a.stride);
    parallel(a.x.shape[0] * A, 2.0 + overlap * double(I) * (1.0 + 0.4 * double(C)), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            T* to = x + u * I * C;
            memset(to, 0, size_t(I * C) * sizeof(T));
            for (i64 r = 0; r < R; ++r) {
                const i64 down = u % A + a.pad - r * a.dil, p = down / a.stride;
                if (down < 0 || down % a.stride || p >= P) continue;
                const T* from = y + ((u / A * P + p) * I * R + r) * C;
                for (i64 i = 0; i < I; ++i) add_pixels(to + i * C, from + i * R * C, C);
            }
        }
    });
}

constexpr void add_pad(Table& t) {
    add_simd<pad_run<float>, pad_run<double>>(t, op_pad);
    add_simd<pad_dx_run<float>, pad_dx_run<double>>(t, op_pad_dx);
    add_simd<unfold_run<float>, unfold_run<double>>(t, op_unfold);
    add_simd<fold_run<float>, fold_run<double>>(t, op_fold);
}
