// filter.inl: one kernel over every channel of images. x [N,H,W,C], w [R,S], y [N,P,Q,C]:
//   y[n,p,q,c] = sum_{r,s} w[r,s] E[n, p + r - top, q + s - left, c]    E: x, going on outside as `mode` says
// Promises: no pixel outside a window reaches its sum (a NaN stays where it is seen); sums run over r, then s, in one
// chain; the bits depend on shape, dtype and level only. Tiles of the image, continued past its edges, are copied to
// scratch first: the arithmetic has no edges, and channels are just a longer step between the taps of a row.

// How images go on outside: the pixel at index i of an axis of n >= 1, -1 for the constant.
enum Extend : i64 { extend_constant = 0, extend_nearest = 1, extend_reflect = 2, extend_mirror = 3, extend_wrap = 4 };

static inline i64 extended(i64 i, i64 n, i64 mode) {
    if (i >= 0 && i < n) return i;
    switch (mode) {
        case extend_nearest:
            return i < 0 ? 0 : n - 1;
        case extend_reflect: {  // d c b a | a b c d | d c b a
            const i64 at = ((i % (2 * n)) + 2 * n) % (2 * n);
            return at < n ? at : 2 * n - 1 - at;
        }
        case extend_mirror: {  // d c b | a b c d | c b a
            if (n == 1) return 0;
            const i64 period = 2 * n - 2, at = ((i % period) + period) % period;
            return at < n ? at : period - at;
        }
        case extend_wrap:
            return ((i % n) + n) % n;
        default:
            return -1;
    }
}

// Columns q0 .. q0 + count of row h of an extended image [H,W,C], as [count, C].
template <typename T>
static void extended_row(const T* x, i64 H, i64 W, i64 C, i64 h, i64 q0, i64 count, i64 mode, T cval, T* to) {
    const i64 from = extended(h, H, mode);
    if (from < 0) {
        for (i64 i = 0; i < count * C; ++i) to[i] = cval;
        return;
    }
    const T* row = x + from * W * C;
    const auto edge = [&](i64 q) {
        const i64 w = extended(q0 + q, W, mode);
        for (i64 c = 0; c < C; ++c) to[q * C + c] = w < 0 ? cval : row[w * C + c];
    };
    i64 begin = q0 < 0 ? -q0 : 0, end = W - q0;  // columns of the image itself
    begin = begin < count ? begin : count;
    end = end < begin ? begin : end < count ? end : count;
    for (i64 q = 0; q < begin; ++q) edge(q);
    if (end > begin) memcpy(to + begin * C, row + (q0 + begin) * C, size_t((end - begin) * C) * sizeof(T));
    for (i64 q = end; q < count; ++q) edge(q);
}

constexpr int kFilterRows = 4, kFilterVectors = 4;  // one block of sums
constexpr i64 kDirectStrip = 32;                    // output rows of a tile

template <typename T>
constexpr i64 kFilterBlock = kFilterVectors * V<T>::L;

// A tile: `rows` output rows by `columns` output columns (all channels).
template <typename T>
struct FilterTiles {
    i64 N, H, W, C, P, Q, R, S;
    i64 strip, width;    // output rows and columns of a full tile
    i64 strips, widths;  // tiles per image
    i64 lines, line;     // extended rows of a tile, and elements from one to the next
    i64 sums;            // elements from one row of results to the next
};

// strip: wanted output rows of a tile; elements: wanted elements of a row.
template <typename T>
static FilterTiles<T> filter_tiles(const View& x, const View& y, i64 R, i64 S, i64 strip, i64 elements) {
    FilterTiles<T> t{};
    t.N = x.shape[0], t.H = x.shape[1], t.W = x.shape[2], t.C = x.shape[3];
    t.P = y.shape[1], t.Q = y.shape[2], t.R = R, t.S = S;
    const i64 C = t.C > 0 ? t.C : 1;
    t.width = elements / C > 1 ? elements / C : 1;
    if (t.width > t.Q) t.width = t.Q > 0 ? t.Q : 1;
    t.strip = strip < t.P ? strip : t.P > 0 ? t.P : 1;
    t.strips = (t.P + t.strip - 1) / t.strip;
    t.widths = (t.Q + t.width - 1) / t.width;
    t.lines = t.strip + R - 1;
    t.sums = (t.width * C + kFilterBlock<T> - 1) / kFilterBlock<T> * kFilterBlock<T>;
    // A block may read past the end of its row; the odd line keeps rows out of each other's cache sets.
    t.line = (t.sums + (S - 1) * C + V<T>::L - 1) / V<T>::L * V<T>::L + V<T>::L;
    return t;
}

