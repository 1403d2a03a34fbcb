// pool.cpp: size classes with four steps per power of two, one free list each, one mutex. A 64-byte header in front of
// the data remembers the class. Buffers of 4 MiB and more ask for huge pages.
#include "core/pool.hpp"

#include <sys/mman.h>  // madvise

#include <cstdlib>  // aligned_alloc, free, getenv
#include <mutex>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace rb {
namespace {

constexpr i64 kAlign = 64;
constexpr i64 kHugePage = 2 << 20;
constexpr i64 kHugeFrom = 4 << 20;
constexpr i64 kMaxBytes = i64{1} << 46;
constexpr int kClasses = 4 * 48;

struct Header {
    i64 bytes;  // of the class, header excluded
    i32 cls;
};
static_assert(sizeof(Header) <= kAlign);

// Smallest class holding `bytes`: sizes 64 * {4,5,6,7}/4 * 2^k.
int class_of(i64 bytes, i64* size) {
    i64 power = kAlign;
    int cls = 0;
    while (power * 2 <= bytes) {
        power *= 2;
        cls += 4;
    }
    for (int quarter = 0; quarter < 4; ++quarter) {
        const i64 s = power + quarter * (power / 4);
        if (s >= bytes) {
            *size = (s + kAlign - 1) / kAlign * kAlign;
            return cls + quarter;
        }
    }
    *size = power * 2;
    return cls + 4;
}

// Tells the address sanitizer which of a buffer's bytes may be touched: those asked for, none while it is in a list.
void mark(void* data, [[maybe_unused]] i64 bytes) {
#if defined(__SANITIZE_ADDRESS__)
    const auto size = static_cast<size_t>(reinterpret_cast<Header*>(static_cast<char*>(data) - kAlign)->bytes);
    __asan_poison_memory_region(data, size);
    if (bytes > 0) __asan_unpoison_memory_region(data, static_cast<size_t>(bytes));
#else
    static_cast<void>(data);
#endif
}

struct Pool {
    std::mutex mutex;
    std::vector<void*> free_list[kClasses];
    PoolStats stats{};
    std::string bad;

    Pool() {
        stats.cap_bytes = i64{512} << 20;
        if (const char* e = std::getenv("RB_POOL_MB"); e && *e) {
            char* end = nullptr;
            const long v = std::strtol(e, &end, 10);
            if (*end == '\0' && v >= 0 && v < (1 << 24)) {
                stats.cap_bytes = static_cast<i64>(v) << 20;
            } else {
                bad = e;
            }
        }
    }
};

// Never destroyed: arrays may outlive static destruction at interpreter exit.
Pool& pool() {
    static Pool* p = new Pool;
    return *p;
}

}  // namespace

void* pool_get(i64 bytes) {
    if (bytes < 1) bytes = 1;
    if (bytes > kMaxBytes) return nullptr;
    i64 size = 0;
    const int cls = class_of(bytes, &size);
    Pool& p = pool();
    {
        std::lock_guard<std::mutex> lock(p.mutex);
        p.stats.live_bytes += size;
        if (p.stats.live_bytes > p.stats.peak_bytes) p.stats.peak_bytes = p.stats.live_bytes;
        auto& list = p.free_list[cls];
        if (!list.empty()) {
            void* data = list.back();
            list.pop_back();
            p.stats.cached_bytes -= size;
            ++p.stats.reused;
            mark(data, bytes);
            return data;
        }
        ++p.stats.fresh;
    }
    const i64 align = size >= kHugeFrom ? kHugePage : kAlign;
    const i64 total = (size + kAlign + align - 1) / align * align;
    void* raw = std::aligned_alloc(static_cast<size_t>(align), static_cast<size_t>(total));
    if (!raw) {
        std::lock_guard<std::mutex> lock(p.mutex);
        p.stats.live_bytes -= size;
        return nullptr;
    }
    if (size >= kHugeFrom) madvise(raw, static_cast<size_t>(total), MADV_HUGEPAGE);
    auto* header = static_cast<Header*>(raw);
    header->bytes = size;
    header->cls = cls;
    void* data = static_cast<char*>(raw) + kAlign;
    mark(data, bytes);
    return data;
}

void pool_put(void* data) {
    if (!data) return;
    auto* header = reinterpret_cast<Header*>(static_cast<char*>(data) - kAlign);
    const i64 size = header->bytes;
    Pool& p = pool();
    {
        std::lock_guard<std::mutex> lock(p.mutex);
        p.stats.live_bytes -= size;
        if (p.stats.cached_bytes + size <= p.stats.cap_bytes) {
            p.free_list[header->cls].push_back(data);
            p.stats.cached_bytes += size;
            mark(data, 0);
            return;
        }
    }
    std::free(header);
}

const char* bad_pool_setting() {
    return pool().bad.empty() ? nullptr : pool().bad.c_str();
}

PoolStats pool_stats() {
    std::lock_guard<std::mutex> lock(pool().mutex);
    return pool().stats;
}

void pool_reset_peak() {
    std::lock_guard<std::mutex> lock(pool().mutex);
    pool().stats.peak_bytes = pool().stats.live_bytes;
}

void pool_trim() {
    Pool& p = pool();
    std::lock_guard<std::mutex> lock(p.mutex);
    for (auto& list : p.free_list) {
        for (void* data : list) std::free(static_cast<char*>(data) - kAlign);
        list.clear();
    }
    p.stats.cached_bytes = 0;
}

}  // namespace rb
