// gemm_plan.inl: the description of a matrix product and the choice of its loops; see gemm.inl.

template <typename T>
constexpr i64 kKC = kVecBytes == 64 ? 640 : 512;  // longest block of the reduction

template <typename T>
struct Gemm {
    i64 m, n, k;
    const T* a;  // [m,k], element strides ars, acs
    i64 ars, acs;
    const T* b;  // [k,n], element strides brs, bcs
    i64 brs, bcs;
    T* c;  // [m,n], rows ldc apart
    i64 ldc;
    const T* bias;  // [n] or null
    T alpha, beta;
    i32 act;
};

// How the sum of an element is ordered: one chain per block of K (gemm.inl), or quad order (gemm_quad.inl).
enum GemmOrder { order_tiles, order_vector, order_narrow };

// Columns of the widest product that takes the narrow tiles, registers of their columns, and rows of the largest.
constexpr int kNarrowNV = kVecBytes == 64 ? 3 : 6;
constexpr int kNarrowMR = kVecBytes == 64 ? 8 : 2;
constexpr int kNarrow = kNarrowNV * kVecBytes / 16;
constexpr i64 kNarrowTask = 16;                      // rows of a task
constexpr i64 kNarrowK = kVecBytes == 64 ? 64 : 96;  // shortest K that repays adding up the chains

// By shape alone: it fixes the bits. (A half register holds seven or eight columns well enough.)
constexpr GemmOrder gemm_order(i64 m, i64 n, i64 k) {
    if (m == 1 || n == 1) return order_vector;
    return n <= kNarrow && n != 7 && n != 8 && m >= 4 && k >= kNarrowK ? order_narrow : order_tiles;
}

constexpr i64 kShortK = 8;  // longest K of products that only stream c

struct GemmPlan {
    GemmOrder order;
    bool wide, pack_a, pack_b;
    bool short_k;          // c is written along its rows
    i64 kblocks, kc;       // blocks of the reduction and the longest of them
    i64 rows, cols;        // row panels (of at most kMR), column panels (of at most kNR)
    i64 chunk_rows;        // wide: row panels packed at a time by a worker
    i64 chunk_cols;        // wide: column panels of b packed at a time
    i64 a_elems, b_elems;  // wide: per-worker chunk of a, shared b; else shared a, per-worker panels of b
                           // quad order: shared, and per worker
};

// Lone rows and columns have meaningless strides; give them the one that is fast.
template <typename T>
static void normalise(Gemm<T>& g) {
    if (g.m == 1) g.ars = g.k;
    if (g.k == 1) {
        g.acs = 1;
        g.brs = g.n;
    }
    if (g.n == 1) g.bcs = 1;
}

template <typename T>
static GemmPlan plan_gemm(const Gemm<T>& g, i64 l2_bytes, i64 l3_bytes) {
    GemmPlan p{};
    const i64 size = sizeof(T);
    p.order = gemm_order(g.m, g.n, g.k);
    if (p.order == order_vector) {
        const bool row = g.m == 1;
        const i64 rs = row ? g.brs : g.acs, cs = row ? g.bcs : g.ars;
        p.a_elems = (row ? g.acs : g.brs) == 1 ? 0 : round_up(g.k, 16);
        p.b_elems = rs == 1 || cs == 1 ? 0 : round_up(g.k * V<T>::L, 16);
        return p;
    }
    if (p.order == order_narrow) {
        p.a_elems = round_up(g.k, 16) * kNarrow;
        p.b_elems = g.acs == 1 ? 0 : round_up(g.k * kNarrowTask, 16);
        return p;
    }
    p.kblocks = max_i(1, ceil_div(g.k, kKC<T>));
    p.kc = ceil_div(max_i(1, g.k), p.kblocks);
    p.rows = ceil_div(g.m, kMR<T>);
    p.cols = ceil_div(g.n, kNR<T>);
    const i64 l2_rows = max_i(max_i(l2_bytes, 256 << 10) / 2 / (p.kc * size) / kMR<T>, 4);
    p.short_k = g.m > kFewRows && g.k <= kShortK && g.bcs == 1 && g.n >= 2 * kWideNV * V<T>::L;
    p.wide = p.rows > l2_rows && !p.short_k;
    const bool a_strided = g.ars != 1 && g.acs != 1;
    const bool a_aliases = g.acs == 1 && (g.ars * size) % 2048 == 0;
    p.pack_a = g.m > kFewRows && p.cols >= 2 && !p.short_k &&
               (a_strided || p.cols >= 8 || (a_aliases && p.rows > 1) || (g.ars == 1 && p.cols >= 4));
    p.pack_b = p.wide || g.bcs != 1 || (p.rows >= 4 && (g.brs * size) % 1024 == 0) || p.rows >= 8;
    if (p.wide) {
        p.pack_a = true;
        p.chunk_rows = ceil_div(p.rows, ceil_div(p.rows, l2_rows + l2_rows / 8));  // chunks of equal length
        const i64 l3_cols = max_i(l3_bytes, 2 << 20) / 4 / (p.kc * size) / kNR<T>;
        if (p.kc <=
            256) {  // short K: c is most of the traffic; walk along its rows, b's chunk in the second-level cache
            p.chunk_rows = 1;
            p.chunk_cols = min_i(max_i(8, max_i(l2_bytes, 256 << 10) / 2 / (p.kc * size) / kNR<T>), p.cols);
        } else
            p.chunk_cols = min_i(max_i(8, min_i(l3_cols, 4096 / kNR<T>)), p.cols);
        p.a_elems = p.chunk_rows * kMR<T> * p.kc;
        p.b_elems = p.chunk_cols * kNR<T> * p.kc;
    } else {
        p.a_elems = p.pack_a ? g.m * p.kc : 0;
        p.b_elems = kNR<T> * p.kc;
    }
    p.a_elems = round_up(p.a_elems, 64 / size);
    p.b_elems = round_up(p.b_elems, 64 / size);
    return p;
}

static i64 plan_elems(const GemmPlan& p, i64 threads) {
    return p.wide ? p.b_elems + p.a_elems * threads : p.a_elems + p.b_elems * threads;
}

template <typename F>
static void parallel_or_serial(i64 threads, i64 n, double cost, const F& body) {
    if (threads > 1)
        parallel(n, cost, body);
    else if (n > 0)
        body(i64{0}, n);
}
