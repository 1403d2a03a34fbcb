// pool.inl: pooling on x [N,H,W,C] -> y [N,P,Q,C], vectorised over channels. Promise: ref_pool.cpp's definitions
// (padding never wins a maximum, first on ties, first NaN wins, average over the clipped window); each output element
// depends on its own window only. Where C is not a multiple of the vector the last vector of a pixel is moved back to
// end at C; where C is below one vector, vectors run over into the next pixel, which is written right after, and the
// last pixels of a row are done one channel at a time.

template <typename T, int Bytes>
struct VecOf {
    typedef T type __attribute__((vector_size(Bytes)));
};
template <typename T, int Bytes>
using VecT = typename VecOf<T, Bytes>::type;

template <typename V, typename T>
static inline V vec_load(const T* p) {
    V v;
    memcpy(&v, p, sizeof(V));
    return v;
}
template <typename V, typename T>
static inline void vec_store(T* p, V v) {
    memcpy(p, &v, sizeof(V));
}

struct PoolGeometry {
    i64 N, H, W, C, P, Q;  // x [N,H,W,C], y [N,P,Q,C]
    i64 kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
    bool count_include_pad;
};

struct Window {
    i64 begin, end;  // inside the image
    i64 padded;      // length clipped to the padded image
};
static inline Window pool_window(i64 p, i64 kernel, i64 stride, i64 pad, i64 H) {
    const i64 start = p * stride - pad, stop = start + kernel;
    const i64 clipped = stop < H + pad ? stop : H + pad;
    return {start > 0 ? start : 0, stop < H ? stop : H, clipped - start};
}

template <typename A>
static PoolGeometry pool_geometry(const A& a, const View& x, const View& y) {
    return {x.shape[0], x.shape[1], x.shape[2], x.shape[3], y.shape[1], y.shape[2], a.kernel_h,
            a.kernel_w, a.stride_h, a.stride_w, a.pad_h,    a.pad_w,    false};
}

// Vector width in elements for C channels: a full vector, or half or a quarter where C is small.
template <typename T>
constexpr int kFull = kVecBytes / int(sizeof(T));

// Runs pixel.template operator()<bytes>(c) for channels 0 .. C-1 of one pixel with vectors of `Bytes`; `room` elements,
// counted from the pixel's first, may be read and written (>= C); scalar(c) serves single channels.
template <typename T, int Bytes, typename Vector, typename Scalar>
static inline void for_channels(i64 C, i64 room, const Vector& vector, const Scalar& scalar) {
    constexpr i64 L = Bytes / int(sizeof(T));
    if (C >= L) {
        i64 c = 0;
        for (; c + L <= C; c += L) vector(c);
        if (c < C) vector(C - L);
    } else if (room >= L) {
        vector(0);
    } else {
        for (i64 c = 0; c < C; ++c) scalar(c);
    }
}

