// bandwidth.hpp: bytes per second of one core for the access patterns of elementwise kernels, at a given working set:
// the figures that the percentages of bench_elementwise refer to, taken in the same run on arrays of the same size.
//
//   read    sum of one array          (R bytes = all)       copy    y = x           triad   z = x + y * c
//   write   y = constant                                     update  y = x + y * c, y in place
// Each is the best of regular stores and stores past the caches, of one stream and four, over several trials. Bytes are
// those the program asks for: a regular store that misses reads its line first, which counts against it.
#pragma once

#include <algorithm>
#include <time.h>  // clock_gettime

#include <cstddef>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#define RB_WIDE __attribute__((target("avx2,fma"), noinline))
#endif

namespace bench {

enum class Pattern { read, write, copy, triad, update };

#if defined(__x86_64__)
// Four streams a quarter of the array apart, or one; n: floats, a multiple of 128.
template <int streams>
RB_WIDE float probe_read(const float* x, std::size_t n) {
    __m256 sum[8];
    for (auto& s : sum) s = _mm256_setzero_ps();
    const std::size_t part = n / streams;
    for (std::size_t i = 0; i < part; i += streams == 4 ? 16 : 64) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) {
            const std::size_t at =
                streams == 4 ? std::size_t(k / 2) * part + i + std::size_t(k % 2) * 8 : i + std::size_t(k) * 8;
            sum[k] = _mm256_add_ps(sum[k], _mm256_loadu_ps(x + at));
        }
    }
    for (int k = 1; k < 8; ++k) sum[0] = _mm256_add_ps(sum[0], sum[k]);
    return _mm256_cvtss_f32(sum[0]);
}
template <bool past>
RB_WIDE void probe_write(float* z, std::size_t n) {
    const __m256 c = _mm256_set1_ps(0.5f);
    for (std::size_t i = 0; i < n; i += 8) past ? _mm256_stream_ps(z + i, c) : _mm256_store_ps(z + i, c);
    if (past) _mm_sfence();
}
template <bool past>
RB_WIDE void probe_copy(const float* x, float* z, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 32) {
        for (std::size_t k = 0; k < 32; k += 8) {
            const __m256 v = _mm256_load_ps(x + i + k);
            past ? _mm256_stream_ps(z + i + k, v) : _mm256_store_ps(z + i + k, v);
        }
    }
    if (past) _mm_sfence();
}
template <bool past>
RB_WIDE void probe_triad(const float* x, const float* y, float* z, std::size_t n) {
    const __m256 c = _mm256_set1_ps(0.5f);
    for (std::size_t i = 0; i < n; i += 32) {
        for (std::size_t k = 0; k < 32; k += 8) {
            const __m256 v = _mm256_fmadd_ps(_mm256_load_ps(y + i + k), c, _mm256_load_ps(x + i + k));
            past ? _mm256_stream_ps(z + i + k, v) : _mm256_store_ps(z + i + k, v);
        }
    }
    if (past) _mm_sfence();
}

// Processor time of this thread: what other programs take does not count, as in the benchmarks of one thread.
inline double processor_seconds() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Bytes per second of a pattern whose arrays take `bytes` together.
inline double measure_bandwidth(Pattern pattern, std::size_t bytes) {
    const std::size_t arrays = pattern == Pattern::triad                                ? 3
                               : pattern == Pattern::copy || pattern == Pattern::update ? 2
                                                                                        : 1;
    const std::size_t n = std::max<std::size_t>(bytes / sizeof(float) / arrays / 128, 1) * 128, pad = 1088;
    const std::unique_ptr<float, void (*)(void*)> memory(
        static_cast<float*>(std::aligned_alloc(4096, ((n + pad) * arrays * 4 + 4095) / 4096 * 4096)), std::free);
    float *x = memory.get(), *y = x + (arrays > 1 ? n + pad : 0), *z = x + (arrays > 2 ? 2 * (n + pad) : n + pad);
    std::fill_n(x, (n + pad) * arrays, 0.25f);
    volatile float sink = 0;
    const auto once = [&](int form) {
        switch (pattern) {
            case Pattern::read:
                sink = form ? probe_read<4>(x, n) : probe_read<1>(x, n);
                break;
            case Pattern::write:
                form ? probe_write<true>(x, n) : probe_write<false>(x, n);
                break;
            case Pattern::copy:
                form ? probe_copy<true>(x, y, n) : probe_copy<false>(x, y, n);
                break;
            case Pattern::triad:
                form ? probe_triad<true>(x, y, z, n) : probe_triad<false>(x, y, z, n);
                break;
            case Pattern::update:
                probe_triad<false>(x, y, y, n);
                break;
        }
    };
    const double moved = 4.0 * double(n) * (pattern == Pattern::update ? 3.0 : double(arrays));
    double best = 0;
    for (int form = 0; form < 2; ++form) {
        const int rounds = int(std::max(1.0, 4e7 / moved));
        for (int trial = 0; trial < 9; ++trial) {
            const double start = processor_seconds();
            for (int r = 0; r < rounds; ++r) once(form);
            best = std::max(best, moved * rounds / (processor_seconds() - start));
        }
    }
    return best;
}
#else
inline double measure_bandwidth(Pattern, std::size_t) {
    return 0;
}
#endif

// The same, measured once per pattern and size.
inline double bandwidth(Pattern pattern, std::size_t bytes) {
    static std::map<std::pair<Pattern, std::size_t>, double> known;
    const auto [at, fresh] = known.try_emplace({pattern, bytes}, 0.0);
    if (fresh) at->second = measure_bandwidth(pattern, bytes);
    return at->second;
}

}  // namespace bench
