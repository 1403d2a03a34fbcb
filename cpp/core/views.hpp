// views.hpp: what more than one part of core and bind asks of a view. Not for kernels: they share no inline functions.
#pragma once

#include "rb/view.hpp"

namespace rb {

constexpr i64 kItemSize[] = {4, 8, 8, 4, 2};  // bytes of an element, by DType

// Is it in C order without gaps? Lone and empty axes may have any stride.
inline bool is_dense(const View& v) {
    for (i32 i = 0; i < v.ndim; ++i) {
        if (v.shape[i] == 0) return true;
    }
    i64 expect = 1;
    for (i32 i = v.ndim - 1; i >= 0; --i) {
        if (v.shape[i] != 1 && v.stride[i] != expect) return false;
        expect *= v.shape[i];
    }
    return true;
}

// The bytes [begin, end) that a view spans; false when it touches none (empty or absent).
inline bool byte_span(const View& v, const char** begin, const char** end) {
    if (v.ndim < 0) return false;
    i64 low = 0, high = 0;
    for (i32 i = 0; i < v.ndim; ++i) {
        if (v.shape[i] == 0) return false;
        const i64 reach = (v.shape[i] - 1) * v.stride[i];
        (reach < 0 ? low : high) += reach;
    }
    *begin = static_cast<const char*>(v.data) + low * kItemSize[v.dtype];
    *end = static_cast<const char*>(v.data) + (high + 1) * kItemSize[v.dtype];
    return true;
}

}  // namespace rb
