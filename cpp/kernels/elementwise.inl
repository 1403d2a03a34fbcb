// elementwise.inl: y = f(a, b), f(x) and f(c, a, b) with broadcasting and any input strides; y is contiguous. Promise:
// each element is the same function of its operands whatever the layout, the position or the thread.

// --- inner loops: rows of n elements, a with stride as, b with stride bs, y contiguous
constexpr i64 kLine = 1024;  // elements collected or staged in the first-level cache

// x [n] with any stride as a contiguous row: in place, or collected in line [kLine], n <= kLine.
template <typename T>
static inline const T* contiguous_row(const T* __restrict x, i64 xs, i64 n, T* __restrict line) {
    if (xs == 1) return x;
    for (i64 i = 0; i < n; ++i) line[i] = x[i * xs];
    return line;
}

// The inner loop of one function, all that is compiled for it alone: everything around it is shared by the functions of
// a dtype. f: the function with its parameters.
template <typename T>
struct Binary {
    void (*loop)(const void* f, const T* a, i64 as, const T* b, i64 bs, T* y,
                 i64 n);  // strides 1 and 1, 1 and 0, 0 and 1
    const void* f;
    double cost;  // nanoseconds per element
};
template <typename T>
struct Unary {
    void (*loop)(const void* f, const T* x, T* y, i64 n);
    const void* f;
    double cost;
};

template <typename F, typename T>
static void binary_loop(const void* function, const T* __restrict a, i64 as, const T* __restrict b, i64 bs,
                        T* __restrict y, i64 n) {
    const F f = *static_cast<const F*>(function);
    if (as == 1 && bs == 1) {
        for (i64 i = 0; i < n; ++i) y[i] = f.at(a[i], b[i]);
    } else if (as == 1) {
        const T v = *b;
        for (i64 i = 0; i < n; ++i) y[i] = f.at(a[i], v);
    } else {
        const T v = *a;
        for (i64 i = 0; i < n; ++i) y[i] = f.at(v, b[i]);
    }
}
template <typename F, typename T>
static void unary_loop(const void* function, const T* __restrict x, T* __restrict y, i64 n) {
    const F f = *static_cast<const F*>(function);
    for (i64 i = 0; i < n; ++i) y[i] = f.at(x[i]);
}

template <typename T>
static void binary_row(const Binary<T>& f, const T* a, i64 as, const T* b, i64 bs, T* y, i64 n) {
    if ((as | bs) == 1) return f.loop(f.f, a, as, b, bs, y, n);
    if (as == 0 && bs == 0) {
        T v;
        f.loop(f.f, a, 1, b, 1, &v, 1);
        for (i64 i = 0; i < n; ++i) y[i] = v;
        return;
    }
    T first[kLine], second[kLine];
    for (i64 at = 0; at < n; at += kLine) {
        const i64 m = n - at < kLine ? n - at : kLine;
        f.loop(f.f, contiguous_row(a + at * as, as, m, first), 1, contiguous_row(b + at * bs, bs, m, second), 1, y + at,
               m);
    }
}

template <typename T>
static void unary_row(const Unary<T>& f, const T* x, i64 xs, T* y, i64 n) {
    if (xs == 1) return f.loop(f.f, x, y, n);
    if (xs == 0) {
        T v;
        f.loop(f.f, x, &v, 1);
        for (i64 i = 0; i < n; ++i) y[i] = v;
        return;
    }
    T line[kLine];
    for (i64 at = 0; at < n; at += kLine) {
        const i64 m = n - at < kLine ? n - at : kLine;
        f.loop(f.f, contiguous_row(x + at * xs, xs, m, line), y + at, m);
    }
}

// Outputs far larger than the last cache are written past it: a store that misses would read the line first. `row(at,
// m, out)` computes m <= kLine elements from `at` on into out.
template <typename T, typename Row>
static void stream_rows(T* y, i64 n, const Row& row) {
    T line[kLine];
    for (i64 at = 0; at < n; at += kLine) {
        const i64 m = n - at < kLine ? n - at : kLine;
        row(at, m, line);
        stream_out(line, y + at, m);
    }
    stream_end();
}
static inline bool streams(const View& y, const void* a, const void* b) {
    constexpr i64 kFrom = 32 << 20;                                                     // bytes
    return numel(y) * (y.dtype == f32 ? 4 : 8) >= kFrom && y.data != a && y.data != b;  // in place: cached already
}

