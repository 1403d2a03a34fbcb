// conv2d_winograd.inl: 3x3 convolution of stride 1 and its input gradient by Winograd's minimal filtering, NHWC.
//
// F(M x M, 3x3): a tile of M x M outputs needs (M+2)^2 products per pair of channels instead of 9 M^2, 2.25 times fewer
// for M = 2 and 4 times fewer for M = 4. With d an input tile of (M+2)^2 pixels and g a kernel,
//     y = At [(G g Gt) . (Bt d B)] A,     . summed over channels, so each of the (M+2)^2 points is a matrix product
// (A. Lavin, S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016; S. Winograd, 1980.) The points of
// M = 4 are 0, +-5/8, +-3/2 and infinity: half the error of the usual 0, +-1, +-2. Relative L2 error against float64 on
// random data, float32: below 3e-6 up to 1024 channels, growing as the square root of the channels.
//
// V [point][tile][C]: transformed input. U [panel][point][C][width]: transformed weights, a panel being up to kNR
// output channels. Products [point][tile][width] of one panel and block of tiles stay in cache until they are
// transformed back. Two loop orders, chosen by size:
//   wide    U for all panels first; each worker takes blocks of tiles, transforms them and goes over the panels
//   narrow  V for all tiles first; each worker takes panels, transforms their weights and goes over the tiles
// Bits: an output is a fixed function of its tile; every product is one chain over the channels.

// The one-dimensional transforms of the points 0, a, -a, b, -b, infinity, L lanes at a time.
template <class VT, int M>
struct Winograd;

template <class VT>
struct Winograd<VT, 4> {
    using R = typename VT::R;
    using T = typename VT::T;
    static constexpr int A = 6;
    static constexpr T a = T(0.625), b = T(1.5), a2 = a * a, b2 = b * b, a3 = a2 * a, b3 = b2 * b;
    static constexpr T na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));

    RB_INLINE R scaled(T s, R v, R w) { return VT::fma(VT::set(s), v, w); }  // s*v + w
    RB_INLINE void input(const R (&d)[6], R (&o)[6]) {
        o[0] = scaled(a2 * b2, d[0], scaled(-(a2 + b2), d[2], d[4]));
        const R ea = scaled(-b2, d[2], d[4]), oa = scaled(-b2, d[1], d[3]);
        o[1] = scaled(a, oa, ea);
        o[2] = scaled(-a, oa, ea);
        const R eb = scaled(-a2, d[2], d[4]), ob = scaled(-a2, d[1], d[3]);
        o[3] = scaled(b, ob, eb);
        o[4] = scaled(-b, ob, eb);
        o[5] = scaled(a2 * b2, d[1], scaled(-(a2 + b2), d[3], d[5]));
    }
    template <int N>  // N = 3 weights, or 4 output gradients
    RB_INLINE void weights(const R (&g)[N], R (&o)[6]) {
        R oa = g[1] * VT::set(a * na), ob = g[1] * VT::set(b * nb);
        if constexpr (N == 4) {
            oa = scaled(a3 * na, g[3], oa);
            ob = scaled(b3 * nb, g[3], ob);
        }
        const R ea = scaled(a2 * na, g[2], g[0] * VT::set(na)), eb = scaled(b2 * nb, g[2], g[0] * VT::set(nb));
        o[0] = g[0] * VT::set(1 / (a2 * b2));
        o[1] = ea + oa;
        o[2] = ea - oa;
        o[3] = eb + ob;
        o[4] = eb - ob;
        o[5] = g[N - 1];
    }
    template <int N>  // N = 4 outputs, or 3 weight gradients
    RB_INLINE void output(const R (&m)[6], R (&y)[N]) {
        const R sa = m[1] + m[2], da = m[1] - m[2], sb = m[3] + m[4], db = m[3] - m[4];
        y[0] = m[0] + sa + sb;
        y[1] = scaled(a, da, db * VT::set(b));
        y[2] = scaled(a2, sa, sb * VT::set(b2));
        if constexpr (N == 4) y[3] = scaled(a3, da, db * VT::set(b3));
        y[N - 1] = y[N - 1] + m[5];
    }
};

