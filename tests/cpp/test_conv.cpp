// test_conv.cpp: convolution and both gradients over kernels, strides, paddings, dilations and groups.
#include "op_case.hpp"

using test::Layout;
using test::OpCase;

namespace {

struct Conv {
    int64_t N, H, W, C, K, R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
    int64_t extra = 0;  // output rows and columns beyond symmetric padding
    int64_t P() const { return (H + 2 * pad_h - (R - 1) * dil_h - 1) / stride_h + 1 + extra; }
    int64_t Q() const { return (W + 2 * pad_w - (S - 1) * dil_w - 1) / stride_w + 1 + extra; }
};

OpCase& parameters(OpCase& c, const Conv& v) {
    return c.set("stride_h", double(v.stride_h))
        .set("stride_w", double(v.stride_w))
        .set("pad_h", double(v.pad_h))
        .set("pad_w", double(v.pad_w))
        .set("dil_h", double(v.dil_h))
        .set("dil_w", double(v.dil_w))
        .set("groups", double(v.groups));
}

void all_three(const Conv& v, uint64_t seed) {
    const int64_t Cg = v.C / v.groups, P = v.P(), Q = v.Q();
    // Winograd's algorithm has more roundings, those of transforms are in proportion to a tile's largest values; both
    // have tests of their error of their own.
    const auto run = [](OpCase& c, int64_t terms) {
        c.tolerance(1, double(terms) + 16).tolerance_of("winograd", 3).tolerance_of("fft", 3).run();
    };
    OpCase y("conv2d", seed);
    y.in("x", {v.N, v.H, v.W, v.C})
        .in("w", {v.K, v.R, v.S, Cg})
        .out("y", {v.N, P, Q, v.K})
        .set("act", double(seed % 4));
    if (seed % 2) y.in("bias", {v.K});
    run(parameters(y, v), v.R * v.S * Cg);
    OpCase dx("conv2d_dx", seed + 1);
    dx.in("dy", {v.N, P, Q, v.K}).in("w", {v.K, v.R, v.S, Cg}).out("dx", {v.N, v.H, v.W, v.C});
    run(parameters(dx, v), v.R * v.S * v.K / v.groups);
    OpCase dw("conv2d_dw", seed + 2);
    dw.in("x", {v.N, v.H, v.W, v.C}).in("dy", {v.N, P, Q, v.K}).out("dw", {v.K, v.R, v.S, Cg});
    run(parameters(dw, v), v.N * P * Q);
}

}  // namespace

