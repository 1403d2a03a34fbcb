// test_elementwise.cpp: copy, fill, cast, arithmetic with broadcasting, unary functions, activation gradients,
// optimiser updates.
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
        .run();
}

}  // namespace

TEST(arithmetic) {
    for (const char* op : {"add", "sub", "mul", "div"}) binary(op, 0.5, 2, 1);
    binary("pow", 0.1, 3, 4);
    test::note(std::to_string(test::runs_compared()) + " runs");
}

TEST(comparisons) {
    for (const char* op : {"maximum", "minimum", "greater", "greater_equal", "equal"}) binary(op, -1, 1, 0);
    // every pair of the special values
    std::vector<double> a, b;
    for (double x : kSpecial) {
        for (double y : kSpecial) {
            a.push_back(x);
            b.push_back(y);
        }
    }
    const int64_t n = int64_t(a.size());
    for (const char* op : {"maximum", "minimum", "greater", "greater_equal", "equal", "add", "mul", "div"}) {
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
