// pool.inl: pooling on x [N,D,H,W,C] -> y [N,O,P,Q,C], vectorised over channels. Promise: ref_pool.cpp's definitions
// (padding never wins, first on ties, first NaN wins, average over the clipped window); each output element depends on
// its own window only. Where C is not a multiple of the vector the last vector of a pixel is moved back to end at C;
// where C is below one vector, vectors run over into the next pixel, which is written right after, and the last pixels
// of a row are done one channel at a time.
//
// Gradients gather: a row of dx asks the windows that cover it. So nothing is scattered, rows are independent, and
// every access is a vector.

// Windows along one axis.
struct PoolAxis {
    i64 in, out, kernel, stride, pad, dil;
    bool adaptive;  // window p is [floor(p*in/out), ceil((p+1)*in/out)) instead
};

struct PoolGeometry {
    i64 N, C;
    PoolAxis d, h, w;
};

struct Window {
    i64 begin, end;  // inside the image; taps begin, begin + dil, .. < end
    i64 padded;      // length clipped to the padded image
};
static inline Window pool_window(const PoolAxis& a, i64 p) {
    if (a.adaptive) {
        const i64 begin = p * a.in / a.out, end = ((p + 1) * a.in + a.out - 1) / a.out;
        return {begin, end, end - begin};
    }
    const i64 start = p * a.stride - a.pad, stop = start + (a.kernel - 1) * a.dil + 1;
    const i64 clipped = stop < a.in + a.pad ? stop : a.in + a.pad;
    const i64 begin = start >= 0 ? start : start + (a.dil - 1 - start) / a.dil * a.dil;
    return {begin, stop < a.in ? stop : a.in, clipped - start};
}

// Windows first .. last may cover input position h; none where first > last.
struct Cover {
    i64 first, last;
};
static inline Cover pool_cover(const PoolAxis& a, i64 h) {
    if (a.adaptive) {
        const i64 last = ((h + 1) * a.out - 1) / a.in;
        return {h * a.out / a.in, last < a.out ? last : a.out - 1};
    }
    const i64 down = h + a.pad, span = (a.kernel - 1) * a.dil + 1, last = down / a.stride;
    return {down < span ? 0 : (down - span) / a.stride + 1, last < a.out ? last : a.out - 1};
}

// Covers of positions 0, 1, 2, .. in turn; no division for the usual windows.
struct CoverWalk {
    Cover c;
    i64 h, enter, leave;  // windows end behind `leave`, the next one begins at `enter`
};
static inline CoverWalk cover_walk(const PoolAxis& a) {
    const Cover c = pool_cover(a, 0);
    return {c, 0, (c.last + 1) * a.stride - a.pad, c.first * a.stride - a.pad + (a.kernel - 1) * a.dil};
}
static inline void step(CoverWalk& k, const PoolAxis& a) {
    ++k.h;
    if (a.adaptive) {
        if (a.out > 1 && k.h < a.in) k.c = pool_cover(a, k.h);
        return;
    }
    while (k.leave < k.h) {
        ++k.c.first;
        k.leave += a.stride;
    }
    while (k.enter <= k.h && k.c.last + 1 < a.out) {
        ++k.c.last;
        k.enter += a.stride;
    }
}
static inline i64 count_taps(i64 length, i64 dil) {
    return dil == 1 ? length : ceil_div(length, dil);
}

static PoolAxis pool_axis(const View& x, const View& y, int axis, i64 kernel, i64 stride, i64 pad, i64 dil,
                          i64 adaptive) {
    if (adaptive) return {x.shape[axis], y.shape[axis], 1, 1, 0, 1, true};  // the numbers may be anything
    return {x.shape[axis], y.shape[axis], kernel, stride, pad, dil, false};
}
template <typename A>
static PoolGeometry max_geometry(const A& a, const View& x, const View& y) {
    return {x.shape[0], x.shape[4], pool_axis(x, y, 1, a.kernel_d, a.stride_d, a.pad_d, a.dil_d, a.adaptive),
            pool_axis(x, y, 2, a.kernel_h, a.stride_h, a.pad_h, a.dil_h, a.adaptive),
            pool_axis(x, y, 3, a.kernel_w, a.stride_w, a.pad_w, a.dil_w, a.adaptive)};
}
template <typename A>
static PoolGeometry avg_geometry(const A& a, const View& x, const View& y) {
    return {x.shape[0], x.shape[4], pool_axis(x, y, 1, a.kernel_d, a.stride_d, a.pad_d, 1, a.adaptive),
            pool_axis(x, y, 2, a.kernel_h, a.stride_h, a.pad_h, 1, a.adaptive),
            pool_axis(x, y, 3, a.kernel_w, a.stride_w, a.pad_w, 1, a.adaptive)};
}
// Elements of a window, as large as it gets; only for estimates.
static double pool_taps(const PoolGeometry& g) {
    double taps = 1.0;
    const PoolAxis* const axes[] = {&g.d, &g.h, &g.w};
    for (const PoolAxis* a : axes) {
        taps *= double(a->adaptive ? a->in / a->out + 1 : a->kernel < a->in ? a->kernel : a->in);
    }
    return taps;
}

