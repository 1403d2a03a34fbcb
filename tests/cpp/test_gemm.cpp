// test_gemm.cpp: matrix products over shapes, layouts, epilogues and batches, for every implementation.
#include "op_case.hpp"

using test::Layout;
using test::OpCase;
using test::Shape;

namespace {

void product(int64_t batch, int64_t M, int64_t N, int64_t K, Layout la, Layout lb, int act, bool bias, double alpha,
             double beta, uint64_t& seed) {
    ++seed;
    auto shape = [&](int64_t rows, int64_t cols) { return batch < 0 ? Shape{rows, cols} : Shape{batch, rows, cols}; };
    OpCase c("gemm", seed);
    c.in("a", shape(M, K), la).in("b", shape(K, N), lb).in("c", shape(M, N)).set("alpha", alpha).set("beta", beta);
    if (bias) c.in("bias", batch < 0 || seed % 2 ? Shape{N} : Shape{batch, N});
    c.set("act", act).tolerance(1, double(K) + 16).run();
}

}  // namespace

TEST(gemm_shapes) {
    const int64_t sizes[][3] = {{1, 1, 1},      {1, 10, 7},    {7, 1, 9},     {3, 5, 0},      {0, 4, 4},
                                {4, 0, 4},      {4, 4, 4},     {14, 32, 16},  {15, 33, 17},   {13, 31, 9},
                                {64, 120, 400}, {32, 128, 64}, {64, 10, 84},  {100, 70, 300}, {6, 25, 1000},
                                {129, 65, 40},  {2, 300, 5},   {200, 3, 50},  {1, 64, 500},   {40, 1, 600},
                                {16, 16, 4000}, {1, 1100, 37}, {1030, 1, 70}, {50, 10, 131},  {9, 3, 100},
                                {35, 12, 97},   {60, 256, 20}, {130, 70, 33}, {23, 300, 5},   {40, 600, 1}};
    uint64_t seed = 1;
    for (const auto& s : sizes) {
        for (Layout la : {Layout::contiguous, Layout::transposed}) {
            for (Layout lb : {Layout::contiguous, Layout::transposed}) {
                product(-1, s[0], s[1], s[2], la, lb, 0, false, 1, 0, seed);
                product(-1, s[0], s[1], s[2], la, lb, int(seed % 4), seed % 3 != 0, 0.5, seed % 2 ? 1.5 : 0, seed);
            }
        }
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(gemm_layouts) {
    uint64_t seed = 100;
    const Layout all[] = {Layout::contiguous, Layout::transposed, Layout::reversed, Layout::spaced, Layout::broadcast};
    for (Layout la : all) {
        for (Layout lb : all) {
            product(-1, 17, 37, 29, la, lb, int(seed % 4), true, 1, seed % 2, seed);
            product(-1, 70, 65, 130, la, lb, 0, false, 1, 0, seed);
        }
    }
}

TEST(gemm_batched) {
    uint64_t seed = 200;
    for (Layout la : {Layout::contiguous, Layout::transposed, Layout::broadcast}) {
        for (Layout lb : {Layout::contiguous, Layout::transposed, Layout::broadcast}) {
            product(3, 16, 20, 24, la, lb, 0, false, 1, 0, seed);
            product(5, 33, 7, 64, la, lb, 2, true, 0.25, 1, seed);
            product(0, 4, 4, 4, la, lb, 0, true, 1, 0, seed);
            product(1, 8, 8, 8, la, lb, 1, true, 1, 0, seed);
            product(2, 5, 6, 0, la, lb, 3, true, 1, 1, seed);
        }
    }
}

// Several batch axes, and a matrix shared by all products of an axis (stride 0).
TEST(gemm_batch_axes) {
    for (Layout la : {Layout::contiguous, Layout::transposed, Layout::broadcast}) {
        OpCase c("gemm", 300 + uint64_t(la));
        c.in("a", {2, 3, 5, 33}, la).in("b", {2, 3, 33, 17}).in("c", {2, 3, 5, 17}).set("alpha", 1).set("beta", 0);
        c.set("act", 1).tolerance(1, 64).run();
    }
}

TEST(gemm_random) {
    test::Rng rng(5);
    uint64_t seed = 1000;
    for (int i = 0; i < 120; ++i) {
        const Layout all[] = {Layout::contiguous, Layout::transposed, Layout::reversed, Layout::spaced};
        product(rng.integer(0, 3) ? -1 : rng.integer(1, 4), rng.integer(1, 70), rng.integer(1, 90), rng.integer(1, 150),
                all[rng.integer(0, 3)], all[rng.integer(0, 3)], int(rng.integer(0, 3)), rng.integer(0, 1) == 1,
                rng.uniform(-1, 1), rng.integer(0, 1) ? rng.uniform(-1, 1) : 0.0, seed);
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

// beta = 0 must not read c: NaN there must not reach the result.
TEST(gemm_beta_zero_ignores_c) {
    for (int64_t n : {1, 5, 40}) {
        OpCase("gemm")
            .in("a", {n, n + 3})
            .in("b", {n + 3, n + 1})
            .values("c", {n, n + 1}, std::vector<double>(size_t(n * (n + 1)), NAN))
            .set("alpha", 1)
            .tolerance(8, 4)
            .run();
    }
}