template <class VT>
struct Winograd<VT, 2> {  // points 0, 1, -1, infinity
    using R = typename VT::R;
    using T = typename VT::T;
    static constexpr int A = 4;
    RB_INLINE void input(const R (&d)[4], R (&o)[4]) {
        o[0] = d[0] - d[2];
        o[1] = d[2] + d[1];
        o[2] = d[2] - d[1];
        o[3] = d[3] - d[1];
    }
    template <int N>
    RB_INLINE void weights(const R (&g)[N], R (&o)[4]) {
        const R half = VT::set(T(0.5)), odd = g[1] * half;
        R even = g[0] * half;
        if constexpr (N == 3) even = VT::fma(g[2], half, even);
        o[0] = g[0];
        o[1] = even + odd;
        o[2] = even - odd;
        o[3] = g[N - 1];
    }
    template <int N>
    RB_INLINE void output(const R (&m)[4], R (&y)[N]) {
        const R s = m[1] + m[2];
        y[0] = m[0] + s;
        y[1] = m[1] - m[2];
        if constexpr (N == 3) y[2] = s;
        y[N - 1] = y[N - 1] + m[3];
    }
};

// f along both axes of an In x In tile; load(i, j) gives, store(i, j, value) takes one pixel. Rows first; of large
// tiles half of the columns at a time, so that the values between the two passes stay in registers.
template <class R, int In, int Out, class F, class Load, class Store>
RB_INLINE void both_axes(F f, Load load, Store store) {
    constexpr int Half = In > 4 ? Out / 2 + Out % 2 : Out;
#pragma GCC unroll 2
    for (int first = 0; first < Out; first += Half) {
        R t[In][Half];
#pragma GCC unroll 6
        for (int i = 0; i < In; ++i) {
            R d[In], o[Out];
#pragma GCC unroll 6
            for (int j = 0; j < In; ++j) d[j] = load(i, j);
            f(d, o);
#pragma GCC unroll 6
            for (int j = 0; j < Half; ++j)
                if (first + j < Out) t[i][j] = o[first + j];
        }
#pragma GCC unroll 6
        for (int j = 0; j < Half; ++j) {
            if (first + j >= Out) break;
            R d[In], o[Out];
#pragma GCC unroll 6
            for (int i = 0; i < In; ++i) d[i] = t[i][j];
            f(d, o);
#pragma GCC unroll 6
            for (int i = 0; i < Out; ++i) store(i, first + j, o[i]);
        }
    }
}

// Input tile at x (rows `row`, pixels `px` apart) to v, points `plane` apart; c channels.
template <class VT, int M>
static void winograd_input(const typename VT::T* x, i64 row, i64 px, i64 c, typename VT::T* v, i64 plane) {
    using R = typename VT::R;
    using W = Winograd<VT, M>;
    constexpr int A = W::A, L = VT::L;
    const auto f = [](const R(&d)[A], R(&o)[A]) RB_LAMBDA { W::input(d, o); };
    i64 ch = 0;
    for (; ch + L <= c; ch += L)
        both_axes<R, A, A>(
            f, [&](int i, int j) RB_LAMBDA { return VT::load(x + i * row + j * px + ch); },
            [&](int i, int j, R r) RB_LAMBDA { VT::store(v + (i * A + j) * plane + ch, r); });
    if (ch == c) return;
    const typename VT::M m = VT::first(int(c - ch));
    both_axes<R, A, A>(
        f, [&](int i, int j) RB_LAMBDA { return VT::load_m(x + i * row + j * px + ch, m); },
        [&](int i, int j, R r) RB_LAMBDA { VT::store_m(v + (i * A + j) * plane + ch, r, m); });
}

// Weights [9][c][width] to [point][c][width], points `plane` apart; width a multiple of L.
template <class VT, int M>
static void winograd_weights(const typename VT::T* w, i64 c, i64 width, typename VT::T* u, i64 plane) {
    using R = typename VT::R;
    using W = Winograd<VT, M>;
    constexpr int A = W::A;
    for (i64 e = 0; e < c * width; e += VT::L)
        both_axes<R, 3, A>([](const R(&g)[3], R(&o)[A]) RB_LAMBDA { W::weights(g, o); },
                           [&](int i, int j) RB_LAMBDA { return VT::load(w + (i * 3 + j) * c * width + e); },
                           [&](int i, int j, R r) RB_LAMBDA { VT::store(u + (i * A + j) * plane + e, r); });
}

