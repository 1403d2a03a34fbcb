// tile.inl: the register tile under gemm and convolution, and the packing that feeds it.
//
// tile<V, MR, NV> computes an MR x (NV*L) block of C as a batch-reduce product: a list of Steps, each a pair (A,B) with
// its own length k, is accumulated in registers in list order, then the epilogue stores once:
//     c = act(alpha * sum + beta * c + bias)            (beta = 0 never reads c)
//   A element (i,k) of a step: a[step.a + i*rs + k*cs], any strides, one broadcast each
//   B element (k,j) of a step: b[step.b + k*ldb + j], NV*L of them readable (packed panels are padded with zeros)
// Every element of C is one chain of fma over the steps in order, starting from 0. Its bits therefore do not depend on
// MR, NV, packing, or on which tile of which thread it falls into.

template <typename T>
constexpr int kMR = kVecBytes == 64   ? 14
                    : kVecBytes == 32 ? 6
                                      : 4;  // rows of the largest tile
constexpr int kNV = 2;                      // registers of columns of the largest tile
template <typename T>
constexpr int kNR = kNV * V<T>::L;  // columns of the largest tile

constexpr i64 ceil_div(i64 a, i64 b) {
    return (a + b - 1) / b;
}
constexpr i64 round_up(i64 a, i64 b) {
    return ceil_div(a, b) * b;
}
constexpr i64 min_i(i64 a, i64 b) {
    return a < b ? a : b;
}
constexpr i64 max_i(i64 a, i64 b) {
    return a > b ? a : b;
}

// Piece i of n indices cut into `pieces` nearly equal runs: [cut(n,pieces,i), cut(n,pieces,i+1)).
constexpr i64 cut(i64 n, i64 pieces, i64 i) {
    return n / pieces * i + min_i(i, n % pieces);
}

constexpr i64 kFarRows = 16;  // rows of b that a Keep tile asks for ahead of its use

struct Step {
    i64 a, b, k;  // element offsets from the tile's a and b; length of the reduction
};

template <typename T>
struct TileOut {
    T* c;  // [m, n], rows ldc apart
    i64 ldc;
    T alpha, beta;
    const T* bias;      // [n] or null
    i32 act;            // Act
    i32 n;              // columns to store, 1 <= n <= NV*L
    i64 bvs, cvs;       // Split tiles only
    T* keep = nullptr;  // Keep tiles only: [k, NV*L], receives the b that was read
};

// f(y) of Act on m rows of n values in place; relu is done in registers by the tile.
template <typename T>
static void act_rows(T* c, i64 ldc, i64 m, i64 n, i32 act) {
    if (ldc == n) {  // rows without gaps: one run, so that short rows still fill the registers
        n *= m;
        m = 1;
    }
    if (act == act_tanh) {
        for (i64 i = 0; i < m; ++i) {
            T* row = c + i * ldc;
            for (i64 j = 0; j < n; ++j) row[j] = rb_tanh(row[j]);
        }
    } else if (act == act_sigmoid) {
        for (i64 i = 0; i < m; ++i) {
            T* row = c + i * ldc;
            for (i64 j = 0; j < n; ++j) row[j] = rb_sigmoid(row[j]);
        }
    } else if (act == act_relu) {
        for (i64 i = 0; i < m; ++i) {
            T* row = c + i * ldc;
            for (i64 j = 0; j < n; ++j) row[j] = rb_relu(row[j]);
        }
    }
}