// --- maximum
template <typename T, int Bytes>
static void max_pool_row(const PoolGeometry& g, const T* image, i64 image_room, i64 p, T* y, i32* idx) {
    using V = VecT<T, Bytes>;
    using M = decltype(V() > V());  // mask, as wide as T
    constexpr i64 L = Bytes / int(sizeof(T));
    using Index = VecT<i32, int(L) * 4>;
    const Window hs = pool_window(p, g.kernel_h, g.stride_h, g.pad_h, g.H);
    for (i64 q = 0; q < g.Q; ++q) {
        const Window ws = pool_window(q, g.kernel_w, g.stride_w, g.pad_w, g.W);
        const i64 furthest = ((hs.end - 1) * g.W + ws.end - 1) * g.C;  // offset of the last pixel read
        const i64 out = q * g.C;
        i64 room = (g.Q - q) * g.C;
        if (image_room - furthest < room) room = image_room - furthest;
        for_channels<T, Bytes>(
            g.C, room,
            [&](i64 c) {
                i64 first = hs.begin * g.W + ws.begin;
                V best = vec_load<V>(image + first * g.C + c);
                M where = M{} + decltype(where[0] + 0)(first);
                for (i64 h = hs.begin; h < hs.end; ++h) {
                    for (i64 w = ws.begin; w < ws.end; ++w) {
                        const i64 at = h * g.W + w;
                        const V v = vec_load<V>(image + at * g.C + c);
                        const M take = (best == best) & ~(v <= best);
                        best = take ? v : best;
                        where = take ? M{} + decltype(where[0] + 0)(at) : where;
                    }
                }
                vec_store(y + out + c, best);
                vec_store(idx + out + c, __builtin_convertvector(where, Index));
            },
            [&](i64 c) {
                i64 where = hs.begin * g.W + ws.begin;
                T best = image[where * g.C + c];
                for (i64 h = hs.begin; h < hs.end; ++h) {
                    for (i64 w = ws.begin; w < ws.end; ++w) {
                        const T v = image[(h * g.W + w) * g.C + c];
                        const bool take = best == best && !(v <= best);
                        best = take ? v : best;
                        where = take ? h * g.W + w : where;
                    }
                }
                y[out + c] = best;
                idx[out + c] = i32(where);
            });
    }
}

// Calls row.template run<Bytes>(...) with the narrowest vector that holds C channels, at most the level's.
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

template <typename T>
static void max_pool2d_run(const void* args, Ctx&) {
    const max_pool2d_args& a = *static_cast<const max_pool2d_args*>(args);
    const PoolGeometry g = pool_geometry(a, a.x, a.y);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    i32* idx = static_cast<i32*>(a.idx.data);
    const double cost = double(g.Q) * (2.0 + double(g.kernel_h * g.kernel_w) * (1.0 + 0.15 * double(g.C)));
    parallel(g.N * g.P, cost, [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / g.P, image = g.H * g.W * g.C, to = u * g.Q * g.C;
            RB_POOL_BY_WIDTH(T, g.C,
                             (max_pool_row<T, kBytes>(g, x + n * image, (g.N - n) * image, u % g.P, y + to, idx + to)));
        }
    });
}

// dx[n, idx, c] += dy: images are independent; within one image in the order of dy. A chosen pixel outside would be the
// caller's fault and has been refused by check_args.
template <typename T>
static void max_pool2d_dx_run(const void* args, Ctx&) {
    const max_pool2d_dx_args& a = *static_cast<const max_pool2d_dx_args*>(args);
    const i64 N = a.dy.shape[0], PQ = a.dy.shape[1] * a.dy.shape[2], C = a.dy.shape[3];
    const i64 image = a.dx.shape[1] * a.dx.shape[2] * C;
    parallel(N, double(PQ * C) * 1.0 + 0.1 * double(image), [&](i64 begin, i64 end) {
        for (i64 n = begin; n < end; ++n) {
            const T* __restrict dy = static_cast<const T*>(a.dy.data) + n * PQ * C;        // [PQ,C]
            const i32* __restrict idx = static_cast<const i32*>(a.idx.data) + n * PQ * C;  // [PQ,C]
            T* __restrict dx = static_cast<T*>(a.dx.data) + n * image;                     // [H,W,C]
            memset(dx, 0, size_t(image) * sizeof(T));
            for (i64 p = 0; p < PQ; ++p) {
                for (i64 c = 0; c < C; ++c) dx[i64(idx[p * C + c]) * C + c] += dy[p * C + c];
            }
        }
    });
}

template <typename T>
static void max_pool2d_gather_run(const void* args, Ctx&) {
    const max_pool2d_gather_args& a = *static_cast<const max_pool2d_gather_args*>(args);
    const i64 PQ = a.y.shape[1] * a.y.shape[2], C = a.y.shape[3];
    const i64 image = a.x.shape[1] * a.x.shape[2] * C;
    const T* x = static_cast<const T*>(a.x.data);
    const i32* idx = static_cast<const i32*>(a.idx.data);
    T* y = static_cast<T*>(a.y.data);
    parallel(a.y.shape[0] * PQ, 0.8 * double(C), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const T* from = x + u / PQ * image;
            for (i64 c = 0; c < C; ++c) y[u * C + c] = from[i64(idx[u * C + c]) * C + c];
        }
    });
}

