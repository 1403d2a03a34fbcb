// conv2d_depthwise.inl: convolution and its gradients with one channel per group (C = K = groups), NHWC.
//
// Registers run over channels. Forward and input gradient share the phases of conv2d.inl; weights are repacked to
// [R*S][C]; taps outside the image are skipped. The weight gradient keeps the sums of a few taps of one kernel row (all
// nine of a 3x3 kernel) in registers while it walks a band of rows. Bits: an output is one chain over its taps; for the
// weight gradient bands and chunks are cut by shape alone and added in order.

#define RB_LAMBDA __attribute__((always_inline))

constexpr int kDepthPixels = kVecBytes == 64 ? 14 : 8;  // output pixels per pass
constexpr int kDepthTaps = 8;                           // taps of a kernel row per pass of the weight gradient

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

// A block of neighbouring output pixels of a row: its taps and what surrounds them.
template <typename T>
struct DepthBlock {
    const T* x;  // first tap of the first pixel; may lie outside of the image
    const T* w;  // the matching weights, [R*S][C]
    const T* bias;
    T* y;
    i64 c, nr, ns;                  // channels, tap rows (all inside the image), tap columns
    i64 x_row, x_col, x_px;         // strides of tap rows, tap columns and pixels in x
    i64 w_row, w_col, y_px, y_row;  // y_row: for blocks of two rows
    i64 column, dcol, sx, width;    // image column of x, steps of taps and pixels, columns of the image
    i64 j0, j1;                     // tap columns that are inside the image for every pixel
    bool relu;
};

// U pixels, the channels from ch on that fit a register.
template <class VT, int U, bool Tail>
RB_INLINE void depth_lanes(const DepthBlock<typename VT::T>& b, i64 ch, typename VT::M m) {
    using T = typename VT::T;
    using R = typename VT::R;
    const auto load = [&](const T* p) RB_LAMBDA { return Tail ? VT::load_m(p, m) : VT::load(p); };
    R acc[U];
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) acc[u] = VT::zero();
    for (i64 i = 0; i < b.nr; ++i) {
        const T *x = b.x + i * b.x_row + ch, *w = b.w + i * b.w_row + ch;
        const auto edge = [&](i64 first, i64 last) RB_LAMBDA {
            for (i64 j = first; j < last; ++j) {
                const R wv = load(w + j * b.w_col);
#pragma GCC unroll 16
                for (int u = 0; u < U; ++u)
                    if (u64(b.column + j * b.dcol + u * b.sx) < u64(b.width))
                        acc[u] = VT::fma(load(x + j * b.x_col + u * b.x_px), wv, acc[u]);
            }
        };
        edge(0, b.j0);
        for (i64 j = b.j0; j < b.j1; ++j) {
            const R wv = load(w + j * b.w_col);
            const T* p = x + j * b.x_col;
#pragma GCC unroll 16
            for (int u = 0; u < U; ++u) acc[u] = VT::fma(load(p + u * b.x_px), wv, acc[u]);
        }
        edge(b.j1, b.ns);
    }
    const R bias = b.bias ? load(b.bias + ch) : VT::zero();
#pragma GCC unroll 16
    for (int u = 0; u < U; ++u) {
        if (b.bias) acc[u] = acc[u] + bias;
        if (b.relu) acc[u] = vec_relu(acc[u]);
        if (Tail)
            VT::store_m(b.y + u * b.y_px + ch, acc[u], m);
        else
            VT::store(b.y + u * b.y_px + ch, acc[u]);
    }
}
template <class VT, int U>
static void depth_block(const DepthBlock<typename VT::T>& b) {
    i64 ch = 0;
    for (; ch + VT::L <= b.c; ch += VT::L) depth_lanes<VT, U, false>(b, ch, VT::first(VT::L));
    if (ch < b.c) depth_lanes<VT, U, true>(b, ch, VT::first(int(b.c - ch)));
}

template <class VT>
struct DepthBlocks {
    void (*fn[kDepthPixels + 1])(const DepthBlock<typename VT::T>& b);
};
template <class VT, int U>
constexpr void fill_depth_blocks(DepthBlocks<VT>& t) {
    t.fn[U] = depth_block<VT, U>;
    if constexpr (U > 1) fill_depth_blocks<VT, U - 1>(t);
}
template <class VT>
constexpr DepthBlocks<VT> make_depth_blocks() {
    DepthBlocks<VT> t{};
    fill_depth_blocks<VT, kDepthPixels>(t);
    return t;
}
template <class VT>
constexpr DepthBlocks<VT> kDepthBlocks = make_depth_blocks<VT>();