// acc [rows][vectors] += the taps that output rows O0 .. O1 of a block see of `count` input rows, xs apart, in
// registers from the first to the last; w: the kernel's row for output row 0 (rows before it for the others), S taps, C
// elements apart.
template <class VT, int O0, int O1>
static void row_taps(const typename VT::T* x, i64 xs, i64 count, const typename VT::T* w, i64 S, i64 C,
                     typename VT::T* acc) {
    using R = typename VT::R;
    constexpr int L = VT::L, M = kFilterVectors;
    R a[kFilterRows][M];
#pragma GCC unroll 4
    for (int o = O0; o <= O1; ++o)
#pragma GCC unroll 4
        for (int v = 0; v < M; ++v) a[o][v] = VT::load(acc + (o * M + v) * L);
    for (i64 i = 0; i < count; ++i, x += xs, w += S) {
        const typename VT::T* line = x;
        for (i64 s = 0; s < S; ++s, line += C) {
            R u[M];
#pragma GCC unroll 4
            for (int v = 0; v < M; ++v) u[v] = VT::load(line + v * L);
#pragma GCC unroll 4
            for (int o = O0; o <= O1; ++o) {
                const R c = VT::set(w[s - o * S]);
#pragma GCC unroll 4
                for (int v = 0; v < M; ++v) a[o][v] = VT::fma(c, u[v], a[o][v]);
            }
        }
    }
#pragma GCC unroll 4
    for (int o = O0; o <= O1; ++o)
#pragma GCC unroll 4
        for (int v = 0; v < M; ++v) VT::store(acc + (o * M + v) * L, a[o][v]);
}

template <class VT>
static void block_taps(int o0, int o1, const typename VT::T* x, i64 xs, i64 count, const typename VT::T* w, i64 S,
                       i64 C, typename VT::T* acc) {
    switch (o0 * 4 + o1) {
        case 0:
            return row_taps<VT, 0, 0>(x, xs, count, w, S, C, acc);
        case 1:
            return row_taps<VT, 0, 1>(x, xs, count, w, S, C, acc);
        case 2:
            return row_taps<VT, 0, 2>(x, xs, count, w, S, C, acc);
        case 3:
            return row_taps<VT, 0, 3>(x, xs, count, w, S, C, acc);
        case 5:
            return row_taps<VT, 1, 1>(x, xs, count, w, S, C, acc);
        case 6:
            return row_taps<VT, 1, 2>(x, xs, count, w, S, C, acc);
        case 7:
            return row_taps<VT, 1, 3>(x, xs, count, w, S, C, acc);
        case 10:
            return row_taps<VT, 2, 2>(x, xs, count, w, S, C, acc);
        case 11:
            return row_taps<VT, 2, 3>(x, xs, count, w, S, C, acc);
        default:
            return row_taps<VT, 3, 3>(x, xs, count, w, S, C, acc);
    }
}

// y (elements ys apart per row) = or += the kernel w [R,S] over `rows` rows of `count` elements; x: the extended rows,
// xs apart, taps C apart.
template <typename T>
static void correlate_tile(const T* x, i64 xs, const T* w, i64 R, i64 S, i64 C, T* y, i64 ys, i64 rows, i64 count,
                           bool add) {
    using VT = V<T>;
    constexpr i64 block = kFilterBlock<T>;
    alignas(64) T acc[kFilterRows * block];
    for (i64 p = 0; p < rows; p += kFilterRows) {
        const i64 n = rows - p < kFilterRows ? rows - p : kFilterRows;
        for (i64 q = 0; q < count; q += block) {
            const i64 m = count - q < block ? count - q : block;
            memset(acc, 0, sizeof acc);
            if (add)
                for (i64 o = 0; o < n; ++o) memcpy(acc + o * block, y + (p + o) * ys + q, size_t(m) * sizeof(T));
            for (i64 i = 0; i < R + n - 1;) {  // the input rows that all n output rows see in one go
                const int o0 = int(i < R ? 0 : i - R + 1), o1 = int(i < n ? i : n - 1);
                const i64 run = i == n - 1 && i < R ? R - i : 1;
                block_taps<VT>(o0, o1, x + (p + i) * xs + q, xs, run, w + i * S, S, C, acc);
                i += run;
            }
            for (i64 o = 0; o < n; ++o) {
                T* to = y + (p + o) * ys + q;
                if (m == block) {
#pragma GCC unroll 4
                    for (int v = 0; v < kFilterVectors; ++v)
                        VT::store(to + v * VT::L, VT::load(acc + o * block + v * VT::L));
                } else {
                    memcpy(to, acc + o * block, size_t(m) * sizeof(T));
                }
            }
        }
    }
}

// Elements of scratch when every worker takes `own`.
template <typename T>
static i64 tile_scratch(const FilterTiles<T>& t, const Ctx& ctx, i64 own) {
    return own * workers_for(ctx, t.N * t.strips * t.widths);
}

// Runs body(tile's image and first row, rows, first column, columns, own scratch) over all tiles.
template <typename T, typename F>
static void for_each_tile(const FilterTiles<T>& t, double taps, T* scratch, i64 own, const F& body) {
    const double cost = double(t.strip * t.width * t.C) * (0.1 + taps * 0.3 / V<T>::L);
    parallel(t.N * t.strips * t.widths, cost, [&](i64 begin, i64 end) {
        T* mine = scratch + worker_index() * own;
        for (i64 u = begin; u < end; ++u) {
            const i64 q = u % t.widths * t.width, p = u / t.widths % t.strips * t.strip, n = u / t.widths / t.strips;
            const i64 rows = t.P - p < t.strip ? t.P - p : t.strip, columns = t.Q - q < t.width ? t.Q - q : t.width;
            body(n, p, rows, q, columns, mine);
        }
    });
}

