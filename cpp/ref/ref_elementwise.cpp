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
RB_REF_UNARY(relu, T(activate(double(x), act_relu)))
RB_REF_UNARY(tanh, T(activate(double(x), act_tanh)))
RB_REF_UNARY(sigmoid, T(activate(double(x), act_sigmoid)))

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
RB_REF_INSTANTIATE(neg)
RB_REF_INSTANTIATE(abs)
RB_REF_INSTANTIATE(sign)
RB_REF_INSTANTIATE(square)
RB_REF_INSTANTIATE(sqrt)
RB_REF_INSTANTIATE(exp)
RB_REF_INSTANTIATE(log)
RB_REF_INSTANTIATE(relu)
RB_REF_INSTANTIATE(tanh)
RB_REF_INSTANTIATE(sigmoid)
RB_REF_INSTANTIATE(relu_dx)
RB_REF_INSTANTIATE(tanh_dx)
RB_REF_INSTANTIATE(sigmoid_dx)

}  // namespace rb::ref
