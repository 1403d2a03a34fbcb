// gemm_quad.inl: products whose result is a vector or has few columns. The tile of tile.inl would leave most lanes of
// its registers empty there, or spend longer transposing b than multiplying.
//
// Quad order: an element of c is the sum of Q = kQuad chains of fma, chain q over the k with k % Q == q, added as
// (0 + 1) + (2 + 3) (Q = 2: 0 + 1). It suits b read along its rows (Q accumulators) and along its columns (a 16-byte
// part of a register holds one element's Q chains, no transposing), so every layout has the same bits and reads b once.
//
//   vector (m = 1, or n = 1 as c' = b' a'):  gemv_rows for b with unit column stride, gemv_cols for unit row stride
//   narrow (n <= kNarrow): rows of a along k, or columns of a if those are contiguous; b packed as [k/Q][n][Q]

template <typename T>
constexpr i64 kVectorChunk = 2048 / sizeof(T);  // columns of b per task of a vector product

// t[0] + t[1], or (t[0] + t[1]) + (t[2] + t[3])
template <int Q, typename R>
RB_INLINE R sum_chains(const R* t) {
    if constexpr (Q == 2)
        return t[0] + t[1];
    else
        return (t[0] + t[1]) + (t[2] + t[3]);
}

// chains[r % Q][j] += x[r] * b[r*ldb + j] for ROWS rows and n columns; chains kVectorChunk<T> apart.
template <class VT, int ROWS>
static void gemv_block(const typename VT::T* x, const typename VT::T* b, i64 ldb, i64 n, typename VT::T* chains) {
    using T = typename VT::T;
    using R = typename VT::R;
    constexpr int L = VT::L, Q = ROWS < kQuad<VT> ? ROWS : kQuad<VT>;
    R xv[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) xv[r] = VT::set(x[r]);
    const auto columns = [&](i64 j, auto load) {
        R acc[Q];
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) acc[q] = VT::load(chains + q * kVectorChunk<T> + j);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) acc[r % Q] = VT::fma(xv[r], load(b + r * ldb + j), acc[r % Q]);
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) VT::store(chains + q * kVectorChunk<T> + j, acc[q]);
    };
    i64 j = 0;
    for (; j + L <= n; j += L) columns(j, [](const T* p) { return VT::load(p); });
    if (j < n) {
        const typename VT::M mask = VT::first(int(n - j));
        columns(j, [mask](const T* p) { return VT::load_m(p, mask); });
    }
}

// o.n <= kVectorChunk<T> columns of x @ b, b[k*ldb + j]: eight rows of b at a time, the chains in the first-level
// cache. `shared`: one bias for all columns.
template <class VT>
static void gemv_rows(const typename VT::T* x, const typename VT::T* b, i64 k, i64 ldb,
                      const TileOut<typename VT::T>& o, bool shared) {
    using T = typename VT::T;
    constexpr int L = VT::L, Q = kQuad<VT>, NV = 4, ROWS = 8;
    constexpr i64 ld = kVectorChunk<T>;
    alignas(64) T chains[Q * ld];
    for (int q = 0; q < Q; ++q)
        for (i64 j = 0; j < o.n; j += NV * L)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) VT::store(chains + q * ld + j + v * L, VT::zero());
    i64 p = 0;
    for (; p + ROWS <= k; p += ROWS) gemv_block<VT, ROWS>(x + p, b + p * ldb, ldb, o.n, chains);
    for (; p < k; ++p) gemv_block<VT, 1>(x + p, b + p * ldb, ldb, o.n, chains + p % Q * ld);
    for (i64 j = 0; j < o.n; j += NV * L) {
        typename VT::R sum[1][NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            typename VT::R t[Q];
#pragma GCC unroll 4
            for (int q = 0; q < Q; ++q) t[q] = VT::load(chains + q * ld + j + v * L);
            sum[0][v] = sum_chains<Q>(t);
        }
        TileOut<T> part = o;
        part.c += j;
        part.n = i32(min_i(NV * L, o.n - j));
        if (o.bias && !shared) part.bias += j;
        finish<VT, 1, NV, false>(sum, part);
    }
}

