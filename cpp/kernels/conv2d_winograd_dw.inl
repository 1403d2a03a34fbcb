// conv2d_winograd_dw.inl: the weight gradient of a 3x3 convolution of stride 1 by Winograd's minimal filtering.
//
// F(3x3, M x M): the 3x3 weights are the "outputs" and a tile of M x M output gradients is the "kernel". The points are
// those of conv2d_winograd.inl, and so is the transform of the input tiles:
//     dw [K,3,3,C] = At [sum over tiles of (G dy Gt)^T (Bt x B)] A
// Tiles are taken in blocks, all points of a block are transformed, then each point's product of its V [tile][C] and
// U [tile][K] is added to its sums P [K][C]; the sums are transformed once at the end. Work is shared out by tile, then
// by point. Bits: blocks are cut by shape alone and added in order, which also keeps every chain of sums short.

// Output gradients of a tile at dy (rows `row`, pixels `px` apart) to u; k channels.
template <class VT, int M>
static void winograd_gradient(const typename VT::T* dy, i64 row, i64 px, i64 k, typename VT::T* u, i64 plane) {
    using R = typename VT::R;
    using W = Winograd<VT, M>;
    constexpr int A = W::A, L = VT::L;
    for (i64 ch = 0; ch < k; ch += L) {
        const bool whole = ch + L <= k;
        const typename VT::M m = VT::first(int(min_i(L, k - ch)));
        both_axes<R, M, A>([](const R(&g)[M], R(&o)[A]) RB_LAMBDA { W::weights(g, o); },
                           [&](int i, int j) RB_LAMBDA {
                               const typename VT::T* at = dy + i * row + j * px + ch;
                               return whole ? VT::load(at) : VT::load_m(at, m);
                           },
                           [&](int i, int j, R r) RB_LAMBDA {
                               typename VT::T* at = u + (i * A + j) * plane + ch;
                               whole ? VT::store(at, r) : VT::store_m(at, r, m);
                           });
    }
}

// Sums of one output channel to its weights dw [3][3][c].
template <class VT, int M>
static void winograd_sums(const typename VT::T* p, i64 plane, i64 c, typename VT::T* dw) {
    using R = typename VT::R;
    using W = Winograd<VT, M>;
    constexpr int A = W::A, L = VT::L;
    for (i64 ch = 0; ch < c; ch += L) {
        const typename VT::M m = VT::first(int(min_i(L, c - ch)));
        both_axes<R, A, 3>([](const R(&d)[A], R(&o)[3]) RB_LAMBDA { W::output(d, o); },
                           [&](int i, int j) RB_LAMBDA { return VT::load_m(p + (i * A + j) * plane + ch, m); },
                           [&](int i, int j, R r) RB_LAMBDA { VT::store_m(dw + (i * 3 + j) * c + ch, r, m); });
    }
}

struct WinogradDwPlan {
    i64 block, blocks;    // tiles of a block
    i64 ldu, plane_u;     // strides of U's tiles and points
    i64 ldp, plane_p;     // strides of P's rows and points
    i64 groups;           // pieces that the rows of a product are cut into
    i64 v, u, p, window;  // elements
    WinogradPlan tiles;   // tiles_h, tiles_w, tiles, ldv and plane_v only
    i64 bytes;
};

template <typename T, int M>
static WinogradDwPlan plan_winograd_dw(const ConvDw<T>& d, const Ctx& ctx) {
    constexpr i64 A = M + 2, points = A * A;
    WinogradDwPlan p{};
    const i64 threads = max_i(1, ctx.threads), size = sizeof(T);
    p.tiles.tiles_h = ceil_div(d.p, M);
    p.tiles.tiles_w = ceil_div(d.q, M);
    p.tiles.tiles = d.n * p.tiles.tiles_h * p.tiles.tiles_w;
    // Constants, not cache sizes: they decide how sums are cut. Fewer tiles do not pay for going over P again.
    p.block = min_i(max_i((i64{4} << 20) / (points * (d.c + d.k) * size), 144), 224);
    p.blocks = ceil_div(p.tiles.tiles, p.block);
    p.block = ceil_div(p.tiles.tiles, p.blocks);
    p.tiles.ldv = odd_lines<T>(d.c);
    p.ldu = odd_lines<T>(d.k);
    p.ldp = round_up(d.c, 64 / size);
    p.tiles.plane_v = odd_lines<T>(p.block * p.tiles.ldv);
    p.plane_u = odd_lines<T>(p.block * p.ldu);
    p.plane_p = odd_lines<T>(d.k * p.ldp);
    p.groups = threads == 1 ? 1 : min_i(ceil_div(d.k, kMR<T>), ceil_div(4 * threads, points));
    p.v = points * p.tiles.plane_v;
    p.u = points * p.plane_u;
    p.p = points * p.plane_p;
    p.window = round_up(points * max_i(d.c, d.k), 64 / size);
    p.bytes = (p.v + p.u + p.p + threads * p.window) * size;
    return p;
}

