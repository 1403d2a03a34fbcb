// conv2d_depthwise.inl: convolution and its gradients with one channel per group (C = K = groups), NHWC.
//
// Registers run over channels. Forward and input gradient share the phases of conv2d.inl; weights are repacked to
// [R*S][C]; taps outside the image are skipped. The weight gradient keeps the sums of a few taps of one kernel row in
// registers while it walks a band of rows. Bits: an output is one chain over its taps; for the weight gradient bands
// and chunks are cut by shape alone and added in order.

constexpr int kDepthPixels = 6;  // output pixels per pass
constexpr int kDepthTaps = 8;    // taps of a kernel row per pass of the weight gradient

// U pixels, one register of channels. x: first tap of the first pixel; w: the matching weights.
template <class VT, int U>
RB_INLINE void depth_pixels(const typename VT::T* x, const typename VT::T* w, i64 nr, i64 ns, i64 x_row, i64 x_col,
                            i64 x_px, i64 w_row, i64 w_col, const typename VT::T* bias, bool relu, typename VT::T* y,
                            i64 y_px, int lanes) {
    using R = typename VT::R;
    const typename VT::M m = VT::first(lanes);
    R acc[U];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) acc[u] = VT::zero();
    const auto tap = [&](i64 i, i64 j) __attribute__((always_inline)) {
        const R wv = VT::load_m(w + i * w_row + j * w_col, m);
        const typename VT::T* p = x + i * x_row + j * x_col;
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) acc[u] = VT::fma(VT::load_m(p + u * x_px, m), wv, acc[u]);
    };
    if (ns == 3) {
        for (i64 i = 0; i < nr; ++i) {
            tap(i, 0);
            tap(i, 1);
            tap(i, 2);
        }
    } else {
        for (i64 i = 0; i < nr; ++i)
            for (i64 j = 0; j < ns; ++j) tap(i, j);
    }
    if (bias) {
        const R bv = VT::load_m(bias, m);
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) acc[u] = acc[u] + bv;
    }
    if (relu) {
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) acc[u] = vec_relu(acc[u]);
    }
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) VT::store_m(y + u * y_px, acc[u], m);
}

constexpr i64 clamp_i(i64 v, i64 lo, i64 hi) {
    return max_i(lo, min_i(v, hi));
}
// Smallest t with t*step + first >= 0, and one past the largest with t*step + first < size; step > 0.
constexpr i64 first_inside(i64 first, i64 step) {
    return first >= 0 ? 0 : ceil_div(-first, step);
}
constexpr i64 end_inside(i64 first, i64 step, i64 size) {
    return first >= size ? 0 : ceil_div(size - first, step);
}

// One output row of a phase. w: [R*S][C].
template <typename T>
static void depth_row(const Conv<T>& cv, const Phase& p, i64 image, i64 t, const T* w) {
    constexpr int L = V<T>::L;
    const i64 c = cv.groups, top = t * p.sy + p.row0, dr = max_i(1, p.drow), dc = max_i(1, p.dcol);
    const i64 i0 = clamp_i(first_inside(top, dr), 0, p.nr), i1 = clamp_i(end_inside(top, dr, cv.h), i0, p.nr);
    // pixels [in0,in1) meet every tap of a row
    const i64 in0 = clamp_i(first_inside(p.col0, p.sx), 0, p.cols);
    const i64 in1 = clamp_i(end_inside(p.col0 + (p.ns - 1) * p.dcol, p.sx, cv.w), in0, p.cols);
    const T* x = cv.x + (image * cv.h + top) * cv.w * c;
    T* y = cv.y + image * cv.y_image + p.out + t * p.out_row;
    const i64 w_row = p.dkr * cv.kernel_w * c, w_col = p.dks * c;
    const T* w0 = w + (p.kr0 * cv.kernel_w + p.ks0) * c + i0 * w_row;
    const bool relu = cv.act == act_relu;
    for (i64 u = 0; u < p.cols;) {
        const bool inside = p.ns > 0 && u >= in0 && u + kDepthPixels <= in1;
        const i64 left = u * p.sx + p.col0;
        const i64 j0 = inside ? 0 : clamp_i(first_inside(left, dc), 0, p.ns);
        const i64 j1 = inside ? p.ns : clamp_i(end_inside(left, dc, cv.w), j0, p.ns);
        for (i64 ch = 0; ch < c; ch += L) {
            const int lanes = int(min_i(L, c - ch));
            const T* px = x + i0 * p.drow * cv.w * c + (left + j0 * p.dcol) * c + ch;
            const T* pw = w0 + j0 * w_col + ch;
            const T* bias = cv.bias ? cv.bias + ch : nullptr;
            T* py = y + u * p.out_px + ch;
            if (inside)
                depth_pixels<V<T>, kDepthPixels>(px, pw, i1 - i0, j1 - j0, p.drow * cv.w * c, p.dcol * c, p.sx * c,
                                                 w_row, w_col, bias, relu, py, p.out_px, lanes);
            else
                depth_pixels<V<T>, 1>(px, pw, i1 - i0, j1 - j0, p.drow * cv.w * c, p.dcol * c, 0, w_row, w_col, bias,
                                      relu, py, 0, lanes);
        }
        u += inside ? kDepthPixels : 1;
    }
    if (cv.act > act_relu) act_rows(y, p.out_px, p.cols, c, cv.act);
}