// Products of one tile to its outputs, `n` channels: y = relu?(At p A + bias), only rows x cols of them.
template <class VT, int M>
static void winograd_output(const typename VT::T* p, i64 plane, i64 n, const typename VT::T* bias, bool relu,
                            typename VT::T* y, i64 row, i64 px, int rows, int cols) {
    using R = typename VT::R;
    using W = Winograd<VT, M>;
    constexpr int A = W::A, L = VT::L;
    for (i64 ch = 0; ch < n; ch += L) {
        const bool whole = ch + L <= n;
        const typename VT::M m = VT::first(int(min_i(L, n - ch)));
        const R add = bias ? VT::load_m(bias + ch, m) : VT::zero();
        both_axes<R, A, M>([](const R(&d)[A], R(&o)[M]) RB_LAMBDA { W::output(d, o); },
                           [&](int i, int j) RB_LAMBDA {
                               const typename VT::T* at = p + (i * A + j) * plane + ch;
                               return whole ? VT::load(at) : VT::load_m(at, m);
                           },
                           [&](int i, int j, R r) RB_LAMBDA {
                               if (i >= rows || j >= cols) return;
                               r = r + add;
                               if (relu) r = vec_relu(r);
                               typename VT::T* at = y + i * row + j * px + ch;
                               whole ? VT::store(at, r) : VT::store_m(at, r, m);
                           });
    }
}

// Elements of a row or plane such that neighbours fall into different cache sets: an odd number of lines.
template <typename T>
constexpr i64 odd_lines(i64 elems) {
    constexpr i64 line = 64 / i64(sizeof(T));
    return (ceil_div(elems, line) | 1) * line;
}

struct WinogradPlan {
    i64 tiles_h, tiles_w, tiles;  // per image, and all
    bool narrow;
    i64 block, blocks;               // tiles of a block
    i64 panels;                      // of up to kNR output channels
    i64 ldv, plane_v;                // strides of V's tiles and points
    i64 plane_u, panel_u;            // of U's points and panels
    i64 plane_p;                     // of the products' points
    i64 chunk, chunks;               // channels of a task that transforms weights
    i64 shared, v, u, p, w, window;  // elements: what all workers share; V, U, products, weights and window of each
    i64 worker, bytes;
};

template <typename T, int M>
static WinogradPlan plan_winograd(const Conv<T>& cv, const Ctx& ctx) {
    constexpr i64 A = M + 2, points = A * A;
    WinogradPlan p{};
    const i64 threads = max_i(1, ctx.threads), size = sizeof(T), kmr = kMR<T>;
    p.tiles_h = ceil_div(cv.out_h, M);
    p.tiles_w = ceil_div(cv.out_w, M);
    p.tiles = cv.n * p.tiles_h * p.tiles_w;
    p.panels = ceil_div(cv.k, kNR<T>);
    p.ldv = odd_lines<T>(cv.c);
    p.plane_u = odd_lines<T>(cv.c * kNR<T>);
    p.panel_u = points * p.plane_u;
    p.chunk = min_i(cv.c, 64);
    p.chunks = ceil_div(cv.c, p.chunk);
    p.narrow = p.tiles * cv.c < cv.k * cv.c / 2 && p.panels >= threads;
    const i64 row = p.narrow ? kNR<T> : cv.c + kNR<T>;  // elements that a tile of a block keeps busy
    const i64 fit = max_i(ctx.l2_bytes, 256 << 10) / (points * row * size) / kmr * kmr;
    p.block = max_i(fit, 2 * kmr);
    if (!p.narrow && threads > 1) p.block = min_i(p.block, max_i(kmr, ceil_div(p.tiles, 2 * threads)));
    p.block = min_i(p.block, p.tiles);
    p.blocks = ceil_div(p.tiles, p.block);
    p.block = ceil_div(p.tiles, p.blocks);
    p.plane_v = odd_lines<T>((p.narrow ? p.tiles : p.block) * p.ldv);
    p.plane_p = odd_lines<T>(p.block * kNR<T>);
    p.v = points * p.plane_v;
    p.u = p.narrow ? p.panel_u : p.panels * p.panel_u;
    p.p = points * p.plane_p;
    p.w = round_up(9 * p.chunk * kNR<T>, 64 / size);
    p.window = round_up(points * cv.c, 64 / size);
    p.shared = p.narrow ? p.v : p.u;
    p.worker = (p.narrow ? p.u : p.v) + p.p + max_i(p.w, p.window);
    p.bytes = (p.shared + threads * p.worker) * size;
    return p;
}