// The same with the chains in registers, kColumnsAtOnce<VT> columns and all rows at a time: rows a power of two apart
// compete for the same places of the first-level cache, which memory for chains then does not share. What is left of
// whole lines on both sides goes through gemv_rows. From memory the short runs would be slower.
template <class VT>
constexpr int kColumnNV = (VT::L * int(sizeof(typename VT::T)) == 64 ? 24 : 12) / kQuad<VT>;
template <class VT>
constexpr i64 kColumnsAtOnce = i64(kColumnNV<VT>) * VT::L;
template <class VT>
static __attribute__((noinline)) void gemv_columns(const typename VT::T* x, const typename VT::T* b, i64 k, i64 ldb,
                                                   const TileOut<typename VT::T>& o, bool shared) {
    using T = typename VT::T;
    constexpr int L = VT::L, Q = kQuad<VT>, NV = kColumnNV<VT>;
    TileOut<T> part = o;
    const auto rest = [&](i64 j, i64 n) {
        part.c = o.c + j;
        part.n = i32(n);
        if (o.bias && !shared) part.bias = o.bias + j;
        gemv_rows<VT>(x, b + j, k, ldb, part, shared);
    };
    const i64 ahead = i64(reinterpret_cast<size_t>(b) % 64 / sizeof(T));
    i64 j = ahead && ldb * i64(sizeof(T)) % 64 == 0 && o.n > kColumnsAtOnce<VT> ? 64 / i64(sizeof(T)) - ahead : 0;
    if (j) rest(0, j);
    for (; j + NV * L <= o.n; j += NV * L) {
        typename VT::R acc[NV][Q], sum[1][NV];
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v)
#pragma GCC unroll 4
            for (int q = 0; q < Q; ++q) acc[v][q] = VT::zero();
        const T* row = b + j;
        i64 p = 0;
        for (; p + Q <= k; p += Q) {
#pragma GCC unroll 4
            for (int q = 0; q < Q; ++q) {
                const typename VT::R xv = VT::set(x[p + q]);
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v) acc[v][q] = VT::fma(xv, VT::load(row + v * L), acc[v][q]);
                row += ldb;
            }
        }
#pragma GCC unroll 4
        for (int q = 0; q < Q - 1; ++q) {
            if (p + q >= k) break;
            const typename VT::R xv = VT::set(x[p + q]);
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) acc[v][q] = VT::fma(xv, VT::load(row + v * L), acc[v][q]);
            row += ldb;
        }
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) sum[0][v] = sum_chains<Q>(acc[v]);
        part.c = o.c + j;
        part.n = NV * L;
        if (o.bias && !shared) part.bias = o.bias + j;
        finish<VT, 1, NV, false>(sum, part);
    }
    if (j < o.n) rest(j, o.n - j);
}

// One register (o.n <= L columns) of x @ b, b[j*ldb + k] with unit stride along k.
template <class VT>
static __attribute__((noinline)) void gemv_cols(const typename VT::T* x, const typename VT::T* b, i64 k, i64 ldb,
                                                const TileOut<typename VT::T>& o) {
    using T = typename VT::T;
    using W = Quads<T>;  // registers of at most 32 bytes: wider ones take no more 16-byte loads per cycle
    constexpr int L = VT::L, Q = kQuad<VT>, P = W::L / Q, JV = 4;
    T chains[round_up(L, JV * P) * Q];  // [column][chain]
    for (int j0 = 0; j0 < o.n; j0 += JV * P) {
        const T* col[JV];
        i64 step[JV];  // to the second column of the register; columns that do not exist repeat the last
#pragma GCC unroll 4
        for (int v = 0; v < JV; ++v) {
            const i64 j = min_i(j0 + v * P, o.n - 1);
            col[v] = b + j * ldb;
            step[v] = j + 1 < o.n ? ldb : 0;
        }
        typename W::R acc[JV];
#pragma GCC unroll 4
        for (int v = 0; v < JV; ++v) acc[v] = W::zero();
        i64 p = 0;
        for (; p + Q <= k; p += Q) {
            const typename W::R xq = set_quad<W>(x + p);
#pragma GCC unroll 4
            for (int v = 0; v < JV; ++v) acc[v] = W::fma(xq, W::load_quads(col[v] + p, step[v]), acc[v]);
        }
#pragma GCC unroll 4
        for (int v = 0; v < JV; ++v) W::store(chains + (j0 + v * P) * Q, acc[v]);
        for (; p < k; ++p)
            for (int j = j0; j < j0 + JV * P && j < o.n; ++j)
                chains[j * Q + p % Q] = rb_fma(x[p], b[j * ldb + p], chains[j * Q + p % Q]);
    }
    for (int j = int(round_up(o.n, JV * P)); j < L; ++j)
        for (int q = 0; q < Q; ++q) chains[j * Q + q] = T(0);
    typename VT::R t[Q], sum[1][1];
    load_transposed(chains, i64(Q), t);
    sum[0][0] = sum_chains<Q>(t);
    finish<VT, 1, 1, false>(sum, o);
}

