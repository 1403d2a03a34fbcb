// test_pool.cpp: pooling, borders, windows side by side, and image warping.
#include "op_case.hpp"

using rb::kNumPadModes;
using test::Layout;
using test::OpCase;

namespace {

struct Axis {
    int64_t in, kernel, stride, pad, dil = 1, out = 0;  // out > 0: adaptive
    int64_t outputs() const { return out ? out : in == 0 ? 0 : (in + 2 * pad - dil * (kernel - 1) - 1) / stride + 1; }
};

struct Pool {
    int64_t N, C;
    Axis d, h, w;
    test::Shape x() const { return {N, d.in, h.in, w.in, C}; }
    test::Shape y() const { return {N, d.outputs(), h.outputs(), w.outputs(), C}; }
};

const Axis kNone{1, 1, 1, 0};
const Pool kPools[] = {
    {2, 6, kNone, {28, 2, 2, 0}, {28, 2, 2, 0}},
    {2, 16, kNone, {10, 2, 2, 0}, {10, 2, 2, 0}},
    {1, 64, kNone, {8, 3, 2, 1}, {8, 3, 2, 1}},
    {2, 3, kNone, {7, 3, 1, 1}, {9, 2, 2, 1}},
    {1, 1, kNone, {5, 2, 1, 0}, {5, 2, 1, 0}},
    {3, 19, kNone, {6, 2, 2, 1}, {6, 2, 2, 1}},
    {1, 5, kNone, {7, 7, 1, 0}, {7, 7, 1, 0}},
    {2, 33, kNone, {9, 3, 2, 0}, {8, 3, 3, 1}},
    {0, 4, kNone, {4, 2, 2, 0}, {4, 2, 2, 0}},
    {1, 17, kNone, {13, 3, 3, 1}, {13, 3, 3, 0}},
    {1, 8, kNone, {3, 5, 1, 2}, {3, 5, 1, 2}},
    {1, 2, kNone, {6, 1, 3, 0}, {6, 1, 3, 0}},
    {2, 5, {5, 2, 2, 1}, {6, 3, 1, 1}, {7, 2, 2, 0}},
    {1, 70, {4, 3, 1, 1}, {4, 3, 2, 1}, {4, 3, 1, 1}},
    {1, 7, {7, 2, 1, 1, 3}, {8, 2, 2, 0, 2}, {9, 3, 1, 1, 2}},
    {2, 20, kNone, kNone, {23, 4, 3, 2}},
};
const Pool kAdaptive[] = {
    {2, 4, {1, 1, 1, 0, 1, 1}, {7, 1, 1, 0, 1, 3}, {5, 1, 1, 0, 1, 2}},
    {1, 21, {3, 1, 1, 0, 1, 2}, {5, 1, 1, 0, 1, 7}, {9, 1, 1, 0, 1, 4}},
    {1, 130, {1, 1, 1, 0, 1, 1}, {12, 1, 1, 0, 1, 1}, {11, 1, 1, 0, 1, 1}},
};

OpCase& windows(OpCase& c, const Pool& p, bool dilation) {
    const Axis* const axes[] = {&p.d, &p.h, &p.w};
    const char* const names[] = {"d", "h", "w"};
    for (int i = 0; i < 3; ++i) {
        const std::string n = names[i];
        c.set(("kernel_" + n).c_str(), double(axes[i]->kernel))
            .set(("stride_" + n).c_str(), double(axes[i]->stride))
            .set(("pad_" + n).c_str(), double(axes[i]->pad));
        if (dilation) c.set(("dil_" + n).c_str(), double(axes[i]->dil));
    }
    return c.set("adaptive", p.h.out > 0);
}

// Indices that a pool may give: the first pixel of each window, by loops of its own.
std::vector<int64_t> chosen(const Pool& p) {
    auto first = [](const Axis& a, int64_t o) {
        if (a.out) return o * a.in / a.out;
        int64_t i = o * a.stride - a.pad;
        while (i < 0) i += a.dil;
        return i;
    };
    std::vector<int64_t> at;
    const test::Shape y = p.y();
    for (int64_t n = 0; n < y[0]; ++n)
        for (int64_t o = 0; o < y[1]; ++o)
            for (int64_t q = 0; q < y[2]; ++q)
                for (int64_t r = 0; r < y[3]; ++r)
                    for (int64_t c = 0; c < y[4]; ++c)
                        at.push_back((first(p.d, o) * p.h.in + first(p.h, q)) * p.w.in + first(p.w, r));
    return at;
}

std::vector<Pool> all_pools() {
    std::vector<Pool> all(std::begin(kPools), std::end(kPools));
    all.insert(all.end(), std::begin(kAdaptive), std::end(kAdaptive));
    return all;
}

}  // namespace