// The epilogue: c = act(alpha * acc + beta * c + bias) for MR rows.
template <class VT, int MR, int NV, bool Split>
RB_INLINE void finish(typename VT::R (&acc)[MR][NV], const TileOut<typename VT::T>& o) {
    using T = typename VT::T;
    using R = typename VT::R;
    constexpr int L = VT::L;
    T* c = o.c;
    const i64 ldc = o.ldc;
    typename VT::M mask[NV];  // columns stored by each register
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
        const int w = Split ? o.n : o.n - v * L;
        mask[v] = VT::first(w < 0 ? 0 : w > L ? L : w);
    }
    const i64 cvs = Split ? o.cvs : i64(L);
    if (o.alpha != T(1) || o.beta != T(0) || o.bias) {
        const R al = VT::set(o.alpha), be = VT::set(o.beta);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            if (o.alpha != T(1)) {
#pragma GCC unroll 16
                for (int i = 0; i < MR; ++i) acc[i][v] = acc[i][v] * al;
            }
            if (o.beta != T(0)) {
#pragma GCC unroll 16
                for (int i = 0; i < MR; ++i)
                    acc[i][v] = Vec<T, L>::fma(be, VT::load_m(c + i * ldc + v * cvs, mask[v]), acc[i][v]);
            }
            if (o.bias) {
                const R bi = VT::load_m(o.bias + v * cvs, mask[v]);
#pragma GCC unroll 16
                for (int i = 0; i < MR; ++i) acc[i][v] = acc[i][v] + bi;
            }
        }
    }
    if (o.act == act_relu) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) acc[i][v] = vec_relu(acc[i][v]);
    }
    if (!Split && o.n == NV * L) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) VT::store(c + i * ldc + v * L, acc[i][v]);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) VT::store_m(c + i * ldc + v * cvs, acc[i][v], mask[v]);
    }
    if (!Split && o.act > act_relu) act_rows(c, ldc, MR, o.n, o.act);
}

// Split: the NV registers of a row are not neighbours but `o.bvs` apart in b and `o.cvs` in c, each o.n <= L columns
// wide (several narrow column runs in one pass).
// Keep: writes b to o.keep as a packed panel on the way, for the tiles that follow. The stores cost nothing between the
// multiply-adds, and the tile asks for its rows of b far ahead: they may come from memory, a page each.
template <class VT, int MR, int NV, bool Split, bool Keep = false>
static __attribute__((noinline)) void tile(const typename VT::T* a0, const typename VT::T* b0, const Step* steps,
                                           i64 count, i64 rs, i64 cs, i64 ldb, const TileOut<typename VT::T>& o) {
    using T = typename VT::T;
    using R = typename VT::R;
    constexpr int L = VT::L;
    constexpr int G = (MR + 2) / 3;               // groups of three rows share a base pointer: [p], [p+rs], [p+2*rs]
    if (!Split && count > 0 && steps->k >= 32) {  // the stores are far ahead: start fetching their lines
#pragma GCC unroll 16
        for (int i = 0; i < MR; ++i)
            for (int v = 0; v < NV * L * int(sizeof(T)); v += 64)
                __builtin_prefetch(reinterpret_cast<const char*>(o.c + i * o.ldc) + v, 1);
    }
    R acc[MR][NV];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[i][v] = VT::zero();

    T* keep = o.keep;
    const i64 bvs = Split ? o.bvs : i64(L);
    i64 rsb = rs * i64(sizeof(T));
    const i64 csb = cs * i64(sizeof(T));
    for (const Step* s = steps; s < steps + count; ++s) {
        const T* b = b0 + s->b;
        const char* p[G];
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) p[g] = reinterpret_cast<const char*>(a0 + s->a) + 3 * g * rsb;
        for (i64 k = s->k; k > 0; --k) {
            R bv[NV];
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) bv[v] = VT::load(b + v * bvs);
            if constexpr (Keep) {
                const char* far = reinterpret_cast<const char*>(b + kFarRows * ldb);
#pragma GCC unroll 4
                for (int at = 0; at < NV * int(sizeof(R)); at += 64) __builtin_prefetch(far + at, 0, 3);
                __builtin_prefetch(far + NV * sizeof(R) - 1, 0, 3);
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) VT::store(keep + v * L, bv[v]);
                keep += NV * L;
            }
            b += ldb;
            asm("" : "+r"(rsb));  // keeps the compiler from carrying one pointer per row
#pragma GCC unroll 16
            for (int i = 0; i < MR; ++i) {
                const R av = VT::set(*reinterpret_cast<const T*>(p[i / 3] + (i % 3) * rsb));
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[i][v] = VT::fma(av, bv[v], acc[i][v]);
            }
