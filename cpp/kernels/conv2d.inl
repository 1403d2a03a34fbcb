// conv2d.inl: convolution and its input gradient, NHWC, without im2col; tile.inl does the arithmetic.
//
// Both are one engine. A Phase is a set of output pixels (t,u), t < rows, u < cols, that read the input at
//     row t*sy + row0 + i*drow (i < nr),  column u*sx + col0 + j*dcol (j < ns),  all channels of a group
// conv2d is one phase. conv2d_dx with stride (sh,sw) is sh*sw phases of stride 1, one per output residue, each using
// only the kernel taps that meet it: no zero is ever inserted.
// Tile rows are up to kMR neighbouring output pixels of a row, tile columns are output channels, the reduction runs
// over taps and input channels; where taps are one pixel apart a whole kernel row is one run of ns*channels.
// Rows that need padding (or one group's channels) are copied, zero-padded, into a window that stays in cache.
// Weights are repacked once per call to [group][panel][tap][channel][width]. The bits depend on the shape alone: every
// output is one chain over (row of taps, tap, channel).

constexpr double kRegister = 0.27;  // nanoseconds of one multiply-add of registers, for predictions

struct Phase {
    i64 rows, cols;            // output pixels of the phase
    i64 sy, sx;                // input step per output row, column
    i64 nr, row0, drow;        // tap rows: input offsets row0 + i*drow
    i64 ns, col0, dcol;        // tap columns
    i64 kr0, dkr, ks0, dks;    // kernel index of tap (i,j): (kr0 + i*dkr, ks0 + j*dks)
    i64 out, out_row, out_px;  // element offset of pixel (0,0) in an output image; strides of row and pixel
    i64 pack;                  // element offset of this phase's packed weights
};

template <typename T>
struct Conv {
    const T* x;  // input [N,H,W,G*C]
    i64 n, h, w, c;
    const T* weight;
    i64 wk, wn, wtap;  // strides of the packed matrix's reduction (channel), column and tap axes; w index of a group
    i64 wgroup;
    T* y;  // output images, `y_image` elements each, G*K channels
    i64 y_image;
    i64 groups, k;
    i64 kernel_w;  // S: tap index = r*S + s
    const T* bias;
    i32 act;
    i64 phases_h, phases_w;
    i64 stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, kernel_h, out_h, out_w;
    bool backward;
};

struct ConvPlan {
    i64 panels;      // column panels per group
    i64 panel_cols;  // width of all panels of a group together
    i64 block;       // output rows per task
    i64 window;      // elements of a worker's padded window
    i64 weight_elems, worker_bytes, bytes;
};

constexpr i64 gcd_i(i64 a, i64 b) {
    return b == 0 ? a : gcd_i(b, a % b);
}

// Taps of one axis that reach output residue f, in rising input order: input position = t + first + i*step.
struct AxisTaps {
    i64 count, first, step, kernel0, dkernel;
};
static AxisTaps axis_taps(i64 f, i64 kernel, i64 stride, i64 pad, i64 dil) {
    AxisTaps a{0, 0, 0, 0, 0};
    const i64 g = gcd_i(stride, dil), period = stride / g;
    for (i64 r = min_i(period, kernel) - 1; r >= 0; --r) {
        if ((f + pad - r * dil) % stride) continue;
        const i64 last = r + (kernel - 1 - r) / period * period;  // the largest kernel index of this residue
        a.count = (last - r) / period + 1;
        a.first = (f + pad - last * dil) / stride;
        a.step = dil / g;  // > 0
        a.kernel0 = last;
        a.dkernel = -period;
    }
    return a;
}

