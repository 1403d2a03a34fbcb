// bench_conv.cpp: the convolutions of bench/shapes/conv.txt and their two gradients through rb::run.
// `bench_conv --choice [part of a name]` times every implementation that accepts each of them instead, and says how far
// the automatic choice is from the best.
#include <ctime>

#include "common.hpp"
#include "core/describe.hpp"

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

// Arrays and arguments of one layer.
struct Layer {
    Array x, w, y;
    rb::conv2d_args forward{};
    rb::conv2d_dx_args dx{};
    rb::conv2d_dw_args dw{};
    explicit Layer(const Shape& s)
        : x({s.n, s.h, s.h, s.c}), w({s.k, s.r, s.r, s.c / s.groups}), y({s.n, s.out(), s.out(), s.k}) {
        forward.x = dw.x = x.view();
        forward.w = dx.w = w.view();
        forward.bias = bench::absent();
        forward.y = dx.dy = dw.dy = y.view();
        dx.dx = x.view();
        dw.dw = w.view();
        set_geometry(forward, s);
        set_geometry(dx, s);
        set_geometry(dw, s);
    }
    Layer(const Layer&) = delete;  // the views point into it
    void* args(rb::OpId op) {
        return op == rb::op_conv2d      ? static_cast<void*>(&forward)
               : op == rb::op_conv2d_dx ? static_cast<void*>(&dx)
                                        : &dw;
    }
    Array& out(rb::OpId op) { return op == rb::op_conv2d ? y : op == rb::op_conv2d_dx ? x : w; }
};

constexpr rb::OpId kOps[] = {rb::op_conv2d, rb::op_conv2d_dx, rb::op_conv2d_dw};

double processor_seconds() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Processor time of the chosen implementation over that of the best, and a line about both.
double compare_choice(const std::string& name, rb::OpId op, const Shape& s) {
    Layer layer(s);
    const char* op_name = rb::op_info[op].name;
    const rb::Entry& entry = rb::table_of(rb::active_level())->entry[op][rb::f32];
    const rb::Impl* chosen = rb::select(op, rb::f32, layer.args(op)).impl;
    std::vector<const rb::Impl*> impls;
    for (rb::i32 i = 0; i < entry.count; ++i)
        if (!entry.impls[i].accepts || entry.impls[i].accepts(layer.args(op))) impls.push_back(entry.impls + i);
    double best = 1e30, ours = 1e30;
    std::string line = name + " " + op_name + ":", winner;
    for (const rb::Impl* impl : impls) {
        rb::force_impl(op_name, impl->name);
        double least = 1e30, total = 0;
        for (int i = 0; i < 4 || (total < 0.3 && i < 1000); ++i) {
            const double start = processor_seconds();
            rb::run(op, layer.args(op));
            const double t = processor_seconds() - start;
            total += t;
            if (i > 0) least = std::min(least, t);  // the first one warms up
        }
        char text[64];
        std::snprintf(text, sizeof text, " %s %.3f ms", impl->name, least * 1e3);
        line += text;
        if (impl == chosen) ours = least;
        if (least < best) {
            best = least;
            winner = impl->name;
        }
    }
    rb::force_impl(op_name, "");
    std::printf("%s | chosen %s, best %s, %.2f\n", line.c_str(), chosen->name, winner.c_str(), ours / best);
    std::fflush(stdout);
    return ours / best;
}

}  // namespace

int main(int argc, char** argv) {
    const bool choice = argc > 1 && std::string(argv[1]) == "--choice";
    int calls = 0, good = 0;
    for (const auto& w : bench::read_shapes(RB_SHAPES "/conv.txt")) {
        if (w.size() != 9) continue;
        rb::i64 v[8];
        for (int i = 0; i < 8; ++i) v[i] = std::stoll(w[static_cast<std::size_t>(i) + 1]);
        const Shape s{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
        if (choice && argc > 2 && w[0].find(argv[2]) == std::string::npos) continue;
        for (const rb::OpId op : kOps) {
            if (choice) {
                ++calls;
                good += compare_choice(w[0], op, s) <= 1.1;
                continue;
            }
            bench::add_benchmark(rb::op_info[op].name + ("/" + w[0]), [=](benchmark::State& state) {
                Layer layer(s);
                bench::time_op(state, op, layer.args(op), layer.out(op), s.flops());
            });
        }
    }
    if (!choice) return bench::run_all(argc, argv);
    std::printf("%d of %d within 10 %% of the best\n", good, calls);
    return 0;
}