#pragma GCC unroll 8
            for (int g = 0; g < G; ++g) p[g] += csb;
        }
    }
    finish<VT, MR, NV, Split>(acc, o);
}

// The same for B with unit stride along k: element (k,j) at b[j*ldb + k], all NV*L columns readable. For few rows only,
// where packing b would cost more than the product.
template <class VT, int MR, int NV>
static __attribute__((noinline)) void tile_nt(const typename VT::T* a, const typename VT::T* b, i64 k, i64 rs, i64 cs,
                                              i64 ldb, const TileOut<typename VT::T>& o) {
    using R = typename VT::R;
    constexpr int L = VT::L, Q = kQuad<VT>;
    R acc[MR][NV];
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[i][v] = VT::zero();
    i64 p = 0;
    if constexpr (kHasLines<VT>) {
        for (; p + L <= k; p += L) {
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) {
                R t[L];
                const typename VT::T* rows = b + v * L * ldb + p;
                for (int r = 0; r < L; ++r) __builtin_prefetch(rows + r * ldb + 8 * L, 0, 2);
                load_transposed_lines(rows, ldb, t);
#pragma GCC unroll 16
                for (int q = 0; q < L; ++q)
#pragma GCC unroll 8
                    for (int i = 0; i < MR; ++i)
                        acc[i][v] = VT::fma(VT::set(a[i * rs + (p + q) * cs]), t[q], acc[i][v]);
            }
        }
    }
    for (; p + Q <= k; p += Q) {
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            R t[Q];
            load_transposed(b + v * L * ldb + p, ldb, t);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
                for (int i = 0; i < MR; ++i) acc[i][v] = VT::fma(VT::set(a[i * rs + (p + q) * cs]), t[q], acc[i][v]);
        }
    }
    for (; p < k; ++p) {
        typename VT::T column[NV * L];
        for (int j = 0; j < NV * L; ++j) column[j] = b[j * ldb + p];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v)
#pragma GCC unroll 8
            for (int i = 0; i < MR; ++i)
                acc[i][v] = VT::fma(VT::set(a[i * rs + p * cs]), VT::load(column + v * L), acc[i][v]);
    }
    finish<VT, MR, NV, false>(acc, o);
}

template <typename T>
using TileFn = void (*)(const T* a, const T* b, const Step* steps, i64 count, i64 rs, i64 cs, i64 ldb,
                        const TileOut<T>& o);

// Tiles by rows (1..kMR) for one register type and NV.
template <class VT, int NV, bool Split, bool Keep>
struct TileRow {
    TileFn<typename VT::T> fn[15];
};
template <class VT, int NV, bool Split, bool Keep, int M>
constexpr void fill_tiles(TileRow<VT, NV, Split, Keep>& t) {
    t.fn[M] = tile<VT, M, NV, Split, Keep>;
    if constexpr (M > 1) fill_tiles<VT, NV, Split, Keep, M - 1>(t);
}
template <class VT, int NV, bool Split, bool Keep>
constexpr TileRow<VT, NV, Split, Keep> make_tiles() {
    TileRow<VT, NV, Split, Keep> t{};
    fill_tiles<VT, NV, Split, Keep, kMR<typename VT::T>>(t);
    return t;
}
template <class VT, int NV, bool Split = false, bool Keep = false>
constexpr TileRow<VT, NV, Split, Keep> kTiles = make_tiles<VT, NV, Split, Keep>();

// The width of a column panel holding n <= kNR columns: one of the widths that a tile exists for.
template <typename T>
constexpr int panel_width(i64 n) {
    return n > V<T>::L ? kNR<T> : n > H<T>::L ? V<T>::L : H<T>::L;
}

template <typename T>
static TileFn<T> tile_for(i64 m, int width) {
    if (width == kNR<T>) return kTiles<V<T>, kNV>.fn[m];
    if (width == V<T>::L) return kTiles<V<T>, 1>.fn[m];
    return kTiles<H<T>, 1>.fn[m];
}