// 3x3 taps one pixel apart, two output rows at a time: a pixel that is loaded serves up to six outputs. Input row i of
// the four is inside the image where i0 <= i < i1; `rows` x `cols` outputs exist.
constexpr int kDepth3Pixels = kVecBytes == 64 ? 6 : 3;
template <class VT, bool Tail>
RB_INLINE void depth3_lanes(const DepthBlock<typename VT::T>& b, int i0, int i1, int rows, int cols, i64 ch,
                            typename VT::M m) {
    using T = typename VT::T;
    using R = typename VT::R;
    constexpr int U = kDepth3Pixels;
    const auto load = [&](const T* p) RB_LAMBDA { return Tail ? VT::load_m(p, m) : VT::load(p); };
    R w[3][3], acc[2][U];
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < 3; ++j) w[i][j] = load(b.w + i * b.w_row + j * b.w_col + ch);
#pragma GCC unroll 2
    for (int a = 0; a < 2; ++a)
#pragma GCC unroll 6
        for (int u = 0; u < U; ++u) acc[a][u] = VT::zero();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        if (i < i0 || i >= i1) continue;
        const T* x = b.x + i * b.x_row + ch;
#pragma GCC unroll 8
        for (int j = 0; j < U + 2; ++j) {
            if (j < b.j0 || j >= b.j1) continue;
            const R v = load(x + j * b.x_col);
#pragma GCC unroll 2
            for (int a = 0; a < 2; ++a)
#pragma GCC unroll 3
                for (int s = 0; s < 3; ++s)
                    if (i - a >= 0 && i - a < 3 && j - s >= 0 && j - s < U)
                        acc[a][j - s] = VT::fma(v, w[i - a][s], acc[a][j - s]);
        }
    }
    const R bias = b.bias ? load(b.bias + ch) : VT::zero();
#pragma GCC unroll 2
    for (int a = 0; a < 2; ++a)
#pragma GCC unroll 6
        for (int u = 0; u < U; ++u) {
            if (a >= rows || u >= cols) continue;
            R r = acc[a][u];
            if (b.bias) r = r + bias;
            if (b.relu) r = vec_relu(r);
            T* at = b.y + a * b.y_row + u * b.y_px + ch;
            if (Tail)
                VT::store_m(at, r, m);
            else
                VT::store(at, r);
        }
}
template <class VT>
static void depth3_block(const DepthBlock<typename VT::T>& b, int i0, int i1, int rows, int cols) {
    i64 ch = 0;
    for (; ch + VT::L <= b.c; ch += VT::L) depth3_lanes<VT, false>(b, i0, i1, rows, cols, ch, VT::first(VT::L));
    if (ch < b.c) depth3_lanes<VT, true>(b, i0, i1, rows, cols, ch, VT::first(int(b.c - ch)));
}

// Is the phase a 3x3 kernel on neighbouring pixels?
static bool is_depth3(const Phase& p) {
    return p.nr == 3 && p.ns == 3 && p.sy == 1 && p.sx == 1 && p.drow == 1 && p.dcol == 1;
}

