// conv2d_dw.inl: the weight gradient of conv2d, NHWC: dw[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] * x[n,h,w,c].
//
// Tile rows are output channels k (broadcast from dy), tile columns run over (s,c) of one kernel row, which are
// contiguous in x where the dilation is 1 (over c of one tap otherwise); the reduction runs over pixels, one Step per
// output row. Where a kernel row fills its registers badly (few input channels), the columns (r,s,c) of all rows are
// copied side by side for each pixel of a batch. Bits: images are cut into bands of output rows, bands into at most 8
// chunks, both by shape alone. Within a chunk bands are added batch by batch in order; partial sums of the chunks are
// added in order at the end.

template <typename T>
struct ConvDw {
    const T* x;   // [N,H,W,G*C]
    const T* dy;  // [N,P,Q,G*K]
    T* dw;        // [G*K,R,S,C]
    i64 n, h, w, c, k, groups, r, s, p, q;
    i64 stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
    bool direct;  // tiles read x itself: no padding, one group, no partial column panel
};

struct DwPlan {
    i64 rows, bands;  // output rows per band, bands per image
    i64 batch;        // bands copied and multiplied together
    i64 chunks;       // partial sums
    i64 splits;       // pieces of the tiles of a chunk, for the team only
    i64 lines, cols;  // input rows and columns of a band's window
    i64 runs, run;    // column runs (R, or R*S when dilated) and their length
    bool packed;      // many row panels: dy and the columns of x are packed, one Step per batch
    i64 pixels;       // output pixels of a batch
    i64 columns;      // elements per pixel of the copied columns of all kernel rows, 0: none
    i64 window;       // elements of a batch's padded copy of x
    i64 dw_elems, worker_bytes, bytes;
};

template <typename T>
static ConvDw<T> conv_dw_of(const conv2d_dw_args& a) {
    ConvDw<T> d{};
    d.x = static_cast<const T*>(a.x.data);
    d.dy = static_cast<const T*>(a.dy.data);
    d.dw = static_cast<T*>(a.dw.data);
    d.groups = a.groups;
    d.n = a.x.shape[0];
    d.h = a.x.shape[1];
    d.w = a.x.shape[2];
    d.c = a.x.shape[3] / a.groups;
    d.p = a.dy.shape[1];
    d.q = a.dy.shape[2];
    d.k = a.dy.shape[3] / a.groups;
    d.r = a.dw.shape[1];
    d.s = a.dw.shape[2];
    d.stride_h = a.stride_h;
    d.stride_w = a.stride_w;
    d.pad_h = a.pad_h;
    d.pad_w = a.pad_w;
    d.dil_h = a.dil_h;
    d.dil_w = a.dil_w;
    const i64 run = d.dil_w == 1 ? d.s * d.c : d.c, tail = run % kNR<T>;
    d.direct = d.groups == 1 && d.pad_h == 0 && d.pad_w == 0 && extent(d.p, d.stride_h, d.r, d.dil_h) <= d.h &&
               extent(d.q, d.stride_w, d.s, d.dil_w) <= d.w && (tail == 0 || tail == panel_width<T>(tail));
    return d;
}

// Registers that a row of n columns takes; a half register counts 0.7.
template <typename T>
constexpr double row_registers(i64 n) {
    const i64 rest = n % kNR<T>;
    return double(n / kNR<T> * kNV) + (rest == 0 ? 0.0 : rest > V<T>::L ? 2.0 : rest > H<T>::L ? 1.0 : 0.7);
}

// Do the columns of all kernel rows side by side save more than their copy costs? Per pixel, in multiply-adds.
template <typename T>
static bool dw_wants_columns(const ConvDw<T>& d) {
    const i64 run = d.s * d.c;
    const double copy = 3.0 * double(d.r * ceil_div(run, V<T>::L)), k = double(d.k);
    return d.groups == 1 && d.dil_w == 1 && d.r > 1 &&
           k * double(d.r) * row_registers<T>(run) > 1.1 * (k * row_registers<T>(d.r * run) + copy);
}

