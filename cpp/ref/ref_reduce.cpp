// ref_reduce.cpp: reductions over the middle axis of x [A,R,B] into y [A,B], and the softmax family on [M,C].
#include "ref/ref.hpp"

#include <cmath>
#include <limits>

namespace rb::ref {
namespace {

// x[i,r,j] of the strided view x [A,R,B].
template <typename T>
T at3(const View& x, i64 i, i64 r, i64 j) {
    return ptr<T>(x)[i * x.stride[0] + r * x.stride[1] + j * x.stride[2]];
}

// y[i,j] = f(i, j) over y [A,B], contiguous.
template <typename U, typename F>
void for_each_output(const View& y, const F& f) {
    for (i64 i = 0; i < y.shape[0]; ++i) {
        for (i64 j = 0; j < y.shape[1]; ++j) ptr<U>(y)[i * y.shape[1] + j] = f(i, j);
    }
}

// Index of the first extreme value over r; the first NaN wins over everything. sign = 1: largest, -1: smallest.
template <typename T>
i64 first_extreme(const View& x, i64 i, i64 j, T sign) {
    i64 best = 0;
    for (i64 r = 0; r < x.shape[1]; ++r) {
        T v = at3<T>(x, i, r, j);
        if (v != v) return r;
        if (sign * v > sign * at3<T>(x, i, best, j)) best = r;
    }
    return best;
}

// sum_c exp(x[c] - top) with top = max_c x[c], which is returned too. x [C]
template <typename T>
double sum_exp(const T* x, i64 C, double* top) {
    *top = -std::numeric_limits<double>::infinity();
    for (i64 c = 0; c < C; ++c) {
        if (x[c] > *top || x[c] != x[c]) *top = double(x[c]);
    }
    double s = 0.0;
    for (i64 c = 0; c < C; ++c) s += std::exp(double(x[c]) - *top);
    return s;
}

}  // namespace

template <typename T>
void sum(const sum_args& a) {
    for_each_output<T>(a.y, [&](i64 i, i64 j) {
        double s = 0.0;
        for (i64 r = 0; r < a.x.shape[1]; ++r) s += double(at3<T>(a.x, i, r, j));
        return T(a.scale * s);
    });
}

template <typename T>
void max(const max_args& a) {
    for_each_output<T>(a.y, [&](i64 i, i64 j) { return at3<T>(a.x, i, first_extreme<T>(a.x, i, j, T(1)), j); });
}

template <typename T>
void min(const min_args& a) {
    for_each_output<T>(a.y, [&](i64 i, i64 j) { return at3<T>(a.x, i, first_extreme<T>(a.x, i, j, T(-1)), j); });
}

template <typename T>
void argmax(const argmax_args& a) {
    for_each_output<i64>(a.y, [&](i64 i, i64 j) { return first_extreme<T>(a.x, i, j, T(1)); });
}

template <typename T>
void argmin(const argmin_args& a) {
    for_each_output<i64>(a.y, [&](i64 i, i64 j) { return first_extreme<T>(a.x, i, j, T(-1)); });
}

template <typename T>
void softmax(const softmax_args& a) {
    const i64 M = a.x.shape[0], C = a.x.shape[1];
    for (i64 m = 0; m < M; ++m) {
        const T* x = ptr<T>(a.x) + m * C;
        double top, total = sum_exp(x, C, &top);
        for (i64 c = 0; c < C; ++c) ptr<T>(a.y)[m * C + c] = T(std::exp(double(x[c]) - top) / total);
    }
}

template <typename T>
void log_softmax(const log_softmax_args& a) {
    const i64 M = a.x.shape[0], C = a.x.shape[1];
    for (i64 m = 0; m < M; ++m) {
        const T* x = ptr<T>(a.x) + m * C;
        double top, total = sum_exp(x, C, &top);
        for (i64 c = 0; c < C; ++c) ptr<T>(a.y)[m * C + c] = T(double(x[c]) - top - std::log(total));
    }
}

template <typename T>
void softmax_dx(const softmax_dx_args& a) {
    const i64 M = a.y.shape[0], C = a.y.shape[1];
    for (i64 m = 0; m < M; ++m) {
        const T *y = ptr<T>(a.y) + m * C, *dy = ptr<T>(a.dy) + m * C;
        double s = 0.0;
        for (i64 c = 0; c < C; ++c) s += double(y[c]) * dy[c];
        for (i64 c = 0; c < C; ++c) ptr<T>(a.dx)[m * C + c] = T(y[c] * (dy[c] - s));
    }
}

template <typename T>
void log_softmax_dx(const log_softmax_dx_args& a) {
    const i64 M = a.y.shape[0], C = a.y.shape[1];
    for (i64 m = 0; m < M; ++m) {
        const T *y = ptr<T>(a.y) + m * C, *dy = ptr<T>(a.dy) + m * C;
        double s = 0.0;
        for (i64 c = 0; c < C; ++c) s += double(dy[c]);
        for (i64 c = 0; c < C; ++c) ptr<T>(a.dx)[m * C + c] = T(dy[c] - std::exp(double(y[c])) * s);
    }
}

template <typename T>
void softmax_xent(const softmax_xent_args& a) {
    const i64 M = a.x.shape[0], C = a.x.shape[1];
    for (i64 m = 0; m < M; ++m) {
        const T* x = ptr<T>(a.x) + m * C;
        double top, total = sum_exp(x, C, &top);
        for (i64 c = 0; c < C; ++c) ptr<T>(a.probs)[m * C + c] = T(std::exp(double(x[c]) - top) / total);
        ptr<T>(a.loss)[m] = T(std::log(total) - (double(x[ptr<i64>(a.labels)[m]]) - top));
    }
}

template <typename T>
void softmax_xent_dx(const softmax_xent_dx_args& a) {
    const i64 M = a.probs.shape[0], C = a.probs.shape[1];
    for (i64 m = 0; m < M; ++m) {
        for (i64 c = 0; c < C; ++c) {
            double onehot = ptr<i64>(a.labels)[m] == c ? 1.0 : 0.0;
            ptr<T>(a.dx)[m * C + c] = T((ptr<T>(a.probs)[m * C + c] - onehot) * ptr<T>(a.g)[m]);
        }
    }
}

template <typename T>
void pair_loss(const pair_loss_args& a) {
    long double total = 0.0;  // more than the double of the op itself
    for (i64 i = 0; i < a.x.shape[0]; ++i) {
        const double x = ptr<T>(a.x)[i], t = ptr<T>(a.t)[i], e = std::exp(-std::abs(x));
        const bool square = a.kind == pair_square;
        total += square ? (x - t) * (x - t) : (x < 0.0 ? 0.0 : x) - x * t + std::log1p(e);
        ptr<T>(a.d)[i] = T(square ? x - t : (x < 0.0 ? e : 1.0) / (1.0 + e) - t);
    }
    *ptr<T>(a.loss) = T(double(total) * a.scale);
}

template <typename T>
void one_hot(const one_hot_args& a) {
    const i64 M = a.y.shape[0], C = a.y.shape[1];
    for (i64 m = 0; m < M; ++m) {
        for (i64 c = 0; c < C; ++c) ptr<T>(a.y)[m * C + c] = T(ptr<i64>(a.labels)[m] == c);
    }
}

RB_REF_INSTANTIATE(pair_loss)
RB_REF_INSTANTIATE(one_hot)
RB_REF_INSTANTIATE(sum)
RB_REF_INSTANTIATE(max)
RB_REF_INSTANTIATE(min)
RB_REF_INSTANTIATE(argmax)
RB_REF_INSTANTIATE(argmin)
RB_REF_INSTANTIATE(softmax)
RB_REF_INSTANTIATE(softmax_dx)
RB_REF_INSTANTIATE(log_softmax)
RB_REF_INSTANTIATE(log_softmax_dx)
RB_REF_INSTANTIATE(softmax_xent)
RB_REF_INSTANTIATE(softmax_xent_dx)

}  // namespace rb::ref