// Output rows [t, t + rows) of a phase, two for 3x3 kernels, else one. w: [R*S][C].
template <typename T>
static void depth_rows(const Conv<T>& cv, const Phase& p, i64 image, i64 t, i64 rows, const T* w) {
    const i64 c = cv.groups, top = t * p.sy + p.row0, dr = max_i(1, p.drow), dc = max_i(1, p.dcol);
    DepthBlock<T> b{};
    b.c = c;
    b.ns = p.ns;
    b.x_row = p.drow * cv.w * c;
    b.x_col = p.dcol * c;
    b.x_px = p.sx * c;
    b.w_row = p.dkr * cv.kernel_w * c;
    b.w_col = p.dks * c;
    b.y_px = p.out_px;
    b.y_row = p.out_row;
    b.dcol = p.dcol;
    b.sx = p.sx;
    b.width = cv.w;
    b.bias = cv.bias;
    b.relu = cv.act == act_relu;
    const T* x = cv.x + (image * cv.h + top) * cv.w * c;
    T* y = cv.y + image * cv.y_image + p.out + t * p.out_row;
    const bool three = is_depth3(p);
    const i64 i0 = clamp_i(first_inside(top, dr), 0, three ? 4 : p.nr);
    const i64 i1 = clamp_i(end_inside(top, dr, cv.h), i0, three ? 4 : p.nr);
    b.w = w + (p.kr0 * cv.kernel_w + p.ks0) * c;
    if (!three) {
        b.nr = i1 - i0;
        b.w += i0 * b.w_row;
        x += i0 * b.x_row;
    }
    const i64 most = three ? kDepth3Pixels : kDepthPixels, blocks = ceil_div(p.cols, most);
    for (i64 g = 0; g < blocks; ++g) {
        const i64 u0 = cut(p.cols, blocks, g), n = cut(p.cols, blocks, g + 1) - u0;
        b.column = u0 * p.sx + p.col0;
        b.x = x + b.column * c;
        b.y = y + u0 * p.out_px;
        if (three) {
            b.j0 = clamp_i(-b.column, 0, kDepth3Pixels + 2);
            b.j1 = clamp_i(cv.w - b.column, b.j0, kDepth3Pixels + 2);
            depth3_block<V<T>>(b, int(i0), int(i1), int(rows), int(n));
        } else {
            b.j0 = clamp_i(first_inside(b.column, dc), 0, p.ns);
            b.j1 = clamp_i(end_inside(b.column + (n - 1) * p.sx, dc, cv.w), b.j0, p.ns);
            kDepthBlocks<V<T>>.fn[n](b);
        }
    }
    if (cv.act > act_relu)
        for (i64 i = 0; i < rows; ++i) act_rows(y + i * p.out_row, p.out_px, p.cols, c, cv.act);
}

template <typename T>
static void depthwise_engine(const Conv<T>& cv, T* w) {
    if (cv.n == 0 || cv.groups == 0 || cv.out_h == 0 || cv.out_w == 0) return;
    const i64 taps = cv.kernel_h * cv.kernel_w, phases = cv.phases_h * cv.phases_w;
    pack(w, cv.groups, cv.weight, 1, taps, taps, cv.groups);
    const i64 lines = ceil_div(ceil_div(cv.out_h, cv.phases_h), 2);  // pairs of output rows
    const double cost = 2 * double(taps * cv.out_w * cv.groups) / double(phases) * 0.05;
    parallel(cv.n * lines * phases, cost, [&](i64 b, i64 e) {
        for (i64 i = b; i < e; ++i) {
            const Phase p = phase_of(cv, i / lines % phases, 1);
            const i64 image = i / (lines * phases), step = is_depth3(p) ? 2 : 1, t0 = i % lines * 2;
            if (p.cols <= 0) continue;
            for (i64 t = t0; t < min_i(t0 + 2, p.rows); t += step)
                depth_rows(cv, p, image, t, min_i(step, p.rows - t), w);
        }
    });
}

// What a pass over output rows and columns of one image needs to sum some taps.
template <typename T>
struct DepthTaps {
    const T *x, *dy;  // first pixels
    i64 rows, cols;
    i64 x_row, x_px, tap_row, tap_col;  // strides of output rows, output pixels, tap rows and taps in x
    i64 dy_row, dy_px;
    T* sum;  // of the first tap
    i64 sum_row, sum_tap;
};

// RU x U taps, one register of channels: sum += dy * x over all pixels.
template <class VT, int RU, int U>
static void depth_taps(const DepthTaps<typename VT::T>& d, int lanes) {
    using T = typename VT::T;
    using R = typename VT::R;
    const typename VT::M m = VT::first(lanes);
    R acc[RU][U];
#pragma GCC unroll 3
    for (int r = 0; r < RU; ++r)
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) acc[r][u] = VT::load_m(d.sum + r * d.sum_row + u * d.sum_tap, m);
    for (i64 i = 0; i < d.rows; ++i)
        for (i64 j = 0; j < d.cols; ++j) {
            const R g = VT::load_m(d.dy + i * d.dy_row + j * d.dy_px, m);
            const T* p = d.x + i * d.x_row + j * d.x_px;
#pragma GCC unroll 3
            for (int r = 0; r < RU; ++r)
#pragma GCC unroll 8
                for (int u = 0; u < U; ++u)
                    acc[r][u] = VT::fma(VT::load_m(p + r * d.tap_row + u * d.tap_col, m), g, acc[r][u]);
        }
