// test_select.cpp: argmin, running sums, sort and top-k, rows by index, the gradient of bias and activation.
#include "op_case.hpp"
#include "rb/table.hpp"

using test::Layout;
using test::OpCase;
using test::Shape;

namespace {

const Shape kShapes[] = {{1, 1, 1}, {3, 7, 5}, {2, 0, 3}, {0, 4, 2}, {2, 3, 0}, {2, 49, 1}, {1, 5000, 1}, {2, 300, 70}};

// Coarse values with ties, NaN and both zeros.
std::vector<double> coarse(const Shape& s, uint64_t seed) {
    std::vector<double> v(size_t(s[0] * s[1] * s[2]));
    test::Rng rng(seed);
    for (double& x : v) {
        const int64_t roll = rng.integer(0, 19);
        x = roll == 0 ? NAN : roll == 1 ? -0.0 : double(rng.integer(-30, 30)) / 4;
    }
    return v;
}

}  // namespace

TEST(argmin) {
    uint64_t seed = 1;
    for (const Shape& s : kShapes) {
        if (s[1] == 0) continue;
        for (Layout l : {Layout::contiguous, Layout::transposed, Layout::reversed})
            OpCase("argmin").values("x", s, coarse(s, ++seed), l).out("y", {s[0], s[2]}).tolerance(0).run();
    }
}

TEST(cumulate) {
    uint64_t seed = 1;
    for (const Shape& s : kShapes) {
        for (int reverse : {0, 1}) {
            OpCase("cumulate", ++seed).in("x", s).out("y", s).set("reverse", reverse).tolerance(8, 64).run();
            OpCase("cumulate", ++seed)
                .in("x", s, Layout::contiguous, 0.999, 1.001)
                .out("y", s)
                .set("product", 1)
                .set("reverse", reverse)
                .tolerance(8, std::sqrt(double(s[1]) + 1) * 8)
                .run();
        }
    }
}

// Scratch is booked for the workers that the columns can occupy, and for the few that are kept.
TEST(sort_scratch) {
    rb::sort_args a{};
    const auto view = [](int64_t A, int64_t R, int64_t B) {
        return rb::View{nullptr, rb::f32, 3, {A, R, B}, {R * B, B, 1}};
    };
    const rb::Table* const levels[] = {
        &rb::base_table,
#if defined(RB_HAVE_AVX2)
        &rb::avx2_table,
#endif
#if defined(RB_HAVE_AVX512)
        &rb::avx512_table,
#endif
    };
    int seen = 0;
    for (const rb::Table* level : levels) {
        const rb::Entry& e = level->entry[rb::op_sort][rb::f32];
        for (int i = 0; i < e.count; ++i, ++seen) {
            const auto bytes = [&](int64_t A, int64_t R, int64_t B, int64_t k, int threads) {
                a.x = view(A, R, B), a.y = view(A, k, B), a.idx = view(A, k, B);
                return e.impls[i].work(&a, rb::Ctx{threads, 0, 0, 0});
            };
            CHECK(bytes(1, 1000, 1, 1000, 64) == bytes(1, 1000, 1, 1000, 1));
            CHECK(bytes(3, 1000, 2, 1000, 64) == 6 * bytes(1, 1000, 1, 1000, 1));
            CHECK(bytes(1, 1000, 100, 1000, 64) == 64 * bytes(1, 1000, 1, 1000, 1));
            CHECK(bytes(1, 1000000, 1, 5, 1) == bytes(1, 1000, 1, 5, 1));
            CHECK(bytes(0, 1000, 1, 1000, 64) == 0);
        }
    }
    CHECK(seen > 0);
}

TEST(sort) {
    uint64_t seed = 1;
    for (const Shape& s : kShapes) {
        for (int64_t k : {int64_t(0), s[1] / 9, s[1] / 2, s[1]}) {
            for (int descending : {0, 1}) {
                OpCase("sort")
                    .values("x", s, coarse(s, ++seed))
                    .out("y", {s[0], k, s[2]})
                    .out("idx", {s[0], k, s[2]})
                    .set("descending", descending)
                    .tolerance(0)
                    .run();
            }
        }
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(rows_by_index) {
    uint64_t seed = 1;
    for (const Shape& s : kShapes) {
        if (s[1] == 0) continue;
        for (int64_t k : {0, 1, 77}) {
            const Shape y = {s[0], k, s[2]};
            OpCase("take", ++seed).in("x", s).ints("idx", {k}, 0, s[1] - 1).out("y", y).tolerance(0).run();
            OpCase("take_dx", ++seed).in("dy", y).ints("idx", {k}, 0, s[1] - 1).out("dx", s).tolerance(64, 1).run();
            OpCase("gather", ++seed).in("x", s).ints("idx", y, 0, s[1] - 1).out("y", y).tolerance(0).run();
            OpCase("gather_dx", ++seed).in("dy", y).ints("idx", y, 0, s[1] - 1).out("dx", s).tolerance(64, 1).run();
        }
    }
}

TEST(bias_act_dx) {
    uint64_t seed = 1;
    for (const Shape& s : {Shape{1, 1}, Shape{64, 33}, Shape{65, 300}, Shape{0, 4}, Shape{4, 0}, Shape{20000, 5}}) {
        for (int act = 0; act < rb::kNumActs; ++act) {
            OpCase("bias_act_dx", ++seed)
                .in("y", s, Layout::contiguous, 0.01, 0.9)
                .in("dy", s)
                .out("dx", s)
                .out("db", {s[1]})
                .set("act", act)
                .tolerance(8, 1 + double(s[0]) / 16)
                .run();
        }
    }
}