template <typename T>
static FilterTiles<T> tiles_of(const filter2d_args& a) {
    return filter_tiles<T>(a.x, a.y, a.w.shape[0], a.w.shape[1], kDirectStrip, 2048 / i64(sizeof(T)) * 2);
}

template <typename T>
static i64 filter2d_work(const void* args, const Ctx& ctx) {
    const FilterTiles<T> t = tiles_of<T>(*static_cast<const filter2d_args*>(args));
    return tile_scratch(t, ctx, t.lines * t.line) * i64(sizeof(T));
}

template <typename T>
static void filter2d_run(const void* args, Ctx&) {
    const filter2d_args& a = *static_cast<const filter2d_args*>(args);
    if (numel(a.y) == 0) return;
    const FilterTiles<T> t = tiles_of<T>(a);
    const T *x = static_cast<const T*>(a.x.data), *w = static_cast<const T*>(a.w.data);
    T* y = static_cast<T*>(a.y.data);
    for_each_tile<T>(t, double(t.R * t.S), static_cast<T*>(a.work.data), t.lines * t.line,
                     [&](i64 n, i64 p, i64 rows, i64 q, i64 columns, T* lines) {
                         const T* image = x + n * t.H * t.W * t.C;
                         for (i64 i = 0; i < rows + t.R - 1; ++i)
                             extended_row(image, t.H, t.W, t.C, p + i - a.top, q - a.left, columns + t.S - 1, a.mode,
                                          T(a.cval), lines + i * t.line);
                         correlate_tile(lines, t.line, w, t.R, t.S, t.C, y + ((n * t.P + p) * t.Q + q) * t.C, t.Q * t.C,
                                        rows, columns * t.C, false);
                     });
}

// --- sums of separable kernels: w = sum_k u[k]^T v[k], u [K,R], v [K,S]; rows first, then columns, term by term
template <typename T>
static FilterTiles<T> tiles_of(const filter2d_sep_args& a) {
    const i64 R = a.u.shape[1];
    i64 strip = 4 * R;  // the rows above and below that two tiles both filter cost little then
    strip = strip < 32 ? 32 : strip > 256 ? 256 : strip;
    return filter_tiles<T>(a.x, a.y, R, a.v.shape[1], strip, 1024 / i64(sizeof(T)));
}

template <typename T>
static i64 filter2d_sep_work(const void* args, const Ctx& ctx) {
    const FilterTiles<T> t = tiles_of<T>(*static_cast<const filter2d_sep_args*>(args));
    return tile_scratch(t, ctx, t.lines * (t.line + t.sums)) * i64(sizeof(T));
}

template <typename T>
static void filter2d_sep_run(const void* args, Ctx&) {
    const filter2d_sep_args& a = *static_cast<const filter2d_sep_args*>(args);
    if (numel(a.y) == 0) return;
    const FilterTiles<T> t = tiles_of<T>(a);
    const T *x = static_cast<const T*>(a.x.data), *u = static_cast<const T*>(a.u.data);
    const T* v = static_cast<const T*>(a.v.data);
    T* y = static_cast<T*>(a.y.data);
    const i64 K = a.u.shape[0];
    for_each_tile<T>(
        t, double(K * (t.R + t.S)), static_cast<T*>(a.work.data), t.lines * (t.line + t.sums),
        [&](i64 n, i64 p, i64 rows, i64 q, i64 columns, T* lines) {
            const T* image = x + n * t.H * t.W * t.C;
            T *filtered = lines + t.lines * t.line, *to = y + ((n * t.P + p) * t.Q + q) * t.C;
            const i64 all = rows + t.R - 1, count = columns * t.C;
            for (i64 i = 0; i < all; ++i)
                extended_row(image, t.H, t.W, t.C, p + i - a.top, q - a.left, columns + t.S - 1, a.mode, T(a.cval),
                             lines + i * t.line);
            for (i64 k = 0; k < K; ++k) {
                correlate_tile(lines, t.line, v + k * t.S, i64(1), t.S, t.C, filtered, t.sums, all, count, false);
                correlate_tile(filtered, t.sums, u + k * t.R, t.R, i64(1), t.C, to, t.Q * t.C, rows, count, k > 0);
            }
        });
}

template <KernelFn F32, KernelFn F64, WorkFn W32, WorkFn W64>
struct WithWork {
    static constexpr Impl impl[kNumFloatDTypes] = {{"simd", F32, W32, nullptr, nullptr},
                                                   {"simd", F64, W64, nullptr, nullptr}};
};
template <KernelFn F32, KernelFn F64, WorkFn W32, WorkFn W64>
constexpr void add_with_work(Table& t, OpId op) {
    t.entry[op][f32] = {&WithWork<F32, F64, W32, W64>::impl[f32], 1};
    t.entry[op][f64] = {&WithWork<F32, F64, W32, W64>::impl[f64], 1};
}