// --- average
template <typename T>
static inline T pool_divisor(const PoolGeometry& g, const Window& h, const Window& w) {
    return g.count_include_pad ? T(h.padded * w.padded) : T((h.end - h.begin) * (w.end - w.begin));
}

template <typename T, int Bytes>
static void avg_pool_row(const PoolGeometry& g, const T* image, i64 image_room, i64 p, T* y) {
    using V = VecT<T, Bytes>;
    const Window hs = pool_window(p, g.kernel_h, g.stride_h, g.pad_h, g.H);
    for (i64 q = 0; q < g.Q; ++q) {
        const Window ws = pool_window(q, g.kernel_w, g.stride_w, g.pad_w, g.W);
        const i64 furthest = ((hs.end - 1) * g.W + ws.end - 1) * g.C;
        const i64 out = q * g.C;
        i64 room = (g.Q - q) * g.C;
        if (image_room - furthest < room) room = image_room - furthest;
        const T divisor = pool_divisor<T>(g, hs, ws);
        for_channels<T, Bytes>(
            g.C, room,
            [&](i64 c) {
                V s = V{};
                for (i64 h = hs.begin; h < hs.end; ++h) {
                    V line = V{};
                    for (i64 w = ws.begin; w < ws.end; ++w) line += vec_load<V>(image + (h * g.W + w) * g.C + c);
                    s += line;
                }
                vec_store(y + out + c, s / divisor);
            },
            [&](i64 c) {
                T s = T(0);
                for (i64 h = hs.begin; h < hs.end; ++h) {
                    T line = T(0);
                    for (i64 w = ws.begin; w < ws.end; ++w) line += image[(h * g.W + w) * g.C + c];
                    s += line;
                }
                y[out + c] = s / divisor;
            });
    }
}

template <typename T>
static void avg_pool2d_run(const void* args, Ctx&) {
    const avg_pool2d_args& a = *static_cast<const avg_pool2d_args*>(args);
    PoolGeometry g = pool_geometry(a, a.x, a.y);
    g.count_include_pad = a.count_include_pad != 0;
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const double cost = double(g.Q) * (2.0 + double(g.kernel_h * g.kernel_w) * (0.5 + 0.1 * double(g.C)));
    parallel(g.N * g.P, cost, [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / g.P, image = g.H * g.W * g.C;
            RB_POOL_BY_WIDTH(
                T, g.C, (avg_pool_row<T, kBytes>(g, x + n * image, (g.N - n) * image, u % g.P, y + u * g.Q * g.C)));
        }
    });
}

