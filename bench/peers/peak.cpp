// What this machine can do, measured: fused multiply-adds per second and bytes per second, for the percentages in the
// tables of bench/run.py, which compiles and runs this file.
//
//   peak THREADS BYTES...   ->   one line of JSON:
//   {"isa": "avx512", "threads": 1, "gflops": 262.1, "bf16_gflops": 524.0,
//    "bandwidth": [{"bytes": n, "read": GB/s, "copy": GB/s}, ...]}
//
// gflops: 12 independent chains of multiply-adds on the widest vectors the processor has (2 operations each, float32).
// bf16_gflops: the same of dot products of bfloat16 pairs; 0 without the instruction.
// bandwidth of BYTES in total: `read` sums an array of that size (in one stream or four), `copy` reads one half and
// writes the other, with ordinary or with streaming stores, whichever is faster; both count what is read and what is
// written. Every figure is the best of several trials of at least 10 ms in which all threads start together.
#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kChains = 12;
constexpr std::size_t kHuge = std::size_t{1} << 21;  // bytes of a huge page

float g_sink[64];  // [threads]; results end here so that nothing is optimised away

#define RB_TARGET_512 __attribute__((target("avx512f"), noinline))
#define RB_TARGET_256 __attribute__((target("avx2,fma"), noinline))

// --- multiply-adds; each returns operations done
RB_TARGET_512 double fma512(std::int64_t rounds, float* sink) {
    __m512 acc[kChains];
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
    for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(acc[i], a, b);
    }
#pragma GCC unroll 12
    for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
    *sink = _mm512_cvtss_f32(acc[0]);
    return 2.0 * 16 * kChains * static_cast<double>(rounds);
}

// Products of bfloat16 pairs: 2 multiply-adds per 32-bit lane.
RB_TARGET_512 double dot512(std::int64_t rounds, float* sink) {
    __m512 acc[kChains];
    const __m512i a = _mm512_set1_epi32(0x3f803f80), b = _mm512_set1_epi32(0x3c003c00);
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
    for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) asm volatile("vdpbf16ps %2, %1, %0" : "+v"(acc[i]) : "v"(a), "v"(b));
    }
#pragma GCC unroll 12
    for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
    *sink = _mm512_cvtss_f32(acc[0]);
    return 4.0 * 16 * kChains * static_cast<double>(rounds);
}

RB_TARGET_256 double fma256(std::int64_t rounds, float* sink) {
    __m256 acc[kChains];
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
    for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) acc[i] = _mm256_fmadd_ps(acc[i], a, b);
    }
#pragma GCC unroll 12
    for (int i = 1; i < kChains; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
    *sink = _mm256_cvtss_f32(acc[0]);
    return 2.0 * 8 * kChains * static_cast<double>(rounds);
}

// Without AVX2: a multiply and an add per round.
__attribute__((noinline)) double fma128(std::int64_t rounds, float* sink) {
    __m128 acc[kChains];
    const __m128 a = _mm_set1_ps(0.999f), b = _mm_set1_ps(0.001f);
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm_set1_ps(static_cast<float>(i));
    for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) acc[i] = _mm_add_ps(_mm_mul_ps(acc[i], a), b);
    }
#pragma GCC unroll 12
    for (int i = 1; i < kChains; ++i) acc[0] = _mm_add_ps(acc[0], acc[i]);
    *sink = _mm_cvtss_f32(acc[0]);
    return 2.0 * 4 * kChains * static_cast<double>(rounds);
}

// --- bytes; x and y hold n floats, n a multiple of 512 (read) or 64, aligned to 64. `read` goes through one stretch of
// memory or through four at once, whichever the prefetchers like better.
RB_TARGET_512 void read512(const float* x, std::int64_t n, int streams, float* sink) {
    __m512 s[8];
    for (int i = 0; i < 8; ++i) s[i] = _mm512_setzero_ps();
    const std::int64_t part = n / streams, step = 128 / streams;
    for (std::int64_t k = 0; k < part; k += step) {
        if (streams == 1) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) s[i] = _mm512_add_ps(s[i], _mm512_load_ps(x + k + 16 * i));
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i)
                s[i] = _mm512_add_ps(s[i], _mm512_load_ps(x + (i / 2) * part + k + 16 * (i % 2)));
        }
    }
    for (int i = 1; i < 8; ++i) s[0] = _mm512_add_ps(s[0], s[i]);
    *sink = _mm512_cvtss_f32(s[0]);
}

