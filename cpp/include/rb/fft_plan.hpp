// fft_plan.hpp: how a transform of length n is cut up, and what its table holds. One answer for every level and layer:
// core/fft_table.cpp fills the table, core/check.cpp knows its size, kernels/fft.inl reads it. Functions of n alone.
#pragma once

#include "rb/view.hpp"

namespace rb {

constexpr int kFftMaxStages = 48;
constexpr i64 kFftMaxLength = i64{1} << 30;

// The butterflies of a lane-wise transform, first to last; their product is n. count < 0: n has a prime above 13.
struct FftStages {
    i64 n;
    i32 count;
    i32 radix[kFftMaxStages];
};

static inline FftStages fft_stages(i64 n) {
    FftStages s{n, 0, {}};
    i32 twos = 0;
    while (n % 2 == 0) n /= 2, ++twos;
    i32 eights = twos / 3, fours = 0, two = 0;
    if (twos % 3 == 1) {
        if (eights) {
            --eights, fours = 2;
        } else {
            two = 1;
        }
    }
    if (twos % 3 == 2) fours = 1;
    // Powers of two stand first and last: those butterflies read the input and write the output themselves.
    i32 head = eights + fours > 1 ? (eights + fours) / 2 : eights + fours;
    i32 taken = 0;
    const auto even = [&] {
        s.radix[s.count++] = taken < eights ? 8 : 4;
        ++taken;
    };
    while (taken < head) even();
    if (two) s.radix[s.count++] = 2;
    constexpr i32 odd[5] = {5, 3, 7, 11, 13};
    for (i32 p : odd)
        while (n % p == 0) n /= p, s.radix[s.count++] = p;
    while (taken < eights + fours) even();
    if (n != 1) s.count = -1;
    return s;
}

// Complex numbers in the twiddle table of a lane-wise transform: stage by stage (m = what is left after the stage),
// [m][radix - 1] powers e^(-2 pi i p j / (radix m)), p < m, 1 <= j < radix.
static inline i64 fft_stage_twiddles(const FftStages& s) {
    i64 left = s.n, total = 0;
    for (i32 i = 0; i < s.count; ++i) {
        left /= s.radix[i];
        total += left * (s.radix[i] - 1);
    }
    return total;
}

// Smooth n >= kFftSplitFrom is computed as n1 rows by n2 columns, both near the root and, where possible, multiples of
// the number of lanes. n1 = n: not split.
constexpr i64 kFftSplitFrom = 32;

static inline i64 fft_split(i64 n) {
    if (n < kFftSplitFrom) return n;
    if ((n & (n - 1)) == 0) {
        i64 root = 1;
        while (4 * root * root <= n) root *= 2;
        return root;
    }
    u32 best = u32(n);
    double least = 1e300;
    for (u32 a = 2, u = u32(n); i64(a) * a <= n * 4 && a < u; ++a) {
        if (i64(a) * a * 16 < n || u % a) continue;
        const u32 b = u / a;
        // Vectors of 8 lanes that a pass over the matrix takes either way, plus a little for lengths far apart.
        const u32 va = (a + 7) / 8 * 8, vb = (b + 7) / 8 * 8;
        const double far = a > b ? double(a) / double(b) : double(b) / double(a);
        const double cost = double(va) / double(a) + double(vb) / double(b) + 0.02 * far;
        if (cost < least) least = cost, best = a;
    }
    return best;
}

// A complex transform of length n: smooth, or by Bluestein as a circular convolution of length `length` >= 2n - 1.
struct FftPlan {
    i64 n;                           // length of the transform
    i64 length;                      // of the smooth transform that does the work
    i64 n1, n2;                      // length = n1 * n2
    bool smooth;                     // length == n
    FftStages whole, rows, columns;  // stages of length, n1, n2
    // Offsets into the table, in elements, and its size.
    i64 chirp;                          // [n] e^(-i pi k^2 / n), real and imaginary parts in turn      (Bluestein)
    i64 filter;                         // [length] transform of the conjugate chirp, scaled             (Bluestein)
    i64 lanes;                          // stage twiddles of `length`
    i64 row_twiddles, column_twiddles;  // stage twiddles of n1 and n2                        (split)
    i64 outer;  // [n1][n2] real parts, then [n1][n2] imaginary parts of e^(-2 pi i k1 i2 / length)  (split)
    i64 size;
};

static inline i64 fft_bluestein_length(i64 n) {
    // The shortest of 2^k, 3 2^k, 5 2^k, 15 2^k / 2 that holds 2n - 1.
    i64 best = 1;
    while (best < 2 * n - 1) best *= 2;
    constexpr i64 odd[3] = {3, 5, 15};
    for (i64 f : odd) {
        i64 m = f;
        while (m < 2 * n - 1) m *= 2;
        if (m < best && m % 64 == 0) best = m;
    }
    return best;
}

static inline FftPlan fft_plan(i64 n) {
    FftPlan p{};
    p.n = n;
    p.whole = fft_stages(n);
    p.smooth = p.whole.count >= 0;
    p.length = p.smooth ? n : fft_bluestein_length(n);
    if (!p.smooth) p.whole = fft_stages(p.length);
    p.n1 = fft_split(p.length);
    p.n2 = p.length / p.n1;
    p.rows = fft_stages(p.n1);
    p.columns = fft_stages(p.n2);
    i64 at = 0;
    if (!p.smooth) {
        p.chirp = at;
        at += 2 * n;
        p.filter = at;
        at += 2 * p.length;
    }
    p.lanes = at;
    at += 2 * fft_stage_twiddles(p.whole);
    if (p.n2 > 1) {
        p.row_twiddles = at;
        at += 2 * fft_stage_twiddles(p.rows);
        p.column_twiddles = at;
        at += 2 * fft_stage_twiddles(p.columns);
        p.outer = at;
        at += 2 * p.length;
    }
    p.size = at;
    return p;
}

// A real transform of even length n is a complex one of n/2 and a pass over the result, which needs e^(-2 pi i k / n)
// for 2k <= n/2: [n/4 + 1] real parts, then as many imaginary parts, behind the table of the complex transform.
static inline i64 fft_real_twiddles(i64 n) {
    return n % 2 ? 0 : n / 4 + 1;
}
static inline i64 fft_inner_length(i64 n, bool real) {
    return real && n % 2 == 0 ? n / 2 : n;
}
static inline i64 fft_table_size(i64 n, bool real) {
    const i64 size = fft_plan(fft_inner_length(n, real)).size + (real ? 2 * fft_real_twiddles(n) : 0);
    return size > 0 ? size : 1;
}

}  // namespace rb
