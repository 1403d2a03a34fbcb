// fft_table.cpp: see fft_table.hpp. Pure constants: computed once per length and kept by the caller.
#include "core/fft_table.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include "core/run.hpp"
#include "rb/args.hpp"
#include "rb/fft_plan.hpp"

namespace rb {
namespace {

struct Complex {
    double re, im;
};

// e^(-2 pi i k / n), 0 <= k < n: the angle is folded into the first eighth of the circle with integers.
Complex root(i64 k, i64 n) {
    i64 a = 8 * k;  // in units of a turn / (8 n): an eighth of a turn is n
    const i64 eighth = a / n;
    a -= eighth * n;
    if (eighth & 1) a = n - a;
    const double angle = 6.283185307179586476925286766559 * (double(a) / (8.0 * double(n)));
    double c = std::cos(angle), s = std::sin(angle);
    if (a == n) c = s = 0.70710678118654752440;
    if (((eighth + 1) & 2) != 0) std::swap(c, s);  // octants 1, 2, 5, 6
    if (eighth >= 2 && eighth < 6) c = -c;
    if (eighth >= 4) s = -s;
    return {c, -s};
}

template <typename T>
void put(T* at, const Complex& w) {
    at[0] = T(w.re);
    at[1] = T(w.im);
}

template <typename T>
void stage_twiddles(const FftStages& s, T* at) {
    i64 left = s.n;
    for (i32 i = 0; i < s.count; ++i) {
        const i64 r = s.radix[i], whole = left;
        left /= r;
        for (i64 p = 0; p < left; ++p)
            for (i64 j = 1; j < r; ++j, at += 2) put(at, root(p * j, whole));
    }
}

template <typename T>
void complex_table(const FftPlan& p, T* table) {
    stage_twiddles(p.whole, table + p.lanes);
    if (p.n2 > 1) {
        stage_twiddles(p.rows, table + p.row_twiddles);
        stage_twiddles(p.columns, table + p.column_twiddles);
        for (i64 k = 0; k < p.n1; ++k)
            for (i64 i = 0; i < p.n2; ++i) {
                const Complex w = root(k * i, p.length);  // k i < n
                table[p.outer + k * p.n2 + i] = T(w.re);
                table[p.outer + p.length + k * p.n2 + i] = T(w.im);
            }
    }
    if (p.smooth) return;
    // chirp[k] = e^(-i pi k^2 / n); the filter is its conjugate, laid out around zero
    std::vector<double> filter(size_t(2 * p.length), 0.0), spectrum(size_t(2 * p.length));
    for (i64 k = 0; k < p.n; ++k) {
        const Complex w = root(k * k % (2 * p.n), 2 * p.n);
        put(table + p.chirp + 2 * k, w);
        for (i64 at : {k, (p.length - k) % p.length}) put(&filter[size_t(2 * at)], Complex{w.re, -w.im});
    }
    std::vector<double> inner(size_t(fft_table_size(p.length, false)));
    complex_table(fft_plan(p.length), inner.data());
    fft_args a{};
    const auto view = [](std::vector<double>& v, i64 n, i32 ndim) {
        View w{v.data(), f64, ndim, {}, {}};
        const i64 shape[4] = {1, n, 1, 2}, stride[4] = {2 * n, 2, 2, 1};
        for (int d = 0; d < 4; ++d) w.shape[d] = shape[d], w.stride[d] = stride[d];
        if (ndim == 1) w.shape[0] = n, w.stride[0] = 1;
        return w;
    };
    a.x = view(filter, p.length, 4);
    a.y = view(spectrum, p.length, 4);
    a.table = view(inner, i64(inner.size()), 1);
    a.scale = 1.0 / double(p.length);  // of the inverse transform that follows
    run(op_fft, &a);
    for (i64 i = 0; i < 2 * p.length; ++i) table[p.filter + i] = T(spectrum[size_t(i)]);
}

template <typename T>
void fill(i64 n, bool real, T* table) {
    table[0] = T(0);  // tables are never empty
    const FftPlan p = fft_plan(fft_inner_length(n, real));
    complex_table(p, table);
    if (!real) return;
    const i64 count = fft_real_twiddles(n);
    for (i64 k = 0; k < count; ++k) {
        const Complex w = root(k, n);
        table[p.size + k] = T(w.re);
        table[p.size + count + k] = T(w.im);
    }
}

}  // namespace

void fft_table(i64 n, bool real, i32 dtype, void* table) {
    if (dtype == f32) {
        fill(n, real, static_cast<float*>(table));
    } else {
        fill(n, real, static_cast<double*>(table));
    }
}

}  // namespace rb
