// gemm.inl: c = act(alpha * a @ b + bias + beta * c) for any strides of a and b, BLIS's loops around tile.inl.
//
// Bits: an element of c is, for each block of at most kKC of the reduction, one fma chain; the blocks are added to c in
// order. Block edges follow from K alone, so the bits do not depend on strides, packing, threads or caches. Products
// with a long K and few tiles are summed over fixed chunks of K (a function of M, N, K), partial sums kept in `work`.
//
// Two loop orders, chosen by size alone:
//   narrow (all of a's block fits L2): a packed or direct for all rows, each worker takes column panels of b
//   wide: b packed once for all, each worker takes row panels, in chunks that fit its L2

template <typename T>
struct Block {  // one block of the reduction, k0 <= k < k0 + k
    i64 k0, k;
    T beta;
    const T* bias;
    i32 act;
};

// Row panels [r0,r1) times one column panel. a: packed (panel of rows i..i+m at a + i*k, counting i from row `abase`)
// or direct. b, ldb: the column panel. `keep`, or null: room for b [blk.k, kNR], which the first row panel packs.
template <typename T>
static void gemm_panel(const Gemm<T>& g, const GemmPlan& p, const Block<T>& blk, i64 r0, i64 r1, const T* apack,
                       i64 abase, i64 j0, i64 nj, const T* b, i64 ldb, T* keep) {
    const int width = panel_width<T>(nj);
    const Step step{0, 0, blk.k};
    TileOut<T> out{nullptr, g.ldc, g.alpha, blk.beta, blk.bias ? blk.bias + j0 : nullptr, blk.act, i32(nj), 0, 0};
    for (i64 r = r0; r < r1; ++r) {
        const i64 i0 = cut(g.m, p.rows, r), m = cut(g.m, p.rows, r + 1) - i0;
        out.c = g.c + i0 * g.ldc + j0;
        const T* a = apack ? apack + (i0 - abase) * blk.k : g.a + i0 * g.ars + blk.k0 * g.acs;
        const i64 rs = apack ? 1 : g.ars, cs = apack ? m : g.acs;
        if (keep) {
            out.keep = keep;
            kTiles<V<T>, kNV, false, true>.fn[m](a, b, &step, 1, rs, cs, ldb, out);
            b = keep;
            ldb = kNR<T>;
            keep = nullptr;
        } else {
            tile_for<T>(m, width)(a, b, &step, 1, rs, cs, ldb, out);
        }
    }
}

// At most kFewRows rows times columns [j0,j1): b is read once, in wide rows or transposed in registers, and packed only
// where neither fits.
template <typename T>
static void gemm_few_rows(const Gemm<T>& g, const Block<T>& blk, i64 j0, i64 j1, T* scratch) {
    constexpr i64 wide = kWideNV * V<T>::L;
    const T* a = g.a + blk.k0 * g.acs;
    const Step step{0, 0, blk.k};
    for (i64 j = j0; j < j1;) {
        i64 nj = min_i(kNR<T>, j1 - j), ldb = g.brs;
        const T* b = g.b + blk.k0 * g.brs + j * g.bcs;
        TileOut<T> out{g.c + j, g.ldc, g.alpha, blk.beta, blk.bias ? blk.bias + j : nullptr, blk.act, i32(nj), 0, 0};
        const int width = panel_width<T>(nj);
        if (g.bcs == 1 && j1 - j >= wide) {
            nj = wide;
            out.n = i32(wide);
            kFewTiles<V<T>>.wide[g.m](a, b, &step, 1, g.ars, g.acs, ldb, out);
        } else if (g.brs == 1 && nj == kNR<T>) {
            kFewTiles<V<T>>.nt[g.m](a, b, blk.k, g.ars, g.acs, g.bcs, out);
        } else {
            if (g.bcs != 1 || nj != width) {
                pack(scratch, width, b, g.brs, g.bcs, blk.k, nj);
                b = scratch;
                ldb = width;
            }
            tile_for<T>(g.m, width)(a, b, &step, 1, g.ars, g.acs, ldb, out);
        }
        j += nj;
    }
}

// Products with few k are their stores: c is written along its rows, a few at a time, instead of by column panels.
template <typename T>
static void gemm_short(const Gemm<T>& g, const Block<T>& blk, i64 i0, i64 i1, T* scratch) {
    for (i64 i = i0; i < i1; i += kFewRows) {
        Gemm<T> h = g;
        h.m = min_i(kFewRows, i1 - i);
        h.a += i * g.ars;
        h.c += i * g.ldc;
        gemm_few_rows(h, blk, 0, g.n, scratch);
    }
}

