// traffic.hpp: times ops that are limited by the bytes they move. `gbytes` counts the bytes an op must read and write
// once; `percent_of_bandwidth` refers to the access pattern nearest to it on as many bytes, measured in the same run
// (bandwidth.hpp); `ns_per_element` is what ops that compute are limited by.
#pragma once

#include "bandwidth.hpp"
#include "common.hpp"
#include "core/check.hpp"

namespace bench {

// Times rb::run(op, args), which writes `outs`, after a comparison with the reference (of up to 2^20 elements).
inline void time_run(benchmark::State& state, rb::OpId op, void* args, double n, double bytes, Pattern pattern,
                     std::initializer_list<Array*> outs) {
    char message[256];
    if (const char* error = rb::check_args(op, args, message, sizeof message)) {
        state.SkipWithError(error);
        return;
    }
    if (n <= 0x1p20) {
        const double difference = error_against_reference(op, args, outs);
        if (!(difference < 1e-4)) {
            state.SkipWithError(("differs from the reference by " + std::to_string(difference)).c_str());
            return;
        }
    }
    const double limit = bandwidth(pattern, static_cast<std::size_t>(bytes));
    rb::run(op, args);
    state.SetLabel(rb::last_impl());
    for (auto _ : state) {
        rb::run(op, args);
        benchmark::ClobberMemory();
    }
    using benchmark::Counter;
    const double calls = static_cast<double>(state.iterations());
    state.counters["gbytes"] = Counter(bytes * 1e-9 * calls, Counter::kIsRate);
    state.counters["ns_per_element"] = Counter(n * 1e-9 * calls, Counter::kIsRate | Counter::kInvert);
    if (limit > 0) state.counters["percent_of_bandwidth"] = Counter(100 * bytes / limit * calls, Counter::kIsRate);
}

}  // namespace bench