template <typename T>
static Phase phase_of(const Conv<T>& cv, i64 f, i64 columns) {
    Phase p{};
    if (!cv.backward) {
        p.rows = cv.out_h;
        p.cols = cv.out_w;
        p.sy = cv.stride_h;
        p.sx = cv.stride_w;
        p.nr = cv.kernel_h;
        p.row0 = -cv.pad_h;
        p.drow = cv.dil_h;
        p.ns = cv.kernel_w;
        p.col0 = -cv.pad_w;
        p.dcol = cv.dil_w;
        p.dkr = p.dks = 1;
        p.out_px = cv.groups * cv.k;
        p.out_row = p.out_px * cv.out_w;
        return p;
    }
    i64 pack = 0;
    for (i64 e = 0; e <= f; ++e) {
        const i64 fh = e / cv.phases_w, fw = e % cv.phases_w;
        const AxisTaps v = axis_taps(fh, cv.kernel_h, cv.stride_h, cv.pad_h, cv.dil_h);
        const AxisTaps u = axis_taps(fw, cv.kernel_w, cv.stride_w, cv.pad_w, cv.dil_w);
        p.nr = v.count;
        p.ns = u.count;
        p.pack = pack;
        pack += p.nr * p.ns * cv.c * columns * cv.groups;
        if (e < f) continue;
        p.rows = ceil_div(cv.out_h - fh, cv.stride_h);
        p.cols = ceil_div(cv.out_w - fw, cv.stride_w);
        p.sy = p.sx = 1;
        p.row0 = v.first;
        p.drow = v.step;
        p.kr0 = v.kernel0;
        p.dkr = v.dkernel;
        p.col0 = u.first;
        p.dcol = u.step;
        p.ks0 = u.kernel0;
        p.dks = u.dkernel;
        p.out_px = cv.groups * cv.k * cv.stride_w;
        p.out_row = cv.groups * cv.k * cv.out_w * cv.stride_h;
        p.out = (fh * cv.out_w + fw) * cv.groups * cv.k;
    }
    return p;
}

// Input extent of `rows` output rows (or columns) of a phase.
static i64 extent(i64 rows, i64 stride, i64 taps, i64 step) {
    return (rows - 1) * stride + (taps - 1) * step + 1;
}

// Does the phase read only real pixels of a one-group input?
template <typename T>
static bool reads_inside(const Conv<T>& cv, const Phase& p) {
    return p.row0 >= 0 && p.col0 >= 0 && p.row0 + extent(p.rows, p.sy, p.nr, p.drow) <= cv.h &&
           p.col0 + extent(p.cols, p.sx, p.ns, p.dcol) <= cv.w;
}

template <typename T>
static ConvPlan plan_conv(const Conv<T>& cv, const Ctx& ctx) {
    ConvPlan p{};
    const i64 threads = max_i(1, ctx.threads), size = sizeof(T);
    p.panels = ceil_div(cv.k, kNR<T>);
    p.panel_cols = (p.panels - 1) * kNR<T> + panel_width<T>(cv.k - (p.panels - 1) * kNR<T>);
    p.weight_elems = round_up(cv.kernel_h * cv.kernel_w * cv.c * p.panel_cols * cv.groups, 64 / size);
    const i64 rows = ceil_div(cv.out_h, cv.phases_h);
    const i64 budget = max_i(ctx.l2_bytes, 256 << 10) / 4 / size;
    p.block = rows;
    i64 steps = 0;
    for (i64 f = 0; f < cv.phases_h * cv.phases_w; ++f) {
        const Phase ph = phase_of(cv, f, p.panel_cols);
        if (ph.rows <= 0 || ph.cols <= 0) continue;
        const i64 line = max_i(1, extent(ph.cols, ph.sx, ph.ns, ph.dcol)) * cv.c;
        const i64 fit = (budget / line - (ph.nr - 1) * ph.drow - 1) / ph.sy + 1;
        p.block = min_i(p.block, max_i(fit, 4));
        steps = max_i(steps, ph.nr * ph.ns);
    }
    const i64 wanted = ceil_div(4 * threads, cv.n * cv.groups * cv.phases_h * cv.phases_w);
    if (threads > 1 && wanted > 1) p.block = min_i(p.block, max_i(1, rows / wanted));
    p.block = max_i(1, p.block);
    for (i64 f = 0; f < cv.phases_h * cv.phases_w; ++f) {
        const Phase ph = phase_of(cv, f, p.panel_cols);
        if (ph.rows <= 0 || ph.cols <= 0 || ph.nr * ph.ns == 0) continue;
        if (cv.groups == 1 && reads_inside(cv, ph)) continue;
        const i64 lines = extent(min_i(p.block, ph.rows), ph.sy, ph.nr, ph.drow);
        p.window = max_i(p.window, lines * extent(ph.cols, ph.sx, ph.ns, ph.dcol) * cv.c);
    }
    p.worker_bytes = round_up(steps * i64(sizeof(Step)), 64) + round_up(p.window * size, 64);
    p.bytes = p.weight_elems * size + threads * p.worker_bytes;
    return p;
}