template <typename T>
static void depthwise_engine(const Conv<T>& cv, T* w) {
    if (cv.n == 0 || cv.groups == 0 || cv.out_h == 0 || cv.out_w == 0) return;
    const i64 taps = cv.kernel_h * cv.kernel_w, phases = cv.phases_h * cv.phases_w;
    pack(w, cv.groups, cv.weight, 1, taps, taps, cv.groups);
    const i64 rows = ceil_div(cv.out_h, cv.phases_h);
    const double cost = double(taps * cv.out_w * cv.groups) / double(phases) * 0.05;
    parallel(cv.n * rows * phases, cost, [&](i64 b, i64 e) {
        for (i64 i = b; i < e; ++i) {
            const Phase p = phase_of(cv, i / rows % phases, 1);
            if (i % rows < p.rows && p.cols > 0) depth_row(cv, p, i / (rows * phases), i % rows, w);
        }
    });
}

// U taps, one register of channels: acc[u] += sum over rows and cols of dy * x. Sums are read from and left in `sum`.
template <class VT, int U>
static void depth_taps(const typename VT::T* x, const typename VT::T* dy, i64 rows, i64 cols, i64 x_row, i64 x_px,
                       i64 x_tap, i64 dy_row, i64 dy_px, typename VT::T* sum, i64 sum_tap, int lanes) {
    using R = typename VT::R;
    const typename VT::M m = VT::first(lanes);
    R acc[U];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) acc[u] = VT::load_m(sum + u * sum_tap, m);
    for (i64 i = 0; i < rows; ++i)
        for (i64 j = 0; j < cols; ++j) {
            const R g = VT::load_m(dy + i * dy_row + j * dy_px, m);
            const typename VT::T* p = x + i * x_row + j * x_px;
#pragma GCC unroll 8
            for (int u = 0; u < U; ++u) acc[u] = VT::fma(VT::load_m(p + u * x_tap, m), g, acc[u]);
        }
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) VT::store_m(sum + u * sum_tap, acc[u], m);
}

template <class VT>
using DepthTapsFn = void (*)(const typename VT::T* x, const typename VT::T* dy, i64 rows, i64 cols, i64 x_row, i64 x_px,
                             i64 x_tap, i64 dy_row, i64 dy_px, typename VT::T* sum, i64 sum_tap, int lanes);
template <class VT>
constexpr DepthTapsFn<VT> kDepthTapsFn[kDepthTaps + 1] = {nullptr,           depth_taps<VT, 1>, depth_taps<VT, 2>,
                                                          depth_taps<VT, 3>, depth_taps<VT, 4>, depth_taps<VT, 5>,
                                                          depth_taps<VT, 6>, depth_taps<VT, 7>, depth_taps<VT, 8>};

