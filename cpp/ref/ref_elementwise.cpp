// ref_elementwise.cpp: moving data, arithmetic with broadcasting, unary functions, activation gradients.
#include "ref/ref.hpp"

#include <cmath>

namespace rb::ref {

template <typename T>
void copy(const copy_args& a) {
    map1<T>(a.x, a.y, [](T x) { return x; });
}

template <typename T>
void fill(const fill_args& a) {
    for_each_index(a.y.shape, a.y.ndim, [&](const i64* i) { ptr<T>(a.y)[offset_at(a.y, i, a.y.ndim)] = T(a.value); });
}

template <typename T>
void cast(const cast_args& a) {  // T is the dtype of x
    for_each_index(a.y.shape, a.y.ndim, [&](const i64* i) {
        T x = ptr<T>(a.x)[offset_at(a.x, i, a.y.ndim)];
        i64 to = offset_at(a.y, i, a.y.ndim);
        if (a.y.dtype == f64) {
            ptr<double>(a.y)[to] = double(x);
        } else {
            ptr<float>(a.y)[to] = float(x);
        }
    });
}

#define RB_REF_BINARY(name, expr)                                            \
    template <typename T>                                                    \
    void name(const name##_args& args) {                                     \
        map2<T>(args.a, args.b, args.y, [](T a, T b) -> T { return expr; }); \
    }
RB_REF_BINARY(add, a + b)
RB_REF_BINARY(sub, a - b)
RB_REF_BINARY(mul, a* b)
RB_REF_BINARY(div, a / b)
RB_REF_BINARY(pow, std::pow(a, b))
RB_REF_BINARY(maximum, a != a ? a : (b != b ? b : (a > b ? a : b)))
RB_REF_BINARY(minimum, a != a ? a : (b != b ? b : (a < b ? a : b)))
RB_REF_BINARY(greater, a > b ? T(1) : T(0))
RB_REF_BINARY(greater_equal, a >= b ? T(1) : T(0))
RB_REF_BINARY(equal, a == b ? T(1) : T(0))
RB_REF_BINARY(not_equal, a != b ? T(1) : T(0))

template <typename T>
void where(const where_args& v) {
    for_each_index(v.y.shape, v.y.ndim, [&](const i64* i) {
        const int n = v.y.ndim;
        const View& from = ptr<T>(v.c)[offset_at(v.c, i, n)] != T(0) ? v.a : v.b;
        ptr<T>(v.y)[offset_at(v.y, i, n)] = ptr<T>(from)[offset_at(from, i, n)];
    });
}

#define RB_REF_UNARY(name, expr)                                \
    template <typename T>                                       \
    void name(const name##_args& args) {                        \
        map1<T>(args.x, args.y, [](T x) -> T { return expr; }); \
    }
RB_REF_UNARY(neg, -x)
RB_REF_UNARY(abs, std::fabs(x))
RB_REF_UNARY(sign, x > T(0) ? T(1) : (x < T(0) ? T(-1) : (x == T(0) ? T(0) : x)))
RB_REF_UNARY(square, x* x)
RB_REF_UNARY(sqrt, std::sqrt(x))
RB_REF_UNARY(exp, T(std::exp(double(x))))
RB_REF_UNARY(log, T(std::log(double(x))))
RB_REF_UNARY(log1p, T(std::log1p(double(x))))
RB_REF_UNARY(expm1, T(std::expm1(double(x))))
RB_REF_UNARY(erf, T(std::erf(double(x))))
RB_REF_UNARY(floor, std::floor(x))
RB_REF_UNARY(ceil, std::ceil(x))
RB_REF_UNARY(round, std::nearbyint(x))
RB_REF_UNARY(relu, T(activate(double(x), act_relu)))
RB_REF_UNARY(tanh, T(activate(double(x), act_tanh)))
RB_REF_UNARY(sigmoid, T(activate(double(x), act_sigmoid)))

// --- functions with a parameter
template <typename T>
void clip(const clip_args& a) {
    const T low = T(a.low), high = T(a.high);
    map1<T>(a.x, a.y, [=](T x) { return x < low ? low : (x > high ? high : x); });
}
template <typename T>
void clip_dx(const clip_dx_args& a) {
    const T low = T(a.low), high = T(a.high);
    map2<T>(a.x, a.dy, a.dx, [=](T x, T dy) { return x > low && x < high ? dy : T(0); });
}

namespace {

double logistic(double x) {
    return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}

constexpr double kRootTwoOverPi = 0.79788456080286535588, kRootHalf = 0.70710678118654752440;

double function(i64 fn, double p, double x) {
    switch (fn) {
        case fn_leaky:
            return x > 0.0 ? x : p * x;
        case fn_elu:
            return x > 0.0 ? x : p * std::expm1(x);
        case fn_softplus:
            return (std::fmax(p * x, 0.0) + std::log1p(std::exp(-std::fabs(p * x)))) / p + (x != x ? x : 0.0);
        case fn_gelu:
            return x == -HUGE_VAL ? -0.0 : x * 0.5 * std::erfc(-x * kRootHalf);
        case fn_gelu_tanh: {
            const double gate = logistic(2.0 * kRootTwoOverPi * (x + 0.044715 * x * x * x));
            return gate == 0.0 ? 0.0 : x * gate;
        }
        case fn_silu:
            return x == -HUGE_VAL ? 0.0 : x * logistic(x);
        default:
            return std::fabs(x) > 1e100 ? std::copysign(1.0, x) : x / std::sqrt(1.0 + x * x);
    }
}

double slope(i64 fn, double p, double x) {
    switch (fn) {
        case fn_leaky:
            return x > 0.0 ? 1.0 : p;
        case fn_elu:
            return x > 0.0 ? 1.0 : p * std::exp(x);
        case fn_softplus:
            return logistic(p * x);
        case fn_gelu: {
            const double tail = std::isinf(x) ? 0.0 : x * std::exp(-0.5 * x * x) * 0.39894228040143267794;
            return 0.5 * std::erfc(-x * kRootHalf) + tail;
        }
        case fn_gelu_tanh: {
            const double u = 2.0 * kRootTwoOverPi * (x + 0.044715 * x * x * x);
            const double s = logistic(u), rest = s * logistic(-u);
            return rest == 0.0 ? s : s + x * rest * 2.0 * kRootTwoOverPi * (1.0 + 3 * 0.044715 * x * x);
        }
        case fn_silu: {
            const double s = logistic(x), rest = s * logistic(-x);
            return rest == 0.0 ? s : s + x * rest;
        }
        default:
            return 1.0 / ((1.0 + x * x) * std::sqrt(1.0 + x * x));
    }
}

}  // namespace

template <typename T>
void activate(const activate_args& a) {
    map1<T>(a.x, a.y, [&](T x) { return T(function(a.fn, a.p, double(x))); });
}
template <typename T>
void activate_dx(const activate_dx_args& a) {
    map2<T>(a.x, a.dy, a.dx, [&](T x, T dy) { return T(double(dy) * slope(a.fn, a.p, double(x))); });
}

template <typename T>
void relu_dx(const relu_dx_args& a) {
    map2<T>(a.y, a.dy, a.dx, [](T y, T dy) { return y > T(0) ? dy : T(0); });
}

template <typename T>
void tanh_dx(const tanh_dx_args& a) {
    map2<T>(a.y, a.dy, a.dx, [](T y, T dy) { return T(dy * (1.0 - double(y) * y)); });
}

template <typename T>
void sigmoid_dx(const sigmoid_dx_args& a) {
    map2<T>(a.y, a.dy, a.dx, [](T y, T dy) { return T(dy * (double(y) * (1.0 - y))); });
}

RB_REF_INSTANTIATE(copy)
RB_REF_INSTANTIATE(fill)
RB_REF_INSTANTIATE(cast)
RB_REF_INSTANTIATE(add)
RB_REF_INSTANTIATE(sub)
RB_REF_INSTANTIATE(mul)
RB_REF_INSTANTIATE(div)
RB_REF_INSTANTIATE(pow)
RB_REF_INSTANTIATE(maximum)
RB_REF_INSTANTIATE(minimum)
RB_REF_INSTANTIATE(greater)
RB_REF_INSTANTIATE(greater_equal)
RB_REF_INSTANTIATE(equal)
RB_REF_INSTANTIATE(not_equal)
RB_REF_INSTANTIATE(where)
RB_REF_INSTANTIATE(neg)
RB_REF_INSTANTIATE(abs)
RB_REF_INSTANTIATE(sign)
RB_REF_INSTANTIATE(square)
RB_REF_INSTANTIATE(sqrt)
RB_REF_INSTANTIATE(exp)
RB_REF_INSTANTIATE(log)
RB_REF_INSTANTIATE(log1p)
RB_REF_INSTANTIATE(expm1)
RB_REF_INSTANTIATE(erf)
RB_REF_INSTANTIATE(floor)
RB_REF_INSTANTIATE(ceil)
RB_REF_INSTANTIATE(round)
RB_REF_INSTANTIATE(clip)
RB_REF_INSTANTIATE(clip_dx)
RB_REF_INSTANTIATE(activate)
RB_REF_INSTANTIATE(activate_dx)
RB_REF_INSTANTIATE(relu)
RB_REF_INSTANTIATE(tanh)
RB_REF_INSTANTIATE(sigmoid)
RB_REF_INSTANTIATE(relu_dx)
RB_REF_INSTANTIATE(tanh_dx)
RB_REF_INSTANTIATE(sigmoid_dx)

}  // namespace rb::ref
