// peak.hpp: float32 multiply-adds per second of one core at a given level, measured with registers only. The figure
// that the percentages of the benchmarks refer to, taken in the same run.
#pragma once

#include <chrono>

#include "core/cpu_features.hpp"  // Level

namespace bench {

#if defined(__x86_64__)
// 14 chains of fma on registers that the compiler cannot see through; `reg` is ymm or zmm. Starts from zeros.
#define RB_FMA(reg, i) "vfmadd231ps %%" reg "15, %%" reg "15, %%" reg #i "\n\t"
#define RB_FMA_LOOP(reg, rounds) \
    asm volatile("vpxor %%xmm15, %%xmm15, %%xmm15\n\t"                                                             \
                 "1:\n\t" RB_FMA(reg, 0) RB_FMA(reg, 1) RB_FMA(reg, 2) RB_FMA(reg, 3) RB_FMA(reg, 4) RB_FMA(reg, 5) \
                     RB_FMA(reg, 6) RB_FMA(reg, 7) RB_FMA(reg, 8) RB_FMA(reg, 9) RB_FMA(reg, 10) RB_FMA(reg, 11)     \
                         RB_FMA(reg, 12) RB_FMA(reg, 13) "sub $1, %0\n\t"                                            \
                                                         "jnz 1b\n\t"                                                \
                                                         "vzeroupper"                                                \
                 : "+r"(rounds)                                                                                      \
                 :                                                                                                   \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                   "xmm12", "xmm13", "xmm15", "cc")

inline void fma_loop_512(long rounds) {
    RB_FMA_LOOP("zmm", rounds);
}
inline void fma_loop_256(long rounds) {
    RB_FMA_LOOP("ymm", rounds);
}
#endif

typedef float Float4 __attribute__((vector_size(16)));

// Multiply, then add: what a core without fma does. The sums stay alive through the empty asm.
inline void multiply_add_loop(long rounds) {
    Float4 acc[10] = {};
    Float4 m = {0.5f, 0.5f, 0.5f, 0.5f};
#if defined(__x86_64__)
#define RB_PIN(v) asm volatile("" : "+x"(v))
#elif defined(__aarch64__)
#define RB_PIN(v) asm volatile("" : "+w"(v))
#else
#define RB_PIN(v) asm volatile("" : "+m"(v))
#endif
    RB_PIN(m);
    for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
        for (int i = 0; i < 10; ++i) {
            acc[i] = m * m + acc[i];
            RB_PIN(acc[i]);
        }
        RB_PIN(m);
    }
}

// GFLOP/s of one core (a multiply-add counts 2), best of several trials of a few milliseconds.
inline double peak_gflops(rb::Level level) {
    double best = 0;
    for (int trial = 0; trial < 12; ++trial) {
        constexpr long kRounds = 400000;
        const auto start = std::chrono::steady_clock::now();
        double flops = 0;
#if defined(__x86_64__)
        if (level == rb::level_avx512) {
            fma_loop_512(kRounds);
            flops = 14.0 * 32 * kRounds;
        } else if (level == rb::level_avx2) {
            fma_loop_256(kRounds);
            flops = 14.0 * 16 * kRounds;
        }
#endif
        if (flops == 0) {
            multiply_add_loop(kRounds);
            flops = 10.0 * 8 * kRounds;
        }
        const std::chrono::duration<double> t = std::chrono::steady_clock::now() - start;
        if (flops / t.count() * 1e-9 > best) best = flops / t.count() * 1e-9;
    }
    return best;
}

}  // namespace bench