template <typename T>
static DwPlan plan_dw(const ConvDw<T>& d, const Ctx& ctx) {
    DwPlan p{};
    const i64 size = sizeof(T), threads = max_i(1, ctx.threads);
    const bool merged = d.dil_w == 1;
    p.runs = merged ? d.r : d.r * d.s;
    p.run = merged ? d.s * d.c : d.c;
    p.dw_elems = d.groups * d.k * d.r * d.s * d.c;
    p.cols = extent(d.q, d.stride_w, d.s, d.dil_w);
    // Constants, not cache sizes: they decide how sums are cut.
    const i64 line = (p.cols * d.c * d.stride_h + d.q * d.k) * size;  // bytes of x and dy per output row
    const i64 budget = 192 << 10, enough = 256;  // bytes that stay in cache; pixels that pay for reading dw again
    p.rows = min_i(d.p, max_i(ceil_div(enough, d.q), budget / line));
    p.bands = ceil_div(d.p, p.rows);
    p.rows = ceil_div(d.p, p.bands);
    p.batch = p.bands > 1 ? 1 : max_i(ceil_div(enough, d.p * d.q), budget / (line * d.p));
    p.batch = min_i(p.batch, d.n);
    p.pixels = p.batch * p.rows * d.q;
    p.columns = dw_wants_columns(d) ? round_up(d.r * p.run, kNR<T>) : 0;
    // pixels 1 KiB apart share few cache sets: copy them side by side
    p.packed = !p.columns && d.groups * d.k * size >= 1024 && d.k > 3 * kMR<T> && p.runs * ceil_div(p.run, kNR<T>) >= 4;
    const double macs = double(d.n * d.p * d.q) * double(d.k * d.c * d.groups) * double(d.r * d.s);
    p.chunks = macs >= 4e6 ? 8 : macs >= 1e6 ? 4 : 1;
    p.chunks = min_i(p.chunks, min_i(d.n * p.bands, max_i(1, (i64{1} << 20) / p.dw_elems)));
    p.splits = threads == 1 ? 1 : max_i(1, min_i(ceil_div(d.k, kMR<T>), ceil_div(2 * threads, p.chunks * d.groups)));
    p.lines = extent(p.rows, d.stride_h, d.r, d.dil_h);
    p.window = d.direct ? 0 : round_up(p.batch * p.lines * p.cols * d.c + kNR<T>, 64 / size);
    const i64 packs = p.packed ? round_up(p.pixels * (d.k + kNR<T>), 64 / size) : 0;
    const i64 copied = round_up(p.pixels * p.columns, 64 / size);
    p.worker_bytes = round_up(p.batch * p.rows * i64(sizeof(Step)), 64) + (p.window + packs + copied) * size;
    p.bytes = round_up(p.chunks > 1 ? p.chunks * p.dw_elems * size : 0, 64) + threads * p.worker_bytes;
    return p;
}

// dst [pixels of an output row][r][s*c], pixels p.columns apart, from the first tap of the row at x.
template <typename T>
static void copy_columns(const ConvDw<T>& d, const DwPlan& p, const T* x, i64 line, T* dst) {
    using VT = V<T>;
    const i64 whole = p.run / VT::L * VT::L;
    const typename VT::M m = VT::first(int(p.run - whole));
    for (i64 q = 0; q < d.q; ++q, dst += p.columns, x += d.stride_w * d.c)
        for (i64 r = 0; r < d.r; ++r) {
            const T* from = x + r * d.dil_h * line;
            T* to = dst + r * p.run;
            for (i64 j = 0; j < whole; j += VT::L) VT::store(to + j, VT::load(from + j));
            if (whole < p.run) VT::store_m(to + whole, VT::load_m(from + whole, m), m);
        }
}