template <typename T>
static inline void add_run(T* __restrict y, const T* __restrict x, i64 n) {
    for (i64 i = 0; i < n; ++i) y[i] += x[i];
}
// y [n] += `count` runs of x, `stride` apart, one after the other; eight at a time pass through y once.
template <typename T>
static inline void add_runs(T* __restrict y, const T* __restrict x, i64 stride, i64 count, i64 n) {
    for (; count >= 8; count -= 8, x += 8 * stride) {
        const T* __restrict a = x, * __restrict b = x + stride, * __restrict c = x + 2 * stride;
        const T* __restrict d = x + 3 * stride, * __restrict e = x + 4 * stride, * __restrict f = x + 5 * stride;
        const T* __restrict g = x + 6 * stride, * __restrict h = x + 7 * stride;
        for (i64 i = 0; i < n; ++i) y[i] = (((((((y[i] + a[i]) + b[i]) + c[i]) + d[i]) + e[i]) + f[i]) + g[i]) + h[i];
    }
    for (; count > 0; --count, x += stride) add_run(y, x, n);
}

template <int N>
struct Count {
    static constexpr int value = N;
};

// Runs vectors(Count<n>, c) for channels c .. c + n*L - 1, `Group` vectors at a time, and single vectors for the rest;
// `room` elements, counted from the pixel's first, may be read and written (>= C); scalar(c) serves single channels.
template <typename T, int Bytes, int Group, typename Vectors, typename Scalar>
static inline void for_channels(i64 C, i64 room, const Vectors& vectors, const Scalar& scalar) {
    constexpr i64 L = Bytes / int(sizeof(T));
    if (C >= L) {
        i64 c = 0;
        for (; Group > 1 && c + Group * L <= C; c += Group * L) vectors(Count<Group>{}, c);
        if (Group > 2 && c + Group / 2 * L <= C) {
            vectors(Count<(Group > 2 ? Group / 2 : 1)>{}, c);
            c += Group / 2 * L;
        }
        for (; c + L <= C; c += L) vectors(Count<1>{}, c);
        if (c < C) vectors(Count<1>{}, C - L);
    } else if (room >= L) {
        vectors(Count<1>{}, 0);
    } else {
        for (i64 c = 0; c < C; ++c) scalar(c);
    }
}

// Calls `call` with the narrowest vector that holds C channels, at most the level's.
#define RB_POOL_BY_WIDTH(T, C, call)                           \
    if (kVecBytes >= 64 && (C) * i64(sizeof(T)) > 32) {        \
        constexpr int kBytes = kVecBytes;                      \
        call;                                                  \
    } else if (kVecBytes >= 32 && (C) * i64(sizeof(T)) > 16) { \
        constexpr int kBytes = kVecBytes >= 32 ? 32 : 16;      \
        call;                                                  \
    } else {                                                   \
        constexpr int kBytes = 16;                             \
        call;                                                  \
    }

// --- maximum and minimum
// The winner of nd x nh x nw taps from x on, strides in pixels of C elements; `where` counts pixels from x. Inlined
// with constant counts for the usual windows, which unrolls it.
template <typename V, typename M, bool Min, typename T>
static inline __attribute__((always_inline)) void best_of(const T* x, i64 C, i64 nd, i64 nh, i64 nw, i64 sd, i64 sh,
                                                          i64 sw, V& best, M& where) {
    best = vec_load<V>(x);
    where = M{};
    for (i64 d = 0; d < nd; ++d) {
        for (i64 h = 0; h < nh; ++h) {
            for (i64 w = d + h == 0; w < nw; ++w) {
                const i64 at = d * sd + h * sh + w * sw;
                take_better<Min>(vec_load<V>(x + at * C), M{} + decltype(where[0] + 0)(at), best, where);
            }
        }
    }
}