template <typename T>
static void pack_rows(const Gemm<T>& g, const GemmPlan& p, const Block<T>& blk, i64 r0, i64 r1, T* dst, i64 abase) {
    for (i64 r = r0; r < r1; ++r) {
        const i64 i0 = cut(g.m, p.rows, r), m = cut(g.m, p.rows, r + 1) - i0;
        pack(dst + (i0 - abase) * blk.k, m, g.a + i0 * g.ars + blk.k0 * g.acs, g.acs, g.ars, blk.k, m);
    }
}

// One matrix product. `work` holds plan_elems(plan, threads) elements.
template <typename T>
static void gemm_one(const Gemm<T>& g, const GemmPlan& p, T* work, i64 threads) {
    constexpr i64 NR = kNR<T>;
    if (p.order == order_vector) return gemm_vector(g, p, work, threads);
    if (p.order == order_narrow) return gemm_narrow(g, p, work, threads);
    const double ns = 0.025 * double(sizeof(T)) / 4;  // per multiply-add, with a little caution
    for (i64 kb = 0; kb < p.kblocks; ++kb) {
        Block<T> blk;
        blk.k0 = cut(g.k, p.kblocks, kb);
        blk.k = cut(g.k, p.kblocks, kb + 1) - blk.k0;
        const bool last = kb + 1 == p.kblocks;
        blk.beta = kb == 0 ? g.beta : T(1);
        blk.bias = last ? g.bias : nullptr;
        blk.act = last ? g.act : i32(act_none);
        if (g.m <= kFewRows) {
            constexpr i64 chunk = kWideNV * V<T>::L;
            const i64 chunks = ceil_div(g.n, chunk);
            parallel_or_serial(threads, chunks, double(g.m * chunk * blk.k) * 0.1, [&](i64 t0, i64 t1) {
                T* scratch = work + (threads > 1 ? worker_index() : 0) * p.b_elems;
                gemm_few_rows(g, blk, t0 * chunk, min_i(t1 * chunk, g.n), scratch);
            });
            continue;
        }
        if (p.short_k) {
            const double cost = double(g.n) * double(blk.k) * ns + double(g.n) * 0.1;
            parallel_or_serial(threads, ceil_div(g.m, kFewRows), cost * kFewRows, [&](i64 t0, i64 t1) {
                T* scratch = work + (threads > 1 ? worker_index() : 0) * p.b_elems;
                gemm_short(g, blk, t0 * kFewRows, min_i(t1 * kFewRows, g.m), scratch);
            });
            continue;
        }
        if (!p.wide) {
            T* ap = p.pack_a ? work : nullptr;
            T* bp = work + p.a_elems;
            const double macs = double(g.m) * double(g.n) * double(blk.k);
            if (ap)
                parallel_or_serial(macs * ns < 2e4 ? 1 : threads, p.rows, double(kMR<T> * blk.k) * 0.3,
                                   [&](i64 r0, i64 r1) { pack_rows(g, p, blk, r0, r1, ap, 0); });
            // few column panels: cut the rows, too, so that every thread has work
            const i64 splits = min_i(p.rows, threads > 1 ? ceil_div(2 * threads, p.cols) : 1);
            parallel_or_serial(threads, p.cols * splits, macs * ns / double(p.cols * splits), [&](i64 t0, i64 t1) {
                T* panel = bp + (threads > 1 ? worker_index() : 0) * p.b_elems;
                for (i64 t = t0; t < t1; ++t) {
                    const i64 q = t / splits, sp = t % splits, j0 = q * NR, nj = min_i(NR, g.n - j0);
                    const int width = panel_width<T>(nj);
                    const T* b = g.b + blk.k0 * g.brs + j0 * g.bcs;
                    T* keep = nullptr;
                    i64 ldb = g.brs;
                    if (p.pack_b || nj != width) {
                        const bool fresh = t == t0 || sp == 0;
                        if (fresh && g.bcs == 1 && nj == NR) {
                            keep = panel;
                        } else {
                            if (fresh) pack(panel, width, b, g.brs, g.bcs, blk.k, nj);
                            b = panel;
                            ldb = width;
                        }
                    }
                    gemm_panel(g, p, blk, cut(p.rows, splits, sp), cut(p.rows, splits, sp + 1), ap, 0, j0, nj, b, ldb,
                               keep);
                }
            });
            continue;
        }
        T* bp = work;
        for (i64 q0 = 0; q0 < p.cols; q0 += p.chunk_cols) {
            const i64 q1 = min_i(q0 + p.chunk_cols, p.cols);
            parallel_or_serial(threads, q1 - q0, double(NR * blk.k) * 0.3, [&](i64 t0, i64 t1) {
                for (i64 q = q0 + t0; q < q0 + t1; ++q) {
                    const i64 j0 = q * NR, nj = min_i(NR, g.n - j0);
                    pack(bp + (q - q0) * NR * blk.k, panel_width<T>(nj), g.b + blk.k0 * g.brs + j0 * g.bcs, g.brs,
                         g.bcs, blk.k, nj);
                }
            });
            const double cost = double(kMR<T> * blk.k) * double((q1 - q0) * NR) * ns;
            parallel_or_serial(threads, p.rows, cost, [&](i64 t0, i64 t1) {
                T* ap = work + p.b_elems + (threads > 1 ? worker_index() : 0) * p.a_elems;
                for (i64 r0 = t0; r0 < t1; r0 += p.chunk_rows) {
                    const i64 r1 = min_i(r0 + p.chunk_rows, t1), abase = cut(g.m, p.rows, r0);
                    pack_rows(g, p, blk, r0, r1, ap, abase);
                    for (i64 q = q0; q < q1; ++q) {
                        const i64 j0 = q * NR, nj = min_i(NR, g.n - j0);
                        gemm_panel(g, p, blk, r0, r1, ap, abase, j0, nj, bp + (q - q0) * NR * blk.k, panel_width<T>(nj),
                                   static_cast<T*>(nullptr));
                    }
                }
            });
        }
    }
}

