// bench_conv.cpp: the convolutions of bench/shapes/conv.txt and their two gradients through rb::run.
#include "common.hpp"

namespace {

using bench::Array;

struct Shape {
    rb::i64 n, h, c, k, r, stride, pad, groups;
    rb::i64 out() const { return (h + 2 * pad - r) / stride + 1; }
    double flops() const { return 2.0 * double(n * out() * out()) * double(k * c / groups) * double(r * r); }
};

template <typename Args>
void set_geometry(Args& a, const Shape& s) {
    a.stride_h = a.stride_w = s.stride;
    a.pad_h = a.pad_w = s.pad;
    a.dil_h = a.dil_w = 1;
    a.groups = s.groups;
}

void forward(benchmark::State& state, const Shape& s) {
    Array x({s.n, s.h, s.h, s.c}), w({s.k, s.r, s.r, s.c / s.groups}), y({s.n, s.out(), s.out(), s.k});
    rb::conv2d_args a{};
    a.x = x.view();
    a.w = w.view();
    a.bias = bench::absent();
    a.y = y.view();
    set_geometry(a, s);
    bench::time_op(state, rb::op_conv2d, &a, y, s.flops());
}

void input_gradient(benchmark::State& state, const Shape& s) {
    Array dx({s.n, s.h, s.h, s.c}), w({s.k, s.r, s.r, s.c / s.groups}), dy({s.n, s.out(), s.out(), s.k});
    rb::conv2d_dx_args a{};
    a.dy = dy.view();
    a.w = w.view();
    a.dx = dx.view();
    set_geometry(a, s);
    bench::time_op(state, rb::op_conv2d_dx, &a, dx, s.flops());
}

void weight_gradient(benchmark::State& state, const Shape& s) {
    Array x({s.n, s.h, s.h, s.c}), dw({s.k, s.r, s.r, s.c / s.groups}), dy({s.n, s.out(), s.out(), s.k});
    rb::conv2d_dw_args a{};
    a.x = x.view();
    a.dy = dy.view();
    a.dw = dw.view();
    set_geometry(a, s);
    bench::time_op(state, rb::op_conv2d_dw, &a, dw, s.flops());
}

}  // namespace

int main(int argc, char** argv) {
    for (const auto& w : bench::read_shapes(RB_SHAPES "/conv.txt")) {
        if (w.size() != 9) continue;
        rb::i64 v[8];
        for (int i = 0; i < 8; ++i) v[i] = std::stoll(w[static_cast<std::size_t>(i) + 1]);
        const Shape s{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
        const auto add = [&](const char* op, void (*fn)(benchmark::State&, const Shape&)) {
            bench::add_benchmark(op + w[0], [=](benchmark::State& state) { fn(state, s); });
        };
        add("conv2d/", forward);
        add("conv2d_dx/", input_gradient);
        add("conv2d_dw/", weight_gradient);
    }
    return bench::run_all(argc, argv);
}