struct DepthDwPlan {
    i64 rows, bands, chunks, elems;  // output rows per band, bands per image, partial sums, floats of each
};
template <typename T>
static DepthDwPlan plan_depth_dw(const ConvDw<T>& d) {
    DepthDwPlan p;
    p.rows = min_i(d.p, max_i(2, (24 << 10) / (d.q * d.groups * i64(sizeof(T)))));
    p.bands = ceil_div(d.p, p.rows);
    p.elems = d.groups * d.r * d.s;
    p.chunks = double(d.n * d.p * d.q) * double(p.elems) < 1e6 ? 1 : min_i(8, d.n * p.bands);
    return p;
}

// sum [R*S][C] += band of output rows [p0,p1) of one image.
template <typename T>
static void depth_dw_band(const ConvDw<T>& d, i64 image, i64 p0, i64 p1, T* sum) {
    constexpr int L = V<T>::L;
    const i64 c = d.groups;
    for (i64 ch = 0; ch < c; ch += L) {
        const int lanes = int(min_i(L, c - ch));
        for (i64 r = 0; r < d.r; ++r) {
            const i64 first = r * d.dil_h - d.pad_h;
            const i64 t0 = clamp_i(first_inside(first, d.stride_h), p0, p1);
            const i64 t1 = clamp_i(end_inside(first, d.stride_h, d.h), t0, p1);
            if (t0 == t1) continue;
            const T* x = d.x + (image * d.h + t0 * d.stride_h + first) * d.w * c + ch;
            const T* dy = d.dy + (image * d.p + t0) * d.q * c + ch;
            for (i64 s0 = 0; s0 < d.s; s0 += kDepthTaps) {
                const i64 s1 = min_i(s0 + kDepthTaps, d.s);
                const auto run = [&](i64 s, i64 taps, i64 q0, i64 q1) {
                    if (q0 >= q1) return;
                    kDepthTapsFn<V<T>>[taps](x + (q0* d.stride_w + s* d.dil_w - d.pad_w)* c, dy + q0* c, t1 - t0,
                                             q1 - q0, d.stride_h* d.w* c, d.stride_w* c, d.dil_w* c, d.q* c, c,
                                             sum + (r* d.s + s)* c + ch, c, lanes);
                };
                // columns that meet every tap of the block, then the rest of each tap
                const i64 in0 = clamp_i(first_inside(s0 * d.dil_w - d.pad_w, d.stride_w), 0, d.q);
                const i64 in1 = clamp_i(end_inside((s1 - 1) * d.dil_w - d.pad_w, d.stride_w, d.w), in0, d.q);
                run(s0, s1 - s0, in0, in1);
                for (i64 s = s0; s < s1; ++s) {
                    const i64 left = s * d.dil_w - d.pad_w;
                    run(s, 1, clamp_i(first_inside(left, d.stride_w), 0, in0), in0);
                    run(s, 1, in1, clamp_i(end_inside(left, d.stride_w, d.w), in1, d.q));
                }
            }
        }
    }
}

template <typename T>
static void depth_dw_run(const void* args, Ctx&) {
    const conv2d_dw_args& a = *static_cast<const conv2d_dw_args*>(args);
    const ConvDw<T> d = conv_dw_of<T>(a);
    const i64 taps = d.r * d.s, c = d.groups;
    if (d.n == 0 || d.p == 0 || d.q == 0 || taps * c == 0) {
        for (i64 i = 0; i < taps * c; ++i) d.dw[i] = T(0);
        return;
    }
    const DepthDwPlan p = plan_depth_dw(d);
    T* part = static_cast<T*>(a.work.data);
    const i64 units = d.n * p.bands;
    const double cost = double(d.n * d.p * d.q) * double(p.elems) / double(p.chunks) * 0.05;
    parallel(p.chunks, cost, [&](i64 q0, i64 q1) {
        for (i64 q = q0; q < q1; ++q) {
            T* sum = part + q * p.elems;
            memset(sum, 0, size_t(p.elems) * sizeof(T));
            for (i64 u = cut(units, p.chunks, q); u < cut(units, p.chunks, q + 1); ++u) {
                const i64 p0 = u % p.bands * p.rows;
                depth_dw_band(d, u / p.bands, p0, min_i(p0 + p.rows, d.p), sum);
            }
        }
    });
    for (i64 g = 0; g < c; ++g)
        for (i64 t = 0; t < taps; ++t) {
            T v = part[t * c + g];
            for (i64 q = 1; q < p.chunks; ++q) v += part[q * p.elems + t * c + g];
            d.dw[g * taps + t] = v;
        }
}