// y [rows,n] = f(a [rows,n], b) with short rows, b [n] or [rows,1] (bs: its stride from row to row): b is repeated in a
// local buffer so that whole vectors are full. swapped: the repeated operand is the first one.
template <typename T>
static void binary_short_rows(const Binary<T>& f, bool swapped, const T* a, const T* b, i64 bs, T* y, i64 rows, i64 n) {
    const i64 group = kLine / n;  // rows per step
    const i64 units = (rows + group - 1) / group;
    parallel(units, f.cost * double(group * n) + 60.0, [&](i64 begin, i64 end) {
        T repeated[kLine];  // [group,n]
        if (bs == 0) {
            for (i64 i = 0; i < group * n; i += n) memcpy(repeated + i, b, size_t(n) * sizeof(T));
        }
        for (i64 u = begin; u < end; ++u) {
            const i64 first = u * group, count = rows - first < group ? rows - first : group;
            if (bs != 0) {
                for (i64 r = 0; r < count; ++r) {
                    const T v = b[(first + r) * bs];
                    for (i64 i = 0; i < n; ++i) repeated[r * n + i] = v;
                }
            }
            const T *in1 = swapped ? repeated : a + first * n, *in2 = swapped ? a + first * n : repeated;
            f.loop(f.f, in1, 1, in2, 1, y + first * n, count * n);
        }
    });
}

template <typename T>
static void binary_all(const Binary<T>& f, const View& va, const View& vb, const View& vy) {
    const T *a = static_cast<const T*>(va.data), *b = static_cast<const T*>(vb.data);
    T* y = static_cast<T*>(vy.data);
    const View* views[3] = {&vy, &va, &vb};
    Nest nest;
    make_nest(nest, views, 3, false);
    const int in = nest.ndim - 1;
    const i64 as = nest.stride[1][in], bs = nest.stride[2][in], n = nest.shape[in];
    if (nest.ndim == 2 && n < 128 && nest.total) {
        const i64 ao = nest.stride[1][0], bo = nest.stride[2][0], rows = nest.shape[0];
        const bool row_b = bs == 1 && bo == 0, column_b = bs == 0 && bo != 0;
        const bool row_a = as == 1 && ao == 0, column_a = as == 0 && ao != 0;
        if (as == 1 && ao == n && (row_b || column_b)) return binary_short_rows(f, false, a, b, bo, y, rows, n);
        if (bs == 1 && bo == n && (row_a || column_a)) return binary_short_rows(f, true, b, a, ao, y, rows, n);
    }
    const bool stream = f.cost <= 0.3 && streams(vy, a, b);
    for_each_row(nest, f.cost, [&](const i64* at, i64 len) {
        const T *u = a + at[1], *v = b + at[2];
        if (!stream) return binary_row(f, u, as, v, bs, y + at[0], len);
        stream_rows(y + at[0], len,
                    [&](i64 i, i64 m, T* out) { binary_row(f, u + i * as, as, v + i * bs, bs, out, m); });
    });
}
template <typename T, typename F>
static void binary(const F f, const View& a, const View& b, const View& y) {
    binary_all<T>({binary_loop<F, T>, &f, F::cost}, a, b, y);
}

template <typename T>
static void unary_all(const Unary<T>& f, const View& vx, const View& vy) {
    const T* x = static_cast<const T*>(vx.data);
    T* y = static_cast<T*>(vy.data);
    const View* views[2] = {&vy, &vx};
    Nest nest;
    make_nest(nest, views, 2, false);
    const i64 xs = nest.stride[1][nest.ndim - 1];
    const bool stream = f.cost <= 0.3 && streams(vy, x, x);
    for_each_row(nest, f.cost, [&](const i64* at, i64 n) {
        const T* in = x + at[1];
        if (!stream) return unary_row(f, in, xs, y + at[0], n);
        stream_rows(y + at[0], n, [&](i64 i, i64 m, T* out) { unary_row(f, in + i * xs, xs, out, m); });
    });
}
template <typename T, typename F>
static void unary(const F f, const View& x, const View& y) {
    unary_all<T>({unary_loop<F, T>, &f, F::cost}, x, y);
}