RB_TARGET_256 void read256(const float* x, std::int64_t n, int streams, float* sink) {
    __m256 s[8];
    for (int i = 0; i < 8; ++i) s[i] = _mm256_setzero_ps();
    const std::int64_t part = n / streams, step = 64 / streams;
    for (std::int64_t k = 0; k < part; k += step) {
        if (streams == 1) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) s[i] = _mm256_add_ps(s[i], _mm256_load_ps(x + k + 8 * i));
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i)
                s[i] = _mm256_add_ps(s[i], _mm256_load_ps(x + (i / 2) * part + k + 8 * (i % 2)));
        }
    }
    for (int i = 1; i < 8; ++i) s[0] = _mm256_add_ps(s[0], s[i]);
    *sink = _mm256_cvtss_f32(s[0]);
}

__attribute__((noinline)) void read128(const float* x, std::int64_t n, int streams, float* sink) {
    __m128 s[8];
    for (int i = 0; i < 8; ++i) s[i] = _mm_setzero_ps();
    const std::int64_t part = n / streams, step = 32 / streams;
    for (std::int64_t k = 0; k < part; k += step) {
        if (streams == 1) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) s[i] = _mm_add_ps(s[i], _mm_load_ps(x + k + 4 * i));
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) s[i] = _mm_add_ps(s[i], _mm_load_ps(x + (i / 2) * part + k + 4 * (i % 2)));
        }
    }
    for (int i = 1; i < 8; ++i) s[0] = _mm_add_ps(s[0], s[i]);
    *sink = _mm_cvtss_f32(s[0]);
}

RB_TARGET_512 void copy512(const float* x, float* y, std::int64_t n) {
    for (std::int64_t k = 0; k < n; k += 64) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) _mm512_store_ps(y + k + 16 * i, _mm512_load_ps(x + k + 16 * i));
    }
}

RB_TARGET_512 void stream512(const float* x, float* y, std::int64_t n) {
    for (std::int64_t k = 0; k < n; k += 64) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) _mm512_stream_ps(y + k + 16 * i, _mm512_load_ps(x + k + 16 * i));
    }
    _mm_sfence();
}

RB_TARGET_256 void copy256(const float* x, float* y, std::int64_t n) {
    for (std::int64_t k = 0; k < n; k += 32) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) _mm256_store_ps(y + k + 8 * i, _mm256_load_ps(x + k + 8 * i));
    }
}

RB_TARGET_256 void stream256(const float* x, float* y, std::int64_t n) {
    for (std::int64_t k = 0; k < n; k += 32) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) _mm256_stream_ps(y + k + 8 * i, _mm256_load_ps(x + k + 8 * i));
    }
    _mm_sfence();
}

__attribute__((noinline)) void copy128(const float* x, float* y, std::int64_t n) {
    for (std::int64_t k = 0; k < n; k += 4) _mm_store_ps(y + k, _mm_load_ps(x + k));
}

__attribute__((noinline)) void stream128(const float* x, float* y, std::int64_t n) {
    for (std::int64_t k = 0; k < n; k += 4) _mm_stream_ps(y + k, _mm_load_ps(x + k));
    _mm_sfence();
}

enum class Isa { base, avx2, avx512 };

Isa widest() {
    if (__builtin_cpu_supports("avx512f")) return Isa::avx512;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Isa::avx2 : Isa::base;
}

// Runs work(thread, rounds) on every thread at once; work returns what it did; the result is done per nanosecond, the
// best of the trials. The rounds grow until a trial lasts 10 ms.
template <class Work>
double best_rate(int threads, int trials, const Work& work) {
    std::int64_t rounds = 1;
    double best = 0;
    for (int trial = 0; trial < trials;) {
        std::barrier gate(threads + 1);
        std::vector<double> done(threads);                          // [threads]
        std::vector<Clock::time_point> from(threads), to(threads);  // [threads]
        std::vector<std::thread> team;
        for (int t = 0; t < threads; ++t) {
            team.emplace_back([&, t] {
                gate.arrive_and_wait();
                from[t] = Clock::now();
                done[t] = work(t, rounds);
                to[t] = Clock::now();
            });
        }
        gate.arrive_and_wait();
        for (std::thread& thread : team) thread.join();
        const auto start = *std::min_element(from.begin(), from.end());
        const auto end = *std::max_element(to.begin(), to.end());
        const double ns = std::chrono::duration<double, std::nano>(end - start).count();
        if (ns < 1e7) {
            rounds *= ns < 1e5 ? 16 : 2;
            continue;
        }
        double sum = 0;
        for (double d : done) sum += d;
        best = std::max(best, sum / ns);
        ++trial;
    }
    return best;
}

