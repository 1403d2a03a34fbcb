// ref.hpp: the reference implementation of every op, `ref::<op><T>` for T = float and double. Promises: the plainest
// loops that follow the comments in ops.def to the letter, every stride and broadcast honoured, sums accumulated in
// double, no workspace, no threads. It is the oracle of the tests and the last fallback; check_args has accepted the
// arguments before any of these runs.
#pragma once

#include "rb/table.hpp"

namespace rb::ref {

#include "rb/ops_blank.hpp"
#define RB_OP(name, fields) \
    template <typename T>   \
    void name(const name##_args& a);
#include "rb/ops.def"
#include "rb/ops_undef.hpp"

// Instantiates one op for both dtypes at the end of its family's file.
#define RB_REF_INSTANTIATE(name)                     \
    template void name<float>(const name##_args& a); \
    template void name<double>(const name##_args& a);

template <typename T>
T* ptr(const View& v) {
    return static_cast<T*>(v.data);
}

inline bool present(const View& v) {
    return v.ndim >= 0;
}

inline i64 numel(const View& v) {
    i64 n = 1;
    for (int d = 0; d < v.ndim; ++d) n *= v.shape[d];
    return n;
}

// Element offset of v at multi-index `index` of a shape with `ndim` axes; v aligns to the trailing axes and its axes of
// length 1 stretch.
inline i64 offset_at(const View& v, const i64* index, int ndim) {
    i64 off = 0;
    for (int d = 0; d < v.ndim; ++d) {
        if (v.shape[d] != 1) off += index[ndim - v.ndim + d] * v.stride[d];
    }
    return off;
}

// Calls body(index) for every multi-index of `shape`, last axis fastest.
template <typename F>
void for_each_index(const i64* shape, int ndim, const F& body) {
    i64 index[kMaxDims] = {};
    for (int d = 0; d < ndim; ++d) {
        if (shape[d] == 0) return;
    }
    for (;;) {
        body(index);
        int d = ndim - 1;
        while (d >= 0 && ++index[d] == shape[d]) index[d--] = 0;
        if (d < 0) return;
    }
}

// y[i] = f(x[i]) and y[i] = f(a[i], b[i]) with broadcasting.
template <typename T, typename F>
void map1(const View& x, const View& y, const F& f) {
    for_each_index(y.shape, y.ndim,
                   [&](const i64* i) { ptr<T>(y)[offset_at(y, i, y.ndim)] = f(ptr<T>(x)[offset_at(x, i, y.ndim)]); });
}
template <typename T, typename F>
void map2(const View& a, const View& b, const View& y, const F& f) {
    for_each_index(y.shape, y.ndim, [&](const i64* i) {
        ptr<T>(y)[offset_at(y, i, y.ndim)] = f(ptr<T>(a)[offset_at(a, i, y.ndim)], ptr<T>(b)[offset_at(b, i, y.ndim)]);
    });
}

double activate(double x, i64 act);  // Act applied to one value (ref_gemm.cpp)

}  // namespace rb::ref
