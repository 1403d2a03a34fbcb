// test_fft.cpp: Fourier transforms, filters and complex products on every level; the tables; the refusal of wrong ones.
#include <cmath>

#include "core/check.hpp"
#include "core/fft_table.hpp"
#include "op_case.hpp"
#include "rb/fft_plan.hpp"

using test::OpCase;

namespace {

std::vector<double> table(int64_t n, bool real) {
    std::vector<double> t(size_t(rb::fft_table_size(n, real)));
    rb::fft_table(n, real, rb::f64, t.data());
    return t;
}

struct Lines {
    int64_t A, n, B, m;  // lines A x B of m elements, transforms of length n
};

// every butterfly, both ways of splitting, both layouts, Bluestein, input short and long
const Lines kLines[] = {{1, 1, 1, 1},     {1, 2, 1, 2},     {3, 3, 1, 3},     {19, 4, 1, 4},    {2, 5, 5, 4},
                        {1, 7, 1, 9},     {17, 8, 1, 5},    {2, 11, 33, 11},  {1, 13, 1, 13},   {3, 16, 1, 16},
                        {1, 30, 1, 30},   {2, 36, 1, 30},   {1, 37, 1, 37},   {2, 41, 3, 40},   {1, 64, 1, 64},
                        {1, 96, 16, 96},  {1, 100, 1, 101}, {1, 128, 1, 128}, {1, 143, 1, 143}, {2, 200, 2, 200},
                        {1, 256, 1, 256}, {0, 8, 1, 8},     {2, 8, 0, 8},     {2, 9, 1, 0}};

}  // namespace

TEST(complex_transforms) {
    uint64_t seed = 1;
    for (const Lines& l : kLines)
        for (int inverse = 0; inverse < 2; ++inverse) {
            const std::vector<double> t = table(l.n, false);
            OpCase("fft", seed++)
                .in("x", {l.A, l.m, l.B, 2})
                .values("table", {int64_t(t.size())}, t)
                .out("y", {l.A, l.n, l.B, 2})
                .set("inverse", inverse)
                .set("scale", 0.5)
                .tolerance(16, std::sqrt(double(l.n)))
                .run();
        }
}

TEST(real_transforms) {
    uint64_t seed = 100;
    for (const Lines& l : kLines) {
        const std::vector<double> t = table(l.n, true);
        OpCase("rfft", seed++)
            .in("x", {l.A, l.m, l.B})
            .values("table", {int64_t(t.size())}, t)
            .out("y", {l.A, l.n / 2 + 1, l.B, 2})
            .set("n", double(l.n))
            .set("scale", 1)
            .tolerance(16, std::sqrt(double(l.n)))
            .run();
        OpCase("irfft", seed++)
            .in("x", {l.A, l.m < l.n / 2 + 1 ? l.m : l.n / 2 + 2, l.B, 2})
            .values("table", {int64_t(t.size())}, t)
            .out("y", {l.A, l.n, l.B})
            .set("scale", 1)
            .tolerance(32, std::sqrt(double(l.n)))
            .run();
    }
}

TEST(complex_products) {
    uint64_t seed = 200;
    for (int64_t n : {0, 1, 7, 16, 33, 1500})
        for (int conj = 0; conj < 2; ++conj)
            OpCase("complex_mul", seed++)
                .in("a", {3, n, 2})
                .in("b", {n, 2})
                .out("y", {3, n, 2})
                .set("conj", conj)
                .tolerance(2, 2)
                .run();
}

TEST(filters) {
    struct Filter {
        int64_t N, H, W, C, R, S, P, Q, top, left, tile_h, tile_w;
    };
    const Filter all[] = {{1, 9, 70, 1, 3, 3, 9, 70, 1, 1, 8, 64},   {2, 7, 5, 3, 5, 4, 7, 5, 2, 2, 6, 16},
                          {1, 1, 1, 1, 3, 5, 1, 1, 1, 2, 3, 6},      {1, 3, 4, 1, 13, 17, 3, 4, 6, 8, 16, 20},
                          {1, 20, 90, 1, 2, 3, 19, 88, 0, 0, 5, 48}, {1, 6, 8, 4, 4, 3, 9, 10, 3, 2, 12, 12},
                          {1, 1, 200, 1, 1, 9, 1, 208, 0, 8, 1, 64}, {0, 6, 8, 1, 3, 3, 6, 8, 1, 1, 8, 8}};
    uint64_t seed = 300;
    for (const Filter& f : all)
        for (int mode = 0; mode < 5; ++mode) {
            const auto run = [&](OpCase& c, double scale) {
                c.in("x", {f.N, f.H, f.W, f.C})
                    .out("y", {f.N, f.P, f.Q, f.C})
                    .set("top", double(f.top))
                    .set("left", double(f.left))
                    .set("mode", mode)
                    .set("cval", 0.75)
                    .tolerance(8, scale)
                    .run();
            };
            const double taps = double(f.R * f.S);
            OpCase direct("filter2d", seed++);
            run(direct.in("w", {f.R, f.S}), std::sqrt(taps));
            OpCase separable("filter2d_sep", seed++);
            run(separable.in("u", {2, f.R}).in("v", {2, f.S}), taps);
            const std::vector<double> down = table(f.tile_h, false), across = table(f.tile_w, true);
            OpCase tiles("filter2d_fft", seed++);
            tiles.in("w", {f.R, f.S})
                .values("table_h", {int64_t(down.size())}, down)
                .values("table_w", {int64_t(across.size())}, across)
                .set("tile_h", double(f.tile_h))
                .set("tile_w", double(f.tile_w));
            run(tiles, std::sqrt(taps * double(f.tile_h * f.tile_w)));
        }
}

TEST(plans_hold_their_promises) {
    for (int64_t n = 1; n < 3000; ++n) {
        const rb::FftPlan p = rb::fft_plan(n);
        int64_t product = 1;
        for (int i = 0; i < p.whole.count; ++i) product *= p.whole.radix[i];
        CHECK(product == p.length);
        CHECK(p.n1 * p.n2 == p.length);
        CHECK(p.smooth ? p.length == n : p.length >= 2 * n - 1);
        CHECK(p.n2 == 1 || (p.rows.count > 0 && p.columns.count > 0));
    }
}

TEST(tables_keep_the_symmetries_of_the_circle) {
    const rb::FftPlan p = rb::fft_plan(64);
    const std::vector<double> t = table(64, false);  // outer twiddles [8][8]: e^(-2 pi i k j / 64)
    const double* re = t.data() + p.outer;
    const double* im = re + 64;
    const auto at = [&](int k, int j) { return k * int(p.n2) + j; };
    CHECK(p.n1 == 8 && p.n2 == 8);
    CHECK(re[at(4, 4)] == 0.0 && im[at(4, 4)] == -1.0);  // a quarter turn
    CHECK(re[at(2, 4)] == -im[at(2, 4)]);                // an eighth
    CHECK(re[at(3, 4)] == -im[at(1, 4)] && re[at(5, 4)] == im[at(1, 4)]);
    for (int k = 0; k < 8; ++k)
        for (int j = 0; j < 8; ++j) {
            const double angle = 6.283185307179586476925 * k * j / 64;
            CHECK(std::fabs(re[at(k, j)] - std::cos(angle)) < 1e-15 &&
                  std::fabs(im[at(k, j)] + std::sin(angle)) < 1e-15);
        }
}