// V of tiles [t0,t1), the first of them at v.
template <typename T, int M>
static void winograd_tiles(const Conv<T>& cv, const WinogradPlan& p, i64 t0, i64 t1, T* v, T* window) {
    constexpr i64 A = M + 2;
    const i64 top = cv.backward ? 2 - cv.pad_h : cv.pad_h, left = cv.backward ? 2 - cv.pad_w : cv.pad_w;
    for (i64 t = t0; t < t1; ++t, v += p.ldv) {
        const i64 image = t / (p.tiles_h * p.tiles_w), y = t / p.tiles_w % p.tiles_h * M - top,
                  x = t % p.tiles_w * M - left;
        const T* img = cv.x + image * cv.h * cv.w * cv.c;
        if (y >= 0 && x >= 0 && y + A <= cv.h && x + A <= cv.w) {
            winograd_input<V<T>, M>(img + (y * cv.w + x) * cv.c, cv.w * cv.c, cv.c, cv.c, v, p.plane_v);
        } else {
            copy_window(window, img, cv.h, cv.w, cv.c, cv.c, y, A, x, A);
            winograd_input<V<T>, M>(window, A * cv.c, cv.c, cv.c, v, p.plane_v);
        }
    }
}

// Channels of chunk `q` of one panel of U. The input gradient correlates with the kernel turned by 180 degrees.
template <typename T, int M>
static void winograd_panel(const Conv<T>& cv, const WinogradPlan& p, i64 panel, i64 q, T* u, T* scratch) {
    const i64 n0 = panel * kNR<T>, nn = min_i(kNR<T>, cv.k - n0);
    const i64 c0 = cut(cv.c, p.chunks, q), c = cut(cv.c, p.chunks, q + 1) - c0;
    const int width = panel_width<T>(nn);
    for (i64 t = 0; t < 9; ++t) {
        const i64 tap = cv.backward ? 8 - t : t;
        pack(scratch + t * c * width, width, cv.weight + n0 * cv.wn + tap * cv.wtap + c0 * cv.wk, cv.wk, cv.wn, c, nn);
    }
    u += c0 * width;
    if (width % V<T>::L == 0)
        winograd_weights<V<T>, M>(scratch, c, width, u, p.plane_u);
    else
        winograd_weights<H<T>, M>(scratch, c, width, u, p.plane_u);
}

// Outputs of one panel for tiles [t0,t1); v their V, u the panel's U.
template <typename T, int M>
static void winograd_block(const Conv<T>& cv, const WinogradPlan& p, i64 panel, i64 t0, i64 t1, const T* v, const T* u,
                           T* products) {
    constexpr i64 A = M + 2;
    const i64 n0 = panel * kNR<T>, nn = min_i(kNR<T>, cv.k - n0), tiles = t1 - t0;
    const int width = panel_width<T>(nn);
    const i64 pieces = ceil_div(tiles, kMR<T>);
    const Step step{0, 0, cv.c};
    TileOut<T> out{nullptr, width, T(1), T(0), nullptr, act_none, i32(width), 0, 0};
    for (i64 f = 0; f < A * A; ++f)
        for (i64 i = 0; i < pieces; ++i) {
            const i64 i0 = cut(tiles, pieces, i), m = cut(tiles, pieces, i + 1) - i0;
            out.c = products + f * p.plane_p + i0 * width;
            tile_for<T>(m, width)(v + f * p.plane_v + i0 * p.ldv, u + f * p.plane_u, &step, 1, p.ldv, 1, width, out);
        }
    const T* bias = cv.bias ? cv.bias + n0 : nullptr;
    const i64 row = cv.out_w * cv.k;
    for (i64 t = t0; t < t1; ++t) {
        const i64 image = t / (p.tiles_h * p.tiles_w), h = t / p.tiles_w % p.tiles_h * M, w = t % p.tiles_w * M;
        const i64 rows = min_i(M, cv.out_h - h), cols = min_i(M, cv.out_w - w);
        T* y = cv.y + image * cv.y_image + h * row + w * cv.k + n0;
        winograd_output<V<T>, M>(products + (t - t0) * width, p.plane_p, nn, bias, cv.act == act_relu, y, row, cv.k,
                                 int(rows), int(cols));
        if (cv.act > act_relu)
            for (i64 i = 0; i < rows; ++i) act_rows(y + i * row, cv.k, cols, nn, cv.act);
    }
}

