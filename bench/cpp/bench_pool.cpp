// bench_pool.cpp: the windows of bench/shapes/pool.txt through rb::run, forward and gradient. Bytes count images and
// results once, and for the maximum the indices, too.
#include "traffic.hpp"

namespace {

using bench::Array;
using bench::Pattern;
using rb::i64;

struct Window {
    i64 kernel, stride;
    bool adaptive;
};

template <typename Args>
void set_window(Args& a, const Window& w) {
    a.kernel_d = a.stride_d = 1;
    a.kernel_h = a.kernel_w = w.kernel;
    a.stride_h = a.stride_w = w.stride;
    a.adaptive = w.adaptive;
}
template <typename Args>
void set_dilation(Args& a) {
    a.dil_d = a.dil_h = a.dil_w = 1;
}

void pool(benchmark::State& state, bool maximum, bool gradient, i64 n, i64 size, i64 c, Window w) {
    const i64 out = w.adaptive ? 1 : (size - w.kernel) / w.stride + 1;
    Array x({n, 1, size, size, c}), y({n, 1, out, out, c});
    const double image = 4.0 * double(n * size * size * c), result = 4.0 * double(n * out * out * c);
    if (!maximum) {
        const double bytes = image + result;
        if (gradient) {
            rb::avg_pool_dx_args args{};
            args.dy = y.view(), args.dx = x.view();
            set_window(args, w);
            return bench::time_run(state, rb::op_avg_pool_dx, &args, image / 4, bytes, Pattern::write, {&x});
        }
        rb::avg_pool_args args{};
        args.x = x.view(), args.y = y.view();
        set_window(args, w);
        return bench::time_run(state, rb::op_avg_pool, &args, image / 4, bytes, Pattern::read, {&y});
    }
    std::vector<rb::i32> places(y.values().size());
    rb::View index = y.view();
    index.data = places.data();
    index.dtype = rb::i32t;
    const double bytes = image + 2 * result;
    rb::max_pool_args args{};
    args.x = x.view(), args.y = y.view(), args.idx = index;
    set_window(args, w);
    set_dilation(args);
    if (!gradient) return bench::time_run(state, rb::op_max_pool, &args, image / 4, bytes, Pattern::copy, {&y});
    rb::run(rb::op_max_pool, &args);
    rb::max_pool_dx_args back{};
    back.dy = y.view(), back.idx = index, back.dx = x.view();
    set_window(back, w);
    set_dilation(back);
    bench::time_run(state, rb::op_max_pool_dx, &back, image / 4, bytes, Pattern::copy, {&x});
}

}  // namespace

int main(int argc, char** argv) {
    for (const auto& w : bench::read_shapes(RB_SHAPES "/pool.txt")) {
        if (w.size() != 6) continue;
        const bool maximum = w[0] == "max";
        i64 v[5];
        for (int i = 0; i < 5; ++i) v[i] = std::stoll(w[std::size_t(i) + 1]);
        const Window window{v[3], v[4], v[3] == 0};
        const std::string name = w[0] + "/" + w[4] + "x" + w[4] + "s" + w[5] + "/" + w[1] + "x" + w[2] + "x" + w[3];
        for (bool gradient : {false, true}) {
            bench::add_benchmark(name + (gradient ? "/dx" : ""),
                                 [=](benchmark::State& s) { pool(s, maximum, gradient, v[0], v[1], v[2], window); });
        }
    }
    return bench::run_all(argc, argv);
}