template <typename T, int Bytes, bool Min>
static void max_pool_row(const PoolGeometry& g, const T* image, i64 image_room, i64 row, T* y, i32* idx) {
    using V = VecT<T, Bytes>;
    using M = decltype(V() > V());  // mask, as wide as T
    constexpr i64 L = Bytes / int(sizeof(T));
    using Index = VecT<i32, int(L) * 4>;
    const i64 C = g.C, W = g.w.in, plane = g.h.in * W;
    const Window ds = pool_window(g.d, row / g.h.out), hs = pool_window(g.h, row % g.h.out);
    const i64 nd = count_taps(ds.end - ds.begin, g.d.dil), nh = count_taps(hs.end - hs.begin, g.h.dil);
    const i64 sd = g.d.dil * plane, sh = g.h.dil * W, sw = g.w.dil;
    for (i64 q = 0; q < g.w.out; ++q) {
        const Window ws = pool_window(g.w, q);
        const i64 nw = count_taps(ws.end - ws.begin, sw);
        const i64 first = ds.begin * plane + hs.begin * W + ws.begin, out = q * C;
        const i64 furthest = ((ds.end - 1) * plane + (hs.end - 1) * W + ws.end - 1) * C;  // where the last read begins
        i64 room = (g.w.out - q) * C;
        if (image_room - furthest < room) room = image_room - furthest;
        const T* x = image + first * C;
        auto store = [&](i64 c, V best, M where) {
            vec_store(y + out + c, best);
            vec_store(idx + out + c, __builtin_convertvector(where + decltype(where[0] + 0)(first), Index));
        };
        const int kind = nd != 1 || nh != nw ? 0 : int(nw);
        for_channels<T, Bytes, 1>(
            C, room,
            [&](auto, i64 c) {
                V best;
                M where;
                if (kind == 2)
                    best_of<V, M, Min>(x + c, C, 1, 2, 2, sd, sh, sw, best, where);
                else if (kind == 3)
                    best_of<V, M, Min>(x + c, C, 1, 3, 3, sd, sh, sw, best, where);
                else
                    best_of<V, M, Min>(x + c, C, nd, nh, nw, sd, sh, sw, best, where);
                store(c, best, where);
            },
            [&](i64 c) {
                i64 where = 0;
                T best = x[c];
                for (i64 t = 0; t < nd * nh * nw; ++t) {
                    const i64 at = t / (nh * nw) * sd + t / nw % nh * sh + t % nw * sw;
                    const T v = x[at * C + c];
                    const bool take = best == best && !(Min ? v >= best : v <= best);
                    best = take ? v : best;
                    where = take ? at : where;
                }
                y[out + c] = best;
                idx[out + c] = i32(first + where);
            });
    }
}

template <typename T>
static void max_pool_run(const void* args, Ctx&) {
    const max_pool_args& a = *static_cast<const max_pool_args*>(args);
    const PoolGeometry g = max_geometry(a, a.x, a.y);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    i32* idx = static_cast<i32*>(a.idx.data);
    const i64 rows = g.d.out * g.h.out, image = g.d.in * g.h.in * g.w.in * g.C;
    const double cost = double(g.w.out) * (2.0 + pool_taps(g) * (1.0 + 0.15 * double(g.C)));
    parallel(g.N * rows, cost, [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / rows, room = (g.N - n) * image, to = u * g.w.out * g.C;
            const T* from = x + n * image;
            if (a.minimum) {
                RB_POOL_BY_WIDTH(T, g.C, (max_pool_row<T, kBytes, true>(g, from, room, u % rows, y + to, idx + to)));
            } else {
                RB_POOL_BY_WIDTH(T, g.C, (max_pool_row<T, kBytes, false>(g, from, room, u % rows, y + to, idx + to)));
            }
        }
    });
}

// Does no pixel lie in more than one window?
static inline bool disjoint(const PoolAxis& a) {
    return !a.adaptive && a.dil == 1 && a.kernel <= a.stride;
}
// A row of dx [W,C] under disjoint windows: after start(window), value(q, w, c) for a vector of channels, one(q, w, c)
// for a single one; zeros between the windows. `room`: elements from the row's first element of dy that may be read.
template <typename T, int Bytes, typename Start, typename Value, typename One>
static inline void spread_row(const PoolGeometry& g, i64 room, T* dx, const Start& start, const Value& value,
                              const One& one) {
    const i64 C = g.C, W = g.w.in;
    i64 w = 0;
    auto clear = [&](i64 end) {
        if (w < end) memset(dx + w * C, 0, size_t((end - w) * C) * sizeof(T));
        w = w < end ? end : w;
    };
    for (i64 q = 0; q < g.w.out; ++q) {
        const Window ws = pool_window(g.w, q);
        clear(ws.begin);
        start(ws);
        for (; w < ws.end; ++w) {
            T* const out = dx + w * C;
            const i64 both = (W - w) * C < room - q * C ? (W - w) * C : room - q * C;
            for_channels<T, Bytes, 1>(
                C, both, [&](auto, i64 c) { vec_store(out + c, value(q, w, c)); },
                [&](i64 c) { out[c] = one(q, w, c); });
        }
    }
    clear(W);
}