// U of tiles [t0,t1), the first of them at u.
template <typename T, int M>
static void winograd_gradients(const ConvDw<T>& d, const WinogradDwPlan& p, i64 t0, i64 t1, T* u, T* window) {
    const i64 th = p.tiles.tiles_h, tw = p.tiles.tiles_w;
    for (i64 t = t0; t < t1; ++t, u += p.ldu) {
        const i64 image = t / (th * tw), y = t / tw % th * M, x = t % tw * M;
        const T* img = d.dy + image * d.p * d.q * d.k;
        if (y + M <= d.p && x + M <= d.q) {
            winograd_gradient<V<T>, M>(img + (y * d.q + x) * d.k, d.q * d.k, d.k, d.k, u, p.plane_u);
        } else {
            copy_window(window, img, d.p, d.q, d.k, d.k, y, M, x, M);
            winograd_gradient<V<T>, M>(window, M * d.k, d.k, d.k, u, p.plane_u);
        }
    }
}

// Row pieces [i0,i1) of one point: sums (+)= U^T V over `tiles` tiles.
template <typename T>
static void winograd_accumulate(const ConvDw<T>& d, i64 i0, i64 i1, i64 tiles, const T* u, i64 ldu, const T* v, i64 ldv,
                                T* sums, i64 ldp, bool first) {
    const i64 pieces = ceil_div(d.k, kMR<T>);
    const Step step{0, 0, tiles};
    for (i64 j = 0; j < d.c; j += kNR<T>) {
        const i64 nj = min_i(kNR<T>, d.c - j);
        const int width = panel_width<T>(nj);
        TileOut<T> out{nullptr, ldp, T(1), first ? T(0) : T(1), nullptr, act_none, i32(nj), 0, 0};
        for (i64 i = i0; i < i1; ++i) {
            const i64 k0 = cut(d.k, pieces, i), m = cut(d.k, pieces, i + 1) - k0;
            out.c = sums + k0 * ldp + j;
            tile_for<T>(m, width)(u + k0, v + j, &step, 1, 1, ldu, ldv, out);
        }
    }
}

template <typename T, int M>
static i64 winograd_dw_work(const void* args, const Ctx& ctx) {
    return plan_winograd_dw<T, M>(conv_dw_of<T>(*static_cast<const conv2d_dw_args*>(args)), ctx).bytes;
}

template <typename T, int M>
static void winograd_dw_run(const void* args, Ctx& ctx) {
    constexpr i64 points = (M + 2) * (M + 2);
    const conv2d_dw_args& s = *static_cast<const conv2d_dw_args*>(args);
    const ConvDw<T> d = conv_dw_of<T>(s);
    const WinogradDwPlan p = plan_winograd_dw<T, M>(d, ctx);
    Conv<T> cv{};  // what winograd_tiles asks of it
    cv.x = d.x;
    cv.h = d.h;
    cv.w = d.w;
    cv.c = d.c;
    cv.pad_h = d.pad_h;
    cv.pad_w = d.pad_w;
    T *v = static_cast<T*>(s.work.data), *u = v + p.v, *sums = u + p.u, *windows = sums + p.p;
    const i64 pieces = ceil_div(d.k, kMR<T>);
    for (i64 b = 0; b < p.blocks; ++b) {
        const i64 t0 = cut(p.tiles.tiles, p.blocks, b), tiles = cut(p.tiles.tiles, p.blocks, b + 1) - t0;
        parallel(tiles, double(points * (d.c + d.k)) * 0.1, [&](i64 i0, i64 i1) {
            T* window = windows + worker_index() * p.window;
            winograd_tiles<T, M>(cv, p.tiles, t0 + i0, t0 + i1, v + i0 * p.tiles.ldv, window);
            winograd_gradients<T, M>(d, p, t0 + i0, t0 + i1, u + i0 * p.ldu, window);
        });
        const double ns = double(tiles * d.c) * double(d.k) * 0.03 / double(p.groups);
        parallel(points * p.groups, ns, [&](i64 i0, i64 i1) {
            for (i64 i = i0; i < i1; ++i) {
                const i64 f = i / p.groups, g = i % p.groups;
                winograd_accumulate(d, cut(pieces, p.groups, g), cut(pieces, p.groups, g + 1), tiles, u + f * p.plane_u,
                                    p.ldu, v + f * p.tiles.plane_v, p.tiles.ldv, sums + f * p.plane_p, p.ldp, b == 0);
            }
        });
    }
    parallel(d.k, double(points * d.c) * 0.1, [&](i64 k0, i64 k1) {
        for (i64 k = k0; k < k1; ++k) winograd_sums<V<T>, M>(sums + k * p.ldp, p.plane_p, d.c, d.dw + k * 9 * d.c);
    });
}

static bool winograd_dw_accepts(const void* args) {
    const conv2d_dw_args& s = *static_cast<const conv2d_dw_args*>(args);
    return winograd_fits(s.dw, s.stride_h, s.stride_w, s.dil_h, s.dil_w, s.groups) && !is_empty(s.dy) && !is_empty(s.x);
}
