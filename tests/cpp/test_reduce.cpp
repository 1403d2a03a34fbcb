// test_reduce.cpp: sum, max, min, argmax over [A,R,B], the softmax family, and the accuracy of long sums.
#include "core/run.hpp"
#include "op_case.hpp"

using test::Layout;
using test::OpCase;
using test::Shape;

namespace {

const double kInf = INFINITY, kNaN = NAN;

const Shape kShapes[] = {{1, 1, 1},      {1, 10, 1},    {64, 10, 1},  {3, 200, 1},  {1, 70000, 1},
                         {2, 300000, 1}, {1, 7, 6},     {1, 5000, 6}, {4, 33, 10},  {2, 9, 64},
                         {1, 300, 100},  {3, 130, 257}, {1, 2, 600},  {5, 4, 3},    {1, 140000, 3},
                         {1, 9000, 40},  {0, 3, 2},     {2, 3, 0},    {1, 40, 3000}};

}  // namespace

TEST(sums) {
    uint64_t seed = 1;
    for (const Shape& s : kShapes) {
        for (Layout l : {Layout::contiguous, Layout::transposed, Layout::reversed, Layout::spaced, Layout::broadcast}) {
            if (s[0] * s[1] * s[2] > 100000 && l != Layout::contiguous && l != Layout::transposed) continue;
            OpCase("sum", ++seed)
                .in("x", s, l)
                .out("y", {s[0], s[2]})
                .set("scale", 0.5)
                .tolerance(8, 0.25 * std::sqrt(double(s[1]) + 16))
                .run();
        }
    }
    OpCase("sum").in("x", {3, 0, 4}).out("y", {3, 4}).set("scale", 1).run();
    OpCase("sum").in("x", {3, 0, 1}).out("y", {3, 1}).set("scale", 1).run();
    test::note(std::to_string(test::runs_compared()) + " runs");
}

// Error of long sums of one sign: far below what adding one by one would leave.
TEST(long_sums_stay_accurate) {
    for (const Shape& s : {Shape{1, 3000000, 1}, Shape{1, 1500000, 2}}) {
        OpCase("sum").in("x", s, Layout::contiguous, 0, 1).out("y", {1, s[2]}).set("scale", 1).tolerance(16).run();
    }
}

// The bits of a sum depend on the shape, not on how x lies in memory.
TEST(sums_ignore_strides) {
    using namespace rb;
    test::Rng rng(9);
    for (const Shape& s : kShapes) {
        const i64 A = s[0], R = s[1], B = s[2], n = A * R * B;
        std::vector<float> x(static_cast<size_t>(n)), moved(static_cast<size_t>(n));
        for (float& v : x) v = float(rng.uniform(-1, 1));
        for (i64 a = 0; a < A; ++a) {
            for (i64 r = 0; r < R; ++r) {
                for (i64 b = 0; b < B; ++b) moved[size_t((b * R + r) * A + a)] = x[size_t((a * R + r) * B + b)];
            }
        }
        std::vector<float> y(static_cast<size_t>(A * B)), z(static_cast<size_t>(A * B));
        sum_args plain{{x.data(), f32, 3, {A, R, B}, {R * B, B, 1}}, {y.data(), f32, 2, {A, B}, {B, 1}}, 0.3};
        sum_args other{{moved.data(), f32, 3, {A, R, B}, {1, A, R * A}}, {z.data(), f32, 2, {A, B}, {B, 1}}, 0.3};
        run(op_sum, &plain);
        run(op_sum, &other);
        CHECK(y == z);
    }
}

TEST(extremes) {
    uint64_t seed = 1;
    for (const Shape& s : kShapes) {
        if (s[0] * s[1] * s[2] > 150000) continue;
        for (Layout l : {Layout::contiguous, Layout::transposed, Layout::reversed, Layout::broadcast}) {
            for (const char* op : {"max", "min", "argmax"}) {
                OpCase(op, ++seed).in("x", s, l).out("y", {s[0], s[2]}).tolerance(0).run();
            }
        }
    }
    // ties and NaN: coarse values with a sprinkle of NaN and infinities
    for (const Shape& s : {Shape{3, 40, 1}, Shape{2, 40, 5}, Shape{2, 13, 80}, Shape{40, 3, 1}, Shape{1, 3000, 1}}) {
        std::vector<double> v(size_t(s[0] * s[1] * s[2]));
        test::Rng rng(++seed);
        for (double& x : v) {
            x = double(rng.integer(-2, 2));
            const int64_t roll = rng.integer(0, 99);
            if (roll == 0) x = kNaN;
            if (roll == 1) x = kInf;
            if (roll == 2) x = -kInf;
        }
        for (const char* op : {"max", "min", "argmax"})
            OpCase(op).values("x", s, v).out("y", {s[0], s[2]}).tolerance(0).run();
        for (double& x : v) x = -kInf;
        for (const char* op : {"max", "min", "argmax"})
            OpCase(op).values("x", s, v).out("y", {s[0], s[2]}).tolerance(0).run();
    }
}