// --- the functions; cost in nanoseconds per element
#define RB_BINARY(name, ns, in1, in2, out, expr)                       \
    struct name##_fn {                                                 \
        static constexpr double cost = ns;                             \
        template <typename T>                                          \
        static inline T at(T in1, T in2) {                             \
            return expr;                                               \
        }                                                              \
    };                                                                 \
    template <typename T>                                              \
    static void name##_run(const void* args, Ctx&) {                   \
        const name##_args& v = *static_cast<const name##_args*>(args); \
        binary<T>(name##_fn(), v.in1, v.in2, v.out);                   \
    }
#define RB_UNARY(name, ns, expr)                                       \
    struct name##_fn {                                                 \
        static constexpr double cost = ns;                             \
        template <typename T>                                          \
        static inline T at(T x) {                                      \
            return expr;                                               \
        }                                                              \
    };                                                                 \
    template <typename T>                                              \
    static void name##_run(const void* args, Ctx&) {                   \
        const name##_args& v = *static_cast<const name##_args*>(args); \
        unary<T>(name##_fn(), v.x, v.y);                               \
    }

RB_BINARY(add, 0.25, a, b, y, a + b)
RB_BINARY(sub, 0.25, a, b, y, a - b)
RB_BINARY(mul, 0.25, a, b, y, a* b)
RB_BINARY(div, 0.3, a, b, y, a / b)
RB_BINARY(pow, 2.0, a, b, y, rb_pow(a, b))
RB_BINARY(maximum, 0.25, a, b, y, rb_max(a, b))
RB_BINARY(minimum, 0.25, a, b, y, rb_min(a, b))
RB_BINARY(greater, 0.25, a, b, y, a > b ? T(1) : T(0))
RB_BINARY(greater_equal, 0.25, a, b, y, a >= b ? T(1) : T(0))
RB_BINARY(equal, 0.25, a, b, y, a == b ? T(1) : T(0))
RB_BINARY(not_equal, 0.25, a, b, y, a != b ? T(1) : T(0))

RB_UNARY(neg, 0.2, -x)
RB_UNARY(abs, 0.2, rb_abs(x))
RB_UNARY(sign, 0.2, x > T(0) ? T(1) : (x < T(0) ? T(-1) : (x == T(0) ? T(0) : x)))
RB_UNARY(square, 0.2, x* x)
RB_UNARY(sqrt, 0.4, rb_sqrt(x))
RB_UNARY(exp, 0.5, rb_exp(x))
RB_UNARY(log, 0.6, rb_log(x))
RB_UNARY(log1p, 0.6, rb_log1p(x))
RB_UNARY(expm1, 0.5, rb_expm1(x))
RB_UNARY(erf, 1.2, rb_erf(x))
RB_UNARY(floor, 0.2, rb_floor(x))
RB_UNARY(ceil, 0.2, rb_ceil(x))
RB_UNARY(round, 0.2, rb_rint(x))
RB_UNARY(relu, 0.2, rb_relu(x))
RB_UNARY(tanh, 0.5, rb_tanh(x))
RB_UNARY(sigmoid, 0.6, rb_sigmoid(x))

RB_BINARY(relu_dx, 0.25, y, dy, dx, y > T(0) ? dy : T(0))
RB_BINARY(tanh_dx, 0.25, y, dy, dx, dy* rb_fma(-y, y, T(1)))
RB_BINARY(sigmoid_dx, 0.25, y, dy, dx, dy*(y*(T(1) - y)))
#undef RB_BINARY
#undef RB_UNARY