// Chunks of K summed apart when the product has too few tiles for a team and K is long. By shape alone.
template <typename T>
static i64 k_chunks(i64 m, i64 n, i64 k) {
    const i64 tiles = ceil_div(m, 12) * ceil_div(n, 32);
    if (tiles > 8 || k < 2048 || double(m) * double(n) * double(k) < 1e6) return 1;
    return min_i(16, k / 1024);
}

// c = act(alpha * sum of `chunks` partial products [m,n] + beta * c + bias), rows [i0,i1).
template <typename T>
static void sum_chunks(const Gemm<T>& g, const T* part, i64 chunks, i64 i0, i64 i1) {
    const i64 mn = g.m * g.n;
    for (i64 i = i0; i < i1; ++i) {
        T* c = g.c + i * g.ldc;
        const T* s = part + i * g.n;
        for (i64 j = 0; j < g.n; ++j) {
            T v = s[j];
            for (i64 q = 1; q < chunks; ++q) v += s[q * mn + j];
            if (g.alpha != T(1)) v *= g.alpha;
            if (g.beta != T(0)) v = rb_fma(g.beta, c[j], v);
            if (g.bias) v += g.bias[j];
            c[j] = v;
        }
        act_rows(c, g.ldc, 1, g.n, g.act);
    }
}

// Offset of product `i` of a batch in a view that has its batch axes, or repeats (stride 0), first.
static i64 batch_offset(const View& v, int axes, i64 i) {
    i64 at = 0;
    for (int d = axes - 1; d >= 0 && i > 0; --d) {
        at += i % v.shape[d] * v.stride[d];
        i /= v.shape[d];
    }
    return at;
}

// The description of product `i` of a batch.
template <typename T>
static Gemm<T> gemm_of(const gemm_args& s, i64 i) {
    const int d = s.c.ndim - 2;
    Gemm<T> g;
    g.m = s.a.shape[d];
    g.k = s.a.shape[d + 1];
    g.n = s.b.shape[d + 1];
    g.a = static_cast<const T*>(s.a.data) + batch_offset(s.a, d, i);
    g.ars = s.a.stride[d];
    g.acs = s.a.stride[d + 1];
    g.b = static_cast<const T*>(s.b.data) + batch_offset(s.b, d, i);
    g.brs = s.b.stride[d];
    g.bcs = s.b.stride[d + 1];
    g.ldc = g.m > 1 ? s.c.stride[d] : g.n;
    g.c = static_cast<T*>(s.c.data) + batch_offset(s.c, d, i);
    // bias is [N] for every product, or one row per product
    const bool has_bias = s.bias.ndim >= 1;
    g.bias = has_bias ? static_cast<const T*>(s.bias.data) + (s.bias.ndim > 1 ? i * g.n : 0) : nullptr;
    g.alpha = T(s.alpha);
    g.beta = T(s.beta);
    g.act = i32(s.act);
    normalise(g);
    return g;
}