double flops(Isa isa, int threads) {
    return best_rate(threads, 15, [isa](int t, std::int64_t rounds) {
        if (isa == Isa::avx512) return fma512(rounds * 1000, &g_sink[t]);
        if (isa == Isa::avx2) return fma256(rounds * 1000, &g_sink[t]);
        return fma128(rounds * 1000, &g_sink[t]);
    });
}

// 0 without AVX512_BF16.
double bf16_flops(Isa isa, int threads) {
    if (isa != Isa::avx512 || !__builtin_cpu_supports("avx512bf16")) return 0;
    return best_rate(threads, 15, [](int t, std::int64_t rounds) { return dot512(rounds * 1000, &g_sink[t]); });
}

struct Rates {
    double read, copy;
};

// `bytes` in total, shared evenly by the threads; each thread touches its own pages first.
Rates bandwidth(Isa isa, int threads, std::int64_t bytes) {
    const std::int64_t n = std::max<std::int64_t>(bytes / 4 / threads / 512 * 512, 512);  // floats per thread
    std::vector<float*> data(threads);                                                    // [threads][n]
    const std::size_t room = (static_cast<std::size_t>(n) * 4 + kHuge - 1) / kHuge * kHuge;
    for (float*& p : data) {
        p = static_cast<float*>(std::aligned_alloc(kHuge, room));
        if (!p) std::abort();
        madvise(p, room, MADV_HUGEPAGE);  // as NumPy does; a refusal does no harm
        std::memset(p, 0, room);
    }
    const int trials = 7;
    Rates rates{};
    for (int streams : {1, 4}) {
        const double rate = best_rate(threads, trials, [&](int t, std::int64_t rounds) {
            for (std::int64_t r = 0; r < rounds; ++r) {
                if (isa == Isa::avx512)
                    read512(data[t], n, streams, &g_sink[t]);
                else if (isa == Isa::avx2)
                    read256(data[t], n, streams, &g_sink[t]);
                else
                    read128(data[t], n, streams, &g_sink[t]);
            }
            return 4.0 * static_cast<double>(n) * static_cast<double>(rounds);
        });
        rates.read = std::max(rates.read, rate);
    }
    for (bool stream : {false, true}) {
        const double rate = best_rate(threads, trials, [&](int t, std::int64_t rounds) {
            const float* x = data[t];
            float* y = data[t] + n / 2;
            for (std::int64_t r = 0; r < rounds; ++r) {
                if (isa == Isa::avx512)
                    stream ? stream512(x, y, n / 2) : copy512(x, y, n / 2);
                else if (isa == Isa::avx2)
                    stream ? stream256(x, y, n / 2) : copy256(x, y, n / 2);
                else
                    stream ? stream128(x, y, n / 2) : copy128(x, y, n / 2);
            }
            return 4.0 * static_cast<double>(n) * static_cast<double>(rounds);
        });
        rates.copy = std::max(rates.copy, rate);
    }
    for (float* p : data) std::free(p);
    return rates;
}

}  // namespace

int main(int argc, char** argv) {
    const int threads = argc > 1 ? std::clamp(std::atoi(argv[1]), 1, 64) : 1;
    const Isa isa = widest();
    const char* name = isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "base";
    std::printf("{\"isa\": \"%s\", \"threads\": %d, \"gflops\": %.2f, \"bf16_gflops\": %.2f, \"bandwidth\": [", name,
                threads, flops(isa, threads), bf16_flops(isa, threads));
    for (int i = 2; i < argc; ++i) {
        const std::int64_t bytes = std::atoll(argv[i]);
        const Rates r = bandwidth(isa, threads, bytes);
        std::printf("%s{\"bytes\": %lld, \"read\": %.2f, \"copy\": %.2f}", i > 2 ? ", " : "",
                    static_cast<long long>(bytes), r.read, r.copy);
    }
    std::printf("]}\n");
}
