// check.cpp: one function per op or family; the first thing that does not fit ends the check.
#include "core/check.hpp"

#include <cfloat>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "core/describe.hpp"
#include "core/run.hpp"  // algo_applies
#include "rb/fft_plan.hpp"

namespace rb {
namespace {

// Bounds that keep every product of sizes and parameters inside 64 bits.
constexpr i64 kMaxExtent = i64{1} << 40;
constexpr i64 kMaxElements = i64{1} << 44;
constexpr i64 kMaxStep = i64{1} << 20;       // strides, kernels, padding
constexpr i64 kMaxEffective = i64{1} << 14;  // rows a dilated kernel may span
constexpr i64 kMaxIndex = (i64{1} << 31) - 1;

// "[2, 3, 4]", truncated to the room there is.
struct ShapeText {
    char text[160];
    explicit ShapeText(const View& v) {
        size_t at = 0;
        text[at++] = '[';
        for (int d = 0; d < v.ndim && at < sizeof text - 24; ++d) {
            at += size_t(std::snprintf(text + at, sizeof text - at, d ? ", %lld" : "%lld", (long long)v.shape[d]));
        }
        text[at++] = ']';
        text[at] = '\0';
    }
};

class Check {
  public:
    Check(const char* op, char* buf, size_t len) : op_(op), buf_(buf), len_(len) {}

    // Writes "op: message" and returns false.
    __attribute__((format(printf, 2, 3))) bool fail(const char* format, ...) {
        if (len_ == 0) return false;
        int at = std::snprintf(buf_, len_, "%s: ", op_);
        if (at < 0 || size_t(at) >= len_) return false;
        va_list list;
        va_start(list, format);
        std::vsnprintf(buf_ + at, len_ - size_t(at), format, list);
        va_end(list);
        return false;
    }

    bool ndim(const char* name, const View& v, int n, const char* layout) {
        if (v.ndim == n) return true;
        return fail("%s must have %d axes %s, got shape %s", name, n, layout, ShapeText(v).text);
    }

    bool extent(const char* name, const View& v, int axis, i64 want, const char* meaning) {
        if (v.shape[axis] == want) return true;
        return fail("axis %d of %s must be %s = %lld, got shape %s", axis, name, meaning, (long long)want,
                    ShapeText(v).text);
    }

    bool same_shape(const char* name, const View& v, const char* other_name, const View& other) {
        bool same = v.ndim == other.ndim;
        for (int d = 0; same && d < v.ndim; ++d) same = v.shape[d] == other.shape[d];
        if (same) return true;
        return fail("%s must have the shape of %s %s, got %s", name, other_name, ShapeText(other).text,
                    ShapeText(v).text);
    }

    bool broadcasts(const char* name, const View& v, const char* to_name, const View& to) {
        bool fits = v.ndim <= to.ndim;
        for (int d = 0; fits && d < v.ndim; ++d) {
            fits = v.shape[d] == 1 || v.shape[d] == to.shape[d + to.ndim - v.ndim];
        }
        if (fits) return true;
        return fail("%s of shape %s does not broadcast to %s of shape %s", name, ShapeText(v).text, to_name,
                    ShapeText(to).text);
    }

    bool in_range(const char* name, i64 v, i64 low, i64 high) {
        if (v >= low && v <= high) return true;
        return fail("%s must be in %lld .. %lld, got %lld", name, (long long)low, (long long)high, (long long)v);
    }

    bool in_range(const char* name, double v, double low, double high) {
        if (v >= low && v <= high) return true;
        return fail("%s must be in [%g, %g], got %g", name, low, high, v);
    }

    bool finite(const char* name, double v) {
        if (std::isfinite(v)) return true;
        return fail("%s must be finite, got %g", name, v);
    }

    bool not_empty(const char* name, const View& v, int axis) {
        if (v.shape[axis] > 0) return true;
        return fail("axis %d of %s must not be empty, got shape %s", axis, name, ShapeText(v).text);
    }