template <typename T>
static i64 depth_dw_work(const void* args, const Ctx&) {
    const ConvDw<T> d = conv_dw_of<T>(*static_cast<const conv2d_dw_args*>(args));
    if (d.n == 0 || d.p == 0 || d.q == 0) return 0;
    const DepthDwPlan p = plan_depth_dw(d);
    return p.chunks * p.elems * i64(sizeof(T));
}
template <typename T>
static i64 depth_work(const void* args, const Ctx&) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    return s.w.shape[0] * s.w.shape[1] * s.w.shape[2] * i64(sizeof(T));
}
template <typename T>
static i64 depth_dx_work(const void* args, const Ctx&) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    return s.w.shape[0] * s.w.shape[1] * s.w.shape[2] * i64(sizeof(T));
}
template <typename T>
static void depth_run(const void* args, Ctx&) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    depthwise_engine(conv_forward<T>(s), static_cast<T*>(s.work.data));
}
template <typename T>
static void depth_dx_run(const void* args, Ctx&) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    depthwise_engine(conv_backward<T>(s), static_cast<T*>(s.work.data));
}

static bool depth_accepts(const void* args) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    return s.groups > 1 && s.x.shape[3] == s.groups && s.w.shape[0] == s.groups;
}
static bool depth_dx_accepts(const void* args) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    return s.groups > 1 && s.dx.shape[3] == s.groups && s.w.shape[0] == s.groups;
}
static bool depth_dw_accepts(const void* args) {
    const conv2d_dw_args& s = *static_cast<const conv2d_dw_args*>(args);
    return s.groups > 1 && s.x.shape[3] == s.groups && s.dw.shape[0] == s.groups;
}

// The implementations of the three operations, in order of preference.
template <typename T>
constexpr Impl kConv2dImpls[] = {
    {"gemm", product_run<T, conv2d_args>, product_work<T, conv2d_args>, conv2d_is_product, nullptr},
    {"depthwise", depth_run<T>, depth_work<T>, depth_accepts, nullptr},
    {"direct", conv2d_run<T>, conv2d_work<T>, nullptr, nullptr}};
template <typename T>
constexpr Impl kConv2dDxImpls[] = {
    {"gemm", product_run<T, conv2d_dx_args>, product_work<T, conv2d_dx_args>, conv2d_dx_is_product, nullptr},
    {"depthwise", depth_dx_run<T>, depth_dx_work<T>, depth_dx_accepts, nullptr},
    {"direct", conv2d_dx_run<T>, conv2d_dx_work<T>, nullptr, nullptr}};
template <typename T>
constexpr Impl kConv2dDwImpls[] = {
    {"gemm", product_run<T, conv2d_dw_args>, product_work<T, conv2d_dw_args>, conv2d_dw_is_product, nullptr},
    {"depthwise", depth_dw_run<T>, depth_dw_work<T>, depth_dw_accepts, nullptr},
    {"direct", conv2d_dw_run<T>, conv2d_dw_work<T>, nullptr, nullptr}};

constexpr void add_conv2d(Table& t) {
    t.entry[op_conv2d][f32] = Entry{kConv2dImpls<float>, 3};
    t.entry[op_conv2d][f64] = Entry{kConv2dImpls<double>, 3};
    t.entry[op_conv2d_dx][f32] = Entry{kConv2dDxImpls<float>, 3};
    t.entry[op_conv2d_dx][f64] = Entry{kConv2dDxImpls<double>, 3};
    t.entry[op_conv2d_dw][f32] = Entry{kConv2dDwImpls<float>, 3};
    t.entry[op_conv2d_dw][f64] = Entry{kConv2dDwImpls<double>, 3};
}