struct GemmLayout {
    i64 batch, chunks;    // products, and chunks of K of each
    bool batch_parallel;  // one worker per product (or chunk), each with scratch of its own
    i64 own;              // batch_parallel: scratch of one worker
    i64 elems;            // all of the scratch
};

template <typename T>
static GemmLayout gemm_layout(const gemm_args& s, const Gemm<T>& g, const Ctx& ctx, GemmPlan& p) {
    GemmLayout l{};
    l.batch = 1;
    for (int d = 0; d < s.c.ndim - 2; ++d) l.batch *= s.c.shape[d];
    l.chunks = k_chunks<T>(g.m, g.n, g.k);
    const i64 threads = max_i(1, ctx.threads);
    if (l.chunks > 1) {
        Gemm<T> h = g;
        for (i64 longer = 0; longer < 2; ++longer) {  // the two lengths that cut() makes
            h.k = g.k / l.chunks + longer;
            l.own = max_i(l.own, plan_elems(plan_gemm(h, ctx.l2_bytes, ctx.l3_bytes), 1));
        }
        l.batch_parallel = true;
        l.elems = l.chunks * g.m * g.n + threads * l.own;
    } else {
        p = plan_gemm(g, ctx.l2_bytes, ctx.l3_bytes);
        l.batch_parallel = l.batch > 1 && (l.batch >= threads || double(g.m) * double(g.n) * double(g.k) < 1e5);
        l.own = plan_elems(p, 1);
        l.elems = l.batch_parallel ? threads * l.own : plan_elems(p, threads);
    }
    return l;
}

template <typename T>
static i64 gemm_work(const void* args, const Ctx& ctx) {
    const gemm_args& s = *static_cast<const gemm_args*>(args);
    const Gemm<T> g = gemm_of<T>(s, 0);
    if (g.m == 0 || g.n == 0) return 0;
    GemmPlan p{};
    return gemm_layout(s, g, ctx, p).elems * i64(sizeof(T));
}

template <typename T>
static void gemm_run(const void* args, Ctx& ctx) {
    const gemm_args& s = *static_cast<const gemm_args*>(args);
    const Gemm<T> g = gemm_of<T>(s, 0);
    if (g.m == 0 || g.n == 0) return;
    GemmPlan p{};
    const GemmLayout l = gemm_layout(s, g, ctx, p);
    T* work = static_cast<T*>(s.work.data);
    const i64 threads = max_i(1, ctx.threads), own = l.own;
    const double ns = double(g.m) * double(g.n) * double(g.k) * 0.025 + 50;
    if (l.chunks > 1) {
        T* scratch = work + l.chunks * g.m * g.n;
        for (i64 i = 0; i < l.batch; ++i) {
            const Gemm<T> whole = gemm_of<T>(s, i);
            parallel(l.chunks, ns / double(l.chunks), [&](i64 q0, i64 q1) {
                for (i64 q = q0; q < q1; ++q) {
                    const i64 k0 = cut(g.k, l.chunks, q);
                    Gemm<T> h = whole;
                    h.k = cut(g.k, l.chunks, q + 1) - k0;
                    h.a += k0 * g.acs;
                    h.b += k0 * g.brs;
                    h.c = work + q * g.m * g.n;
                    h.ldc = g.n;
                    h.alpha = T(1);
                    h.beta = T(0);
                    h.bias = nullptr;
                    h.act = act_none;
                    gemm_one(h, plan_gemm(h, ctx.l2_bytes, ctx.l3_bytes), scratch + worker_index() * own, 1);
                }
            });
            parallel(g.m, double(g.n * l.chunks) * 0.3,
                     [&](i64 i0, i64 i1) { sum_chunks(whole, work, l.chunks, i0, i1); });
        }
    } else if (l.batch_parallel) {
        parallel(l.batch, ns, [&](i64 i0, i64 i1) {
            T* mine = work + worker_index() * own;
            for (i64 i = i0; i < i1; ++i) gemm_one(gemm_of<T>(s, i), p, mine, 1);
        });
    } else {
        const i64 team = ns < 1e4 ? 1 : threads;
        for (i64 i = 0; i < l.batch; ++i) gemm_one(gemm_of<T>(s, i), p, work, team);
    }
}

template <typename T>
constexpr Impl kGemmImpls[] = {{"packed", gemm_run<T>, gemm_work<T>, nullptr, nullptr}};

constexpr void add_gemm(Table& t) {
    t.entry[op_gemm][f32] = Entry{kGemmImpls<float>, 1};
    t.entry[op_gemm][f64] = Entry{kGemmImpls<double>, 1};
}