// Row panels [i0,i1) of one group's dw += bands [b0,b1) of its images; overwritten where `first`.
template <typename T>
static void dw_bands(const ConvDw<T>& d, const DwPlan& p, i64 group, i64 b0, i64 b1, i64 i0, i64 i1, bool first, T* dw,
                     char* scratch) {
    Step* steps = reinterpret_cast<Step*>(scratch);
    T* window = reinterpret_cast<T*>(scratch + round_up(p.batch * p.rows * i64(sizeof(Step)), 64));
    const i64 ct = d.groups * d.c, kt = d.groups * d.k;
    const T* b = d.direct ? d.x : window;
    const i64 line = d.direct ? d.w * ct : p.cols * d.c;
    i64 count = 0;
    for (i64 band = b0; band < b1; ++band) {
        const i64 image = band / p.bands, p0 = band % p.bands * p.rows, p1 = min_i(p0 + p.rows, d.p);
        i64 origin = image * d.h * d.w * ct + p0 * d.stride_h * d.w * ct;
        if (!d.direct) {
            origin = (band - b0) * p.lines * line;
            copy_window(window + origin, d.x + image * d.h * d.w * ct + group * d.c, d.h, d.w, ct, d.c,
                        p0 * d.stride_h - d.pad_h, extent(p1 - p0, d.stride_h, d.r, d.dil_h), -d.pad_w, p.cols);
        }
        for (i64 t = p0; t < p1; ++t)
            steps[count++] = Step{(image * d.p + t) * d.q * kt, origin + (t - p0) * d.stride_h * line, d.q};
    }
    if (!d.direct) {  // the last column panel may read past the window
        T* slack = window + (b1 - b0) * p.lines * line;
        for (i64 j = 0; j < kNR<T>; ++j) slack[j] = T(0);
    }
    const i64 panels = ceil_div(p.run, kNR<T>), rows = ceil_div(d.k, kMR<T>), ldw = d.r * d.s * d.c;
    T* apack = window + p.window;
    T* bpack = apack + p.pixels * d.k;
    i64 pixels = 0;
    for (i64 t = 0; t < count; ++t) pixels += steps[t].k;
    const Step whole{0, 0, pixels};
    if (p.columns) {  // one group, so the pixels of dy are contiguous from the first to the last
        const i64 all = d.r * p.run;
        for (i64 t = 0; t < count; ++t) copy_columns(d, p, b + steps[t].b, line, apack + t * d.q * p.columns);
        for (i64 j0 = 0; j0 < all; j0 += kNR<T>) {
            const i64 nj = min_i(kNR<T>, all - j0);
            const int width = panel_width<T>(nj);
            TileOut<T> out{nullptr, ldw, T(1), first ? T(0) : T(1), nullptr, act_none, i32(nj), 0, 0};
            for (i64 i = i0; i < i1; ++i) {
                const i64 k0 = cut(d.k, rows, i), m = cut(d.k, rows, i + 1) - k0;
                out.c = dw + k0 * ldw + j0;
                tile_for<T>(m, width)(d.dy + steps[0].a + k0, apack + j0, &whole, 1, 1, kt, p.columns, out);
            }
        }
        return;
    }
    if (p.packed)
        for (i64 i = i0; i < i1; ++i) {
            const i64 k0 = cut(d.k, rows, i), m = cut(d.k, rows, i + 1) - k0;
            T* dst = apack + k0 * pixels;
            for (i64 t = 0; t < count; ++t, dst += d.q * m)
                pack(dst, m, d.dy + group * d.k + k0 + steps[t].a, kt, 1, d.q, m);
        }
    const bool narrow = p.run <= V<T>::L;  // two runs at a time
    for (i64 run = 0; run < p.runs; ++run) {
        const i64 r = p.runs == d.r ? run : run / d.s, s = p.runs == d.r ? 0 : run % d.s;
        const bool pair = !p.packed && narrow && run + 1 < p.runs && (p.runs == d.r || s + 1 < d.s);
        for (i64 panel = 0; panel < panels; ++panel) {
            const i64 j0 = panel * kNR<T>, nj = min_i(kNR<T>, p.run - j0);
            const int width = panel_width<T>(nj);
            TileOut<T> out{nullptr, ldw, T(1), first ? T(0) : T(1), nullptr, act_none, i32(nj), 0, p.run};
            out.bvs = p.runs == d.r ? d.dil_h * line : d.dil_w * d.c;
            const T* columns = b + r * d.dil_h * line + s * d.dil_w * d.c + j0;
            if (p.packed) {
                T* dst = bpack;
                for (i64 t = 0; t < count; ++t, dst += d.q * width)
                    pack(dst, width, columns + steps[t].b, d.stride_w * d.c, 1, d.q, nj);
            }
            for (i64 i = i0; i < i1; ++i) {
                const i64 k0 = cut(d.k, rows, i), m = cut(d.k, rows, i + 1) - k0;
                out.c = dw + (group * d.k + k0) * ldw + run * p.run + j0;
                if (p.packed) {
                    tile_for<T>(m, width)(apack + k0 * pixels, bpack, &whole, 1, 1, m, width, out);
                    continue;
                }
                const TileFn<T> fn = pair ? split_tile_for<T>(m, width) : tile_for<T>(m, width);
                fn(d.dy + group * d.k + k0, columns, steps, count, 1, kt, d.stride_w * d.c, out);
            }
        }
        run += pair;
    }
}