// A product with m = 1 in the role of x @ b.
template <typename T>
struct VectorProduct {
    i64 n, k;
    const T* x;  // [k], stride xs
    i64 xs;
    const T* b;  // [k,n]
    i64 brs, bcs;
};

template <typename T>
static VectorProduct<T> vector_product(const Gemm<T>& g) {
    if (g.m == 1) return {g.n, g.k, g.a, g.acs, g.b, g.brs, g.bcs};
    return {g.m, g.k, g.b, g.brs, g.a, g.acs, g.ars};
}

template <typename T>
static void gemm_vector(const Gemm<T>& g, const GemmPlan& plan, T* work, i64 threads) {
    using VT = V<T>;
    constexpr int L = VT::L;
    const VectorProduct<T> p = vector_product(g);
    const T* x = p.x;
    if (p.xs != 1) {
        for (i64 k = 0; k < p.k; ++k) work[k] = x[k * p.xs];
        x = work;
    }
    T bias[max_i(4 * L, kColumnsAtOnce<VT>)];  // n = 1: the one bias belongs to every element
    const bool shared = g.bias && g.m > 1;
    if (shared)
        for (T& v : bias) v = *g.bias;
    constexpr i64 chunk = kVectorChunk<T>, kInCache = 12 << 20;  // bytes
    const bool in_registers = p.bcs == 1 && p.brs > 0 && p.k * p.brs <= kInCache / i64(sizeof(T));
    const i64 chunks = ceil_div(p.n, chunk);
    parallel_or_serial(threads, chunks, double(chunk * p.k) * 0.05 + 50, [&](i64 t0, i64 t1) {
        T* panel = work + plan.a_elems + (threads > 1 ? worker_index() : 0) * plan.b_elems;
        const i64 end = min_i(t1 * chunk, p.n);
        for (i64 j = t0 * chunk; j < end;) {
            const T* b = p.b + j * p.bcs;
            const i64 nj = in_registers ? end - j : min_i(p.bcs == 1 ? chunk : L, end - j);
            const T* add = g.bias ? (shared ? bias : g.bias + j) : nullptr;
            const TileOut<T> o{g.c + j, p.n, g.alpha, g.beta, add, g.act, i32(nj), 0, 0};
            if (in_registers) {
                gemv_columns<VT>(x, b, p.k, p.brs, o, shared);
            } else if (p.bcs == 1) {
                gemv_rows<VT>(x, b, p.k, p.brs, o, shared);
            } else if (p.brs == 1) {
                gemv_cols<VT>(x, b, p.k, p.bcs, o);
            } else {
                pack(panel, i64(L), b, p.brs, p.bcs, p.k, nj);
                gemv_rows<VT>(x, panel, p.k, i64(L), o, shared);
            }
            j += nj;
        }
    });
}