  private:
    const char* op_;
    char* buf_;
    size_t len_;
};

bool present(const View& v) {
    return v.ndim >= 0;
}

i64 numel(const View& v) {
    i64 n = 1;
    for (int d = 0; d < v.ndim; ++d) n *= v.shape[d];
    return n;
}

// --- every op: sizes that cannot overflow, one float dtype
bool check_views(Check& c, const OpInfo& info, const char* args, bool one_dtype) {
    const View* first = nullptr;
    const char* first_name = "";
    for (i32 i = 0; i < info.count; ++i) {
        const Field& f = info.fields[i];
        if (f.kind != Kind::view) continue;
        const View& v = *reinterpret_cast<const View*>(args + f.offset);
        if (!present(v)) {
            if (!f.optional) return c.fail("%s is missing", f.name);
            continue;
        }
        if (v.ndim > kMaxDims) return c.fail("%s has %d axes, at most %d are supported", f.name, v.ndim, kMaxDims);
        i64 product = 1;
        for (int d = 0; d < v.ndim; ++d) {
            if (v.shape[d] < 0 || v.shape[d] > kMaxExtent || (v.shape[d] > 1 && product > kMaxElements / v.shape[d])) {
                return c.fail("%s is too large: shape %s", f.name, ShapeText(v).text);
            }
            if (v.shape[d] > 1) product *= v.shape[d];
        }
        if (f.elem == Elem::int64 && v.dtype != i64t) return c.fail("%s must be int64", f.name);
        if (f.elem == Elem::int32 && v.dtype != i32t) return c.fail("%s must be int32", f.name);
        if (f.elem == Elem::uint16 && v.dtype != u16t) return c.fail("%s must be uint16", f.name);
        if (f.elem == Elem::bfloat16 && v.dtype != u16t && v.dtype != f32)
            return c.fail("%s must be uint16 (bfloat16) or float32", f.name);
        if (f.elem != Elem::real) continue;
        if (v.dtype != f32 && v.dtype != f64) return c.fail("%s must be float32 or float64", f.name);
        if (first && one_dtype && v.dtype != first->dtype) {
            return c.fail("%s is %s but %s is %s: all floating-point arrays of a call share a dtype", f.name,
                          v.dtype == f32 ? "float32" : "float64", first_name,
                          first->dtype == f32 ? "float32" : "float64");
        }
        if (!first) {
            first = &v;
            first_name = f.name;
        }
    }
    return true;
}

// --- moving data, elementwise
bool check(Check& c, const copy_args& a) {
    return c.broadcasts("x", a.x, "y", a.y);
}
bool check(Check&, const fill_args&) {
    return true;
}
bool check(Check& c, const cast_args& a) {
    return c.same_shape("y", a.y, "x", a.x);
}
bool check(Check& c, const to_bfloat16_args& a) {
    return c.same_shape("y", a.y, "x", a.x);
}
bool check(Check& c, const from_bfloat16_args& a) {
    return c.same_shape("y", a.y, "x", a.x);
}

bool check_binary(Check& c, const char* an, const View& a, const char* bn, const View& b, const char* yn,
                  const View& y) {
    return c.broadcasts(an, a, yn, y) && c.broadcasts(bn, b, yn, y);
}
#define RB_CHECK_BINARY(name)                                 \
    bool check(Check& c, const name##_args& v) {              \
        return check_binary(c, "a", v.a, "b", v.b, "y", v.y); \
    }
RB_CHECK_BINARY(add)
RB_CHECK_BINARY(sub)
RB_CHECK_BINARY(mul)
RB_CHECK_BINARY(div)
RB_CHECK_BINARY(pow)
RB_CHECK_BINARY(maximum)
RB_CHECK_BINARY(minimum)
RB_CHECK_BINARY(greater)
RB_CHECK_BINARY(greater_equal)
RB_CHECK_BINARY(equal)
RB_CHECK_BINARY(not_equal)
#undef RB_CHECK_BINARY
bool check(Check& c, const where_args& v) {
    return c.broadcasts("c", v.c, "y", v.y) && check_binary(c, "a", v.a, "b", v.b, "y", v.y);
}

#define RB_CHECK_UNARY(name)                     \
    bool check(Check& c, const name##_args& v) { \
        return c.broadcasts("x", v.x, "y", v.y); \
    }
RB_CHECK_UNARY(neg)
RB_CHECK_UNARY(abs)
RB_CHECK_UNARY(sign)
RB_CHECK_UNARY(square)
RB_CHECK_UNARY(sqrt)
RB_CHECK_UNARY(exp)
RB_CHECK_UNARY(log)
RB_CHECK_UNARY(log1p)
RB_CHECK_UNARY(expm1)
RB_CHECK_UNARY(erf)
RB_CHECK_UNARY(floor)
RB_CHECK_UNARY(ceil)
RB_CHECK_UNARY(round)
RB_CHECK_UNARY(relu)
RB_CHECK_UNARY(tanh)
RB_CHECK_UNARY(sigmoid)
#undef RB_CHECK_UNARY

#define RB_CHECK_ACT_DX(name)                                     \
    bool check(Check& c, const name##_args& v) {                  \
        return check_binary(c, "y", v.y, "dy", v.dy, "dx", v.dx); \
    }
RB_CHECK_ACT_DX(relu_dx)
RB_CHECK_ACT_DX(tanh_dx)
RB_CHECK_ACT_DX(sigmoid_dx)
#undef RB_CHECK_ACT_DX

bool check_bounds(Check& c, double low, double high) {
    return low <= high || c.fail("low must not be above high, got %g and %g", low, high);
}
bool check(Check& c, const clip_args& a) {
    return c.broadcasts("x", a.x, "y", a.y) && check_bounds(c, a.low, a.high);
}
bool check(Check& c, const clip_dx_args& a) {
    return check_binary(c, "x", a.x, "dy", a.dy, "dx", a.dx) && check_bounds(c, a.low, a.high);
}
bool check_fn(Check& c, i64 fn, double p) {
    if (!c.in_range("fn", fn, 0, kNumFns - 1) || !c.finite("p", p)) return false;
    return fn != fn_softplus || p > 0.0 || c.fail("p must be positive, got %g", p);
}
bool check(Check& c, const activate_args& a) {
    return c.broadcasts("x", a.x, "y", a.y) && check_fn(c, a.fn, a.p);
}
bool check(Check& c, const activate_dx_args& a) {
    return check_binary(c, "x", a.x, "dy", a.dy, "dx", a.dx) && check_fn(c, a.fn, a.p);
}

// --- reductions: x [A,R,B] -> y [A,B]
bool check_reduce(Check& c, const View& x, const View& y, bool needs_values) {
    if (!c.ndim("x", x, 3, "[A,R,B]") || !c.ndim("y", y, 2, "[A,B]")) return false;
    if (!c.extent("y", y, 0, x.shape[0], "A") || !c.extent("y", y, 1, x.shape[2], "B")) return false;
    return !needs_values || numel(y) == 0 || c.not_empty("x", x, 1);
}
bool check(Check& c, const sum_args& a) {
    return check_reduce(c, a.x, a.y, false);
}
bool check(Check& c, const max_args& a) {
    return check_reduce(c, a.x, a.y, true);
}
bool check(Check& c, const min_args& a) {
    return check_reduce(c, a.x, a.y, true);
}
bool check(Check& c, const argmax_args& a) {
    return check_reduce(c, a.x, a.y, true);
}

bool check(Check& c, const argmin_args& a) {
    return check_reduce(c, a.x, a.y, true);
}

// --- along the middle axis of [A,R,B], rows by index
bool check(Check& c, const cumulate_args& a) {
    return c.ndim("x", a.x, 3, "[A,R,B]") && c.same_shape("y", a.y, "x", a.x) &&
           c.in_range("product", a.product, 0, 1) && c.in_range("reverse", a.reverse, 0, 1);
}
bool check(Check& c, const sort_args& a) {
    if (!c.ndim("x", a.x, 3, "[A,R,B]") || !c.ndim("y", a.y, 3, "[A,k,B]")) return false;
    if (!c.extent("y", a.y, 0, a.x.shape[0], "A") || !c.extent("y", a.y, 2, a.x.shape[2], "B")) return false;
    return c.same_shape("idx", a.idx, "y", a.y) && c.in_range("k", a.y.shape[1], 0, a.x.shape[1]) &&
           c.in_range("R", a.x.shape[1], 0, kMaxIndex) && c.in_range("descending", a.descending, 0, 1);
}
bool check_rows_exist(Check& c, const View& idx, i64 rows) {
    const i64* v = static_cast<const i64*>(idx.data);
    const i64 n = numel(idx);
    u64 largest = 0;  // negative values wrap to large ones
    for (i64 i = 0; i < n; ++i) largest = u64(v[i]) > largest ? u64(v[i]) : largest;
    if (n == 0 || largest < u64(rows)) return true;
    for (i64 i = 0; i < n; ++i) {
        if (v[i] < 0 || v[i] >= rows) {
            return c.fail("index %lld at element %lld is outside 0 .. %lld", (long long)v[i], (long long)i,
                          (long long)(rows - 1));
        }
    }
    return true;
}
// x [A,R,B] and y [A,K,B] with idx [K], or [A,K,B] when each element has its own
bool check_take(Check& c, const char* xn, const View& x, const char* yn, const View& y, const View& idx, bool each) {
    if (!c.ndim(xn, x, 3, "[A,R,B]") || !c.ndim(yn, y, 3, "[A,K,B]")) return false;
    if (!c.extent(yn, y, 0, x.shape[0], "A") || !c.extent(yn, y, 2, x.shape[2], "B")) return false;
    if (each && !c.same_shape("idx", idx, yn, y)) return false;
    if (!each && !(c.ndim("idx", idx, 1, "[K]") && c.extent("idx", idx, 0, y.shape[1], "K"))) return false;
    return check_rows_exist(c, idx, x.shape[1]);
}
bool check(Check& c, const take_args& a) {
    return check_take(c, "x", a.x, "y", a.y, a.idx, false);
}
bool check(Check& c, const take_dx_args& a) {
    return check_take(c, "dx", a.dx, "dy", a.dy, a.idx, false);
}
bool check(Check& c, const gather_args& a) {
    return check_take(c, "x", a.x, "y", a.y, a.idx, true);
}
bool check(Check& c, const gather_dx_args& a) {
    return check_take(c, "dx", a.dx, "dy", a.dy, a.idx, true);
}

// --- softmax family on [M,C]
bool check_rows(Check& c, const char* name, const View& x, const char* out_name, const View& y) {
    return c.ndim(name, x, 2, "[M,C]") && c.same_shape(out_name, y, name, x);
}
bool check_labels(Check& c, const View& labels, i64 M, i64 C) {
    if (!c.ndim("labels", labels, 1, "[M]") || !c.extent("labels", labels, 0, M, "M")) return false;
    const i64* v = static_cast<const i64*>(labels.data);
    for (i64 m = 0; m < M; ++m) {
        if (v[m] < 0 || v[m] >= C) {
            return c.fail("label %lld at row %lld is outside 0 .. %lld", (long long)v[m], (long long)m,
                          (long long)(C - 1));
        }
    }
    return true;
}
bool check(Check& c, const softmax_args& a) {
    return check_rows(c, "x", a.x, "y", a.y);
}
bool check(Check& c, const log_softmax_args& a) {
    return check_rows(c, "x", a.x, "y", a.y);
}
bool check(Check& c, const softmax_dx_args& a) {
    return check_rows(c, "y", a.y, "dx", a.dx) && c.same_shape("dy", a.dy, "y", a.y);
}
bool check(Check& c, const log_softmax_dx_args& a) {
    return check_rows(c, "y", a.y, "dx", a.dx) && c.same_shape("dy", a.dy, "y", a.y);
}
bool check(Check& c, const softmax_xent_args& a) {
    return check_rows(c, "x", a.x, "probs", a.probs) && c.ndim("loss", a.loss, 1, "[M]") &&
           c.extent("loss", a.loss, 0, a.x.shape[0], "M") && check_labels(c, a.labels, a.x.shape[0], a.x.shape[1]);
}
bool check(Check& c, const softmax_xent_dx_args& a) {
    return check_rows(c, "probs", a.probs, "dx", a.dx) && c.ndim("g", a.g, 1, "[M]") &&
           c.extent("g", a.g, 0, a.probs.shape[0], "M") &&
           check_labels(c, a.labels, a.probs.shape[0], a.probs.shape[1]);
}
bool check(Check& c, const one_hot_args& a) {
    return c.ndim("y", a.y, 2, "[M,C]") && check_labels(c, a.labels, a.y.shape[0], a.y.shape[1]);
}

// --- matrix product
bool check(Check& c, const gemm_args& g) {
    if (g.c.ndim < 2) return c.fail("c must have 2 or more axes, got shape %s", ShapeText(g.c).text);
    const int lead = g.c.ndim - 2;
    const char* layout = lead > 1 ? "(the batch axes first)" : lead ? "(a batch axis first)" : "(no batch axis)";
    if (!c.ndim("a", g.a, g.c.ndim, layout) || !c.ndim("b", g.b, g.c.ndim, layout)) return false;
    for (int d = 0; d < lead; ++d) {
        if (!c.extent("a", g.a, d, g.c.shape[d], "the batch") || !c.extent("b", g.b, d, g.c.shape[d], "the batch"))
            return false;
    }
    const i64 M = g.a.shape[lead], K = g.a.shape[lead + 1], N = g.b.shape[lead + 1];
    if (g.b.shape[lead] != K) {
        return c.fail("a %s and b %s do not multiply: a has %lld columns, b has %lld rows", ShapeText(g.a).text,
                      ShapeText(g.b).text, (long long)K, (long long)g.b.shape[lead]);
    }
    if (!c.extent("c", g.c, lead, M, "M") || !c.extent("c", g.c, lead + 1, N, "N")) return false;
    if (present(g.bias)) {
        const bool shared = g.bias.ndim == 1 && g.bias.shape[0] == N;
        const bool own = lead == 1 && g.bias.ndim == 2 && g.bias.shape[0] == g.c.shape[0] && g.bias.shape[1] == N;
        if (!shared && !own) return c.fail("bias must have shape [%lld], got %s", (long long)N, ShapeText(g.bias).text);
    }
    return c.in_range("act", g.act, 0, kNumActs - 1);
}

bool check(Check& c, const gemm_bf16_args& g) {
    if (g.c.dtype != f32) return c.fail("c must be float32");
    if (!c.ndim("c", g.c, 2, "[M,N]") || !c.ndim("a", g.a, 2, "[M,K]") || !c.ndim("b", g.b, 2, "[K,N]")) return false;
    const i64 K = g.a.shape[1], N = g.b.shape[1];
    if (!c.extent("b", g.b, 0, K, "K") || !c.extent("c", g.c, 0, g.a.shape[0], "M") || !c.extent("c", g.c, 1, N, "N"))
        return false;
    if (present(g.bias) && !(c.ndim("bias", g.bias, 1, "[N]") && c.extent("bias", g.bias, 0, N, "N"))) return false;
    return c.in_range("act", g.act, 0, kNumActs - 1);
}

bool check(Check& c, const bias_act_dx_args& a) {
    return c.ndim("y", a.y, 2, "[M,N]") && c.same_shape("dy", a.dy, "y", a.y) && c.same_shape("dx", a.dx, "y", a.y) &&
           c.ndim("db", a.db, 1, "[N]") && c.extent("db", a.db, 0, a.y.shape[1], "N") &&
           c.in_range("act", a.act, 0, kNumActs - 1);
}

// --- convolution
struct ConvShape {
    const View &x, &w, &y;
    const char *x_name, *w_name, *y_name;
    i64 stride[2], pad[2], dil[2], groups;
};
bool check_conv(Check& c, const ConvShape& s) {
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
bool check_volumes(Check& c, const char* x_name, const View& x, const char* y_name, const View& y) {
    if (!c.ndim(x_name, x, 5, "[N,D,H,W,C]") || !c.ndim(y_name, y, 5, "[N,O,P,Q,C]")) return false;
    return c.extent(y_name, y, 0, x.shape[0], "N") && c.extent(y_name, y, 4, x.shape[4], "C");
}
struct PoolAxisArgs {
    i64 kernel, stride, pad, dil;
};
// Every window holds at least one pixel of x.
bool check_windows(Check& c, const char* x_name, const View& x, const char* y_name, const View& y,
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
bool check_max_windows(Check& c, const A& a, const char* x_name, const View& x, const char* y_name, const View& y) {
    return check_windows(c, x_name, x, y_name, y,
                         {{a.kernel_d, a.stride_d, a.pad_d, a.dil_d},
                          {a.kernel_h, a.stride_h, a.pad_h, a.dil_h},
                          {a.kernel_w, a.stride_w, a.pad_w, a.dil_w}},
                         a.adaptive);
}
template <typename A>
bool check_avg_windows(Check& c, const A& a, const char* x_name, const View& x, const char* y_name, const View& y) {
    return check_windows(c, x_name, x, y_name, y,
                         {{a.kernel_d, a.stride_d, a.pad_d, 1},
                          {a.kernel_h, a.stride_h, a.pad_h, 1},
                          {a.kernel_w, a.stride_w, a.pad_w, 1}},
                         a.adaptive) &&
           c.in_range("count_include_pad", a.count_include_pad, 0, 1);
}
i64 pixels_of(const View& x) {
    return x.shape[1] * x.shape[2] * x.shape[3];
}
bool check_index_range(Check& c, const char* name, const View& x) {
    i64 pixels = 1;
    for (int d = 1; d < 4; ++d)
        pixels = x.shape[d] == 0 || pixels > kMaxIndex / x.shape[d] ? kMaxIndex + 1 : pixels * x.shape[d];
    if (pixels <= kMaxIndex) return true;
    return c.fail("%s must have 1 .. 2**31 - 1 pixels, as an int32 index can name: shape %s", name, ShapeText(x).text);
}
// idx [N,O,P,Q,C] names pixels of images with `pixels` pixels.
bool check_index(Check& c, const View& idx, i64 pixels) {
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
bool check_borders(Check& c, const char* x_name, const View& x, const char* y_name, const View& y, i64 mode,
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
bool check_unfold(Check& c, const A& a) {
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
bool check_images(Check& c, const char* x_name, const View& x, const char* y_name, const View& y) {
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

// --- random numbers
double largest(const View& y) {
    return y.dtype == f32 ? double(FLT_MAX) : DBL_MAX;
}
bool check(Check& c, const uniform_args& a) {
    const double most = largest(a.y);
    if (!c.in_range("low", a.low, -most, most) || !c.in_range("high", a.high, -most, most)) return false;
    if (a.low > a.high) return c.fail("low must not be above high, got %g and %g", a.low, a.high);
    return c.in_range("high - low", a.high - a.low, 0.0, most);
}
bool check(Check& c, const normal_args& a) {
    const double most = largest(a.y);
    if (!c.in_range("mean", a.mean, -most, most)) return false;
    if (a.std < 0.0) return c.fail("std must not be negative, got %g", a.std);
    return c.in_range("std", a.std, 0.0, most);
}
bool check(Check& c, const dropout_args& a) {
    return c.same_shape("y", a.y, "x", a.x) && c.in_range("p", a.p, 0.0, 1.0);
}

// --- optimisers
bool check(Check& c, const sgd_update_args& a) {
    if (!c.same_shape("g", a.g, "p", a.p)) return false;
    if (present(a.m) && !c.same_shape("m", a.m, "p", a.p)) return false;
    if (!present(a.m) && a.momentum != 0.0) return c.fail("momentum %g needs the buffer m", a.momentum);
    return c.in_range("nesterov", a.nesterov, 0, 1) && c.in_range("first", a.first, 0, 1);
}
bool check(Check& c, const adam_update_args& a) {
    if (!c.same_shape("g", a.g, "p", a.p) || !c.same_shape("m", a.m, "p", a.p) || !c.same_shape("v", a.v, "p", a.p))
        return false;
    if (!(a.beta1 >= 0.0 && a.beta1 < 1.0)) return c.fail("beta1 must be in [0, 1), got %g", a.beta1);
    if (!(a.beta2 >= 0.0 && a.beta2 < 1.0)) return c.fail("beta2 must be in [0, 1), got %g", a.beta2);
    if (!(a.eps >= 0.0)) return c.fail("eps must not be negative, got %g", a.eps);
    return c.in_range("decoupled", a.decoupled, 0, 1) && c.in_range("step", a.step, 1, i64{1} << 53);
}
bool check(Check& c, const nesterov_update_args& a) {
    return c.same_shape("g", a.g, "p", a.p) && c.same_shape("v", a.v, "p", a.p);
}
bool check(Check& c, const adagrad_update_args& a) {
    return c.same_shape("g", a.g, "p", a.p) && c.same_shape("s", a.s, "p", a.p) &&
           c.in_range("eps", a.eps, 0.0, HUGE_VAL) && c.in_range("inside", a.inside, 0, 1);
}
bool check(Check& c, const rmsprop_update_args& a) {
    if (!c.same_shape("g", a.g, "p", a.p) || !c.same_shape("v", a.v, "p", a.p)) return false;
    if (present(a.mean) && !c.same_shape("mean", a.mean, "p", a.p)) return false;
    if (present(a.m) && !c.same_shape("m", a.m, "p", a.p)) return false;
    if (!present(a.m) && a.momentum != 0.0) return c.fail("momentum %g needs the buffer m", a.momentum);
    return c.in_range("rho", a.rho, 0.0, 1.0) && c.in_range("eps", a.eps, 0.0, HUGE_VAL) &&
           c.in_range("inside", a.inside, 0, 1);
}
bool check(Check& c, const adadelta_update_args& a) {
    return c.same_shape("g", a.g, "p", a.p) && c.same_shape("v", a.v, "p", a.p) && c.same_shape("d", a.d, "p", a.p) &&
           c.in_range("rho", a.rho, 0.0, 1.0) && c.in_range("eps", a.eps, 0.0, HUGE_VAL);
}
bool check(Check& c, const delta_bar_delta_update_args& a) {
    return c.same_shape("g", a.g, "p", a.p) && c.same_shape("rate", a.rate, "p", a.p) &&
           c.same_shape("bar", a.bar, "p", a.p) && c.in_range("phi", a.phi, 0.0, 1.0) &&
           c.in_range("theta", a.theta, 0.0, 1.0);
}
bool check_norms(Check& c, const View& v) {
    return c.ndim("norms", v, 1, "[4]") && c.extent("norms", v, 0, 4, "norms");
}
bool check(Check& c, const norm_update_args& a) {
    return check_norms(c, a.norms) && c.in_range("first", a.first, 0, 1);
}
bool check(Check& c, const norm_scale_update_args& a) {
    if (!(a.limit > 0.0)) return c.fail("limit must be positive, got %g", a.limit);
    return check_norms(c, a.norms) && c.in_range("which", a.which, 0, 3) && c.in_range("eps", a.eps, 0.0, HUGE_VAL);
}
bool check(Check& c, const clip_update_args& a) {
    return a.low <= a.high || c.fail("low must not be above high, got %g and %g", a.low, a.high);
}
bool check(Check& c, const row_norm_update_args& a) {
    const i64 n = numel(a.x);
    if (!c.in_range("rows", a.rows, 1, kMaxElements)) return false;
    if (n % a.rows) return c.fail("%lld rows do not divide x of shape %s", (long long)a.rows, ShapeText(a.x).text);
    if (!(a.low >= 0.0)) return c.fail("low must not be negative, got %g", a.low);
    return a.low <= a.high || c.fail("low must not be above high, got %g and %g", a.low, a.high);
}

// --- Fourier transforms
bool check_lines(Check& c, const View& x, const View& y, const View& table, i64 n, bool real) {
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
bool check_filter(Check& c, const View& x, const View& y, i64 R, i64 S, i64 top, i64 left, i64 mode) {
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

}  // namespace

const char* check_args(OpId op, const void* args, char* buf, size_t buflen) {
    if (buflen) buf[0] = '\0';
    if (op < 0 || op >= kNumOps) {
        if (buflen) std::snprintf(buf, buflen, "unknown op %d", int(op));
        return buf;
    }
    const OpInfo& info = op_info[op];
    Check c(info.name, buf, buflen);
    if (!check_views(c, info, static_cast<const char*>(args), op != op_cast)) return buf;
    bool ok = false;
    switch (op) {
#include "rb/ops_blank.hpp"
#define RB_OP(name, fields)                                    \
    case op_##name:                                            \
        ok = check(c, *static_cast<const name##_args*>(args)); \
        break;
#include "rb/ops.def"
#include "rb/ops_undef.hpp"
        case kNumOps:
            break;
    }
    return ok ? nullptr : buf;
}

}  // namespace rb