// Row (d,h) of dx: dx[d,h,w] = sum over the windows that chose (d,h,w), in rising order. dy and idx hold one image.
template <typename T, int Bytes>
static void max_pool_dx_row(const PoolGeometry& g, const T* dy, const i32* idx, i64 dy_room, i64 row, T* dx) {
    using V = VecT<T, Bytes>;
    using M = decltype(V() > V());
    constexpr i64 L = Bytes / int(sizeof(T));
    using Index = VecT<i32, int(L) * 4>;
    const i64 C = g.C, Q = g.w.out, W = g.w.in, P = g.h.out;
    const Cover od = pool_cover(g.d, row / g.h.in), ph = pool_cover(g.h, row % g.h.in);
    if (od.first > od.last || ph.first > ph.last) {
        memset(dx, 0, size_t(W * C) * sizeof(T));
        return;
    }
    const bool one = od.first == od.last && ph.first == ph.last;
    if (one && disjoint(g.w)) {
        const i64 above = (od.first * P + ph.first) * Q * C;
        const T* const from = dy + above;
        const i32* const chosen = idx + above;
        return spread_row<T, Bytes>(
            g, dy_room - above, dx, [](const Window&) {},
            [&](i64 q, i64 w, i64 c) {
                const V v = T(0) + vec_load<V>(from + q * C + c);
                const M found = __builtin_convertvector(vec_load<Index>(chosen + q * C + c), M);
                return found == M{} + decltype(M()[0] + 0)(row * W + w) ? v : V{};
            },
            [&](i64 q, i64 w, i64 c) { return chosen[q * C + c] == row * W + w ? T(0) + from[q * C + c] : T(0); });
    }
    CoverWalk walk = cover_walk(g.w);
    for (i64 w = 0; w < W; ++w, step(walk, g.w)) {
        const Cover qw = walk.c;
        const i64 at = row * W + w, out = w * C;
        if (qw.first > qw.last) {
            for (i64 c = 0; c < C; ++c) dx[out + c] = T(0);
            continue;
        }
        const i64 furthest = ((od.last * P + ph.last) * Q + qw.last) * C;
        i64 room = (W - w) * C;
        if (dy_room - furthest < room) room = dy_room - furthest;
        auto chosen = [&](i64 from) {
            const V v = vec_load<V>(dy + from);
            const M hit = __builtin_convertvector(vec_load<Index>(idx + from), M) == M{} + decltype(M()[0] + 0)(at);
            return hit ? v : V{};
        };
        for_channels<T, Bytes, 1>(
            C, room,
            [&](auto, i64 c) {
                V s = V{};
                if (one && qw.first == qw.last) {
                    s += chosen(furthest + c);
                } else {
                    for (i64 o = od.first; o <= od.last; ++o)
                        for (i64 p = ph.first; p <= ph.last; ++p)
                            for (i64 q = qw.first; q <= qw.last; ++q) s += chosen(((o * P + p) * Q + q) * C + c);
                }
                vec_store(dx + out + c, s);
            },
            [&](i64 c) {
                T s = T(0);
                for (i64 o = od.first; o <= od.last; ++o)
                    for (i64 p = ph.first; p <= ph.last; ++p)
                        for (i64 q = qw.first; q <= qw.last; ++q) {
                            const i64 from = ((o * P + p) * Q + q) * C + c;
                            s += idx[from] == at ? dy[from] : T(0);
                        }
                dx[out + c] = s;
            });
    }
}

// y [pixels,C] = zeros with the n values x [n,C] added at their pixels; a pixel outside is nobody's. `Channels`: C, if
// that is known, which unrolls the loop.
template <int Channels, typename T>
static void scatter_image(const T* __restrict x, const i32* __restrict idx, i64 n, i64 channels, T* __restrict y,
                          i64 pixels) {
    const i64 C = Channels ? Channels : channels;
    memset(y, 0, size_t(pixels * C) * sizeof(T));
    for (i64 p = 0; p < n; ++p) {
        for (i64 c = 0; c < C; ++c) {
            const i64 at = idx[p * C + c];
            if (u64(at) < u64(pixels)) y[at * C + c] += x[p * C + c];
        }
    }
}
template <typename T>
static void scatter_image(const T* x, const i32* idx, i64 n, i64 C, T* y, i64 pixels) {
    switch (C) {
        case 1:
            return scatter_image<1>(x, idx, n, C, y, pixels);
        case 3:
            return scatter_image<3>(x, idx, n, C, y, pixels);
        case 4:
            return scatter_image<4>(x, idx, n, C, y, pixels);
        case 6:
            return scatter_image<6>(x, idx, n, C, y, pixels);
        case 8:
            return scatter_image<8>(x, idx, n, C, y, pixels);
        default:
            return scatter_image<0>(x, idx, n, C, y, pixels);
    }
}

