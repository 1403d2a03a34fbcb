// ref_select.cpp: running sums, sort, rows by index and their adjoints, the gradient of bias and activation.
#include "ref/ref.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace rb::ref {
namespace {

// Calls body(i, j) for every column of [A,R,B].
template <typename F>
void for_each_column(const View& x, const F& body) {
    for (i64 i = 0; i < x.shape[0]; ++i) {
        for (i64 j = 0; j < x.shape[2]; ++j) body(i, j);
    }
}

// Element offset of [i,r,j] in the contiguous view x [A,R,B].
i64 at(const View& x, i64 i, i64 r, i64 j) {
    return (i * x.shape[1] + r) * x.shape[2] + j;
}

}  // namespace

template <typename T>
void cumulate(const cumulate_args& a) {
    const i64 R = a.x.shape[1];
    for_each_column(a.x, [&](i64 i, i64 j) {
        double run = a.product ? 1.0 : 0.0;
        for (i64 r = 0; r < R; ++r) {
            const i64 e = at(a.x, i, a.reverse ? R - 1 - r : r, j);
            run = a.product ? run * double(ptr<T>(a.x)[e]) : run + double(ptr<T>(a.x)[e]);
            ptr<T>(a.y)[e] = T(run);
        }
    });
}

template <typename T>
void sort(const sort_args& a) {
    std::vector<i64> order(static_cast<size_t>(a.x.shape[1]));
    for_each_column(a.x, [&](i64 i, i64 j) {
        std::iota(order.begin(), order.end(), i64{0});
        std::stable_sort(order.begin(), order.end(), [&](i64 p, i64 q) {
            const T u = ptr<T>(a.x)[at(a.x, i, p, j)], v = ptr<T>(a.x)[at(a.x, i, q, j)];
            if (u != u || v != v) return u == u && v != v;  // NaN last
            return a.descending ? u > v : u < v;
        });
        for (i64 k = 0; k < a.y.shape[1]; ++k) {
            const i64 r = order[static_cast<size_t>(k)];
            ptr<T>(a.y)[at(a.y, i, k, j)] = ptr<T>(a.x)[at(a.x, i, r, j)];
            ptr<i64>(a.idx)[at(a.y, i, k, j)] = r;
        }
    });
}

template <typename T>
void take(const take_args& a) {
    for_each_column(a.y, [&](i64 i, i64 j) {
        for (i64 k = 0; k < a.y.shape[1]; ++k)
            ptr<T>(a.y)[at(a.y, i, k, j)] = ptr<T>(a.x)[at(a.x, i, ptr<i64>(a.idx)[k], j)];
    });
}

template <typename T>
void take_dx(const take_dx_args& a) {
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    for_each_column(a.dy, [&](i64 i, i64 j) {
        for (i64 k = 0; k < a.dy.shape[1]; ++k)
            ptr<T>(a.dx)[at(a.dx, i, ptr<i64>(a.idx)[k], j)] += ptr<T>(a.dy)[at(a.dy, i, k, j)];
    });
}

template <typename T>
void gather(const gather_args& a) {
    for_each_column(a.y, [&](i64 i, i64 j) {
        for (i64 k = 0; k < a.y.shape[1]; ++k) {
            const i64 e = at(a.y, i, k, j);
            ptr<T>(a.y)[e] = ptr<T>(a.x)[at(a.x, i, ptr<i64>(a.idx)[e], j)];
        }
    });
}

template <typename T>
void gather_dx(const gather_dx_args& a) {
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    for_each_column(a.dy, [&](i64 i, i64 j) {
        for (i64 k = 0; k < a.dy.shape[1]; ++k) {
            const i64 e = at(a.dy, i, k, j);
            ptr<T>(a.dx)[at(a.dx, i, ptr<i64>(a.idx)[e], j)] += ptr<T>(a.dy)[e];
        }
    });
}

template <typename T>
void bias_act_dx(const bias_act_dx_args& a) {
    const i64 M = a.y.shape[0], N = a.y.shape[1];
    for (i64 n = 0; n < N; ++n) {
        double sum = 0.0;
        for (i64 m = 0; m < M; ++m) {
            const double y = ptr<T>(a.y)[m * N + n], dy = ptr<T>(a.dy)[m * N + n];
            double dx = dy;
            if (a.act == act_relu) dx = y > 0.0 ? dy : 0.0;
            if (a.act == act_tanh) dx = dy * (1.0 - y * y);
            if (a.act == act_sigmoid) dx = dy * (y * (1.0 - y));
            ptr<T>(a.dx)[m * N + n] = T(dx);
            sum += dx;
        }
        ptr<T>(a.db)[n] = T(sum);
    }
}

RB_REF_INSTANTIATE(cumulate)
RB_REF_INSTANTIATE(sort)
RB_REF_INSTANTIATE(take)
RB_REF_INSTANTIATE(take_dx)
RB_REF_INSTANTIATE(gather)
RB_REF_INSTANTIATE(gather_dx)
RB_REF_INSTANTIATE(bias_act_dx)

}  // namespace rb::ref