#pragma GCC unroll 3
    for (int r = 0; r < RU; ++r)
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) VT::store_m(d.sum + r * d.sum_row + u * d.sum_tap, acc[r][u], m);
}

// All nine taps of a 3x3 kernel, stride and dilation 1: the nine pixels under the kernel stay in registers and move on
// by one column, so that a column costs three loads of x and one of dy. `first`: image row of x under tap row 0 of the
// first output row; `h` x `w`: rows and columns of the image, of which column 0 is d.x. For levels with 32 registers.
template <class VT>
static void depth_taps_sliding(const DepthTaps<typename VT::T>& d, i64 first, i64 h, i64 w, i64 pad, int lanes) {
    using T = typename VT::T;
    using R = typename VT::R;
    const typename VT::M m = VT::first(lanes);
    R acc[3][3];
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) acc[r][s] = VT::load_m(d.sum + r * d.sum_row + s * d.sum_tap, m);
    for (i64 i = 0; i < d.rows; ++i) {
        const T* row[3];
        typename VT::M in[3];  // no lanes of rows outside the image
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) {
            const bool inside = u64(first + i + r) < u64(h);
            row[r] = d.x + (inside ? i + r : clamp_i(i + r, -first, h - 1 - first)) * d.tap_row;
            in[r] = VT::first(inside ? lanes : 0);
        }
        const T* dy = d.dy + i * d.dy_row;
        R v[3][3];
#pragma GCC unroll 2
        for (int s = 0; s < 2; ++s)
#pragma GCC unroll 3
            for (int r = 0; r < 3; ++r)
                v[r][s] = u64(s - pad) < u64(w) ? VT::load_m(row[r] + (s - pad) * d.tap_col, in[r]) : VT::zero();
        for (i64 q = 0; q < d.cols; q += 3)
#pragma GCC unroll 3
            for (int k = 0; k < 3; ++k) {
                if (q + k >= d.cols) break;
                const i64 column = q + k + 2 - pad;
                if (u64(column) < u64(w)) {
#pragma GCC unroll 3
                    for (int r = 0; r < 3; ++r) v[r][(2 + k) % 3] = VT::load_m(row[r] + column * d.tap_col, in[r]);
                } else {
#pragma GCC unroll 3
                    for (int r = 0; r < 3; ++r) v[r][(2 + k) % 3] = VT::zero();
                }
                const R g = VT::load_m(dy + (q + k) * d.dy_px, m);
#pragma GCC unroll 3
                for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
                    for (int s = 0; s < 3; ++s) acc[r][s] = VT::fma(v[r][(s + k) % 3], g, acc[r][s]);
            }
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r)
#pragma GCC unroll 3
        for (int s = 0; s < 3; ++s) VT::store_m(d.sum + r * d.sum_row + s * d.sum_tap, acc[r][s], m);
}

template <class VT>
using DepthTapsFn = void (*)(const DepthTaps<typename VT::T>& d, int lanes);
template <class VT>
constexpr DepthTapsFn<VT> kDepthTapsFn[kDepthTaps + 1] = {nullptr,
                                                          depth_taps<VT, 1, 1>,
                                                          depth_taps<VT, 1, 2>,
                                                          depth_taps<VT, 1, 3>,
                                                          depth_taps<VT, 1, 4>,
                                                          depth_taps<VT, 1, 5>,
                                                          depth_taps<VT, 1, 6>,
                                                          depth_taps<VT, 1, 7>,
                                                          depth_taps<VT, 1, 8>};
template <class VT>
constexpr DepthTapsFn<VT> kDepthTaps3Fn[4] = {nullptr, depth_taps<VT, 3, 1>, depth_taps<VT, 3, 2>,
                                              depth_taps<VT, 3, 3>};

struct DepthDwPlan {
    i64 rows, bands, chunks, elems;  // output rows per band, bands per image, partial sums, floats of each
};
template <typename T>
static DepthDwPlan plan_depth_dw(const ConvDw<T>& d) {
    DepthDwPlan p;
    p.rows = min_i(d.p, ceil_div(2048, d.q));
    p.bands = ceil_div(d.p, p.rows);
    p.elems = d.groups * d.r * d.s;
    p.chunks = double(d.n * d.p * d.q) * double(p.elems) < 1e6 ? 1 : min_i(8, d.n * p.bands);
    return p;
}