template <typename T>
static void max_pool_dx_run(const void* args, Ctx&) {
    const max_pool_dx_args& a = *static_cast<const max_pool_dx_args*>(args);
    const PoolGeometry g = max_geometry(a, a.dx, a.dy);
    if (g.C * i64(sizeof(T)) <= 32) {  // too few channels for a vector to pay: scatter, which adds in the same order
        const i64 from = g.d.out * g.h.out * g.w.out, to = g.d.in * g.h.in * g.w.in, C = g.C;
        parallel(g.N, double(from * C) + 0.1 * double(to * C), [&](i64 begin, i64 end) {
            for (i64 n = begin; n < end; ++n)
                scatter_image(static_cast<const T*>(a.dy.data) + n * from * C,
                              static_cast<const i32*>(a.idx.data) + n * from * C, from, C,
                              static_cast<T*>(a.dx.data) + n * to * C, to);
        });
        return;
    }
    const i64 rows = g.d.in * g.h.in, image = g.d.out * g.h.out * g.w.out * g.C;
    const T* dy = static_cast<const T*>(a.dy.data);
    const i32* idx = static_cast<const i32*>(a.idx.data);
    T* dx = static_cast<T*>(a.dx.data);
    parallel(g.N * rows, double(g.w.in) * (4.0 + 0.3 * double(g.C)), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / rows, from = n * image, room = (g.N - n) * image;
            RB_POOL_BY_WIDTH(
                T, g.C, (max_pool_dx_row<T, kBytes>(g, dy + from, idx + from, room, u % rows, dx + u * g.w.in * g.C)));
        }
    });
}

// y[n, idx, c] += x: images are independent; within one image in the order of x. check_args has refused pixels outside.
template <typename T>
static void max_unpool_run(const void* args, Ctx&) {
    const max_unpool_args& a = *static_cast<const max_unpool_args*>(args);
    const i64 N = a.x.shape[0], C = a.x.shape[4];
    const i64 pixels = a.x.shape[1] * a.x.shape[2] * a.x.shape[3];
    const i64 image = a.y.shape[1] * a.y.shape[2] * a.y.shape[3] * C;
    parallel(N, double(pixels * C) * 1.0 + 0.1 * double(image), [&](i64 begin, i64 end) {
        for (i64 n = begin; n < end; ++n)
            scatter_image(static_cast<const T*>(a.x.data) + n * pixels * C,
                          static_cast<const i32*>(a.idx.data) + n * pixels * C, pixels, C,
                          static_cast<T*>(a.y.data) + n * image, C ? image / C : 0);
    });
}

template <typename T>
static void max_pool_gather_run(const void* args, Ctx&) {
    const max_pool_gather_args& a = *static_cast<const max_pool_gather_args*>(args);
    const i64 pixels = a.y.shape[1] * a.y.shape[2] * a.y.shape[3], C = a.y.shape[4];
    const i64 image = a.x.shape[1] * a.x.shape[2] * a.x.shape[3] * C;
    const i64 inside = a.x.shape[1] * a.x.shape[2] * a.x.shape[3];
    const T* x = static_cast<const T*>(a.x.data);
    const i32* idx = static_cast<const i32*>(a.idx.data);
    T* y = static_cast<T*>(a.y.data);
    parallel(a.y.shape[0] * pixels, 0.8 * double(C), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const T* from = x + u / pixels * image;
            for (i64 c = 0; c < C; ++c) {  // checked again: a replay may bring new indices
                const i64 at = idx[u * C + c];
                y[u * C + c] = u64(at) < u64(inside) ? from[at * C + c] : T(0);
            }
        }
    });
}

// --- average
// Division by a window's size; by a power of two it is an exact, and cheaper, multiplication.
template <typename T>
struct Divisor {
    T by, times;  // times = 0: divide
    Divisor() = default;
    Divisor(bool include, const Window& d, const Window& h, const Window& w) {
        const i64 n =
            include ? d.padded * h.padded * w.padded : (d.end - d.begin) * (h.end - h.begin) * (w.end - w.begin);
        by = T(n);
        times = n & (n - 1) ? T(0) : T(1) / T(n);
    }
    template <typename V>
    V of(V v) const {
        return times != T(0) ? v * times : v / by;
    }
};

