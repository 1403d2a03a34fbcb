// common.hpp: what the benchmark programs share: arrays, the shape files, the check against the reference, the report.
//
// Every benchmark first runs the op once and, where that takes less than about a second, compares the result with the
// plain-loop reference; a wrong result is reported as an error instead of a time. `gflops` counts a multiply-add as
// two; `percent_of_peak` refers to what fma alone reaches on one core, times the threads in use. One thread is timed by
// the processor time it used (other programs do not disturb it), a team by the clock on the wall.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/cpu_features.hpp"
#include "core/parallel.hpp"
#include "core/run.hpp"
#include "peak.hpp"

namespace bench {

// A C-contiguous float array with its view. Values are a fixed function of the index, about uniform in [-1, 1).
class Array {
  public:
    explicit Array(std::initializer_list<rb::i64> shape, float scale = 1) {
        view_.dtype = rb::f32;
        view_.ndim = static_cast<rb::i32>(shape.size());
        std::copy(shape.begin(), shape.end(), view_.shape);
        rb::i64 size = 1;
        for (int d = view_.ndim - 1; d >= 0; --d) {
            view_.stride[d] = size;
            size *= view_.shape[d];
        }
        values_.resize(static_cast<std::size_t>(size));
        rb::u32 state = 12345;
        for (float& v : values_) {
            state = state * 1664525u + 1013904223u;
            v = scale * (static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
        }
        view_.data = values_.data();
    }
    const rb::View& view() const { return view_; }
    const std::vector<float>& values() const { return values_; }
    void fill(float v) { std::fill(values_.begin(), values_.end(), v); }
    void set(const std::vector<float>& values) { std::copy(values.begin(), values.end(), values_.begin()); }

  private:
    std::vector<float> values_;
    rb::View view_{};
};

inline rb::View absent() {
    rb::View v{};
    v.ndim = -1;
    return v;
}

// The last two axes of a view, exchanged.
inline rb::View transposed(rb::View v) {
    std::swap(v.shape[v.ndim - 1], v.shape[v.ndim - 2]);
    std::swap(v.stride[v.ndim - 1], v.stride[v.ndim - 2]);
    return v;
}

// Lines of a shape file as words; '#' starts a comment.
inline std::vector<std::vector<std::string>> read_shapes(const std::string& path) {
    std::vector<std::vector<std::string>> lines;
    std::ifstream file(path);
    if (!file) std::fprintf(stderr, "cannot read %s\n", path.c_str());
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line.substr(0, line.find('#')));
        std::vector<std::string> found;
        for (std::string w; words >> w;) found.push_back(w);
        if (!found.empty()) lines.push_back(found);
    }
    return lines;
}

inline double machine_peak() {
    static const double gflops = peak_gflops(rb::active_level()) * rb::num_threads();
    return gflops;
}

// Largest difference between the arrays that the op writes and those of the reference, each relative to its largest
// value. Both start from what the arrays hold, which updates in place read; the reference's results stay.
inline double error_against_reference(rb::OpId op, void* args, std::initializer_list<Array*> outs) {
    std::vector<std::vector<float>> before, ours;
    for (const Array* out : outs) before.push_back(out->values());
    rb::run(op, args);
    for (const Array* out : outs) ours.push_back(out->values());
    std::size_t at = 0;
    for (Array* out : outs) out->set(before[at++]);
    const rb::Impl& ref = rb::ref_table.entry[op][rb::f32].impls[0];
    rb::Ctx ctx{rb::num_threads(), 32 << 10, 1 << 20, 32 << 20};
    ref.run(args, ctx);
    double error = 0;
    at = 0;
    for (const Array* out : outs) {
        const std::vector<float>&mine = ours[at++], &theirs = out->values();
        double worst = 0, scale = 0;
        for (std::size_t i = 0; i < mine.size(); ++i) {
            const double d = std::fabs(double(mine[i]) - double(theirs[i]));
            worst = d <= worst ? worst : d;  // a NaN stays
            scale = std::max(scale, std::fabs(double(theirs[i])));
        }
        const double relative = worst / (scale > 0 ? scale : 1);
        error = relative <= error ? error : relative;
    }
    return error;
}

// Times rb::run(op, args). `flops`: operations of one call, `reference`: of the reference's if it takes more;
// references above `limit` operations are skipped.
inline void time_op(benchmark::State& state, rb::OpId op, void* args, Array& out, double flops, double reference = 0) {
    constexpr double kLimit = 2e8;
    if (std::max(flops, reference) <= kLimit) {
        out.fill(0);
        const double error = error_against_reference(op, args, {&out});
        if (!(error < 1e-4)) {
            state.SkipWithError(("differs from the reference by " + std::to_string(error)).c_str());
            return;
        }
    } else {
        rb::run(op, args);
    }
    state.SetLabel(rb::last_impl());
    for (auto _ : state) {
        rb::run(op, args);
        benchmark::ClobberMemory();
    }
    const double rate = flops * 1e-9 * static_cast<double>(state.iterations());
    state.counters["gflops"] = benchmark::Counter(rate, benchmark::Counter::kIsRate);
    state.counters["percent_of_peak"] = benchmark::Counter(100 * rate / machine_peak(), benchmark::Counter::kIsRate);
}

template <typename F>
void add_benchmark(const std::string& name, const F& fn) {
    auto* b = benchmark::RegisterBenchmark(name.c_str(), fn);
    if (rb::num_threads() > 1) b->UseRealTime();
}

// main() of each program: say what is measured, then run.
inline int run_all(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("level", rb::level_name(rb::active_level()));
    benchmark::AddCustomContext("rb_threads", std::to_string(rb::num_threads()));
    benchmark::AddCustomContext("peak_gflops", std::to_string(machine_peak()));
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

}  // namespace bench