TEST(conv2d_named_cases) {
    const Conv cases[] = {
        {2, 32, 32, 1, 6, 5, 5, 1, 1, 0, 0, 1, 1, 1},   // LeNet, first layer
        {2, 14, 14, 6, 16, 5, 5, 1, 1, 0, 0, 1, 1, 1},  // LeNet, second layer
        {3, 28, 28, 1, 6, 5, 5, 1, 1, 2, 2, 1, 1, 1},   // same padding
        {1, 8, 8, 16, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1},
        {1, 9, 9, 16, 20, 3, 3, 2, 2, 1, 1, 1, 1, 1},
        {1, 7, 5, 3, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1},
        {2, 11, 11, 3, 8, 7, 7, 4, 4, 2, 2, 1, 1, 1},
        {1, 10, 10, 4, 4, 3, 3, 1, 1, 2, 2, 2, 2, 1},
        {2, 6, 6, 8, 12, 1, 1, 1, 1, 0, 0, 1, 1, 1},
        {1, 9, 7, 8, 8, 1, 1, 2, 2, 0, 0, 1, 1, 1},
        {1, 8, 8, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 8},  // depthwise
        {2, 7, 7, 6, 12, 3, 3, 2, 2, 1, 1, 1, 1, 6},
        {1, 6, 6, 8, 12, 3, 3, 1, 1, 1, 1, 1, 1, 4},
        {1, 5, 5, 2, 3, 5, 5, 1, 1, 4, 4, 1, 1, 1},   // full padding
        {1, 1, 20, 3, 5, 1, 9, 1, 1, 0, 4, 1, 1, 1},  // one-dimensional
        {1, 4, 4, 40, 3, 4, 4, 1, 1, 0, 0, 1, 1, 1},
        {0, 6, 6, 2, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1},
        {1, 12, 12, 5, 7, 2, 4, 3, 1, 1, 2, 2, 1, 1},
        {2, 5, 6, 3, 4, 3, 3, 3, 3, 0, 0, 1, 1, 1},
        {1, 5, 5, 2, 2, 2, 2, 2, 2, 0, 0, 1, 1, 1, 1},  // an output row that needs padding at the end
        {1, 9, 9, 3, 4, 2, 2, 5, 5, 0, 0, 1, 1, 1},     // stride beyond the kernel
        {1, 4, 4, 3, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1},     // padding beyond the kernel
        {1, 16, 16, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1},
        {1, 9, 6, 12, 33, 3, 3, 1, 1, 0, 2, 1, 1, 1, 1},  // Winograd tiles that stick out on all sides
        {3, 1, 2, 8, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1},
        {2, 5, 5, 70, 20, 3, 3, 1, 1, 2, 1, 1, 1, 1},
        {2, 23, 23, 3, 20, 11, 11, 4, 4, 2, 2, 1, 1, 1},  // few input channels: rows of products, copied columns
        {2, 12, 13, 3, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1},
        {1, 12, 9, 2, 40, 5, 7, 2, 3, 1, 3, 2, 1, 1},
        {1, 9, 40, 1, 16, 3, 31, 1, 1, 1, 15, 1, 1, 1},
        {1, 7, 9, 17, 17, 3, 3, 1, 1, 1, 1, 1, 1, 17},  // depthwise, 3x3: pairs of rows, six columns
        {2, 12, 13, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32},
        {1, 1, 1, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 8},
        {1, 9, 33, 20, 20, 7, 9, 1, 2, 3, 4, 1, 1, 20},
        {1, 20, 17, 5, 5, 3, 3, 2, 1, 1, 2, 1, 2, 5}};
    uint64_t seed = 1;
    for (const Conv& v : cases) {
        for (int act = 0; act < 4; ++act) all_three(v, seed += 1);
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}

// Several tiles, blocks of kernels and registers of channels of the transforms.
TEST(conv2d_transforms) {
    const Conv cases[] = {
        {1, 70, 45, 2, 3, 9, 13, 1, 1, 4, 6, 1, 1, 1},    // tiles both ways
        {2, 31, 33, 20, 20, 7, 7, 1, 1, 3, 3, 1, 1, 20},  // one channel per group, a register and a part
        {1, 46, 46, 31, 31, 3, 3, 1, 1, 1, 1, 1, 1, 31},  // .. the part needs more memory than the register
        {1, 55, 55, 31, 31, 7, 7, 1, 1, 3, 3, 1, 1, 31},
        {1, 8, 9, 40, 200, 5, 5, 1, 1, 2, 2, 1, 1, 1},  // kernels block by block
        {1, 8, 9, 200, 40, 5, 5, 1, 1, 2, 2, 1, 1, 1},
        {3, 14, 11, 12, 18, 6, 5, 1, 1, 5, 0, 1, 1, 3},     // groups
        {40, 9, 9, 1, 1, 5, 5, 1, 1, 2, 2, 1, 1, 1},        // tiles alone fill the registers
        {2, 1, 400, 3, 5, 1, 31, 1, 1, 0, 15, 1, 1, 1, 0},  // rows
        {1, 90, 1, 4, 4, 21, 1, 1, 1, 20, 0, 1, 1, 1},      // columns, full padding
        {1, 3, 4, 3, 2, 9, 10, 1, 1, 8, 9, 1, 1, 1},        // kernels larger than the image
        {1, 30, 30, 2, 2, 15, 15, 1, 1, 0, 0, 1, 1, 1}};
    uint64_t seed = 900;
    for (const Conv& v : cases) all_three(v, seed += 3);
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(conv2d_random) {
    test::Rng rng(11);
    int done = 0;
    for (int i = 0; done < 120; ++i) {
        Conv v{};
        v.N = rng.integer(1, 3);
        v.H = rng.integer(1, 14);
        v.W = rng.integer(1, 14);
        v.groups = rng.integer(0, 2) ? 1 : rng.integer(2, 4);
        v.C = v.groups * rng.integer(1, 9);
        v.K = v.groups * rng.integer(1, 20);
        v.R = rng.integer(1, 5);
        v.S = rng.integer(1, 5);
        v.stride_h = rng.integer(1, 3);
        v.stride_w = rng.integer(1, 3);
        v.dil_h = rng.integer(1, 2);
        v.dil_w = rng.integer(1, 2);
        v.pad_h = rng.integer(0, 3);
        v.pad_w = rng.integer(0, 3);
        if (v.H + 2 * v.pad_h < (v.R - 1) * v.dil_h + 1 || v.W + 2 * v.pad_w < (v.S - 1) * v.dil_w + 1) continue;
        if (v.pad_h > (v.R - 1) * v.dil_h + v.H || v.pad_w > (v.S - 1) * v.dil_w + v.W) continue;
        all_three(v, uint64_t(300 + i));
        ++done;
    }
    test::note(std::to_string(test::runs_compared()) + " runs");
}