// M rows of a (unit stride along k, rows lda apart) times the packed b, [ceil(k/Q)][NV*P][Q] with zeros behind k.
template <class VT, int M, int NV>
static __attribute__((noinline)) void narrow_tile(const typename VT::T* a, i64 lda, const typename VT::T* b, i64 k,
                                                  const TileOut<typename VT::T>& o) {
    using T = typename VT::T;
    using R = typename VT::R;
    constexpr int L = VT::L, Q = kQuad<VT>, P = L / Q, NC = int(ceil_div(NV * P, L));
    const i64 quads = k / Q, rest = k % Q;
    T tail[M][Q] = {};
    for (int i = 0; rest > 0 && i < M; ++i)
        for (i64 q = 0; q < rest; ++q) tail[i][q] = a[i * lda + quads * Q + q];
    R acc[M][NV];
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[i][v] = VT::zero();
    const auto step = [&](const T* x, i64 ldx, const T* bp) {
        R bv[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) bv[v] = VT::load(bp + v * L);
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
            const R av = set_quad<VT>(x + i * ldx);
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) acc[i][v] = VT::fma(av, bv[v], acc[i][v]);
        }
    };
    for (i64 p = 0; p < quads; ++p) step(a + p * Q, lda, b + p * NV * L);
    if (rest > 0) step(tail[0], i64(Q), b + quads * NV * L);
    R sum[M][NC];
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i) {
        T chains[NC * L * Q];  // [column][chain]
#pragma GCC unroll 8
        for (int v = 0; v < NC * Q; ++v) VT::store(chains + v * L, v < NV ? acc[i][v < NV ? v : 0] : VT::zero());
#pragma GCC unroll 4
        for (int c = 0; c < NC; ++c) {
            R t[Q];
            load_transposed(chains + c * L * Q, i64(Q), t);
            sum[i][c] = sum_chains<Q>(t);
        }
    }
    finish<VT, M, NC, false>(sum, o);
}

template <typename T>
using NarrowFn = void (*)(const T* a, i64 lda, const T* b, i64 k, const TileOut<T>& o);
template <typename T>
struct NarrowTable {
    NarrowFn<T> fn[kNarrowMR + 1][kNarrowNV + 1];
};
template <typename T, int M, int NV>
constexpr void fill_narrow(NarrowTable<T>& t) {
    t.fn[M][NV] = narrow_tile<V<T>, M, NV>;
    if constexpr (NV > 1)
        fill_narrow<T, M, NV - 1>(t);
    else if constexpr (M > 1)
        fill_narrow<T, M - 1, kNarrowNV>(t);
}
template <typename T>
constexpr NarrowTable<T> make_narrow() {
    NarrowTable<T> t{};
    fill_narrow<T, kNarrowMR, kNarrowNV>(t);
    return t;
}
template <typename T>
constexpr NarrowTable<T> kNarrowTiles = make_narrow<T>();

// The same for a with unit stride along its rows, row k lda apart: a register holds one k of `rows` <= L rows of c, and
// its chains belong to NJ columns, j0 and on, of the packed b (quads `ldb` apart). sums: [column][L].
template <class VT, int NJ>
static __attribute__((noinline)) void narrow_tile_rows(const typename VT::T* a, i64 lda, int rows,
                                                       const typename VT::T* b, i64 ldb, i64 k, typename VT::T* sums) {
    using R = typename VT::R;
    constexpr int Q = kQuad<VT>;
    const typename VT::M mask = VT::first(rows);
    R acc[NJ][Q];
#pragma GCC unroll 8
    for (int j = 0; j < NJ; ++j)
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) acc[j][q] = VT::zero();
    i64 p = 0;
    for (; p + Q <= k; p += Q, b += ldb) {
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
            const R av = VT::load_m(a + (p + q) * lda, mask);
#pragma GCC unroll 8
            for (int j = 0; j < NJ; ++j) acc[j][q] = VT::fma(av, VT::set(b[j * Q + q]), acc[j][q]);
        }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
        if (p + q >= k) break;
        const R av = VT::load_m(a + (p + q) * lda, mask);
#pragma GCC unroll 8
        for (int j = 0; j < NJ; ++j) acc[j][q] = VT::fma(av, VT::set(b[j * Q + q]), acc[j][q]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < NJ; ++j) VT::store(sums + j * VT::L, sum_chains<Q>(acc[j]));
}

constexpr int kNarrowColumns = kVecBytes == 64 ? 6 : 3;  // of a run of narrow_tile_rows