// dst [nrow, ncol, c] = rows row.. and columns col.. of an image [h, w, pixel stride ct], zero outside of it.
template <typename T>
static void copy_window(T* dst, const T* img, i64 h, i64 w, i64 ct, i64 c, i64 row, i64 nrow, i64 col, i64 ncol) {
    const i64 left = min_i(max_i(-col, 0), ncol), end = max_i(left, min_i(w - col, ncol));
    for (i64 i = 0; i < nrow; ++i, dst += ncol * c) {
        if (row + i < 0 || row + i >= h) {
            memset(dst, 0, size_t(ncol * c) * sizeof(T));
            continue;
        }
        if (left) memset(dst, 0, size_t(left * c) * sizeof(T));
        if (end < ncol) memset(dst + end * c, 0, size_t((ncol - end) * c) * sizeof(T));
        if (end == left) continue;
        const T* src = img + ((row + i) * w + col + left) * ct;
        if (c == ct) {
            memcpy(dst + left * c, src, size_t((end - left) * c) * sizeof(T));
        } else {
            for (i64 j = left; j < end; ++j, src += ct)
                for (i64 q = 0; q < c; ++q) dst[j * c + q] = src[q];
        }
    }
}

template <typename T>
static void pack_weights(const Conv<T>& cv, const ConvPlan& plan, const Phase& p, i64 group, i64 panel, T* dst) {
    const i64 n0 = panel * kNR<T>, nn = min_i(kNR<T>, cv.k - n0);
    const int width = panel_width<T>(nn);
    dst += p.pack + group * p.nr * p.ns * cv.c * plan.panel_cols + n0 * p.nr * p.ns * cv.c;
    const T* w = cv.weight + group * cv.wgroup + n0 * cv.wn;
    if (!cv.backward) {  // taps and channels are one contiguous axis
        pack(dst, width, w, 1, cv.wn, p.nr * p.ns * cv.c, nn);
        return;
    }
    for (i64 i = 0; i < p.nr; ++i)
        for (i64 j = 0; j < p.ns; ++j, dst += cv.c * width) {
            const i64 tap = (p.kr0 + i * p.dkr) * cv.kernel_w + p.ks0 + j * p.dks;
            pack(dst, width, w + tap * cv.wtap, cv.wk, cv.wn, cv.c, nn);
        }
}