template <typename T>
static i64 conv2d_dw_work(const void* args, const Ctx& ctx) {
    const ConvDw<T> d = conv_dw_of<T>(*static_cast<const conv2d_dw_args*>(args));
    if (d.n == 0 || d.k == 0 || d.c == 0 || d.r == 0 || d.s == 0 || d.p == 0 || d.q == 0) return 0;
    return plan_dw(d, ctx).bytes;
}

template <typename T>
static void conv2d_dw_run(const void* args, Ctx& ctx) {
    const conv2d_dw_args& a = *static_cast<const conv2d_dw_args*>(args);
    const ConvDw<T> d = conv_dw_of<T>(a);
    if (d.n == 0 || d.k == 0 || d.c == 0 || d.r == 0 || d.s == 0 || d.p == 0 || d.q == 0) {
        const i64 elems = d.groups * d.k * d.r * d.s * d.c;
        for (i64 i = 0; i < elems; ++i) d.dw[i] = T(0);
        return;
    }
    const DwPlan p = plan_dw(d, ctx);
    T* part = p.chunks > 1 ? static_cast<T*>(a.work.data) : d.dw;
    char* scratch =
        static_cast<char*>(a.work.data) + round_up(p.chunks > 1 ? p.chunks * p.dw_elems * i64(sizeof(T)) : 0, 64);
    const i64 rows = ceil_div(d.k, kMR<T>), units = d.n * p.bands, tasks = p.chunks * d.groups * p.splits;
    const double ns = double(d.n * d.p * d.q) * double(d.k * d.c * d.groups) * double(d.r * d.s) * 0.03;
    parallel(tasks, ns / double(tasks), [&](i64 t0, i64 t1) {
        char* mine = scratch + worker_index() * p.worker_bytes;
        for (i64 t = t0; t < t1; ++t) {
            const i64 split = t % p.splits, group = t / p.splits % d.groups, chunk = t / (p.splits * d.groups);
            const i64 u0 = cut(units, p.chunks, chunk), u1 = cut(units, p.chunks, chunk + 1);
            for (i64 u = u0; u < u1; u += p.batch)
                dw_bands(d, p, group, u, min_i(u + p.batch, u1), cut(rows, p.splits, split),
                         cut(rows, p.splits, split + 1), u == u0, part + chunk * p.dw_elems, mine);
        }
    });
    if (p.chunks == 1) return;
    const i64 block = 1024, blocks = ceil_div(p.dw_elems, block);
    parallel(blocks, double(block * p.chunks) * 0.3, [&](i64 b0, i64 b1) {
        const i64 end = min_i(b1 * block, p.dw_elems);
        for (i64 i = b0 * block; i < end; ++i) {
            T v = part[i];
            for (i64 q = 1; q < p.chunks; ++q) v += part[q * p.dw_elems + i];
            d.dw[i] = v;
        }
    });
}