// Row h of dx gathers from the windows that cover it: dx[h,w] = sum over p, q of dy[p,q] / divisor(p,q).
template <typename T, int Bytes>
static void avg_pool_dx_row(const PoolGeometry& g, const T* dy, i64 dy_room, i64 h, T* dx) {
    using V = VecT<T, Bytes>;
    const i64 down = h + g.pad_h;
    const i64 p0 = down < g.kernel_h ? 0 : (down - g.kernel_h) / g.stride_h + 1;
    const i64 p1 = down / g.stride_h < g.P ? down / g.stride_h : g.P - 1;
    if (p0 == p1 && g.stride_w == g.kernel_w && g.pad_w == 0) {  // at most one window per pixel: divide once for all
        const Window hs = pool_window(p0, g.kernel_h, g.stride_h, g.pad_h, g.H);
        for (i64 q = 0; q < g.Q; ++q) {
            const Window ws = pool_window(q, g.kernel_w, g.stride_w, 0, g.W);
            const T divisor = pool_divisor<T>(g, hs, ws);
            const i64 from = (p0 * g.Q + q) * g.C, C = g.C;
            i64 room = (g.W - ws.end + 1) * C;
            if (dy_room - from < room) room = dy_room - from;
            for_channels<T, Bytes>(
                C, room,
                [&](i64 c) {
                    const V v = V{} + vec_load<V>(dy + from + c) / divisor;
                    for (i64 w = ws.begin; w < ws.end; ++w) vec_store(dx + w * C + c, v);
                },
                [&](i64 c) {
                    const T v = T(0) + dy[from + c] / divisor;
                    for (i64 w = ws.begin; w < ws.end; ++w) dx[w * C + c] = v;
                });
        }
        for (i64 i = g.Q * g.kernel_w * g.C; i < g.W * g.C; ++i) dx[i] = T(0);
        return;
    }
    i64 q0 = 0, q1 = 0;  // windows q0 .. q1 cover column w; both only move forward
    for (i64 w = 0; w < g.W; ++w) {
        while (q0 * g.stride_w + g.kernel_w <= w + g.pad_w) ++q0;
        while (q1 + 1 < g.Q && (q1 + 1) * g.stride_w <= w + g.pad_w) ++q1;
        const i64 out = w * g.C;
        i64 room = (g.W - w) * g.C;
        const i64 furthest = p1 < p0 || q1 < q0 ? 0 : (p1 * g.Q + q1) * g.C;
        if (dy_room - furthest < room) room = dy_room - furthest;
        auto gather = [&](auto zero, auto load) {
            auto s = zero;
            for (i64 p = p0; p <= p1; ++p) {
                const Window hs = pool_window(p, g.kernel_h, g.stride_h, g.pad_h, g.H);
                for (i64 q = q0; q <= q1; ++q) {
                    const Window ws = pool_window(q, g.kernel_w, g.stride_w, g.pad_w, g.W);
                    s += load((p * g.Q + q) * g.C) / pool_divisor<T>(g, hs, ws);
                }
            }
            return s;
        };
        for_channels<T, Bytes>(
            g.C, room,
            [&](i64 c) { vec_store(dx + out + c, gather(V{}, [&](i64 at) { return vec_load<V>(dy + at + c); })); },
            [&](i64 c) { dx[out + c] = gather(T(0), [&](i64 at) { return dy[at + c]; }); });
    }
}

template <typename T>
static void avg_pool2d_dx_run(const void* args, Ctx&) {
    const avg_pool2d_dx_args& a = *static_cast<const avg_pool2d_dx_args*>(args);
    PoolGeometry g = pool_geometry(a, a.dx, a.dy);
    g.count_include_pad = a.count_include_pad != 0;
    const T* dy = static_cast<const T*>(a.dy.data);
    T* dx = static_cast<T*>(a.dx.data);
    const i64 overlap = (g.kernel_h / g.stride_h + 1) * (g.kernel_w / g.stride_w + 1);
    parallel(g.N * g.H, double(g.W) * (4.0 + double(overlap) * (3.0 + 0.1 * double(g.C))), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 n = u / g.H, image = g.P * g.Q * g.C;
            RB_POOL_BY_WIDTH(
                T, g.C,
                (avg_pool_dx_row<T, kBytes>(g, dy + n * image, (g.N - n) * image, u % g.H, dx + u * g.W * g.C)));
        }
    });
}
#undef RB_POOL_BY_WIDTH

constexpr void add_pool(Table& t) {
    add_simd<max_pool2d_run<float>, max_pool2d_run<double>>(t, op_max_pool2d);
    add_simd<max_pool2d_dx_run<float>, max_pool2d_dx_run<double>>(t, op_max_pool2d_dx);
    add_simd<max_pool2d_gather_run<float>, max_pool2d_gather_run<double>>(t, op_max_pool2d_gather);
    add_simd<avg_pool2d_run<float>, avg_pool2d_run<double>>(t, op_avg_pool2d);
    add_simd<avg_pool2d_dx_run<float>, avg_pool2d_dx_run<double>>(t, op_avg_pool2d_dx);
}