// --- a where c != 0, else b
template <typename T>
static void where_run(const void* args, Ctx&) {
    const where_args& v = *static_cast<const where_args*>(args);
    const T *c = static_cast<const T*>(v.c.data), *a = static_cast<const T*>(v.a.data);
    const T* b = static_cast<const T*>(v.b.data);
    T* y = static_cast<T*>(v.y.data);
    const View* views[4] = {&v.y, &v.c, &v.a, &v.b};
    Nest nest;
    make_nest(nest, views, 4, false);
    const int in = nest.ndim - 1;
    const i64 cs = nest.stride[1][in], as = nest.stride[2][in], bs = nest.stride[3][in];
    for_each_row(nest, 0.3, [&](const i64* at, i64 n) {
        T lines[3][kLine];
        for (i64 i = 0; i < n; i += kLine) {
            const i64 m = n - i < kLine ? n - i : kLine;
            const T* __restrict test = contiguous_row(c + at[1] + i * cs, cs, m, lines[0]);
            const T* __restrict first = contiguous_row(a + at[2] + i * as, as, m, lines[1]);
            const T* __restrict second = contiguous_row(b + at[3] + i * bs, bs, m, lines[2]);
            T* __restrict out = y + at[0] + i;
            for (i64 k = 0; k < m; ++k) {
                const T p = first[k], q = second[k];
                out[k] = test[k] != T(0) ? p : q;
            }
        }
    });
}

// --- functions with parameters
template <typename T>
struct ClipFn {
    static constexpr double cost = 0.2;
    T low, high;
    inline T at(T x) const {
        const T v = x < low ? low : x;
        return v > high ? high : v;
    }
    inline T at(T x, T dy) const { return (x > low) & (x < high) ? dy : T(0); }
};
template <typename T>
static void clip_run(const void* args, Ctx&) {
    const clip_args& a = *static_cast<const clip_args*>(args);
    unary<T>(ClipFn<T>{T(a.low), T(a.high)}, a.x, a.y);
}
template <typename T>
static void clip_dx_run(const void* args, Ctx&) {
    const clip_dx_args& a = *static_cast<const clip_dx_args*>(args);
    binary<T>(ClipFn<T>{T(a.low), T(a.high)}, a.x, a.dy, a.dx);
}

// at(x): the function; at(x, dy): its gradient
template <typename T>
struct LeakyFn {
    static constexpr double cost = 0.25;
    T p;
    inline T at(T x) const { return x > T(0) ? x : p * x; }
    inline T at(T x, T dy) const { return x > T(0) ? dy : p * dy; }
};
template <typename T>
struct EluFn {
    static constexpr double cost = 0.6;
    T p;
    inline T at(T x) const { return x > T(0) ? x : p * rb_expm1(x); }
    inline T at(T x, T dy) const { return x > T(0) ? dy : dy * (p * rb_exp(x)); }
};
template <typename T>
struct SoftplusFn {
    static constexpr double cost = 1.1;
    T p, inverse;
    inline T at(T x) const { return rb_softplus(p * x) * inverse; }
    inline T at(T x, T dy) const { return dy * rb_sigmoid(p * x); }
};
template <typename T>
struct GeluFn {
    static constexpr double cost = 1.2;
    T p;
    inline T at(T x) const { return rb_gelu(x); }
    inline T at(T x, T dy) const { return dy * rb_gelu_slope(x); }
};
// x times gate(x), which is 0 from x = -104 down: infinity times 0 is not a number
static inline float gated(float x, float gate) {
    return rb_at_least(x, -104.0f) * gate;
}
static inline double gated(double x, double gate) {
    return gate == 0.0 ? gate : x * gate;
}
// s + v * bend, where bend = 0 counts more than an infinite v
static inline float plus_product(float s, float v, float bend) {
    return rb_fma(rb_at_least(rb_at_most(v, 0x1.fffffep+127f), -0x1.fffffep+127f), bend, s);
}
static inline double plus_product(double s, double v, double bend) {
    return bend == 0.0 ? s : rb_fma(v, bend, s);
}
// sigmoid(u) + v sigmoid'(u), from the smaller of sigmoid(u) and sigmoid(-u): 1 - sigmoid would cancel.
template <typename T>
static inline T gate_slope(T u, T v) {
    const T small = rb_sigmoid(-rb_abs(u)), large = T(1) - small, bend = small * large;
    const T s = u > T(0) ? large : small;
    return plus_product(s, v, bend);
}
// (1 + tanh u) / 2 = sigmoid(2u): no cancellation for negative x
template <typename T>
struct GeluTanhFn {
    static constexpr double cost = 0.6;
    static constexpr double kScale = 1.5957691216057307117, kCube = kScale * 0.044715;  // 2 sqrt(2/pi)
    T p;
    inline T at(T x) const {
        const T gate = rb_sigmoid(x * rb_fma(T(kCube) * x, x, T(kScale)));
        return gated(x, gate);
    }
    inline T at(T x, T dy) const {
        const T u = x * rb_fma(T(kCube) * x, x, T(kScale)), slope = x * rb_fma(T(3 * kCube) * x, x, T(kScale));
        return dy * gate_slope(u, slope);
    }
};
template <typename T>
struct SiluFn {
    static constexpr double cost = 0.6;
    T p;
    inline T at(T x) const { return gated(x, rb_sigmoid(x)); }
    inline T at(T x, T dy) const { return dy * gate_slope(x, x); }
};
// Beyond 1, of 1/x: the square must not overflow.
template <typename T>
struct AlgebraicFn {
    static constexpr double cost = 0.6;
    T p;
    inline T at(T x) const {
        const T a = rb_abs(x), b = a > T(1) ? T(1) / a : a, root = T(1) / rb_sqrt(rb_fma(b, b, T(1)));
        return rb_copysign(a > T(1) ? root : a * root, x);
    }
    inline T at(T x, T dy) const {
        const T one = rb_fma(x, x, T(1));
        return dy / (one * rb_sqrt(one));
    }
};