template <typename T, int M>
static void winograd_engine(const Conv<T>& cv, char* work, const Ctx& ctx) {
    constexpr double points = (M + 2) * (M + 2);
    const WinogradPlan p = plan_winograd<T, M>(cv, ctx);
    T* shared = reinterpret_cast<T*>(work);
    const auto mine = [&] { return shared + p.shared + worker_index() * p.worker; };
    const double macs = points * double(cv.c) * double(kNR<T>) * 0.03;  // nanoseconds of a tile and panel
    if (p.narrow) {
        parallel(p.tiles, points * double(cv.c) * 0.1,
                 [&](i64 t0, i64 t1) { winograd_tiles<T, M>(cv, p, t0, t1, shared + t0 * p.ldv, mine() + p.u + p.p); });
        parallel(p.panels, macs * double(p.tiles), [&](i64 q0, i64 q1) {
            T *u = mine(), *products = u + p.u, *scratch = products + p.p;
            for (i64 q = q0; q < q1; ++q) {
                for (i64 i = 0; i < p.chunks; ++i) winograd_panel<T, M>(cv, p, q, i, u, scratch);
                for (i64 b = 0; b < p.blocks; ++b) {
                    const i64 t0 = cut(p.tiles, p.blocks, b), t1 = cut(p.tiles, p.blocks, b + 1);
                    winograd_block<T, M>(cv, p, q, t0, t1, shared + t0 * p.ldv, u, products);
                }
            }
        });
        return;
    }
    parallel(p.panels * p.chunks, points * double(p.chunk * kNR<T>) * 0.1, [&](i64 i0, i64 i1) {
        for (i64 i = i0; i < i1; ++i) {
            const i64 q = i / p.chunks;
            winograd_panel<T, M>(cv, p, q, i % p.chunks, shared + q * p.panel_u, mine() + p.v + p.p);
        }
    });
    parallel(p.blocks, macs * double(p.block * p.panels), [&](i64 b0, i64 b1) {
        T *v = mine(), *products = v + p.v, *window = products + p.p;
        for (i64 b = b0; b < b1; ++b) {
            const i64 t0 = cut(p.tiles, p.blocks, b), t1 = cut(p.tiles, p.blocks, b + 1);
            winograd_tiles<T, M>(cv, p, t0, t1, v, window);
            for (i64 q = 0; q < p.panels; ++q)
                winograd_block<T, M>(cv, p, q, t0, t1, v, shared + q * p.panel_u, products);
        }
    });
}

// 3x3, stride 1, no dilation, one group; channels enough to fill registers and few enough to keep the error bound.
static bool winograd_fits(const View& w, i64 stride_h, i64 stride_w, i64 dil_h, i64 dil_w, i64 groups) {
    const i64 k = w.shape[0], c = w.shape[3];
    return winograd_enabled() && groups == 1 && w.shape[1] == 3 && w.shape[2] == 3 && stride_h == 1 && stride_w == 1 &&
           dil_h == 1 && dil_w == 1 && c >= 8 && k >= 8 && c <= 4096 && k <= 4096;
}
static bool is_empty(const View& v) {
    for (int i = 0; i < v.ndim; ++i)
        if (v.shape[i] == 0) return true;
    return false;
}
static bool winograd_accepts(const void* args) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    return winograd_fits(s.w, s.stride_h, s.stride_w, s.dil_h, s.dil_w, s.groups) && !is_empty(s.y);
}
static bool winograd_dx_accepts(const void* args) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    return winograd_fits(s.w, s.stride_h, s.stride_w, s.dil_h, s.dil_w, s.groups) && !is_empty(s.dx) && !is_empty(s.dy);
}

template <typename T, int M>
static i64 winograd_work(const void* args, const Ctx& ctx) {
    return plan_winograd<T, M>(conv_forward<T>(*static_cast<const conv2d_args*>(args)), ctx).bytes;
}
template <typename T, int M>
static void winograd_run(const void* args, Ctx& ctx) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    winograd_engine<T, M>(conv_forward<T>(s), static_cast<char*>(s.work.data), ctx);
}
template <typename T, int M>
static i64 winograd_dx_work(const void* args, const Ctx& ctx) {
    return plan_winograd<T, M>(conv_backward<T>(*static_cast<const conv2d_dx_args*>(args)), ctx).bytes;
}
template <typename T, int M>
static void winograd_dx_run(const void* args, Ctx& ctx) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    winograd_engine<T, M>(conv_backward<T>(s), static_cast<char*>(s.work.data), ctx);
}