TEST(softmax) {
    uint64_t seed = 1;
    for (const Shape& s : {Shape{1, 1}, Shape{64, 10}, Shape{3, 7}, Shape{5, 1000}, Shape{2, 3000}, Shape{700, 33},
                           Shape{0, 4}, Shape{4, 0}, Shape{300, 2}}) {
        const int64_t M = s[0], C = s[1];
        for (double width : {1.0, 30.0}) {
            OpCase("softmax", ++seed)
                .in("x", s, Layout::contiguous, -width, width)
                .out("y", s)
                .tolerance(4 * width + 4 + std::sqrt(double(C)))
                .run();
            OpCase("log_softmax", ++seed)
                .in("x", s, Layout::contiguous, -width, width)
                .out("y", s)
                .tolerance(4, width)
                .run();
        }
        OpCase("softmax_dx", ++seed)
            .in("y", s, Layout::contiguous, 0, 1)
            .in("dy", s)
            .out("dx", s)
            .tolerance(8, double(C))
            .run();
        OpCase("log_softmax_dx", ++seed)
            .in("y", s, Layout::contiguous, -5, 0)
            .in("dy", s)
            .out("dx", s)
            .tolerance(8, double(C))
            .run();
        if (C == 0) continue;
        OpCase("softmax_xent", ++seed)
            .in("x", s, Layout::contiguous, -9, 9)
            .ints("labels", {M}, 0, C - 1)
            .out("loss", {M})
            .out("probs", s)
            .tolerance(40, 1)
            .run();
        OpCase("one_hot", ++seed).out("y", s).ints("labels", {M}, 0, C - 1).tolerance(0).run();
        OpCase("softmax_xent_dx", ++seed)
            .in("probs", s, Layout::contiguous, 0, 1)
            .ints("labels", {M}, 0, C - 1)
            .in("g", {M})
            .out("dx", s)
            .tolerance(2, 1)
            .run();
    }
    for (const int64_t n : {0, 1, 3, 16, 100, 2048, 2049, 5000, 70000, 200001}) {
        for (const double kind : {0.0, 1.0}) {
            const double lengths = std::sqrt(double(n) + 16);
            for (const double width : {1.0, 30.0}) {
                OpCase("pair_loss", ++seed)
                    .in("x", {n}, Layout::contiguous, -width, width)
                    .in("t", {n}, Layout::contiguous, 0, 1)
                    .out("d", {n})
                    .out("loss", {1})
                    .set("kind", kind)
                    .set("scale", 0.5)
                    .tolerance(8, width * lengths)
                    .run();
            }
        }
    }
    OpCase("pair_loss")
        .values("x", {8}, {kNaN, kInf, -kInf, 1000, -1000, 0, -0.0, 1e-30f})
        .values("t", {8}, {0, 1, 0, 0, 1, 0.5, 0.5, 1})
        .out("d", {8})
        .out("loss", {1})
        .set("kind", 1)
        .set("scale", 1)
        .tolerance(8)
        .run();
    // extreme rows: huge, equal, NaN, all -inf
    const std::vector<double> x = {1000, -1000, 0, 88, 88, 88, kNaN, 0, 1, -kInf, 0, -kInf, 1e30f, -1e30f, 3};
    OpCase("softmax").values("x", {5, 3}, x).out("y", {5, 3}).tolerance(8).run();
    OpCase("log_softmax").values("x", {5, 3}, x).out("y", {5, 3}).tolerance(8).run();
    OpCase("softmax_xent")
        .values("x", {5, 3}, x)
        .ints("labels", {5}, {0, 2, 1, 1, 2})
        .out("loss", {5})
        .out("probs", {5, 3})
        .tolerance(8)
        .run();
    test::note(std::to_string(test::runs_compared()) + " runs");
}