// Output rows [t0,t1) of one phase, image and group.
template <typename T>
static void conv_rows(const Conv<T>& cv, const ConvPlan& plan, const Phase& p, i64 image, i64 group, i64 t0, i64 t1,
                      const T* weights, char* scratch) {
    Step* steps = reinterpret_cast<Step*>(scratch);
    T* window = reinterpret_cast<T*>(scratch + plan.worker_bytes - round_up(plan.window * i64(sizeof(T)), 64));
    const i64 ct = cv.groups * cv.c;
    const T* a = cv.x + image * cv.h * cv.w * ct + group * cv.c;
    i64 line = cv.w * ct;  // elements from an input row to the next
    const i64 taps = p.nr * p.ns;
    if (taps > 0) {
        if (cv.groups == 1 && reads_inside(cv, p)) {
            a += ((t0 * p.sy + p.row0) * cv.w + p.col0) * ct;
        } else {
            const i64 ncol = extent(p.cols, p.sx, p.ns, p.dcol), nrow = extent(t1 - t0, p.sy, p.nr, p.drow);
            copy_window(window, a, cv.h, cv.w, ct, cv.c, t0 * p.sy + p.row0, nrow, p.col0, ncol);
            a = window;
            line = ncol * cv.c;
        }
    }
    const bool merged = p.dcol == 1 || p.ns == 1;
    const i64 run = merged ? p.ns : 1, count = taps > 0 ? taps / run : 0;
    const int kmr = kMR<T>;
    const i64 segments = ceil_div(p.cols, kmr);
    for (i64 panel = 0; panel < plan.panels; ++panel) {
        const i64 n0 = panel * kNR<T>, nn = min_i(kNR<T>, cv.k - n0);
        const int width = panel_width<T>(nn);
        const T* b = weights + p.pack + (group * plan.panel_cols + n0) * taps * cv.c;
        for (i64 s = 0; s < count; ++s) {
            const i64 i = merged ? s : s / p.ns, j = merged ? 0 : s % p.ns;
            steps[s] = Step{i * p.drow * line + j * p.dcol * cv.c, s * run * cv.c * width, run * cv.c};
        }
        TileOut<T> out{nullptr, p.out_px, T(1), T(0), cv.bias ? cv.bias + group * cv.k + n0 : nullptr,
                       cv.act,  i32(nn),  0,    0};
        T* y = cv.y + image * cv.y_image + p.out + group * cv.k + n0;
        for (i64 t = t0; t < t1; ++t) {
            // tap rows above or below the image add nothing
            const i64 top = t * p.sy + p.row0, per = taps > 0 ? count / p.nr : 0, drow = max_i(1, p.drow);
            const i64 first = min_i(p.nr, top >= 0 ? 0 : ceil_div(-top, drow));
            const i64 last = max_i(first, min_i(p.nr, cv.h > top ? ceil_div(cv.h - top, drow) : 0));
            for (i64 g = 0; g < segments; ++g) {
                const i64 u0 = cut(p.cols, segments, g), m = cut(p.cols, segments, g + 1) - u0;
                out.c = y + t * p.out_row + u0 * p.out_px;
                tile_for<T>(m, width)(a + (t - t0) * p.sy * line + u0 * p.sx * cv.c, b, steps + first * per,
                                      (last - first) * per, p.sx * cv.c, 1, width, out);
            }
        }
    }
}

template <typename T>
static void conv_engine(const Conv<T>& cv, char* work, const Ctx& ctx) {
    if (cv.n == 0 || cv.k == 0 || cv.out_h == 0 || cv.out_w == 0) return;
    const ConvPlan plan = plan_conv(cv, ctx);
    T* weights = reinterpret_cast<T*>(work);
    char* scratch = work + plan.weight_elems * i64(sizeof(T));
    const i64 phases = cv.phases_h * cv.phases_w;
    const double taps = double(cv.kernel_h * cv.kernel_w * cv.c);
    parallel(phases * cv.groups * plan.panels, taps / double(phases) * kNR<T> * 0.3, [&](i64 i0, i64 i1) {
        for (i64 i = i0; i < i1; ++i) {
            const Phase p = phase_of(cv, i / (cv.groups * plan.panels), plan.panel_cols);
            pack_weights(cv, plan, p, i / plan.panels % cv.groups, i % plan.panels, weights);
        }
    });
    const i64 blocks = ceil_div(ceil_div(cv.out_h, cv.phases_h), plan.block);
    const double cost = taps / double(phases) * double(plan.block * cv.out_w * cv.k) * 0.03;
    parallel(cv.n * blocks * phases * cv.groups, cost, [&](i64 i0, i64 i1) {
        char* mine = scratch + worker_index() * plan.worker_bytes;
        for (i64 i = i0; i < i1; ++i) {
            const i64 group = i % cv.groups, f = i / cv.groups % phases, blk = i / (cv.groups * phases) % blocks;
            const Phase p = phase_of(cv, f, plan.panel_cols);
            const i64 t0 = blk * plan.block, t1 = min_i(t0 + plan.block, p.rows);
            if (t0 >= t1 || p.cols <= 0) continue;
            conv_rows(cv, plan, p, i / (cv.groups * phases * blocks), group, t0, t1, weights, mine);
        }
    });
}