TEST(max_pooling) {
    uint64_t seed = 1;
    for (const Pool& p : all_pools()) {
        for (int kind = 0; kind < 6; ++kind) {  // smooth values, many ties, NaN and infinities among ties; both ways
            const int64_t n = p.N * p.d.in * p.h.in * p.w.in * p.C;
            test::Rng rng(++seed);
            std::vector<double> x(static_cast<size_t>(n));
            for (double& v : x) {
                v = kind % 3 ? double(rng.integer(-1, 1)) : double(float(rng.uniform(-1, 1)));
                if (kind % 3 == 2 && rng.integer(0, 9) == 0) v = rng.integer(0, 1) ? NAN : -INFINITY;
            }
            OpCase c("max_pool", seed);
            c.values("x", p.x(), x).out("y", p.y()).out("idx", p.y()).set("minimum", kind / 3);
            windows(c, p, true).tolerance(0).run();
        }
        OpCase d("max_pool_dx", ++seed);
        d.in("dy", p.y()).ints("idx", p.y(), chosen(p)).out("dx", p.x());
        windows(d, p, true).tolerance(8, 4).run();
        const int64_t last = p.d.in * p.h.in * p.w.in - 1;
        OpCase("max_unpool", ++seed).in("x", p.y()).ints("idx", p.y(), 0, last).out("y", p.x()).tolerance(8, 4).run();
        OpCase("max_pool_gather", ++seed).in("x", p.x()).ints("idx", p.y(), 0, last).out("y", p.y()).tolerance(0).run();
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(average_pooling) {
    uint64_t seed = 1;
    for (const Pool& p : all_pools()) {
        if (p.d.dil * p.h.dil * p.w.dil > 1) continue;
        for (int include : {0, 1}) {
            OpCase c("avg_pool", ++seed);
            c.in("x", p.x()).out("y", p.y()).set("count_include_pad", include);
            windows(c, p, false).tolerance(8, 1).run();
            OpCase d("avg_pool_dx", ++seed);
            d.in("dy", p.y()).out("dx", p.x()).set("count_include_pad", include);
            windows(d, p, false).tolerance(8, 1).run();
        }
    }
}

TEST(borders) {
    uint64_t seed = 1;
    const int64_t cases[][11] = {// N D H W C, front and behind of D, H, W
                                 {2, 1, 1, 5, 3, 0, 0, 0, 0, 2, 1},  {1, 3, 2, 4, 2, 1, 1, 2, 0, 3, 3},
                                 {1, 1, 1, 1, 17, 2, 1, 1, 2, 3, 2}, {1, 2, 3, 2, 5, 5, 4, 7, 8, 4, 9},
                                 {0, 2, 3, 2, 5, 1, 0, 1, 1, 0, 2},  {3, 1, 20, 30, 8, 0, 0, 3, 3, 2, 4},
                                 {1, 2, 2, 2, 33, 0, 0, 0, 0, 0, 0}, {2, 4, 5, 3, 1, 3, 0, 0, 4, 2, 0}};
    for (const auto& s : cases) {
        const test::Shape x{s[0], s[1], s[2], s[3], s[4]};
        const test::Shape y{s[0], s[1] + s[5] + s[6], s[2] + s[7] + s[8], s[3] + s[9] + s[10], s[4]};
        for (int mode = 0; mode < kNumPadModes; ++mode) {
            auto sides = [&](OpCase& c) -> OpCase& {
                return c.set("mode", mode)
                    .set("front_d", double(s[5]))
                    .set("front_h", double(s[7]))
                    .set("front_w", double(s[9]));
            };
            OpCase c("pad", ++seed);
            c.in("x", x).out("y", y).set("value", -1.5);
            sides(c).tolerance(0).run();
            OpCase d("pad_dx", ++seed);
            d.in("dy", y).out("dx", x);
            sides(d).tolerance(16, 4).run();
        }
    }
}

TEST(windows_side_by_side) {
    uint64_t seed = 1;
    const int64_t cases[][9] = {// N A I C, P R, stride pad dil
                                {2, 9, 1, 3, 7, 3, 1, 0, 1}, {2, 9, 4, 5, 5, 3, 2, 1, 1},  {1, 8, 3, 17, 4, 2, 3, 2, 2},
                                {3, 5, 2, 4, 9, 4, 1, 4, 2}, {2, 6, 3, 2, 3, 2, 2, -1, 1}, {0, 6, 3, 2, 3, 2, 2, 0, 1},
                                {2, 6, 1, 32, 6, 1, 1, 0, 1}};
    for (const auto& s : cases) {
        const test::Shape x{s[0], s[1], s[2], s[3]}, y{s[0], s[4], s[2], s[5], s[3]};
        auto numbers = [&](OpCase& c) -> OpCase& {
            return c.set("stride", double(s[6])).set("pad", double(s[7])).set("dil", double(s[8]));
        };
        OpCase c("unfold", ++seed);
        c.in("x", x).out("y", y);
        numbers(c).tolerance(0).run();
        OpCase d("fold", ++seed);
        d.in("y", y).out("x", x);
        numbers(d).tolerance(8, 4).run();
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
