// conv2d_scatter.inl: the input gradient of convolutions with few input channels (stems), NHWC.
//
// With C = 1 or 3 the engine of conv2d.inl leaves most lanes of a register empty. Here a tile's columns are all S*C
// elements of a kernel row, which are contiguous in w and, for neighbouring taps, in dx:
//     row [Q][S*C] = sum over the kernel rows r that meet input row h, and k, of dy [p,Q,k] * w [k,r,S*C]
//     dx [h, q*stride - pad + (0..S-1), C] += row [q]
// so a row of products is added to dx at Q overlapping places. No dy is padded, no zero multiplied. Bits: the kernel
// rows from the last to the first, then k; the places in an order that follows from S, C and the stride.

struct ScatterPlan {
    i64 run, panels, cols;  // S*C, its column panels and their width together
    i64 weights;            // elements: [r][panel][k][width]
    i64 row, line;          // a worker's row of products, and its row of dx with a margin on both sides
    i64 margin;             // elements
    i64 worker_bytes, bytes;
};

template <typename T>
static ScatterPlan plan_scatter(const Conv<T>& cv, const Ctx& ctx) {
    ScatterPlan p{};
    const i64 size = sizeof(T);
    p.run = cv.kernel_w * cv.k;
    p.panels = ceil_div(p.run, kNR<T>);
    p.cols = (p.panels - 1) * kNR<T> + panel_width<T>(p.run - (p.panels - 1) * kNR<T>);
    p.weights = round_up(cv.kernel_h * cv.c * p.cols, 64 / size);
    p.row = round_up(cv.w * p.cols, 64 / size);
    // from the first tap of the first output to the last tap of the last one, and all of dx's row
    p.margin = round_up(cv.pad_w * cv.k, 64 / size);
    const i64 reach = ((cv.w - 1) * cv.stride_w + cv.kernel_w - cv.pad_w) * cv.k;
    p.line = round_up(p.margin + max_i(reach, cv.out_w * cv.k) + V<T>::L, 64 / size);
    p.worker_bytes = round_up(cv.kernel_h * i64(sizeof(Step)), 64) + (p.row + p.line) * size;
    p.bytes = p.weights * size + max_i(1, ctx.threads) * p.worker_bytes;
    return p;
}

// line += row [Q][run] at places `step` apart, each `cols` wide in memory. Every n-th one in turn, so that a sum is not
// read back while it is on its way to the cache.
template <typename T>
static void scatter_row(T* line, i64 step, const T* row, i64 q, i64 cols, i64 run) {
    using VT = V<T>;
    const i64 whole = run / VT::L * VT::L, n = ceil_div(whole + VT::L, step);
    const typename VT::M m = VT::first(int(run - whole));
    for (i64 first = 0; first < n; ++first)
        for (i64 i = first; i < q; i += n) {
            T* to = line + i * step;
            const T* from = row + i * cols;
            for (i64 j = 0; j < whole; j += VT::L) VT::store(to + j, VT::load(to + j) + VT::load(from + j));
            // a whole register, too: lanes beyond the run add zero, and the line ends in a margin
            if (whole < run) VT::store(to + whole, VT::load(to + whole) + VT::load_m(from + whole, m));
        }
}

template <typename T>
static void scatter_line(const Conv<T>& cv, const ScatterPlan& p, i64 image, i64 h, const T* weights, char* scratch) {
    Step* steps = reinterpret_cast<Step*>(scratch);
    T* row = reinterpret_cast<T*>(scratch + round_up(cv.kernel_h * i64(sizeof(Step)), 64));
    T* line = row + p.row;
    memset(line, 0, size_t(p.line) * sizeof(T));
    const i64 kmr = kMR<T>, pieces = ceil_div(cv.w, kmr);
    const T* dy = cv.x + image * cv.h * cv.w * cv.c;
    for (i64 q = 0; q < p.panels; ++q) {
        const i64 n0 = q * kNR<T>, nn = min_i(kNR<T>, p.run - n0);
        const int width = panel_width<T>(nn);
        i64 count = 0;
        for (i64 r = cv.kernel_h - 1; r >= 0; --r) {
            const i64 at = h + cv.pad_h - r * cv.dil_h;
            if (at < 0 || at % cv.stride_h || at / cv.stride_h >= cv.h) continue;
            steps[count++] = Step{at / cv.stride_h * cv.w * cv.c, r * cv.c * p.cols, cv.c};
        }
        TileOut<T> out{nullptr, p.cols, T(1), T(0), nullptr, act_none, i32(width), 0, 0};
        for (i64 i = 0; i < pieces; ++i) {
            const i64 u0 = cut(cv.w, pieces, i), m = cut(cv.w, pieces, i + 1) - u0;
            out.c = row + u0 * p.cols + n0;
            tile_for<T>(m, width)(dy + u0 * cv.c, weights + n0 * cv.c, steps, count, cv.c, 1, width, out);
        }
    }
    scatter_row(line + p.margin - cv.pad_w * cv.k, cv.stride_w * cv.k, row, cv.w, p.cols, p.run);
    memcpy(cv.y + image * cv.y_image + h * cv.out_w * cv.k, line + p.margin, size_t(cv.out_w * cv.k) * sizeof(T));
}

template <typename T>
static i64 scatter_work(const void* args, const Ctx& ctx) {
    return plan_scatter(conv_backward<T>(*static_cast<const conv2d_dx_args*>(args)), ctx).bytes;
}
template <typename T>
static void scatter_run(const void* args, Ctx& ctx) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    const Conv<T> cv = conv_backward<T>(s);
    const ScatterPlan p = plan_scatter(cv, ctx);
    T* weights = static_cast<T*>(s.work.data);
    char* scratch = static_cast<char*>(s.work.data) + p.weights * i64(sizeof(T));
    for (i64 r = 0; r < cv.kernel_h; ++r)
        for (i64 q = 0; q < p.panels; ++q) {
            const i64 n0 = q * kNR<T>, nn = min_i(kNR<T>, p.run - n0);
            pack(weights + (r * p.cols + n0) * cv.c, panel_width<T>(nn), cv.weight + r * p.run + n0, cv.wk, 1, cv.c,
                 nn);
        }
    const double cost = double(cv.kernel_h * cv.w * cv.c) * double(p.cols) * 0.03 / double(cv.stride_h);
    parallel(cv.n * cv.out_h, cost, [&](i64 i0, i64 i1) {
        char* mine = scratch + worker_index() * p.worker_bytes;
        for (i64 i = i0; i < i1; ++i) scatter_line(cv, p, i / cv.out_h, i % cv.out_h, weights, mine);
    });
}

static bool scatter_accepts(const void* args) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    return s.groups == 1 && s.dil_w == 1 && s.w.shape[3] <= 8 && s.w.shape[2] > 1 && !is_empty(s.dx) &&
           !is_empty(s.dy) && !is_empty(s.w);
}