// sum [R*S][C] += band of output rows [p0,p1) of one image.
template <typename T>
static void depth_dw_band(const ConvDw<T>& d, i64 image, i64 p0, i64 p1, T* sum) {
    constexpr int L = V<T>::L;
    const i64 c = d.groups, x_line = d.w * c;
    DepthTaps<T> taps{};
    taps.x_row = d.stride_h * x_line;
    taps.x_px = d.stride_w * c;
    taps.tap_row = d.dil_h * x_line;
    taps.tap_col = d.dil_w * c;
    taps.dy_row = d.q * c;
    taps.dy_px = c;
    taps.sum_row = d.s * c;
    taps.sum_tap = c;
    for (i64 ch = 0; ch < c; ch += L) {
        const int lanes = int(min_i(L, c - ch));
        if (kVecBytes == 64 && d.r == 3 && d.s == 3 && d.stride_h * d.stride_w * d.dil_h * d.dil_w == 1) {
            const i64 first = p0 - d.pad_h;
            taps.x = d.x + (image * d.h + first) * x_line + ch;
            taps.dy = d.dy + (image * d.p + p0) * d.q * c + ch;
            taps.rows = p1 - p0;
            taps.cols = d.q;
            taps.sum = sum + ch;
            depth_taps_sliding<V<T>>(taps, first, d.h, d.w, d.pad_w, lanes);
            continue;
        }
        // Kernel rows [r, r+ru), taps [s, s+n), output rows [a0,a1), columns [b0,b1), all inside.
        const auto run = [&](i64 r, i64 ru, i64 s, i64 n, i64 a0, i64 a1, i64 b0, i64 b1) {
            if (b0 >= b1 || n <= 0) return;
            const i64 row = a0 * d.stride_h + r * d.dil_h - d.pad_h, col = b0 * d.stride_w + s * d.dil_w - d.pad_w;
            taps.x = d.x + (image * d.h + row) * x_line + col * c + ch;
            taps.dy = d.dy + (image * d.p + a0) * d.q * c + b0 * c + ch;
            taps.rows = a1 - a0;
            taps.cols = b1 - b0;
            taps.sum = sum + (r * d.s + s) * c + ch;
            (ru == 3 ? kDepthTaps3Fn<V<T>>[n] : kDepthTapsFn<V<T>>[n])(taps, lanes);
        };
        // All taps of kernel rows [r, r+ru) on output rows [a0,a1): columns that meet every tap of a block together,
        // then the others one by one.
        const auto rows = [&](i64 r, i64 ru, i64 a0, i64 a1) {
            if (a0 >= a1) return;
            for (i64 s0 = 0; s0 < d.s; s0 += kDepthTaps) {
                const i64 s1 = min_i(s0 + kDepthTaps, d.s);
                const i64 in0 = clamp_i(first_inside(s0 * d.dil_w - d.pad_w, d.stride_w), 0, d.q);
                const i64 in1 = clamp_i(end_inside((s1 - 1) * d.dil_w - d.pad_w, d.stride_w, d.w), in0, d.q);
                run(r, ru, s0, s1 - s0, a0, a1, in0, in1);
                for (i64 q = 0; q < d.q; ++q) {
                    if (q == in0) q = in1;
                    if (q == d.q) break;
                    const i64 left = q * d.stride_w - d.pad_w;
                    const i64 first = clamp_i(first_inside(left, d.dil_w), s0, s1);
                    run(r, ru, first, clamp_i(end_inside(left, d.dil_w, d.w), first, s1) - first, a0, a1, q, q + 1);
                }
            }
        };
        // three kernel rows at a time where all of them are inside
        i64 t0 = p0, t1 = p0;
        if (d.r == 3 && d.s <= 3) {
            t0 = clamp_i(first_inside(-d.pad_h, d.stride_h), p0, p1);
            t1 = clamp_i(end_inside(2 * d.dil_h - d.pad_h, d.stride_h, d.h), t0, p1);
            rows(0, 3, t0, t1);
        }
        for (i64 r = 0; r < d.r; ++r) {
            const i64 first = r * d.dil_h - d.pad_h;
            const i64 a0 = clamp_i(first_inside(first, d.stride_h), p0, p1);
            const i64 a1 = clamp_i(end_inside(first, d.stride_h, d.h), a0, p1);
            if (t0 < t1) {
                rows(r, 1, a0, t0);
                rows(r, 1, t1, a1);
            } else {
                rows(r, 1, a0, a1);
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
