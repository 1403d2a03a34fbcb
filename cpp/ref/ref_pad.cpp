// ref_pad.cpp: borders around x [N,D,H,W,C] in NumPy's modes, windows along one axis laid side by side, their adjoints.
#include "ref/ref.hpp"

#include <algorithm>

namespace rb::ref {
namespace {

// Walks from i back into [0, n) as the mode says; -1 where the constant stands.
i64 source(i64 i, i64 n, i64 mode) {
    if (mode == pad_edge && n > 0) return std::clamp<i64>(i, 0, n - 1);
    while (i < 0 || i >= n) {
        if (mode == pad_constant || n == 0) return -1;
        if (mode == pad_wrap) {
            i += i < 0 ? n : -n;
        } else if (n == 1) {
            return 0;
        } else {
            const i64 twice = mode == pad_symmetric ? 1 : 0;  // is the border itself repeated?
            i = i < 0 ? -i - twice : 2 * (n - 1) - i + twice;
        }
    }
    return i;
}

template <typename A, typename F>
void for_each_padded(const A& a, const View& x, const View& y, const F& body) {
    i64 to = 0;
    for_each_index(y.shape, 5, [&](const i64* i) {
        const i64 d = source(i[1] - a.front_d, x.shape[1], a.mode);
        const i64 h = source(i[2] - a.front_h, x.shape[2], a.mode);
        const i64 w = source(i[3] - a.front_w, x.shape[3], a.mode);
        const bool inside = d >= 0 && h >= 0 && w >= 0;
        body(to++, inside ? (((i[0] * x.shape[1] + d) * x.shape[2] + h) * x.shape[3] + w) * x.shape[4] + i[4] : -1);
    });
}

template <typename A, typename F>
void for_each_tap(const A& a, const F& body) {
    i64 to = 0;
    for_each_index(a.y.shape, 5, [&](const i64* i) {  // n p i r c
        const i64 h = i[1] * a.stride - a.pad + i[3] * a.dil;
        const bool inside = h >= 0 && h < a.x.shape[1];
        body(to++, inside ? ((i[0] * a.x.shape[1] + h) * a.x.shape[2] + i[2]) * a.x.shape[3] + i[4] : -1);
    });
}

}  // namespace

template <typename T>
void pad(const pad_args& a) {
    for_each_padded(a, a.x, a.y,
                    [&](i64 to, i64 from) { ptr<T>(a.y)[to] = from < 0 ? T(a.value) : ptr<T>(a.x)[from]; });
}

template <typename T>
void pad_dx(const pad_dx_args& a) {
    std::fill_n(ptr<T>(a.dx), numel(a.dx), T(0));
    for_each_padded(a, a.dx, a.dy, [&](i64 at, i64 to) {
        if (to >= 0) ptr<T>(a.dx)[to] += ptr<T>(a.dy)[at];
    });
}

template <typename T>
void unfold(const unfold_args& a) {
    for_each_tap(a, [&](i64 to, i64 from) { ptr<T>(a.y)[to] = from < 0 ? T(0) : ptr<T>(a.x)[from]; });
}

template <typename T>
void fold(const fold_args& a) {
    std::fill_n(ptr<T>(a.x), numel(a.x), T(0));
    for_each_tap(a, [&](i64 at, i64 to) {
        if (to >= 0) ptr<T>(a.x)[to] += ptr<T>(a.y)[at];
    });
}

RB_REF_INSTANTIATE(pad)
RB_REF_INSTANTIATE(pad_dx)
RB_REF_INSTANTIATE(unfold)
RB_REF_INSTANTIATE(fold)

}  // namespace rb::ref
