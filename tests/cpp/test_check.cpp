// test_check.cpp: check_args refuses what no kernel could survive, names the op and says expected and got; and
// arbitrary parameters never get a call past it that reads or writes out of bounds (run under the address sanitizer to
// see).
#include <cstring>
#include <limits>
#include <vector>

#include "core/check.hpp"
#include "core/describe.hpp"
#include "core/run.hpp"
#include "harness.hpp"

using namespace rb;

namespace {

// A contiguous float32 (or other) view on a shared zeroed buffer that holds at least its elements.
struct Store {
    std::vector<std::vector<double>> blocks;
    View view(std::vector<i64> shape, int dtype = f32) {
        View v{};
        i64 n = 1;
        v.ndim = i32(shape.size());
        v.dtype = dtype;
        for (int d = v.ndim - 1; d >= 0; --d) {
            v.shape[d] = shape[size_t(d)];
            v.stride[d] = n;
            n *= shape[size_t(d)] > 0 ? shape[size_t(d)] : 1;
        }
        blocks.emplace_back(size_t(n < 1 << 20 ? n : 1));
        v.data = blocks.back().data();
        return v;
    }
};

View absent() {
    View v{};
    v.ndim = -1;
    return v;
}

template <typename A>
std::string verdict(OpId op, const A& args) {
    char text[256];
    const char* r = check_args(op, &args, text, sizeof text);
    return r ? r : "";
}

bool starts(const std::string& s, const char* with) {
    return s.rfind(with, 0) == 0;
}

// Refused, with a message that begins with the op and mentions `part`.
#define REFUSED(op, args, part)                                                                                        \
    do {                                                                                                               \
        const std::string m_ = verdict(op_##op, args);                                                                 \
        if (!starts(m_, #op ": ") || m_.find(part) == std::string::npos)                                               \
            test::report(__FILE__, __LINE__, std::string("expected a refusal with '") + part + "', got '" + m_ + "'"); \
    } while (0)

conv2d_args conv(Store& s) {
    conv2d_args a{};
    a.x = s.view({2, 8, 8, 4});
    a.w = s.view({6, 3, 3, 4});
    a.bias = absent();
    a.y = s.view({2, 6, 6, 6});
    a.stride_h = a.stride_w = a.dil_h = a.dil_w = a.groups = 1;
    return a;
}

max_pool_args pool(Store& s) {
    max_pool_args a{};
    a.x = s.view({2, 1, 8, 8, 4});
    a.y = s.view({2, 1, 4, 4, 4});
    a.idx = s.view({2, 1, 4, 4, 4}, i32t);
    a.kernel_d = a.stride_d = a.dil_d = a.dil_h = a.dil_w = 1;
    a.kernel_h = a.kernel_w = a.stride_h = a.stride_w = 2;
    return a;
}

constexpr i64 kBig = std::numeric_limits<i64>::max(), kLow = std::numeric_limits<i64>::min();

}  // namespace

TEST(elementwise_refusals) {
    Store s;
    add_args a{s.view({3, 4}), s.view({4}), s.view({3, 4})};
    CHECK(verdict(op_add, a).empty());
    a.b = s.view({3});
    REFUSED(add, a, "b of shape [3] does not broadcast to y of shape [3, 4]");
    a.b = s.view({1, 3, 4});
    REFUSED(add, a, "does not broadcast");
    a.b = s.view({4}, f64);
    REFUSED(add, a, "float64");
    a.b = absent();
    REFUSED(add, a, "b is missing");
    a = {s.view({i64{1} << 50}), s.view({4}), s.view({3, 4})};
    REFUSED(add, a, "too large");
    a = {s.view({i64{1} << 30, i64{1} << 30}), s.view({4}), s.view({3, 4})};
    REFUSED(add, a, "too large");
    cast_args c{s.view({3}), s.view({3}, f64)};
    CHECK(verdict(op_cast, c).empty());
    c.y = s.view({4}, f64);
    REFUSED(cast, c, "shape of x [3], got [4]");
}

TEST(reduce_and_softmax_refusals) {
    Store s;
    sum_args a{s.view({2, 3, 4}), s.view({2, 4}), 1.0};
    CHECK(verdict(op_sum, a).empty());
    a.y = s.view({2, 3});
    REFUSED(sum, a, "axis 1 of y must be B = 4");
    a.x = s.view({6, 4});
    REFUSED(sum, a, "3 axes");
    max_args m{s.view({2, 0, 4}), s.view({2, 4})};
    REFUSED(max, m, "must not be empty");
    softmax_xent_args x{s.view({2, 3}), s.view({2}, i64t), s.view({2}), s.view({2, 3})};
    i64* labels = static_cast<i64*>(x.labels.data);
    CHECK(verdict(op_softmax_xent, x).empty());
    for (i64 bad : {i64{3}, i64{-1}, kBig, kLow}) {
        labels[1] = bad;
        REFUSED(softmax_xent, x, "label");
    }
    labels[1] = 2;
    CHECK(verdict(op_softmax_xent, x).empty());
}

TEST(gemm_refusals) {
    Store s;
    gemm_args g{};
    g.a = s.view({3, 4});
    g.b = s.view({4, 5});
    g.bias = absent();
    g.c = s.view({3, 5});
    g.alpha = 1;
    CHECK(verdict(op_gemm, g).empty());
    g.act = 4;
    REFUSED(gemm, g, "act must be in 0 .. 3, got 4");
    g.act = kLow;
    REFUSED(gemm, g, "act");
    g.act = 0;
    g.b = s.view({5, 4});
    REFUSED(gemm, g, "a has 4 columns, b has 5 rows");
    g.b = s.view({4, 6});
    REFUSED(gemm, g, "axis 1 of c");
    g.b = s.view({2, 4, 5});
    REFUSED(gemm, g, "axes");
    g.b = s.view({4, 5});
    g.bias = s.view({3});
    REFUSED(gemm, g, "bias must have shape [5]");
}

TEST(conv_refusals) {
    Store s;
    conv2d_args a = conv(s);
    CHECK(verdict(op_conv2d, a).empty());
    a.w = s.view({6, 3, 3, 3});
    REFUSED(conv2d, a, "w has 3 input channels per group, x has 4 with groups=1");
    i64 conv2d_args::* const fields[] = {&conv2d_args::stride_h, &conv2d_args::stride_w, &conv2d_args::dil_h,
                                         &conv2d_args::dil_w, &conv2d_args::groups};
    for (auto f : fields) {
        for (i64 bad : {i64{0}, i64{-1}, kBig, kLow, i64{1} << 40}) {
            a = conv(s);
            a.*f = bad;
            REFUSED(conv2d, a, "");
        }
    }
    for (auto f : {&conv2d_args::pad_h, &conv2d_args::pad_w}) {
        for (i64 bad : {i64{-1}, kBig, kLow, i64{1} << 40, i64{100}}) {
            a = conv(s);
            a.*f = bad;
            REFUSED(conv2d, a, "pad");
        }
    }
    a = conv(s);
    a.groups = 3;
    REFUSED(conv2d, a, "groups must divide");
    a = conv(s);
    a.y = s.view({2, 60, 6, 6});
    REFUSED(conv2d, a, "padding at the end");
    a = conv(s);
    a.bias = s.view({5});
    REFUSED(conv2d, a, "axis 0 of bias");
    a = conv(s);
    a.y = s.view({3, 6, 6, 6});
    REFUSED(conv2d, a, "axis 0 of y");
}

TEST(pool_refusals) {
    Store s;
    max_pool_args a = pool(s);
    CHECK(verdict(op_max_pool, a).empty());
    i64 max_pool_args::* const fields[] = {&max_pool_args::kernel_d, &max_pool_args::kernel_h, &max_pool_args::kernel_w,
                                           &max_pool_args::stride_d, &max_pool_args::stride_h, &max_pool_args::stride_w,
                                           &max_pool_args::dil_d,    &max_pool_args::dil_h,    &max_pool_args::dil_w};
    for (auto f : fields) {
        for (i64 bad : {i64{0}, i64{-2}, kBig, kLow}) {
            a = pool(s);
            a.*f = bad;
            REFUSED(max_pool, a, "");
        }
    }
    for (i64 bad : {i64{2}, i64{-1}, kBig, kLow}) {
        a = pool(s);
        a.pad_w = bad;
        REFUSED(max_pool, a, "pad_w must be in 0 .. 1");
    }
    a = pool(s);
    a.stride_h = 4;
    REFUSED(max_pool, a, "outside");
    a = pool(s);
    a.adaptive = 2;
    REFUSED(max_pool, a, "adaptive must be in 0 .. 1");
    a = pool(s);
    a.minimum = 2;
    REFUSED(max_pool, a, "minimum must be in 0 .. 1");
    a = pool(s);  // taps two cells apart step over a row of one
    a.x = s.view({2, 1, 1, 8, 4});
    a.y = s.view({2, 1, 1, 4, 4});
    a.idx = s.view({2, 1, 1, 4, 4}, i32t);
    a.dil_h = 2;
    a.pad_h = 1;
    REFUSED(max_pool, a, "holds no pixel");
    for (i32 bad : {16, -1, std::numeric_limits<i32>::max(), std::numeric_limits<i32>::min()}) {
        const View idx = s.view({1, 1, 2, 2, 3}, i32t);
        static_cast<i32*>(idx.data)[11] = bad;
        max_unpool_args d{s.view({1, 1, 2, 2, 3}), idx, s.view({1, 1, 4, 4, 3})};
        REFUSED(max_unpool, d, "idx holds");
        max_pool_gather_args g{s.view({1, 1, 4, 4, 3}), idx, s.view({1, 1, 2, 2, 3})};
        REFUSED(max_pool_gather, g, "idx holds");
    }
}

TEST(border_and_window_refusals) {
    Store s;
    auto pad = [&] { return pad_args{s.view({2, 1, 3, 4, 2}), s.view({2, 1, 5, 8, 2}), pad_reflect, 0.0, 0, 1, 2}; };
    pad_args a = pad();
    CHECK(verdict(op_pad, a).empty());
    for (i64 bad : {i64{-1}, i64{kNumPadModes}, kBig, kLow}) {
        a = pad();
        a.mode = bad;
        REFUSED(pad, a, "mode must be in 0 .. 4");
    }
    for (i64 bad : {i64{-1}, i64{3}, kBig, kLow}) {
        a = pad();
        a.front_h = bad;
        REFUSED(pad, a, "front_h must be in 0 .. 2");
    }
    a = pad();
    a.y = s.view({2, 1, 2, 8, 2});
    REFUSED(pad, a, "must not be shorter");
    a = pad();
    a.x = s.view({2, 1, 0, 4, 2});
    REFUSED(pad, a, "nothing to repeat");
    auto unfold = [&] { return unfold_args{s.view({2, 5, 3, 2}), s.view({2, 4, 3, 2, 2}), 1, 0, 1}; };
    unfold_args u = unfold();
    CHECK(verdict(op_unfold, u).empty());
    for (i64 bad : {i64{0}, i64{-1}, kBig, kLow}) {
        u = unfold();
        u.stride = bad;
        REFUSED(unfold, u, "stride must be in 1");
        u = unfold();
        u.dil = bad;
        REFUSED(unfold, u, "dil must be in 1");
    }
    u = unfold();
    u.pad = kLow;
    REFUSED(unfold, u, "pad must be in");
}

TEST(random_and_optimiser_refusals) {
    Store s;
    dropout_args d{s.view({4}), s.view({4}), 0.5, {1, 0}};
    CHECK(verdict(op_dropout, d).empty());
    for (double bad : {-0.1, 1.1, double(NAN), double(INFINITY)}) {
        d.p = bad;
        REFUSED(dropout, d, "p must be in [0, 1]");
    }
    uniform_args u{s.view({4}), 2, 1, {1, 0}};
    REFUSED(uniform, u, "low must not be above high");
    u = {s.view({4}), -3e38, 3e38, {1, 0}};
    REFUSED(uniform, u, "high - low must be in");
    u = {s.view({4}), 0, 1e39, {1, 0}};
    REFUSED(uniform, u, "high must be in");
    u = {s.view({4}), double(NAN), 1, {1, 0}};
    REFUSED(uniform, u, "low must be finite");
    normal_args n{s.view({4}), 0, -1, {1, 0}};
    REFUSED(normal, n, "std must not be negative, got -1");
    n.std = 1e39;
    REFUSED(normal, n, "std must be in");
    n = {s.view({4}), -1e39, 1, {1, 0}};
    REFUSED(normal, n, "mean must be in");
    n.mean = 0;
    CHECK(verdict(op_normal, n).empty());
    sgd_update_args g{s.view({4}), s.view({4}), absent(), 0.1, 0.9, 0, 0, 0, 0};
    REFUSED(sgd_update, g, "needs the buffer m");
    g.momentum = 0;
    CHECK(verdict(op_sgd_update, g).empty());
    adam_update_args m{s.view({4}), s.view({4}), s.view({4}), s.view({3}), 0.1, 0.9, 0.999, 1e-8, 0, 0, 1};
    REFUSED(adam_update, m, "v must have the shape of p [4], got [3]");
    m.v = s.view({4});
    m.step = 0;
    REFUSED(adam_update, m, "step");
}

// Any length of message buffer is fine.
TEST(message_buffers) {
    Store s;
    add_args a{s.view({3, 4}), s.view({3}), s.view({3, 4})};
    for (size_t len : {size_t{0}, size_t{1}, size_t{2}, size_t{5}, size_t{30}}) {
        char text[32];
        std::memset(text, 'x', sizeof text);
        CHECK(check_args(op_add, &a, text, len) == text);
        if (len) CHECK(std::memchr(text, 0, len) != nullptr);
        CHECK(text[len] == 'x');
    }
}

// Random parameters, sane and insane, on convolution and pooling: what check_args lets through is run.
TEST(nothing_accepted_leaves_its_arrays) {
    test::Rng rng(3);
    auto parameter = [&]() -> i64 {
        switch (rng.integer(0, 23)) {
            case 0:
                return rng.integer(-3, 0);
            case 1:
                return i64(rng.bits());
            case 2:
                return rng.integer(5, 40);
            default:
                return rng.integer(1, 3);
        }
    };
    auto extent = [&] { return rng.integer(0, 29) ? rng.integer(1, 7) : 0; };
    int ran = 0;
    for (int i = 0; i < 20000; ++i) {
        Store s;
        const i64 N = extent(), C = extent(), K = extent();
        char text[200];
        if (i % 2) {
            const View x = s.view({N, extent(), extent(), C}), w = s.view({K, extent(), extent(), C});
            const View y = s.view({N, extent(), extent(), K});
            conv2d_args a{x,
                          w,
                          absent(),
                          y,
                          parameter(),
                          parameter(),
                          parameter(),
                          parameter(),
                          parameter(),
                          parameter(),
                          rng.integer(0, 3) ? 1 : parameter(),
                          0,
                          {}};
            if (check_args(op_conv2d, &a, text, sizeof text)) continue;
            run(op_conv2d, &a);
            conv2d_dx_args dx{y, w, x, a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dil_h, a.dil_w, a.groups, {}};
            CHECK(!check_args(op_conv2d_dx, &dx, text, sizeof text));
            run(op_conv2d_dx, &dx);
            conv2d_dw_args dw{x, y, w, a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dil_h, a.dil_w, a.groups, {}};
            CHECK(!check_args(op_conv2d_dw, &dw, text, sizeof text));
            run(op_conv2d_dw, &dw);
        } else {
            const i64 O = extent() ? 1 : 2, P = extent(), Q = extent();
            max_pool_args a{};
            a.x = s.view({N, extent() ? 1 : 2, extent(), extent(), C});
            a.y = s.view({N, O, P, Q, C});
            a.idx = s.view({N, O, P, Q, C}, i32t);
            for (i64 max_pool_args::* f : {&max_pool_args::kernel_d, &max_pool_args::kernel_h, &max_pool_args::kernel_w,
                                           &max_pool_args::stride_d, &max_pool_args::stride_h, &max_pool_args::stride_w,
                                           &max_pool_args::dil_d, &max_pool_args::dil_h, &max_pool_args::dil_w})
                a.*f = rng.integer(0, 2) ? 1 : parameter();
            for (i64 max_pool_args::* f : {&max_pool_args::pad_d, &max_pool_args::pad_h, &max_pool_args::pad_w})
                a.*f = rng.integer(0, 2) ? 0 : parameter() - 1;
            a.adaptive = rng.integer(0, 3) == 0;
            if (check_args(op_max_pool, &a, text, sizeof text)) continue;
            run(op_max_pool, &a);
            max_pool_dx_args d{a.y,        a.idx,      a.x,        a.kernel_d, a.kernel_h, a.kernel_w,
                               a.stride_d, a.stride_h, a.stride_w, a.pad_d,    a.pad_h,    a.pad_w,
                               a.dil_d,    a.dil_h,    a.dil_w,    a.adaptive};
            CHECK(!check_args(op_max_pool_dx, &d, text, sizeof text));
            run(op_max_pool_dx, &d);
            max_unpool_args v{a.y, a.idx, a.x};
            CHECK(!check_args(op_max_unpool, &v, text, sizeof text));
            run(op_max_unpool, &v);
            avg_pool_args b{a.x,        a.y,     a.kernel_d, a.kernel_h, a.kernel_w, a.stride_d, a.stride_h,
                            a.stride_w, a.pad_d, a.pad_h,    a.pad_w,    a.adaptive, i % 4 / 2};
            if (check_args(op_avg_pool, &b, text, sizeof text)) continue;  // the last window, without dilation
            run(op_avg_pool, &b);
            avg_pool_dx_args c{a.y,        a.x,     a.kernel_d, a.kernel_h, a.kernel_w, a.stride_d, a.stride_h,
                               a.stride_w, a.pad_d, a.pad_h,    a.pad_w,    a.adaptive, i % 4 / 2};
            CHECK(!check_args(op_avg_pool_dx, &c, text, sizeof text));
            run(op_avg_pool_dx, &c);
        }
        ++ran;
    }
    CHECK(ran > 100);
    test::note(std::to_string(ran) + " calls accepted");
}
