// test_elementwise.cpp: copy, fill, cast, arithmetic with broadcasting, unary functions, activation gradients,
// optimiser updates.
#include <cstring>
#include <limits>

#include "op_case.hpp"

using test::Layout;
using test::OpCase;
using test::Shape;

namespace {

const Layout kLayouts[] = {Layout::contiguous, Layout::transposed, Layout::reversed, Layout::spaced, Layout::broadcast};
const double kInf = INFINITY, kNaN = NAN;

// Values every function must survive, in float and double.
const std::vector<double> kSpecial = {0.0,     -0.0,   1.0,    -1.0,  0.5,   -0.5,  2.0,    -3.0,   1e-40f,
                                      -1e-40f, 1e-6f,  -1e-6f, 88.0,  -88.0, 100.0, -100.0, 1000.0, -1000.0,
                                      1e30f,   -1e30f, kInf,   -kInf, kNaN,  0.25,  9.0,    -9.0};

// Float ops flush results below the smallest normal number; a sigmoid is 0 there.
constexpr double kSmallest = double(std::numeric_limits<float>::min());

void binary(const char* op, double low, double high, double ulps) {
    const Shape shapes[][3] = {{{7}, {7}, {7}},
                               {{1}, {1}, {1}},
                               {{}, {5}, {5}},
                               {{3, 1, 5}, {4, 1}, {3, 4, 5}},
                               {{64, 10}, {10}, {64, 10}},
                               {{10}, {64, 10}, {64, 10}},
                               {{33, 7}, {33, 1}, {33, 7}},
                               {{2, 3, 17, 6}, {6}, {2, 3, 17, 6}},
                               {{0, 4}, {4}, {0, 4}},
                               {{20000}, {1}, {20000}},
                               {{130, 200}, {130, 200}, {130, 200}}};
    uint64_t seed = 1;
    for (const auto& s : shapes) {
        for (Layout la : kLayouts) {
            for (Layout lb : {Layout::contiguous, Layout::transposed}) {
                const char *a = "a", *b = "b", *y = "y";
                if (std::string(op).find("_dx") != std::string::npos) a = "y", b = "dy", y = "dx";
                OpCase(op, ++seed)
                    .in(a, s[0], la, low, high)
                    .in(b, s[1], lb, low, high)
                    .out(y, s[2])
                    .tolerance(ulps)
                    .run();
            }
        }
    }
}

void unary(const char* op, double low, double high, double ulps) {
    uint64_t seed = 1;
    for (const Shape& s : {Shape{1}, Shape{17}, Shape{5, 9}, Shape{3, 4, 5}, Shape{0}, Shape{9000}, Shape{}}) {
        for (Layout l : kLayouts) OpCase(op, ++seed).in("x", s, l, low, high).out("y", s).tolerance(ulps).run();
    }
    OpCase(op).in("x", {1, 6}, Layout::contiguous, low, high).out("y", {4, 6}).tolerance(ulps).run();
    OpCase(op)
        .values("x", {int64_t(kSpecial.size())}, kSpecial)
        .out("y", {int64_t(kSpecial.size())})
        .tolerance(ulps)
        .float_slack(std::strcmp(op, "sigmoid") ? 0 : kSmallest)
        .run();
}

}  // namespace