// Few rows, many columns: tiles of kFewRows rows at most.
constexpr int kFewRows = 3;
constexpr int kWideNV = kVecBytes == 64 ? 8 : 4;
template <class VT>
struct FewRows {
    TileFn<typename VT::T> wide[kFewRows + 1];
    void (*nt[kFewRows + 1])(const typename VT::T* a, const typename VT::T* b, i64 k, i64 rs, i64 cs, i64 ldb,
                             const TileOut<typename VT::T>& o);
};
template <class VT>
constexpr FewRows<VT> kFewTiles = {
    {nullptr, tile<VT, 1, kWideNV, false>, tile<VT, 2, kWideNV, false>, tile<VT, 3, kWideNV, false>},
    {nullptr, tile_nt<VT, 1, kNV>, tile_nt<VT, 2, kNV>, tile_nt<VT, 3, kNV>}};

// Two column runs of at most `width` (one register) each.
template <typename T>
static TileFn<T> split_tile_for(i64 m, int width) {
    return width == V<T>::L ? kTiles<V<T>, 2, true>.fn[m] : kTiles<H<T>, 2, true>.fn[m];
}

// dst[k*ld + j] = src[k + j*sj] for nk >= kQuad, nj >= L; the last blocks step back to end flush.
template <class VT, typename T>
static void pack_transposed(T* dst, i64 ld, const T* src, i64 sj, i64 nk, i64 nj) {
    constexpr int L = VT::L, Q = kQuad<VT>;
    const bool lines = kHasLines<VT> && (sj * i64(sizeof(T))) % 512 == 0;
    for (i64 j = 0;; j = min_i(j + L, nj - L)) {
        if constexpr (kHasLines<VT>) {
            if (lines && nk >= L) {
                for (i64 k = 0;; k = min_i(k + L, nk - L)) {
                    typename VT::R t[L];
                    load_transposed_lines(src + j * sj + k, sj, t);
#pragma GCC unroll 16
                    for (int q = 0; q < L; ++q) VT::store(dst + (k + q) * ld + j, t[q]);
                    if (k + L >= nk) break;
                }
                if (j + L >= nj) break;
                continue;
            }
        }
        for (i64 k = 0;; k = min_i(k + Q, nk - Q)) {
            typename VT::R t[Q];
            load_transposed(src + j * sj + k, sj, t);
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) VT::store(dst + (k + q) * ld + j, t[q]);
            if (k + Q >= nk) break;
        }
        if (j + L >= nj) break;
    }
}

// dst[k*ld + j] = src[k*sk + j*sj] for k < nk, j < nj; zeros for nj <= j < ld. Any strides; either of them being 1 is
// fast. dst rows must not overlap src.
template <typename T>
static void pack(T* dst, i64 ld, const T* src, i64 sk, i64 sj, i64 nk, i64 nj) {
    using VT = V<T>;
    constexpr int L = VT::L;
    if (sj == 1) {
        const int tail = int(nj % L);
        const i64 whole = nj - tail;
        const i64 zeros = ld - nj;
        for (i64 k = 0; k < nk; ++k) {
            T* d = dst + k * ld;
            const T* s = src + k * sk;
            for (i64 j = 0; j < whole; j += L) VT::store(d + j, VT::load(s + j));
            if (tail) VT::store_n(d + whole, VT::load_n(s + whole, tail), tail);
            for (i64 j = 0; j < zeros; ++j) d[nj + j] = T(0);
        }
        return;
    }
    if (sk == 1 && nk >= kQuad<VT> && nj >= L) {
        pack_transposed<VT>(dst, ld, src, sj, nk, nj);
    } else if (sk == 1 && nk >= kQuad<VT> && nj >= H<T>::L) {
        pack_transposed<H<T>>(dst, ld, src, sj, nk, nj);
    } else {
        for (i64 k = 0; k < nk; ++k)
            for (i64 j = 0; j < nj; ++j) dst[k * ld + j] = src[k * sk + j * sj];
    }
    if (ld > nj)
        for (i64 k = 0; k < nk; ++k)
            for (i64 j = nj; j < ld; ++j) dst[k * ld + j] = T(0);
}