// Rows [i0, i0 + m) of c, m <= L.
template <typename T>
static void gemm_narrow_rows(const Gemm<T>& g, i64 i0, int m, const T* b, i64 ldb) {
    using VT = V<T>;
    constexpr int L = VT::L, NC = int(ceil_div(kNarrow, L));
    T sums[kNarrow][L];  // [column][row]
    const i64 runs = ceil_div(g.n, kNarrowColumns);
    for (i64 r = 0; r < runs; ++r) {
        const i64 j0 = cut(g.n, runs, r);
        const T *a = g.a + i0, *from = b + j0 * kQuad<VT>;
        switch (cut(g.n, runs, r + 1) - j0) {
            case 1:
                narrow_tile_rows<VT, 1>(a, g.acs, m, from, ldb, g.k, sums[j0]);
                break;
            case 2:
                narrow_tile_rows<VT, 2>(a, g.acs, m, from, ldb, g.k, sums[j0]);
                break;
            case 3:
                narrow_tile_rows<VT, 3>(a, g.acs, m, from, ldb, g.k, sums[j0]);
                break;
            case 4:
                narrow_tile_rows<VT, 4>(a, g.acs, m, from, ldb, g.k, sums[j0]);
                break;
            case 5:
                narrow_tile_rows<VT, 5>(a, g.acs, m, from, ldb, g.k, sums[j0]);
                break;
            default:
                narrow_tile_rows<VT, 6>(a, g.acs, m, from, ldb, g.k, sums[j0]);
        }
    }
    for (int i = 0; i < m; ++i) {
        T row[NC * L] = {};
        for (i64 j = 0; j < g.n; ++j) row[j] = sums[j][i];
        typename VT::R sum[1][NC];
#pragma GCC unroll 8
        for (int c = 0; c < NC; ++c) sum[0][c] = VT::load(row + c * L);
        const TileOut<T> o{g.c + (i0 + i) * g.ldc, g.ldc, g.alpha, g.beta, g.bias, g.act, i32(g.n), 0, 0};
        finish<VT, 1, NC, false>(sum, o);
    }
}

template <typename T>
static void gemm_narrow(const Gemm<T>& g, const GemmPlan& plan, T* work, i64 threads) {
    constexpr int L = V<T>::L, Q = kQuad<V<T>>, P = L / Q;
    const int nv = int(ceil_div(g.n, P));
    const i64 tasks = ceil_div(g.m, kNarrowTask);
    for (i64 p = 0; p < g.k; p += Q) {
        T* d = work + p * nv * P;
        const T* s = g.b + p * g.brs;
        const i64 nq = min_i(Q, g.k - p);
        if (g.brs == 1 && nq == Q) {
            for (i64 j = 0; j < g.n; ++j) __builtin_memcpy(d + j * Q, s + j * g.bcs, Q * sizeof(T));
        } else {
            for (i64 q = 0; q < Q; ++q)
                for (i64 j = 0; j < g.n; ++j) d[j * Q + q] = q < nq ? s[q * g.brs + j * g.bcs] : T(0);
        }
        for (i64 j = g.n * Q; j < nv * L; ++j) d[j] = T(0);
    }
    parallel_or_serial(threads, tasks, double(kNarrowTask * g.n * g.k) * 0.03 + 20, [&](i64 t0, i64 t1) {
        T* rows = work + plan.a_elems + (threads > 1 ? worker_index() : 0) * plan.b_elems;
        for (i64 t = t0; t < t1; ++t) {
            const i64 i0 = cut(g.m, tasks, t), m = cut(g.m, tasks, t + 1) - i0, tiles = ceil_div(m, kNarrowMR);
            const T* a = g.a + i0 * g.ars;
            i64 lda = g.ars;
            if (g.ars == 1 && g.acs != 1) {
                for (i64 i = 0; i < m; i += L) gemm_narrow_rows(g, i0 + i, int(min_i(L, m - i)), work, i64(nv * L));
                continue;
            }
            if (g.acs != 1) {
                pack(rows, g.k, a, g.ars, g.acs, m, g.k);
                a = rows;
                lda = g.k;
            }
            for (i64 u = 0; u < tiles; ++u) {
                const i64 i = cut(m, tiles, u);
                const TileOut<T> o{g.c + (i0 + i) * g.ldc, g.ldc, g.alpha, g.beta, g.bias, g.act, i32(g.n), 0, 0};
                kNarrowTiles<T>.fn[cut(m, tiles, u + 1) - i][nv](a + i * lda, lda, work, g.k, o);
            }
        }
    });
}
