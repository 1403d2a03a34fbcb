// elementwise.inl: y = f(a, b) and y = f(x) with broadcasting and any input strides; y is contiguous. Promise: each
// element is the same function of its operands whatever the layout, the position or the thread.

// --- inner loops: rows of n elements, a with stride as, b with stride bs, y contiguous
template <typename F, typename T>
static void binary_row(const T* __restrict a, i64 as, const T* __restrict b, i64 bs, T* __restrict y, i64 n) {
    if (as == 1 && bs == 1) {
        for (i64 i = 0; i < n; ++i) y[i] = F::at(a[i], b[i]);
    } else if (as == 1 && bs == 0) {
        const T v = *b;
        for (i64 i = 0; i < n; ++i) y[i] = F::at(a[i], v);
    } else if (as == 0 && bs == 1) {
        const T v = *a;
        for (i64 i = 0; i < n; ++i) y[i] = F::at(v, b[i]);
    } else {
        for (i64 i = 0; i < n; ++i) y[i] = F::at(a[i * as], b[i * bs]);
    }
}

// y [rows,n] = f(a [rows,n], b [n]) with short rows: b is repeated in a local buffer so that whole vectors are full.
// swapped: the repeated operand is the first one.
template <typename F, typename T, bool swapped>
static void binary_short_rows(const T* a, const T* b, T* y, i64 rows, i64 n) {
    constexpr i64 kBuffer = 512;
    const i64 group = kBuffer / n;  // rows per step
    const i64 units = (rows + group - 1) / group;
    parallel(units, F::cost * double(group * n) + 60.0, [&](i64 begin, i64 end) {
        T repeated[kBuffer];  // [group,n]
        for (i64 i = 0; i < group * n; i += n) memcpy(repeated + i, b, size_t(n) * sizeof(T));
        for (i64 u = begin; u < end; ++u) {
            const i64 first = u * group, count = (rows - first < group ? rows - first : group) * n;
            if (swapped) {
                binary_row<F>(repeated, 1, a + first * n, 1, y + first * n, count);
            } else {
                binary_row<F>(a + first * n, 1, repeated, 1, y + first * n, count);
            }
        }
    });
}

template <typename F, typename T>
static void binary(const View& va, const View& vb, const View& vy) {
    const T *a = static_cast<const T*>(va.data), *b = static_cast<const T*>(vb.data);
    T* y = static_cast<T*>(vy.data);
    const View* views[3] = {&vy, &va, &vb};
    Nest nest;
    make_nest(nest, views, 3, false);
    const int in = nest.ndim - 1;
    const i64 as = nest.stride[1][in], bs = nest.stride[2][in], n = nest.shape[in];
    if (nest.ndim == 2 && n < 128 && nest.total && as == 1 && bs == 1) {
        const i64 ao = nest.stride[1][0], bo = nest.stride[2][0];
        if (ao == n && bo == 0) return binary_short_rows<F, T, false>(a, b, y, nest.shape[0], n);
        if (ao == 0 && bo == n) return binary_short_rows<F, T, true>(b, a, y, nest.shape[0], n);
    }
    for_each_row(nest, F::cost,
                 [&](const i64* at, i64 len) { binary_row<F>(a + at[1], as, b + at[2], bs, y + at[0], len); });
}

template <typename F, typename T>
static void unary(const View& vx, const View& vy) {
    const T* x = static_cast<const T*>(vx.data);
    T* y = static_cast<T*>(vy.data);
    const View* views[2] = {&vy, &vx};
    Nest nest;
    make_nest(nest, views, 2, false);
    const i64 xs = nest.stride[1][nest.ndim - 1];
    for_each_row(nest, F::cost, [&](const i64* at, i64 n) {
        const T* __restrict in = x + at[1];
        T* __restrict out = y + at[0];
        if (xs == 1) {
            for (i64 i = 0; i < n; ++i) out[i] = F::at(in[i]);
        } else {
            for (i64 i = 0; i < n; ++i) out[i] = F::at(in[i * xs]);
        }
    });
}

static inline float libm_pow(float a, float b) {
    return __builtin_powf(a, b);
}
static inline double libm_pow(double a, double b) {
    return __builtin_pow(a, b);
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
        binary<name##_fn, T>(v.in1, v.in2, v.out);                     \
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
        unary<name##_fn, T>(v.x, v.y);                                 \
    }

RB_BINARY(add, 0.25, a, b, y, a + b)
RB_BINARY(sub, 0.25, a, b, y, a - b)
RB_BINARY(mul, 0.25, a, b, y, a* b)
RB_BINARY(div, 0.3, a, b, y, a / b)
RB_BINARY(pow, 12.0, a, b, y, b == T(2) ? a * a : (b == T(1) ? a : libm_pow(a, b)))
RB_BINARY(maximum, 0.25, a, b, y, rb_max(a, b))
RB_BINARY(minimum, 0.25, a, b, y, rb_min(a, b))
RB_BINARY(greater, 0.25, a, b, y, a > b ? T(1) : T(0))
RB_BINARY(greater_equal, 0.25, a, b, y, a >= b ? T(1) : T(0))
RB_BINARY(equal, 0.25, a, b, y, a == b ? T(1) : T(0))

RB_UNARY(neg, 0.2, -x)
RB_UNARY(abs, 0.2, rb_abs(x))
RB_UNARY(sign, 0.2, x > T(0) ? T(1) : (x < T(0) ? T(-1) : (x == T(0) ? T(0) : x)))
RB_UNARY(square, 0.2, x* x)
RB_UNARY(sqrt, 0.4, rb_sqrt(x))
RB_UNARY(exp, 0.5, rb_exp(x))
RB_UNARY(log, 0.6, rb_log(x))
RB_UNARY(relu, 0.2, rb_relu(x))
RB_UNARY(tanh, 0.5, rb_tanh(x))
RB_UNARY(sigmoid, 0.6, rb_sigmoid(x))

RB_BINARY(relu_dx, 0.25, y, dy, dx, y > T(0) ? dy : T(0))
RB_BINARY(tanh_dx, 0.25, y, dy, dx, dy* rb_fma(-y, y, T(1)))
RB_BINARY(sigmoid_dx, 0.25, y, dy, dx, dy*(y*(T(1) - y)))
#undef RB_BINARY
#undef RB_UNARY

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
    RB_ADD(neg);
    RB_ADD(abs);
    RB_ADD(sign);
    RB_ADD(square);
    RB_ADD(sqrt);
    RB_ADD(exp);
    RB_ADD(log);
    RB_ADD(relu);
    RB_ADD(tanh);
    RB_ADD(sigmoid);
    RB_ADD(relu_dx);
    RB_ADD(tanh_dx);
    RB_ADD(sigmoid_dx);
}
#undef RB_ADD