template <typename T>
static Conv<T> conv_forward(const conv2d_args& s) {
    Conv<T> cv{};
    cv.groups = s.groups;
    cv.x = static_cast<const T*>(s.x.data);
    cv.n = s.x.shape[0];
    cv.h = s.x.shape[1];
    cv.w = s.x.shape[2];
    cv.c = s.x.shape[3] / s.groups;
    cv.k = s.w.shape[0] / s.groups;
    cv.kernel_h = s.w.shape[1];
    cv.kernel_w = s.w.shape[2];
    cv.weight = static_cast<const T*>(s.w.data);
    cv.wk = 1;
    cv.wtap = cv.c;
    cv.wn = cv.kernel_h * cv.kernel_w * cv.c;
    cv.wgroup = cv.k * cv.wn;
    cv.y = static_cast<T*>(s.y.data);
    cv.out_h = s.y.shape[1];
    cv.out_w = s.y.shape[2];
    cv.y_image = cv.out_h * cv.out_w * s.y.shape[3];
    cv.bias = s.bias.ndim >= 0 ? static_cast<const T*>(s.bias.data) : nullptr;
    cv.act = i32(s.act);
    cv.phases_h = cv.phases_w = 1;
    cv.stride_h = s.stride_h;
    cv.stride_w = s.stride_w;
    cv.pad_h = s.pad_h;
    cv.pad_w = s.pad_w;
    cv.dil_h = s.dil_h;
    cv.dil_w = s.dil_w;
    return cv;
}

template <typename T>
static Conv<T> conv_backward(const conv2d_dx_args& s) {
    Conv<T> cv{};
    cv.backward = true;
    cv.groups = s.groups;
    cv.x = static_cast<const T*>(s.dy.data);
    cv.n = s.dy.shape[0];
    cv.h = s.dy.shape[1];
    cv.w = s.dy.shape[2];
    cv.c = s.w.shape[0] / s.groups;
    cv.k = s.w.shape[3];
    cv.kernel_h = s.w.shape[1];
    cv.kernel_w = s.w.shape[2];
    cv.weight = static_cast<const T*>(s.w.data);
    cv.wn = 1;
    cv.wtap = cv.k;
    cv.wk = cv.kernel_h * cv.kernel_w * cv.k;
    cv.wgroup = cv.c * cv.wk;
    cv.y = static_cast<T*>(s.dx.data);
    cv.out_h = s.dx.shape[1];
    cv.out_w = s.dx.shape[2];
    cv.y_image = cv.out_h * cv.out_w * s.dx.shape[3];
    cv.act = act_none;
    cv.stride_h = s.stride_h;
    cv.stride_w = s.stride_w;
    cv.phases_h = min_i(s.stride_h, cv.out_h);
    cv.phases_w = min_i(s.stride_w, cv.out_w);
    cv.pad_h = s.pad_h;
    cv.pad_w = s.pad_w;
    cv.dil_h = s.dil_h;
    cv.dil_w = s.dil_w;
    return cv;
}

template <typename T>
static i64 conv2d_work(const void* args, const Ctx& ctx) {
    const Conv<T> cv = conv_forward<T>(*static_cast<const conv2d_args*>(args));
    return cv.n && cv.k && cv.out_h && cv.out_w ? plan_conv(cv, ctx).bytes : 0;
}
template <typename T>
static void conv2d_run(const void* args, Ctx& ctx) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    conv_engine(conv_forward<T>(s), static_cast<char*>(s.work.data), ctx);
}
template <typename T>
static i64 conv2d_dx_work(const void* args, const Ctx& ctx) {
    const Conv<T> cv = conv_backward<T>(*static_cast<const conv2d_dx_args*>(args));
    return cv.n && cv.k && cv.out_h && cv.out_w ? plan_conv(cv, ctx).bytes : 0;
}
template <typename T>
static void conv2d_dx_run(const void* args, Ctx& ctx) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    conv_engine(conv_backward<T>(s), static_cast<char*>(s.work.data), ctx);
}
