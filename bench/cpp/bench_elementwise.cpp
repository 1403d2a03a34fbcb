// bench_elementwise.cpp: the kernels of bench/shapes/elementwise.txt through rb::run. `gbytes` counts the bytes an op
// must read and write once; `percent_of_bandwidth` refers to the access pattern nearest to it on as many bytes,
// measured in the same run (bandwidth.hpp); `ns_per_element` is what ops that compute are limited by.
#include "core/describe.hpp"
#include "traffic.hpp"

namespace {

using bench::Array;
using bench::Pattern;
using bench::time_run;

void elementwise(benchmark::State& state, const std::string& name, rb::i64 n) {
    const double size = 4.0 * double(n);
    Array a({n}), b({n}), c({n}), d({n}, 1e-3f);
    const auto two = [&](rb::OpId op) {  // add_args and its like: a, b, y
        rb::add_args args{a.view(), b.view(), c.view()};
        time_run(state, op, &args, double(n), 3 * size, Pattern::triad, {&c});
    };
    const auto one = [&](rb::OpId op) {  // exp_args and its like: x, y
        rb::exp_args args{a.view(), b.view()};
        time_run(state, op, &args, double(n), 2 * size, Pattern::copy, {&b});
    };
    const auto column = [n](rb::View v) {
        v.ndim = 3;
        v.shape[0] = v.shape[2] = 1;
        v.shape[1] = n;
        v.stride[0] = n;
        v.stride[1] = v.stride[2] = 1;
        return v;
    };
    if (name == "add") return two(rb::op_add);
    if (name == "mul") return two(rb::op_mul);
    if (name == "log") {  // of numbers above 0: the others would be NaN
        std::vector<float> positive = a.values();
        for (float& v : positive) v = std::fabs(v) + 1e-3f;
        a.set(positive);
    }
    for (rb::OpId op : {rb::op_relu, rb::op_exp, rb::op_tanh, rb::op_sigmoid, rb::op_log, rb::op_erf}) {
        if (name == rb::op_info[op].name) return one(op);
    }
    if (name == "gelu") {
        rb::activate_args args{a.view(), b.view(), rb::fn_gelu, 0};
        return time_run(state, rb::op_activate, &args, double(n), 2 * size, Pattern::copy, {&b});
    }
    if (name == "gelu_dx") {
        rb::activate_dx_args args{a.view(), b.view(), c.view(), rb::fn_gelu, 0};
        return time_run(state, rb::op_activate_dx, &args, double(n), 3 * size, Pattern::triad, {&c});
    }
    if (name == "sum") {
        Array y({1, 1});
        rb::sum_args args{column(a.view()), y.view(), 1.0};
        return time_run(state, rb::op_sum, &args, double(n), size, Pattern::read, {&y});
    }
    if (name == "cumsum") {
        rb::cumulate_args args{column(a.view()), column(b.view()), 0, 0};
        return time_run(state, rb::op_cumulate, &args, double(n), 2 * size, Pattern::copy, {&b});
    }
    if (name == "sort") {
        std::vector<rb::i64> order(static_cast<std::size_t>(n));
        rb::sort_args args{column(a.view()), column(b.view()), column(b.view()), 0, {}};
        args.idx.data = order.data();
        args.idx.dtype = rb::i64t;
        return time_run(state, rb::op_sort, &args, double(n), 4 * size, Pattern::copy, {&b});
    }
    if (name == "sgd") {
        rb::sgd_update_args args{a.view(), d.view(), b.view(), 1e-3, 0.9, 0, 0, 0, 0};
        return time_run(state, rb::op_sgd_update, &args, double(n), 5 * size, Pattern::update, {&a, &b});
    }
    if (name == "adam") {
        c.fill(0.1f);
        rb::adam_update_args args{a.view(), d.view(), b.view(), c.view(), 1e-3, 0.9, 0.999, 1e-8, 0, 0, 10};
        return time_run(state, rb::op_adam_update, &args, double(n), 7 * size, Pattern::update, {&a, &b, &c});
    }
    if (name == "dropout") {
        rb::dropout_args args{a.view(), b.view(), 0.3, {1, 2}};
        return time_run(state, rb::op_dropout, &args, double(n), 2 * size, Pattern::copy, {&b});
    }
    state.SkipWithError(("no such op in this program: " + name).c_str());
}

}  // namespace

int main(int argc, char** argv) {
    for (const auto& w : bench::read_shapes(RB_SHAPES "/elementwise.txt")) {
        if (w.size() != 2) continue;
        const std::string name = w[0];
        const rb::i64 n = std::stoll(w[1]);
        bench::add_benchmark(name + "/" + w[1], [=](benchmark::State& s) { elementwise(s, name, n); });
    }
    return bench::run_all(argc, argv);
}