// Large windows: the pixels of a line are added to each other as they lie in memory, [C] at a time (few channels of
// windows as wide as the image: whole lines, [W*C] at a time), then lines. y [C].
constexpr i64 kPoolLine = 1024;
template <typename T>
static void avg_large(const PoolGeometry& g, const Window& ds, const Window& hs, const Window& ws, const T* image,
                      const Divisor<T>& divisor, T* y) {
    T line[kPoolLine], sum[kPoolLine];
    const i64 C = g.C, W = g.w.in;
    const bool whole = ws.begin == 0 && ws.end == W && C * i64(sizeof(T)) <= 32 && W * C <= kPoolLine;
    for (i64 c0 = 0; c0 < C; c0 += kPoolLine) {
        const i64 n = whole ? W * C : C - c0 < kPoolLine ? C - c0 : kPoolLine;
        for (i64 i = 0; i < n; ++i) sum[i] = T(0);
        for (i64 d = ds.begin; d < ds.end; ++d) {
            const T* x = image + ((d * g.h.in + hs.begin) * W + ws.begin) * C + c0;
            if (whole) {
                add_runs(sum, x, W * C, hs.end - hs.begin, n);
                continue;
            }
            for (i64 h = hs.begin; h < hs.end; ++h, x += W * C) {
                for (i64 i = 0; i < n; ++i) line[i] = x[i];
                for (i64 w = 1; w < ws.end - ws.begin; ++w) add_run(line, x + w * C, n);
                add_run(sum, line, n);
            }
        }
        for (i64 c = 0; c < (whole ? C : n); ++c) {
            T s = sum[c];
            for (i64 i = c + C; whole && i < n; i += C) s += sum[i];
            y[c0 + c] = divisor.of(s);
        }
    }
}

// s [n] = sums of nd x nh x nw pixels from x on, n vectors side by side; strides in pixels of C elements. Inlined with
// constant counts for the usual window.
template <typename V, int n, typename T>
static inline __attribute__((always_inline)) void sums_of(const T* x, i64 C, i64 nd, i64 nh, i64 nw, i64 sd, i64 sh,
                                                          V* s) {
    constexpr i64 L = i64(sizeof(V) / sizeof(T));
    for (int i = 0; i < n; ++i) s[i] = V{};
    for (i64 d = 0; d < nd; ++d) {
        for (i64 h = 0; h < nh; ++h) {
            V line[n] = {};
            const T* from = x + (d * sd + h * sh) * C;
            for (i64 w = 0; w < nw; ++w)
                for (int i = 0; i < n; ++i) line[i] += vec_load<V>(from + w * C + i * L);
            for (int i = 0; i < n; ++i) s[i] += line[i];
        }
    }
}

template <typename T, int Bytes>
static void avg_pool_row(const PoolGeometry& g, bool include, const T* image, i64 image_room, i64 row, T* y) {
    using V = VecT<T, Bytes>;
    constexpr i64 L = Bytes / int(sizeof(T));
    const i64 C = g.C, W = g.w.in, H = g.h.in;
    const Window ds = pool_window(g.d, row / g.h.out), hs = pool_window(g.h, row % g.h.out);
    for (i64 q = 0; q < g.w.out; ++q) {
        const Window ws = pool_window(g.w, q);
        const i64 furthest = (((ds.end - 1) * H + hs.end - 1) * W + ws.end - 1) * C;
        const i64 out = q * C;
        i64 room = (g.w.out - q) * C;
        if (image_room - furthest < room) room = image_room - furthest;
        const Divisor<T> divisor(include, ds, hs, ws);
        const bool two = ds.end - ds.begin == 1 && hs.end - hs.begin == 2 && ws.end - ws.begin == 2;
        if ((ds.end - ds.begin) * (hs.end - hs.begin) * (ws.end - ws.begin) >= 64) {
            avg_large(g, ds, hs, ws, image, divisor, y + out);
            continue;
        }
        for_channels<T, Bytes, 8>(
            C, room,
            [&](auto count, i64 c) {
                constexpr int n = decltype(count)::value;
                V s[n];
                const T* x = image + (ds.begin * H + hs.begin) * W * C + ws.begin * C + c;
                if (two)
                    sums_of<V, n>(x, C, 1, 2, 2, H * W, W, s);
                else
                    sums_of<V, n>(x, C, ds.end - ds.begin, hs.end - hs.begin, ws.end - ws.begin, H * W, W, s);
                for (int i = 0; i < n; ++i) vec_store(y + out + c + i * L, divisor.of(s[i]));
            },
            [&](i64 c) {
                T s = T(0);
                for (i64 d = ds.begin; d < ds.end; ++d) {
                    for (i64 h = hs.begin; h < hs.end; ++h) {
                        T line = T(0);
                        for (i64 w = ws.begin; w < ws.end; ++w) line += image[((d * H + h) * W + w) * C + c];
                        s += line;
                    }
                }
                y[out + c] = divisor.of(s);
            });
    }
}

