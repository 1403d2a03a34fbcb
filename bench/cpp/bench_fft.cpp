// bench_fft.cpp: the transforms and filters of bench/shapes/fft.txt through rb::run, the gate every call passes.
#include <cmath>

#include "common.hpp"
#include "core/fft_table.hpp"
#include "rb/fft_plan.hpp"

namespace {

using bench::Array;
using rb::i64;

// The constants of a transform of length n as an array.
Array table(i64 n, bool real) {
    Array t({rb::fft_table_size(n, real)});
    rb::fft_table(n, real, rb::f32, t.view().data);
    return t;
}

void transform(benchmark::State& state, const std::string& kind, i64 lines, i64 n, i64 beside) {
    const bool real = kind == "rfft";
    Array x = real ? Array({lines, n, beside}) : Array({lines, n, beside, 2}), t = table(n, real);
    Array y({lines, real ? n / 2 + 1 : n, beside, 2});
    const double points = double(lines) * double(n) * double(beside), bits = std::log2(double(n));
    if (real) {
        rb::rfft_args args{};
        args.x = x.view(), args.table = t.view(), args.y = y.view();
        args.n = n, args.scale = 1;
        bench::time_op(state, rb::op_rfft, &args, y, 2.5 * points * bits, 8 * points * double(n));
    } else {
        rb::fft_args args{};
        args.x = x.view(), args.table = t.view(), args.y = y.view();
        args.scale = 1;
        bench::time_op(state, rb::op_fft, &args, y, 5 * points * bits, 8 * points * double(n));
    }
}

void filter(benchmark::State& state, const std::string& kind, i64 side, i64 k, i64 tile) {
    Array x({1, side, side, 1}), y({1, side, side, 1});
    const double results = double(side) * double(side);
    if (kind == "direct") {
        Array w({k, k});
        rb::filter2d_args args{};
        args.x = x.view(), args.w = w.view(), args.y = y.view();
        args.top = args.left = k / 2;
        bench::time_op(state, rb::op_filter2d, &args, y, 2 * results * double(k * k));
    } else if (kind == "separable") {
        Array u({1, k}), v({1, k});
        rb::filter2d_sep_args args{};
        args.x = x.view(), args.u = u.view(), args.v = v.view(), args.y = y.view();
        args.top = args.left = k / 2;
        bench::time_op(state, rb::op_filter2d_sep, &args, y, 4 * results * double(k));
    } else {
        Array w({k, k}), down = table(tile, false), across = table(tile, true);
        rb::filter2d_fft_args args{};
        args.x = x.view(), args.w = w.view(), args.y = y.view();
        args.table_h = down.view(), args.table_w = across.view();
        args.tile_h = args.tile_w = tile;
        args.top = args.left = k / 2;
        // Per tile two real transforms of its lines and columns, 2.5 T^2 log2(T^2) each, and T^2 / 2 complex products.
        const double across_tiles = std::ceil(double(side) / double(tile - k + 1)), area = double(tile) * double(tile);
        const double flops = across_tiles * across_tiles * area * (10 * std::log2(double(tile)) + 3);
        bench::time_op(state, rb::op_filter2d_fft, &args, y, flops, 2 * results * double(k * k));
    }
}

}  // namespace

int main(int argc, char** argv) {
    for (const auto& w : bench::read_shapes(RB_SHAPES "/fft.txt")) {
        if (w.size() != 4) continue;
        const std::string kind = w[0];
        const i64 a = std::stoll(w[1]), b = std::stoll(w[2]), c = std::stoll(w[3]);
        const std::string name = kind + "/" + w[1] + "x" + w[2] + "x" + w[3];
        if (kind == "fft" || kind == "rfft") {
            bench::add_benchmark(name, [=](benchmark::State& s) { transform(s, kind, a, b, c); });
        } else {
            bench::add_benchmark("filter_" + name, [=](benchmark::State& s) { filter(s, kind, a, b, c); });
        }
    }
    return bench::run_all(argc, argv);
}
