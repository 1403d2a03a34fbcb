// check.cpp: one function per op or family; the first thing that does not fit ends the check. check_spatial.cpp has
// those on signals, images and volumes.
#include "core/check.hpp"

#include <cfloat>
#include <cmath>

#include "core/check_parts.hpp"

namespace rb {
namespace checking {

// --- every op: sizes that cannot overflow, one float dtype
static bool check_views(Check& c, const OpInfo& info, const char* args, bool one_dtype) {
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

static bool check_binary(Check& c, const char* an, const View& a, const char* bn, const View& b, const char* yn,
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

static bool check_bounds(Check& c, double low, double high) {
    return low <= high || c.fail("low must not be above high, got %g and %g", low, high);
}
bool check(Check& c, const clip_args& a) {
    return c.broadcasts("x", a.x, "y", a.y) && check_bounds(c, a.low, a.high);
}
bool check(Check& c, const clip_dx_args& a) {
    return check_binary(c, "x", a.x, "dy", a.dy, "dx", a.dx) && check_bounds(c, a.low, a.high);
}
static bool check_fn(Check& c, i64 fn, double p) {
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
static bool check_reduce(Check& c, const View& x, const View& y, bool needs_values) {
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
static bool check_rows_exist(Check& c, const View& idx, i64 rows) {
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
static bool check_take(Check& c, const char* xn, const View& x, const char* yn, const View& y, const View& idx,
                       bool each) {
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
static bool check_rows(Check& c, const char* name, const View& x, const char* out_name, const View& y) {
    return c.ndim(name, x, 2, "[M,C]") && c.same_shape(out_name, y, name, x);
}
static bool check_labels(Check& c, const View& labels, i64 M, i64 C) {
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
bool check(Check& c, const pair_loss_args& a) {
    return c.ndim("x", a.x, 1, "[n]") && c.same_shape("t", a.t, "x", a.x) && c.same_shape("d", a.d, "x", a.x) &&
           c.ndim("loss", a.loss, 1, "[1]") && c.extent("loss", a.loss, 0, 1, "one number") &&
           c.in_range("kind", a.kind, 0, kNumPairs - 1);
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

// --- random numbers
static double largest(const View& y) {
    return y.dtype == f32 ? double(FLT_MAX) : DBL_MAX;
}
bool check(Check& c, const uniform_args& a) {
    const double most = largest(a.y);
    if (!c.finite("low", a.low) || !c.finite("high", a.high)) return false;
    if (!c.in_range("low", a.low, -most, most) || !c.in_range("high", a.high, -most, most)) return false;
    if (a.low > a.high) return c.fail("low must not be above high, got %g and %g", a.low, a.high);
    return c.in_range("high - low", a.high - a.low, 0.0, most);
}
bool check(Check& c, const normal_args& a) {
    const double most = largest(a.y);
    if (!c.finite("mean", a.mean) || !c.finite("std", a.std)) return false;
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
static bool check_norms(Check& c, const View& v) {
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

}  // namespace checking

const char* check_args(OpId op, const void* args, char* buf, size_t buflen) {
    if (buflen) buf[0] = '\0';
    if (op < 0 || op >= kNumOps) {
        if (buflen) std::snprintf(buf, buflen, "unknown op %d", int(op));
        return buf;
    }
    const OpInfo& info = op_info[op];
    checking::Check c(info.name, buf, buflen);
    if (!checking::check_views(c, info, static_cast<const char*>(args), op != op_cast)) return buf;
    bool ok = false;
    switch (op) {
#include "rb/ops_blank.hpp"
#define RB_OP(name, fields)                                              \
    case op_##name:                                                      \
        ok = checking::check(c, *static_cast<const name##_args*>(args)); \
        break;
#include "rb/ops.def"
#include "rb/ops_undef.hpp"
        case kNumOps:
            break;
    }
    return ok ? nullptr : buf;
}

}  // namespace rb
