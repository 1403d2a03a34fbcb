// check_parts.hpp: what the checks of all ops share. Only the files check*.cpp include it.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "core/check.hpp"
#include "core/describe.hpp"

namespace rb::checking {

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

inline bool present(const View& v) {
    return v.ndim >= 0;
}

inline i64 numel(const View& v) {
    i64 n = 1;
    for (int d = 0; d < v.ndim; ++d) n *= v.shape[d];
    return n;
}

// One per op: whether the arguments fit; if not, c has the message.
#include "rb/ops_blank.hpp"
#define RB_OP(name, fields) bool check(Check& c, const name##_args& a);
#include "rb/ops.def"
#include "rb/ops_undef.hpp"

}  // namespace rb::checking
