// test_random.cpp: Philox4x32-10 against the published known-answer vectors, the stream's meaning, and the random ops.
#include "op_case.hpp"
#include "rb/view.hpp"

namespace {

using rb::i64;
using rb::Seed;
using rb::u32;
using rb::u64;
#include "core/philox.hpp"

}  // namespace

using test::OpCase;
using test::Shape;

// Known answers distributed with the paper's reference library (Random123), philox4x32 with 10 rounds.
TEST(philox_known_answers) {
    const struct {
        u32 counter[4], key[2], words[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const auto& k : known) {
        u32 words[4] = {k.counter[0], k.counter[1], k.counter[2], k.counter[3]};
        philox4x32(words, k.key);
        for (int i = 0; i < 4; ++i) CHECK(words[i] == k.words[i]);
    }
}

TEST(stream_positions) {
    // block b of a stream at counter c is block 0 of a stream at counter c + b, across the 32-bit boundary too
    for (u64 counter : {u64{0}, u64{0xfffffffe}, u64{1} << 40, ~u64{0}}) {
        for (u64 block : {u64{0}, u64{1}, u64{5}}) {
            u32 a[4], b[4];
            philox_block(Seed{42, counter}, block, a);
            philox_block(Seed{42, counter + block}, 0, b);
            for (int i = 0; i < 4; ++i) CHECK(a[i] == b[i]);
        }
    }
    CHECK(uniform_from(0u) == 0.0f);
    CHECK(uniform_from(~0u) < 1.0f);
    CHECK(uniform_from(~0u, ~0u) < 1.0);
    CHECK(open_uniform_from(0u) > 0.0f && open_uniform_from(~0u) <= 1.0f);
}

TEST(random_ops) {
    for (const Shape& s :
         {Shape{1}, Shape{3}, Shape{63}, Shape{64}, Shape{65}, Shape{7, 9}, Shape{0}, Shape{5000}, Shape{100003}}) {
        for (u64 counter : {u64{0}, u64{0xfffffff0}, ~u64{0} - 3}) {
            const u64 key = 0x123456789abcdefu;
            OpCase("uniform").out("y", s).set("low", -2).set("high", 3.5).seed(key, counter).bit_exact().run();
            OpCase("normal")
                .out("y", s)
                .set("mean", 0.5)
                .set("std", 2)
                .seed(key, counter)
                .same_dtype_reference()
                .tolerance(8, 1)
                .run();
            for (double p : {0.0, 0.1, 0.5, 1.0}) {
                OpCase("dropout").in("x", s).out("y", s).set("p", p).seed(key, counter).bit_exact().run();
            }
        }
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

// Moments of the reference stream (the kernels have its bits): mean, variance, tails, share of dropped elements.
TEST(moments) {
    const int64_t n = 200000;
    OpCase normal("normal");
    normal.out("y", {n}).set("mean", 0).set("std", 1).seed(7, 0).same_dtype_reference().tolerance(8, 1).run();
    double m1 = 0, m2 = 0, m4 = 0, covariance = 0;
    const auto& z = normal.expected("y");
    for (int64_t i = 0; i < n; ++i) {
        m1 += z[size_t(i)];
        m2 += z[size_t(i)] * z[size_t(i)];
        m4 += std::pow(z[size_t(i)], 4);
        if (i) covariance += z[size_t(i)] * z[size_t(i - 1)];
    }
    CHECK_CLOSE(m1 / double(n), 0, 0.01);
    CHECK_CLOSE(m2 / double(n), 1, 0.015);
    CHECK_CLOSE(m4 / double(n), 3, 0.1);
    CHECK_CLOSE(covariance / double(n), 0, 0.01);
    OpCase drop("dropout");
    drop.values("x", {n}, std::vector<double>(size_t(n), 1.0)).out("y", {n}).set("p", 0.3).seed(7, 0).bit_exact().run();
    double kept = 0;
    for (double v : drop.expected("y")) kept += v != 0;
    CHECK_CLOSE(kept / double(n), 0.7, 0.005);
}