TEST(arithmetic) {
    for (const char* op : {"add", "sub", "mul", "div"}) binary(op, 0.5, 2, 1);
    binary("pow", 0.1, 3, 4);
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(comparisons) {
    for (const char* op : {"maximum", "minimum", "greater", "greater_equal", "equal", "not_equal"})
        binary(op, -1, 1, 0);
    // every pair of the special values
    std::vector<double> a, b;
    for (double x : kSpecial) {
        for (double y : kSpecial) {
            a.push_back(x);
            b.push_back(y);
        }
    }
    const int64_t n = int64_t(a.size());
    for (const char* op :
         {"maximum", "minimum", "greater", "greater_equal", "equal", "not_equal", "add", "mul", "div", "pow"}) {
        OpCase(op).values("a", {n}, a).values("b", {n}, b).out("y", {n}).tolerance(1).run();
    }
}

TEST(unary_functions) {
    unary("neg", -2, 2, 0);
    unary("abs", -2, 2, 0);
    unary("sign", -2, 2, 0);
    unary("square", -2, 2, 1);
    unary("sqrt", 0, 9, 1);
    unary("exp", -20, 20, 2);
    unary("log", 1e-3, 20, 2);
    unary("log1p", -0.9, 20, 3);
    unary("expm1", -20, 20, 3);
    unary("erf", -4, 4, 4);
    unary("floor", -9, 9, 0);
    unary("ceil", -9, 9, 0);
    unary("round", -9, 9, 0);
    unary("relu", -2, 2, 0);
    unary("tanh", -4, 4, 4);
    unary("sigmoid", -20, 20, 4);
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(activation_gradients) {
    binary("relu_dx", -1, 1, 0);
    binary("tanh_dx", -0.9, 0.9, 8);
    binary("sigmoid_dx", 0.1, 0.9, 4);
}

// Functions with parameters. Tails run through exp of a rounded argument, and slopes of the reference cancel: hence the
// wide tolerances; tests/test_math.py has the sharp ones.
TEST(functions) {
    uint64_t seed = 1;
    for (int fn = 0; fn < rb::kNumFns; ++fn) {
        for (const Shape& s : {Shape{1}, Shape{17}, Shape{5, 9}, Shape{0}, Shape{9000}, Shape{}}) {
            for (Layout l : kLayouts) {
                OpCase("activate", ++seed)
                    .in("x", s, l, -6, 6)
                    .out("y", s)
                    .set("fn", fn)
                    .set("p", 0.75)
                    .tolerance(32, 0.01)
                    .run();
                OpCase("activate_dx", ++seed)
                    .in("x", s, l, -6, 6)
                    .in("dy", s)
                    .out("dx", s)
                    .set("fn", fn)
                    .set("p", 0.75)
                    .tolerance(64, 1)
                    .run();
            }
        }
        const int64_t n = int64_t(kSpecial.size());
        OpCase("activate")
            .values("x", {n}, kSpecial)
            .out("y", {n})
            .set("fn", fn)
            .set("p", 1)
            .tolerance(256)
            .float_slack(88 * kSmallest)
            .run();
        OpCase("activate_dx")
            .values("x", {n}, kSpecial)
            .values("dy", {n}, std::vector<double>(size_t(n), 1.5))
            .out("dx", {n})
            .set("fn", fn)
            .set("p", 1)
            .tolerance(256)
            .float_slack(88 * kSmallest)  // x times a sigmoid of -88, which is 0
            .run();
    }
    for (Layout l : kLayouts) {
        OpCase("clip", ++seed)
            .in("x", {40, 33}, l)
            .out("y", {40, 33})
            .set("low", -0.5)
            .set("high", 0.25)
            .tolerance(1)
            .run();
        OpCase("clip_dx", ++seed)
            .in("x", {40, 33}, l)
            .in("dy", {40, 33})
            .out("dx", {40, 33})
            .set("low", -0.5)
            .set("high", 0.25)
            .tolerance(0)
            .run();
        OpCase("where", ++seed)
            .values("c", {4, 1, 3}, {0, 1, 0, kNaN, 0, 2, -0.0, 1, 1, 0, 0, -3})
            .in("a", {4, 50, 3}, l)
            .in("b", {50, 1})
            .out("y", {4, 50, 3})
            .tolerance(0)
            .run();
    }
}

TEST(copy_and_fill) {
    uint64_t seed = 1;
    for (const Shape& s : {Shape{1}, Shape{40}, Shape{33, 70}, Shape{5, 18, 35}, Shape{2, 3, 4, 5}, Shape{3, 0, 2},
                           Shape{150, 130}, Shape{2, 2, 2, 2, 2, 2, 2, 2}, Shape{}}) {
        for (Layout lx : kLayouts) {
            for (Layout ly : {Layout::contiguous, Layout::transposed, Layout::spaced, Layout::reversed}) {
                OpCase("copy", ++seed).in("x", s, lx).out("y", s, ly).bit_exact().run();
            }
        }
        OpCase("fill").out("y", s, Layout::transposed).set("value", 0.1).bit_exact().run();
        OpCase("cast", ++seed).in("x", s).out("y", s).run();
    }
    OpCase("copy").in("x", {5, 1}).out("y", {3, 5, 7}).bit_exact().run();
    OpCase("fill").out("y", {100000}).set("value", -2).bit_exact().run();
}

TEST(optimisers) {
    uint64_t seed = 1;
    for (const Shape& s : {Shape{1}, Shape{37}, Shape{5, 9}, Shape{0}, Shape{30000}}) {
        for (int nesterov : {0, 1}) {
            for (int first : {0, 1}) {
                OpCase("sgd_update", ++seed)
                    .in("p", s)
                    .in("g", s)
                    .in("m", s)
                    .set("lr", 0.1)
                    .set("momentum", 0.9)
                    .set("dampening", nesterov ? 0 : 0.1)
                    .set("weight_decay", 0.01)
                    .set("nesterov", nesterov)
                    .set("first", first)
                    .tolerance(4, 1)
                    .run();
            }
        }
        OpCase("sgd_update", ++seed)
            .in("p", s)
            .in("g", s)
            .set("lr", 0.1)
            .set("weight_decay", 0.01)
            .tolerance(4, 1)
            .run();
        for (int decoupled : {0, 1}) {
            for (int step : {1, 7, 100000}) {
                OpCase("adam_update", ++seed)
                    .in("p", s)
                    .in("g", s)
                    .in("m", s)
                    .in("v", s, Layout::contiguous, 0, 1)
                    .set("lr", 0.01)
                    .set("beta1", 0.9)
                    .set("beta2", 0.999)
                    .set("eps", 1e-8)
                    .set("weight_decay", 0.01)
                    .set("decoupled", decoupled)
                    .set("step", step)
                    .tolerance(16, 1)
                    .run();
            }
        }
    }
}

// The other updates: state in place, every option.
TEST(more_optimisers) {
    uint64_t seed = 1;
    const Shape sizes[] = {Shape{1}, Shape{37}, Shape{5, 9}, Shape{0}, Shape{30000}};
    for (const Shape& s : sizes) {
        const auto start = [&](const char* op) {
            OpCase c(op, ++seed);
            c.in("p", s).in("g", s).set("weight_decay", 0.01).tolerance(16, 1);
            return c;
        };
        const auto positive = [&](OpCase& c, const char* field) { c.in(field, s, Layout::contiguous, 0.1, 1); };
        OpCase nesterov = start("nesterov_update");
        nesterov.in("v", s).set("lr", 0.1).set("momentum", 0.9).set("behind", 0.9).set("ahead", 0.9).run();
        for (int inside : {0, 1}) {
            OpCase adagrad = start("adagrad_update");
            positive(adagrad, "s");
            adagrad.set("lr", 0.1).set("eps", 1e-3).set("inside", inside).run();
            for (int centred : {0, 1}) {
                for (int moving : {0, 1}) {
                    OpCase c = start("rmsprop_update");
                    c.in("v", s, Layout::contiguous, 1.5, 2);
                    if (centred) c.in("mean", s);
                    if (moving) c.in("m", s).set("momentum", 0.9);
                    c.set("lr", 0.1).set("rho", 0.9).set("eps", 1e-3).set("inside", inside).run();
                }
            }
        }
        OpCase adadelta = start("adadelta_update");
        positive(adadelta, "v");
        positive(adadelta, "d");
        adadelta.set("lr", 1).set("rho", 0.9).set("eps", 1e-3).run();
        OpCase delta = start("delta_bar_delta_update");
        positive(delta, "rate");
        delta.in("bar", s).set("scale", 0.1).set("kappa", 0.05).set("phi", 0.2).set("theta", 0.7).run();
        OpCase("clip_update", ++seed).in("x", s).set("low", -0.5).set("high", 0.25).tolerance(1).run();
        for (int first : {0, 1}) {
            OpCase("norm_update", ++seed)
                .in("x", s)
                .in("norms", {4}, Layout::contiguous, 0, 2)
                .set("first", first)
                .tolerance(1024)
                .run();
        }
        OpCase("norm_scale_update", ++seed)
            .in("x", s)
            .values("norms", {4}, {3, 2, 1, 0.5})
            .set("which", 1)
            .set("limit", 0.7)
            .set("eps", 1e-6)
            .tolerance(2)
            .run();
    }
    for (double low : {0.0, 5.0}) {
        OpCase("row_norm_update", ++seed)
            .in("x", {30, 70})
            .set("rows", 30)
            .set("low", low)
            .set("high", low + 2)
            .tolerance(4)
            .run();
    }
}