template <typename T>
static void avg_pool_run(const void* args, Ctx&) {
    const avg_pool_args& a = *static_cast<const avg_pool_args*>(args);
    const PoolGeometry g = avg_geometry(a, a.x, a.y);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const i64 rows = g.d.out * g.h.out, image = g.d.in * g.h.in * g.w.in * g.C;
    const double cost = double(g.w.out) * (2.0 + pool_taps(g) * (0.5 + 0.1 * double(g.C)));
    parallel(g.N * rows, cost, [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / rows, room = (g.N - n) * image;
            RB_POOL_BY_WIDTH(T, g.C,
                             (avg_pool_row<T, kBytes>(g, a.count_include_pad != 0, x + n * image, room, u % rows,
                                                      y + u * g.w.out * g.C)));
        }
    });
}

// A row of dx pixel by pixel, from windows od x ph and those along the row.
template <typename T>
static void avg_pool_dx_pixels(const PoolGeometry& g, bool include, const T* dy, const Cover& od, const Cover& ph,
                               T* dx) {
    const i64 C = g.C, P = g.h.out, Q = g.w.out;
    CoverWalk walk = cover_walk(g.w);
    for (i64 w = 0; w < g.w.in; ++w, step(walk, g.w)) {
        T* to = dx + w * C;
        memset(to, 0, size_t(C) * sizeof(T));
        for (i64 o = od.first; o <= od.last; ++o) {
            const Window ds = pool_window(g.d, o);
            for (i64 p = ph.first; p <= ph.last; ++p) {
                const Window hs = pool_window(g.h, p);
                for (i64 q = walk.c.first; q <= walk.c.last; ++q) {
                    const Divisor<T> divisor(include, ds, hs, pool_window(g.w, q));
                    const T* from = dy + ((o * P + p) * Q + q) * C;
                    for (i64 c = 0; c < C; ++c) to[c] += divisor.of(from[c]);
                }
            }
        }
    }
}

// Row (d,h) of dx: dx[d,h,w] = sum over the windows that cover it of dy / divisor. one: straight from dy, as no pixel
// has more than one.
template <typename T, int Bytes>
static void avg_pool_dx_row(const PoolGeometry& g, bool include, bool one, const T* dy, i64 dy_room, const Cover& od,
                            const Cover& ph, T* dx) {
    using V = VecT<T, Bytes>;
    const i64 C = g.C, P = g.h.out, Q = g.w.out, W = g.w.in;
    if (od.first > od.last || ph.first > ph.last) {
        memset(dx, 0, size_t(W * C) * sizeof(T));
        return;
    }
    if (one) {
        const T* const from = dy + (od.first * P + ph.first) * Q * C;
        const Window ds = pool_window(g.d, od.first), hs = pool_window(g.h, ph.first);
        Divisor<T> divisor;
        return spread_row<T, Bytes>(
            g, dy_room - (from - dy), dx, [&](const Window& ws) { divisor = Divisor<T>(include, ds, hs, ws); },
            [&](i64 q, i64, i64 c) { return T(0) + divisor.of(vec_load<V>(from + q * C + c)); },
            [&](i64 q, i64, i64 c) { return T(0) + divisor.of(from[q * C + c]); });
    }
    // First over the windows above each other: line [Q,C] = sum over o, p of dy / divisor, neighbours of one size at a
    // time; then over those that cover a pixel. Long lines in pieces of channels.
    constexpr i64 kElems = 8192;
    T line[kElems];
    i64 piece = C;
    while (Q * piece > kElems && piece > 16) piece = (piece / 2 + 15) / 16 * 16;
    if (Q * piece > kElems) {  // a line of very many windows
        avg_pool_dx_pixels(g, include, dy, od, ph, dx);
        return;
    }
    for (i64 c0 = 0; c0 < C; c0 += piece) {
        const i64 n = C - c0 < piece ? C - c0 : piece;
        for (i64 i = 0; i < Q * n; ++i) line[i] = T(0);
        for (i64 o = od.first; o <= od.last; ++o) {
            const Window ds = pool_window(g.d, o);
            for (i64 p = ph.first; p <= ph.last; ++p) {
                const Window hs = pool_window(g.h, p);
                const T* from = dy + (o * P + p) * Q * C + c0;
                for (i64 q = 0; q < Q;) {
                    const Window ws = pool_window(g.w, q);
                    i64 end = q + 1;
                    for (; n == C && end < Q; ++end) {
                        const Window next = pool_window(g.w, end);
                        if (next.end - next.begin != ws.end - ws.begin || next.padded != ws.padded) break;
                    }
                    const Divisor<T> divisor(include, ds, hs, ws);
                    const i64 m = (end - q) * n;
                    T* __restrict to = line + q * n;
                    const T* __restrict v = from + q * C;
                    if (divisor.times != T(0)) {
                        for (i64 i = 0; i < m; ++i) to[i] += v[i] * divisor.times;
                    } else {
                        for (i64 i = 0; i < m; ++i) to[i] += v[i] / divisor.by;
                    }
                    q = end;
                }
            }
        }
        CoverWalk walk = cover_walk(g.w);
        for (i64 w = 0; w < W;) {
            const Cover qw = walk.c;
            i64 run = 1;  // pixels under the same windows have the same gradient
            for (step(walk, g.w); w + run < W && walk.c.first == qw.first && walk.c.last == qw.last; step(walk, g.w))
                ++run;
            T* const out = dx + w * C + c0;
            const i64 room = n == C ? (W - w) * C : n;
            w += run;
            if (qw.first > qw.last) {
                for (i64 r = 0; r < run; ++r) memset(out + r * C, 0, size_t(n) * sizeof(T));
                continue;
            }
            i64 line_room = (Q - qw.last) * n;
            if (room < line_room) line_room = room;
            for_channels<T, Bytes, 1>(
                n, line_room,
                [&](auto, i64 c) {
                    V s = vec_load<V>(line + qw.first * n + c);
                    for (i64 q = qw.first + 1; q <= qw.last; ++q) s += vec_load<V>(line + q * n + c);
                    vec_store(out + c, s);
                },
                [&](i64 c) {
                    T s = line[qw.first * n + c];
                    for (i64 q = qw.first + 1; q <= qw.last; ++q) s += line[q * n + c];
                    out[c] = s;
                });
            if (n < C) {
                for (i64 r = 1; r < run; ++r) memcpy(out + r * C, out, size_t(n) * sizeof(T));
                continue;
            }
            for (i64 done = 1; done < run;) {  // repeated, twice as many each time
                const i64 more = done < run - done ? done : run - done;
                memcpy(out + done * C, out, size_t(more * C) * sizeof(T));
                done += more;
            }
        }
    }
}

