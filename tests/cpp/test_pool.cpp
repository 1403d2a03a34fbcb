// test_pool.cpp: pooling and image warping.
#include "op_case.hpp"

using test::Layout;
using test::OpCase;

namespace {

struct Pool {
    int64_t N, H, W, C, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
    bool ceil = false;
    int64_t out(int64_t n, int64_t k, int64_t s, int64_t p) const {
        int64_t count = (n + 2 * p - k + (ceil ? s - 1 : 0)) / s + 1;
        while (count > 1 && (count - 1) * s - p >= n) --count;
        return count < 1 ? 1 : count;
    }
    int64_t P() const { return out(H, kernel_h, stride_h, pad_h); }
    int64_t Q() const { return out(W, kernel_w, stride_w, pad_w); }
};

const Pool kPools[] = {
    {2, 28, 28, 6, 2, 2, 2, 2, 0, 0},  {2, 10, 10, 16, 2, 2, 2, 2, 0, 0},     {1, 8, 8, 64, 3, 3, 2, 2, 1, 1},
    {2, 7, 9, 3, 3, 2, 1, 2, 1, 1},    {1, 5, 5, 1, 2, 2, 1, 1, 0, 0},        {3, 6, 6, 19, 2, 2, 2, 2, 1, 1},
    {1, 7, 7, 5, 7, 7, 1, 1, 0, 0},    {2, 9, 8, 33, 3, 3, 2, 3, 0, 1, true}, {0, 4, 4, 4, 2, 2, 2, 2, 0, 0},
    {1, 13, 13, 17, 3, 3, 3, 3, 1, 0}, {2, 4, 4, 1, 4, 4, 4, 4, 0, 0},        {1, 3, 3, 8, 5, 5, 1, 1, 2, 2},
    {2, 32, 32, 48, 2, 2, 2, 2, 0, 0}, {1, 6, 6, 2, 1, 1, 3, 3, 0, 0}};

OpCase& windows(OpCase& c, const Pool& p) {
    return c.set("kernel_h", double(p.kernel_h))
        .set("kernel_w", double(p.kernel_w))
        .set("stride_h", double(p.stride_h))
        .set("stride_w", double(p.stride_w))
        .set("pad_h", double(p.pad_h))
        .set("pad_w", double(p.pad_w));
}

}  // namespace

TEST(max_pooling) {
    uint64_t seed = 1;
    for (const Pool& p : kPools) {
        for (int kind = 0; kind < 3; ++kind) {  // smooth values, many ties, NaN and infinities among ties
            const int64_t n = p.N * p.H * p.W * p.C;
            test::Rng rng(++seed);
            std::vector<double> x(static_cast<size_t>(n));
            for (double& v : x) {
                v = kind ? double(rng.integer(-1, 1)) : double(float(rng.uniform(-1, 1)));
                if (kind == 2 && rng.integer(0, 9) == 0) v = rng.integer(0, 1) ? NAN : -INFINITY;
            }
            OpCase c("max_pool2d", seed);
            c.values("x", {p.N, p.H, p.W, p.C}, x)
                .out("y", {p.N, p.P(), p.Q(), p.C})
                .out("idx", {p.N, p.P(), p.Q(), p.C});
            windows(c, p).tolerance(0).run();
        }
        OpCase("max_pool2d_dx", ++seed)
            .in("dy", {p.N, p.P(), p.Q(), p.C})
            .ints("idx", {p.N, p.P(), p.Q(), p.C}, 0, p.H * p.W - 1)
            .out("dx", {p.N, p.H, p.W, p.C})
            .tolerance(8, 4)
            .run();
        OpCase("max_pool2d_gather", ++seed)
            .in("x", {p.N, p.H, p.W, p.C})
            .ints("idx", {p.N, p.P(), p.Q(), p.C}, 0, p.H * p.W - 1)
            .out("y", {p.N, p.P(), p.Q(), p.C})
            .tolerance(0)
            .run();
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(average_pooling) {
    uint64_t seed = 1;
    for (const Pool& p : kPools) {
        for (int include : {0, 1}) {
            OpCase c("avg_pool2d", ++seed);
            c.in("x", {p.N, p.H, p.W, p.C}).out("y", {p.N, p.P(), p.Q(), p.C}).set("count_include_pad", include);
            windows(c, p).tolerance(8, 1).run();
            OpCase d("avg_pool2d_dx", ++seed);
            d.in("dy", {p.N, p.P(), p.Q(), p.C}).out("dx", {p.N, p.H, p.W, p.C}).set("count_include_pad", include);
            windows(d, p).tolerance(8, 1).run();
        }
    }
}

TEST(warp_affine) {
    uint64_t seed = 1;
    const int64_t sizes[][6] = {
        {2, 8, 9, 1, 8, 9}, {1, 5, 5, 3, 12, 7}, {3, 1, 1, 4, 4, 4}, {1, 28, 28, 17, 28, 28}, {0, 4, 4, 1, 4, 4}};
    for (const auto& s : sizes) {
        const int64_t N = s[0];
        OpCase("warp_affine", ++seed)
            .in("x", {N, s[1], s[2], s[3]})
            .in("m", {N, 2, 3})
            .out("y", {N, s[4], s[5], s[3]})
            .tolerance(256, 1)
            .run();
        // identity, shifts beyond the border, degenerate and non-finite maps
        for (const std::vector<double>& one : {std::vector<double>{1, 0, 0, 0, 1, 0},
                                               {1, 0, -0.5, 0, 1, 2.25},
                                               {0, 0, 1e30f, 0, 0, -1e30f},
                                               {NAN, 0, 0, 0, INFINITY, 0},
                                               {0, 1, 0, 1, 0, 0},
                                               {-1, 0, 7, 0, -1, 7}}) {
            std::vector<double> m;
            for (int64_t n = 0; n < N; ++n) m.insert(m.end(), one.begin(), one.end());
            OpCase("warp_affine", ++seed)
                .in("x", {N, s[1], s[2], s[3]})
                .values("m", {N, 2, 3}, m)
                .out("y", {N, s[4], s[5], s[3]})
                .tolerance(16, 1)
                .run();
        }
    }
}
