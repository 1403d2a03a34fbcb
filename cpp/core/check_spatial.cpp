// check_spatial.cpp: checks of ops on signals, images and volumes; see check.cpp.
#include "core/check_parts.hpp"
#include "core/run.hpp"  // algo_applies
#include "rb/fft_plan.hpp"

namespace rb::checking {

// --- convolution
struct ConvShape {
    const View &x, &w, &y;
    const char *x_name, *w_name, *y_name;
    i64 stride[2], pad[2], dil[2], groups;
};
static bool check_conv(Check& c, const ConvShape& s) {
    if (!c.ndim(s.x_name, s.x, 4, "[N,H,W,C]") || !c.ndim(s.w_name, s.w, 4, "[K,R,S,C/groups]") ||
        !c.ndim(s.y_name, s.y, 4, "[N,P,Q,K]"))
        return false;
    const i64 C = s.x.shape[3], K = s.w.shape[0];
    if (!c.extent(s.y_name, s.y, 0, s.x.shape[0], "N") || !c.extent(s.y_name, s.y, 3, K, "K")) return false;
    for (int axis = 1; axis < 4; ++axis) {
        if (!c.not_empty(s.x_name, s.x, axis) || !c.not_empty(s.y_name, s.y, axis) || !c.not_empty(s.w_name, s.w, axis))
            return false;
    }
    if (s.groups < 1 || C % s.groups || K % s.groups) {
        return c.fail("groups must divide C = %lld and K = %lld, got %lld", (long long)C, (long long)K,
                      (long long)s.groups);
    }
    if (s.w.shape[3] != C / s.groups) {
        return c.fail("%s has %lld input channels per group, %s has %lld with groups=%lld (layout is NHWC, [K,R,S,C])",
                      s.w_name, (long long)s.w.shape[3], s.x_name, (long long)C, (long long)s.groups);
    }
    for (int d = 0; d < 2; ++d) {
        const char* dim = d ? "w" : "h";
        char name[16];
        std::snprintf(name, sizeof name, "stride_%s", dim);
        if (!c.in_range(name, s.stride[d], 1, kMaxStep)) return false;
        std::snprintf(name, sizeof name, "dil_%s", dim);
        if (!c.in_range(name, s.dil[d], 1, kMaxStep)) return false;
        const i64 H = s.x.shape[d + 1], P = s.y.shape[d + 1], R = s.w.shape[d + 1];
        if (!c.in_range(d ? "kernel width" : "kernel height", R, 1, kMaxEffective)) return false;
        const i64 span = (R - 1) * s.dil[d] + 1;
        if (!c.in_range(d ? "width of the dilated kernel" : "height of the dilated kernel", span, 1, kMaxEffective))
            return false;
        std::snprintf(name, sizeof name, "pad_%s", dim);
        if (!c.in_range(name, s.pad[d], 0, span - 1 + H < kMaxStep ? span - 1 + H : kMaxStep)) return false;
        const i64 after = (P - 1) * s.stride[d] + span - s.pad[d] - H;  // padding implied at the far end
        if (after > span - 1 + H) {
            return c.fail(
                "%s has %lld output %s; with kernel %lld, stride %lld, padding %lld, dilation %lld an input "
                "of %lld would need %lld of padding at the end",
                s.y_name, (long long)P, d ? "columns" : "rows", (long long)R, (long long)s.stride[d],
                (long long)s.pad[d], (long long)s.dil[d], (long long)H, (long long)after);
        }
    }
    return true;
}
bool check(Check& c, const conv2d_args& a) {
    if (!check_conv(
            c,
            {a.x, a.w, a.y, "x", "w", "y", {a.stride_h, a.stride_w}, {a.pad_h, a.pad_w}, {a.dil_h, a.dil_w}, a.groups}))
        return false;
    if (present(a.bias) && !(c.ndim("bias", a.bias, 1, "[K]") && c.extent("bias", a.bias, 0, a.w.shape[0], "K")))
        return false;
    if (!c.in_range("act", a.act, 0, kNumActs - 1) || !c.in_range("algo", a.algo, 0, kNumAlgos - 1)) return false;
    if (algo_applies(op_conv2d, a.x.dtype, &a)) return true;
    const long long g[] = {a.stride_h, a.stride_w, a.dil_h, a.dil_w, a.groups};
    return c.fail("algo '%s' does not apply to x %s, w %s, stride (%lld, %lld), dilation (%lld, %lld), groups %lld%s",
                  kAlgoNames[a.algo], ShapeText(a.x).text, ShapeText(a.w).text, g[0], g[1], g[2], g[3], g[4],
                  winograd_enabled() ? "" : " (RB_WINOGRAD=0)");
}
bool check(Check& c, const conv2d_dx_args& a) {
    if (!c.in_range("algo", a.algo, 0, kNumAlgos - 1)) return false;
    return check_conv(
        c,
        {a.dx, a.w, a.dy, "dx", "w", "dy", {a.stride_h, a.stride_w}, {a.pad_h, a.pad_w}, {a.dil_h, a.dil_w}, a.groups});
}
bool check(Check& c, const conv2d_dw_args& a) {
    if (!c.in_range("algo", a.algo, 0, kNumAlgos - 1)) return false;
    return check_conv(
        c,
        {a.x, a.dw, a.dy, "x", "dw", "dy", {a.stride_h, a.stride_w}, {a.pad_h, a.pad_w}, {a.dil_h, a.dil_w}, a.groups});
}

// --- pooling
static bool check_volumes(Check& c, const char* x_name, const View& x, const char* y_name, const View& y) {
    if (!c.ndim(x_name, x, 5, "[N,D,H,W,C]") || !c.ndim(y_name, y, 5, "[N,O,P,Q,C]")) return false;
    return c.extent(y_name, y, 0, x.shape[0], "N") && c.extent(y_name, y, 4, x.shape[4], "C");
}
struct PoolAxisArgs {
    i64 kernel, stride, pad, dil;
};
// Every window holds at least one pixel of x.
static bool check_windows(Check& c, const char* x_name, const View& x, const char* y_name, const View& y,
                          const PoolAxisArgs (&axes)[3], i64 adaptive) {
    static const char* const kKernel[] = {"kernel_d", "kernel_h", "kernel_w"};
    static const char* const kStride[] = {"stride_d", "stride_h", "stride_w"};
    static const char* const kPad[] = {"pad_d", "pad_h", "pad_w"};
    static const char* const kDil[] = {"dil_d", "dil_h", "dil_w"};
    if (!check_volumes(c, x_name, x, y_name, y) || !c.in_range("adaptive", adaptive, 0, 1)) return false;
    for (int d = 0; d < 3; ++d) {
        if (!c.not_empty(x_name, x, d + 1) || !c.not_empty(y_name, y, d + 1)) return false;
        const i64 n = x.shape[d + 1], out = y.shape[d + 1];
        if (adaptive) {
            if (n > kMaxIndex || out > kMaxIndex) return c.fail("axis %d is too long to pool adaptively", d + 1);
            continue;
        }
        const PoolAxisArgs& a = axes[d];
        if (!c.in_range(kKernel[d], a.kernel, 1, kMaxStep) || !c.in_range(kStride[d], a.stride, 1, kMaxStep) ||
            !c.in_range(kDil[d], a.dil, 1, kMaxStep))
            return false;
        const i64 span = (a.kernel - 1) * a.dil + 1;
        if (!c.in_range(kPad[d], a.pad, 0, span / 2)) return false;
        if ((out - 1) * a.stride - a.pad >= n) {
            return c.fail(
                "%s has %lld outputs along axis %d; with stride %lld and padding %lld the last window lies "
                "outside an input of %lld",
                y_name, (long long)out, d + 1, (long long)a.stride, (long long)a.pad, (long long)n);
        }
        for (i64 p = 0; a.dil > 1 && p < out; ++p) {  // taps far apart may step over the whole input
            const i64 start = p * a.stride - a.pad,
                      first = start >= 0 ? start : start + (a.dil - 1 - start) / a.dil * a.dil;
            if (first >= n || first >= start + span) {
                return c.fail(
                    "window %lld along axis %d (kernel %lld, dilation %lld, padding %lld) holds no pixel of "
                    "an input of %lld",
                    (long long)p, d + 1, (long long)a.kernel, (long long)a.dil, (long long)a.pad, (long long)n);
            }
        }
    }
    return true;
}
template <typename A>
static bool check_max_windows(Check& c, const A& a, const char* x_name, const View& x, const char* y_name,
                              const View& y) {
    return check_windows(c, x_name, x, y_name, y,
                         {{a.kernel_d, a.stride_d, a.pad_d, a.dil_d},
                          {a.kernel_h, a.stride_h, a.pad_h, a.dil_h},
                          {a.kernel_w, a.stride_w, a.pad_w, a.dil_w}},
                         a.adaptive);
}
template <typename A>
static bool check_avg_windows(Check& c, const A& a, const char* x_name, const View& x, const char* y_name,
                              const View& y) {
    return check_windows(c, x_name, x, y_name, y,
                         {{a.kernel_d, a.stride_d, a.pad_d, 1},
                          {a.kernel_h, a.stride_h, a.pad_h, 1},
                          {a.kernel_w, a.stride_w, a.pad_w, 1}},
                         a.adaptive) &&
           c.in_range("count_include_pad", a.count_include_pad, 0, 1);
}
static i64 pixels_of(const View& x) {
    return x.shape[1] * x.shape[2] * x.shape[3];
}
static bool check_index_range(Check& c, const char* name, const View& x) {
    i64 pixels = 1;
    for (int d = 1; d < 4; ++d)
        pixels = x.shape[d] == 0 || pixels > kMaxIndex / x.shape[d] ? kMaxIndex + 1 : pixels * x.shape[d];
    if (pixels <= kMaxIndex) return true;
    return c.fail("%s must have 1 .. 2**31 - 1 pixels, as an int32 index can name: shape %s", name, ShapeText(x).text);
}
// idx [N,O,P,Q,C] names pixels of images with `pixels` pixels.
static bool check_index(Check& c, const View& idx, i64 pixels) {
    const i32* v = static_cast<const i32*>(idx.data);
    const i64 n = numel(idx);
    u32 largest = 0;  // negative values wrap to large ones
    for (i64 i = 0; i < n; ++i) largest = u32(v[i]) > largest ? u32(v[i]) : largest;
    if (n == 0 || i64(largest) < pixels) return true;
    for (i64 i = 0; i < n; ++i) {
        if (v[i] < 0 || i64(v[i]) >= pixels) {
            return c.fail("idx holds %d at element %lld, outside 0 .. %lld", int(v[i]), (long long)i,
                          (long long)(pixels - 1));
        }
    }
    return true;
}
bool check(Check& c, const max_pool_args& a) {
    return check_max_windows(c, a, "x", a.x, "y", a.y) && c.same_shape("idx", a.idx, "y", a.y) &&
           c.in_range("minimum", a.minimum, 0, 1) && check_index_range(c, "x", a.x);
}
bool check(Check& c, const max_pool_dx_args& a) {  // an index outside is chosen by no pixel
    return check_max_windows(c, a, "dx", a.dx, "dy", a.dy) && c.same_shape("idx", a.idx, "dy", a.dy) &&
           check_index_range(c, "dx", a.dx);
}
bool check(Check& c, const max_pool_gather_args& a) {
    return check_volumes(c, "x", a.x, "y", a.y) && c.same_shape("idx", a.idx, "y", a.y) &&
           check_index_range(c, "x", a.x) && check_index(c, a.idx, pixels_of(a.x));
}
bool check(Check& c, const max_unpool_args& a) {
    return check_volumes(c, "x", a.x, "y", a.y) && c.same_shape("idx", a.idx, "x", a.x) &&
           check_index_range(c, "y", a.y) && check_index(c, a.idx, pixels_of(a.y));
}
bool check(Check& c, const avg_pool_args& a) {
    return check_avg_windows(c, a, "x", a.x, "y", a.y);
}
bool check(Check& c, const avg_pool_dx_args& a) {
    return check_avg_windows(c, a, "dx", a.dx, "dy", a.dy);
}

// --- borders and windows
static bool check_borders(Check& c, const char* x_name, const View& x, const char* y_name, const View& y, i64 mode,
                          const i64 (&front)[3]) {
    static const char* const kFront[] = {"front_d", "front_h", "front_w"};
    if (!check_volumes(c, x_name, x, y_name, y) || !c.in_range("mode", mode, 0, kNumPadModes - 1)) return false;
    for (int d = 0; d < 3; ++d) {
        const i64 n = x.shape[d + 1], out = y.shape[d + 1];
        if (out < n) {
            return c.fail("axis %d of %s must not be shorter than that of %s, got shapes %s and %s", d + 1, y_name,
                          x_name, ShapeText(y).text, ShapeText(x).text);
        }
        if (!c.in_range(kFront[d], front[d], 0, out - n)) return false;
        if (mode != pad_constant && n == 0 && numel(y) > 0) {
            return c.fail("axis %d of %s is empty: there is nothing to repeat", d + 1, x_name);
        }
    }
    return true;
}
bool check(Check& c, const pad_args& a) {
    return check_borders(c, "x", a.x, "y", a.y, a.mode, {a.front_d, a.front_h, a.front_w});
}
bool check(Check& c, const pad_dx_args& a) {
    return check_borders(c, "dx", a.dx, "dy", a.dy, a.mode, {a.front_d, a.front_h, a.front_w});
}
template <typename A>
static bool check_unfold(Check& c, const A& a) {
    if (!c.ndim("x", a.x, 4, "[N,A,I,C]") || !c.ndim("y", a.y, 5, "[N,P,I,R,C]")) return false;
    return c.extent("y", a.y, 0, a.x.shape[0], "N") && c.extent("y", a.y, 2, a.x.shape[2], "I") &&
           c.extent("y", a.y, 4, a.x.shape[3], "C") && c.in_range("P", a.y.shape[1], 0, kMaxIndex) &&
           c.in_range("R", a.y.shape[3], 0, kMaxIndex) && c.in_range("stride", a.stride, 1, kMaxStep) &&
           c.in_range("pad", a.pad, -kMaxIndex, kMaxIndex) && c.in_range("dil", a.dil, 1, kMaxStep);
}
bool check(Check& c, const unfold_args& a) {
    return check_unfold(c, a);
}
bool check(Check& c, const fold_args& a) {
    return check_unfold(c, a);
}

// --- images
static bool check_images(Check& c, const char* x_name, const View& x, const char* y_name, const View& y) {
    if (!c.ndim(x_name, x, 4, "[N,H,W,C]") || !c.ndim(y_name, y, 4, "[N,P,Q,C]")) return false;
    if (!c.extent(y_name, y, 0, x.shape[0], "N") || !c.extent(y_name, y, 3, x.shape[3], "C")) return false;
    for (int axis = 1; axis < 3; ++axis) {
        if (!c.not_empty(x_name, x, axis) || !c.not_empty(y_name, y, axis)) return false;
    }
    return true;
}
bool check(Check& c, const warp_affine_args& a) {
    return check_images(c, "x", a.x, "y", a.y) && c.ndim("m", a.m, 3, "[N,2,3]") &&
           c.extent("m", a.m, 0, a.x.shape[0], "N") && c.extent("m", a.m, 1, 2, "rows") &&
           c.extent("m", a.m, 2, 3, "columns");
}

// --- Fourier transforms
static bool check_lines(Check& c, const View& x, const View& y, const View& table, i64 n, bool real) {
    if (!c.in_range("the length of the transform", n, 1, kFftMaxLength)) return false;
    return c.extent("y", y, 0, x.shape[0], "lines") && c.extent("y", y, 2, x.shape[2], "lines") &&
           c.ndim("table", table, 1, "[size]") &&
           c.extent("table", table, 0, fft_table_size(n, real), "the table of this length");
}
bool check(Check& c, const fft_args& a) {
    return c.ndim("x", a.x, 4, "[A,m,B,2]") && c.extent("x", a.x, 3, 2, "re, im") && c.ndim("y", a.y, 4, "[A,n,B,2]") &&
           c.extent("y", a.y, 3, 2, "re, im") && c.in_range("inverse", a.inverse, 0, 1) &&
           check_lines(c, a.x, a.y, a.table, a.y.shape[1], false);
}
bool check(Check& c, const rfft_args& a) {
    return c.ndim("x", a.x, 3, "[A,m,B]") && c.ndim("y", a.y, 4, "[A,n/2+1,B,2]") &&
           c.extent("y", a.y, 3, 2, "re, im") && c.in_range("n", a.n, 1, kFftMaxLength) &&
           c.extent("y", a.y, 1, a.n / 2 + 1, "n/2 + 1") && check_lines(c, a.x, a.y, a.table, a.n, true);
}
bool check(Check& c, const irfft_args& a) {
    return c.ndim("x", a.x, 4, "[A,m,B,2]") && c.extent("x", a.x, 3, 2, "re, im") && c.ndim("y", a.y, 3, "[A,n,B]") &&
           check_lines(c, a.x, a.y, a.table, a.y.shape[1], true);
}
bool check(Check& c, const complex_mul_args& a) {
    return c.ndim("y", a.y, 3, "[m,n,2]") && c.extent("y", a.y, 2, 2, "re, im") && c.same_shape("a", a.a, "y", a.y) &&
           c.ndim("b", a.b, 2, "[n,2]") && c.extent("b", a.b, 0, a.y.shape[1], "n") &&
           c.extent("b", a.b, 1, 2, "re, im") && c.in_range("conj", a.conj, 0, 1);
}

// --- filters
static bool check_filter(Check& c, const View& x, const View& y, i64 R, i64 S, i64 top, i64 left, i64 mode) {
    if (!c.ndim("x", x, 4, "[N,H,W,C]") || !c.ndim("y", y, 4, "[N,P,Q,C]")) return false;
    if (!c.extent("y", y, 0, x.shape[0], "images") || !c.extent("y", y, 3, x.shape[3], "channels")) return false;
    if (!c.in_range("the height of the kernel", R, 1, kMaxStep) ||
        !c.in_range("the width of the kernel", S, 1, kMaxStep))
        return false;
    if (numel(y) > 0 && !(c.not_empty("x", x, 1) && c.not_empty("x", x, 2))) return false;
    return c.in_range("top", top, -kMaxStep, kMaxStep) && c.in_range("left", left, -kMaxStep, kMaxStep) &&
           c.in_range("mode", mode, 0, 4);
}
bool check(Check& c, const filter2d_args& a) {
    return c.ndim("w", a.w, 2, "[R,S]") && check_filter(c, a.x, a.y, a.w.shape[0], a.w.shape[1], a.top, a.left, a.mode);
}
bool check(Check& c, const filter2d_sep_args& a) {
    return c.ndim("u", a.u, 2, "[K,R]") && c.ndim("v", a.v, 2, "[K,S]") && c.not_empty("u", a.u, 0) &&
           c.extent("v", a.v, 0, a.u.shape[0], "terms") &&
           check_filter(c, a.x, a.y, a.u.shape[1], a.v.shape[1], a.top, a.left, a.mode);
}
bool check(Check& c, const filter2d_fft_args& a) {
    if (!c.ndim("w", a.w, 2, "[R,S]") || !check_filter(c, a.x, a.y, a.w.shape[0], a.w.shape[1], a.top, a.left, a.mode))
        return false;
    if (!c.in_range("tile_h", a.tile_h, a.w.shape[0], kFftMaxLength) ||
        !c.in_range("tile_w", a.tile_w, a.w.shape[1] > 2 ? a.w.shape[1] : 2, kFftMaxLength))
        return false;
    if (a.tile_w % 2) return c.fail("tile_w must be even, got %lld", (long long)a.tile_w);
    if (!fft_plan(a.tile_h).smooth) return c.fail("tile_h = %lld has a prime above 13", (long long)a.tile_h);
    return c.ndim("table_h", a.table_h, 1, "[size]") &&
           c.extent("table_h", a.table_h, 0, fft_table_size(a.tile_h, false), "the table of tile_h") &&
           c.ndim("table_w", a.table_w, 1, "[size]") &&
           c.extent("table_w", a.table_w, 0, fft_table_size(a.tile_w, true), "the real table of tile_w");
}

}  // namespace rb::checking