template <typename T>
static void avg_pool_dx_run(const void* args, Ctx&) {
    const avg_pool_dx_args& a = *static_cast<const avg_pool_dx_args*>(args);
    const PoolGeometry g = avg_geometry(a, a.dx, a.dy);
    const T* dy = static_cast<const T*>(a.dy.data);
    T* dx = static_cast<T*>(a.dx.data);
    const i64 rows = g.d.in * g.h.in, image = g.d.out * g.h.out * g.w.out * g.C;
    double overlap = 1.0;
    const PoolAxis* const axes[] = {&g.d, &g.h, &g.w};
    for (const PoolAxis* x : axes) overlap *= double(x->adaptive ? 2 : x->kernel / x->stride + 1);
    const i64 line = g.w.in * g.C;
    // with few channels, lines of many windows are faster than pixels one by one
    const bool one = disjoint(g.d) && disjoint(g.h) && disjoint(g.w) && g.C * i64(sizeof(T)) > 32;
    parallel(g.N * rows, double(g.w.in) * (4.0 + overlap * (1.0 + 0.1 * double(g.C))), [&](i64 begin, i64 end) {
        Cover last_d{0, 0}, last_h{0, 0};
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / rows, row = u % rows;
            const Cover od = pool_cover(g.d, row / g.h.in), ph = pool_cover(g.h, row % g.h.in);
            const bool as_before = u > begin && row > 0 && od.first == last_d.first && od.last == last_d.last &&
                                   ph.first == last_h.first && ph.last == last_h.last;
            last_d = od;
            last_h = ph;
            if (as_before && !one) {  // rows under the same windows have the same gradient
                memcpy(dx + u * line, dx + (u - 1) * line, size_t(line) * sizeof(T));
                continue;
            }
            RB_POOL_BY_WIDTH(T, g.C,
                             (avg_pool_dx_row<T, kBytes>(g, a.count_include_pad != 0, one, dy + n * image,
                                                         (g.N - n) * image, od, ph, dx + u * line)));
        }
    });
}
#undef RB_POOL_BY_WIDTH

constexpr void add_pool(Table& t) {
    add_simd<max_pool_run<float>, max_pool_run<double>>(t, op_max_pool);
    add_simd<max_pool_dx_run<float>, max_pool_dx_run<double>>(t, op_max_pool_dx);
    add_simd<max_pool_gather_run<float>, max_pool_gather_run<double>>(t, op_max_pool_gather);
    add_simd<max_unpool_run<float>, max_unpool_run<double>>(t, op_max_unpool);
    add_simd<avg_pool_run<float>, avg_pool_run<double>>(t, op_avg_pool);
    add_simd<avg_pool_dx_run<float>, avg_pool_dx_run<double>>(t, op_avg_pool_dx);
}