// Calls run(function) with the function of `activate` that fn names.
template <typename T, typename Run>
static inline void with_function(i64 fn, double p, const Run& run) {
    switch (fn) {
        case fn_leaky:
            return run(LeakyFn<T>{T(p)});
        case fn_elu:
            return run(EluFn<T>{T(p)});
        case fn_softplus:
            return run(SoftplusFn<T>{T(p), T(1.0 / p)});
        case fn_gelu:
            return run(GeluFn<T>{T(p)});
        case fn_gelu_tanh:
            return run(GeluTanhFn<T>{T(p)});
        case fn_silu:
            return run(SiluFn<T>{T(p)});
        default:
            return run(AlgebraicFn<T>{T(p)});
    }
}
template <typename T>
static void activate_run(const void* args, Ctx&) {
    const activate_args& a = *static_cast<const activate_args*>(args);
    with_function<T>(a.fn, a.p, [&](const auto f) { unary<T>(f, a.x, a.y); });
}
template <typename T>
static void activate_dx_run(const void* args, Ctx&) {
    const activate_dx_args& a = *static_cast<const activate_dx_args*>(args);
    with_function<T>(a.fn, a.p, [&](const auto f) { binary<T>(f, a.x, a.dy, a.dx); });
}

#define RB_ADD(name) add_simd<name##_run<float>, name##_run<double>>(t, op_##name)
constexpr void add_elementwise(Table& t) {
    RB_ADD(add);
    RB_ADD(sub);
    RB_ADD(mul);
    RB_ADD(div);
    RB_ADD(pow);
    RB_ADD(maximum);
    RB_ADD(minimum);
    RB_ADD(greater);
    RB_ADD(greater_equal);
    RB_ADD(equal);
    RB_ADD(not_equal);
    RB_ADD(where);
    RB_ADD(neg);
    RB_ADD(abs);
    RB_ADD(sign);
    RB_ADD(square);
    RB_ADD(sqrt);
    RB_ADD(exp);
    RB_ADD(log);
    RB_ADD(log1p);
    RB_ADD(expm1);
    RB_ADD(erf);
    RB_ADD(floor);
    RB_ADD(ceil);
    RB_ADD(round);
    RB_ADD(clip);
    RB_ADD(clip_dx);
    RB_ADD(activate);
    RB_ADD(activate_dx);
    RB_ADD(relu);
    RB_ADD(tanh);
    RB_ADD(sigmoid);
    RB_ADD(relu_dx);
    RB_ADD(tanh_dx);
    RB_ADD(sigmoid_dx);
}
#undef RB_ADD
