// cpu_features.cpp: cpuid and xgetbv, read lazily (function-local state filled on first use, never at load time).
#include "core/cpu_features.hpp"

#include <cstdlib>  // getenv
#include <cstring>  // strcmp
#include <mutex>    // call_once
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>  // __get_cpuid_count
#endif
#include <unistd.h>  // sysconf

namespace rb {
namespace {

struct State {
    Level machine = level_base;
    Level active = level_base;
    bool bad = false;
    bool bf16_dot = false;
    std::string setting;
    std::string features;
    i64 l1 = 32 << 10, l2 = 512 << 10, l3 = 8 << 20;
};

#if defined(__x86_64__)
u64 xgetbv0() {
    u32 lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (static_cast<u64>(hi) << 32) | lo;
}

void detect(State& s) {
    u32 a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool sse42 = c & (1u << 20), fma = c & (1u << 12), osxsave = c & (1u << 27), f16c = c & (1u << 29);
    u32 a7 = 0, b7 = 0, c7 = 0, d7 = 0;
    __get_cpuid_count(7, 0, &a7, &b7, &c7, &d7);
    u32 a71 = 0, b71 = 0, c71 = 0, d71 = 0;
    __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
    const u64 saved = osxsave ? xgetbv0() : 0;
    const bool os_ymm = (saved & 0x6) == 0x6, os_zmm = (saved & 0xe6) == 0xe6;
    const bool avx2 = b7 & (1u << 5), bmi1 = b7 & (1u << 3), bmi2 = b7 & (1u << 8);
    u32 ax = 0, bx = 0, cx = 0, dx = 0;
    __get_cpuid(0x80000001u, &ax, &bx, &cx, &dx);
    const bool lzcnt = cx & (1u << 5);
    const bool f = b7 & (1u << 16), dq = b7 & (1u << 17), cd = b7 & (1u << 28), bw = b7 & (1u << 30),
               vl = b7 & (1u << 31);
    const auto note = [&](bool have, const char* name) {
        if (have) s.features += (s.features.empty() ? "" : " ") + std::string(name);
    };
    note(sse42, "sse4.2");
    note(avx2 && os_ymm, "avx2");
    note(fma && os_ymm, "fma");
    note(f16c && os_ymm, "f16c");
    note(f && os_zmm, "avx512f");
    note(bw && os_zmm, "avx512bw");
    note(vl && os_zmm, "avx512vl");
    note((c7 & (1u << 11)) && os_zmm, "avx512_vnni");
    s.bf16_dot = (a71 & (1u << 5)) && os_zmm;
    note(s.bf16_dot, "avx512_bf16");
    if (avx2 && fma && f16c && bmi1 && bmi2 && lzcnt && os_ymm) s.machine = level_avx2;
    if (s.machine == level_avx2 && f && dq && cd && bw && vl && os_zmm) s.machine = level_avx512;
}
#else
void detect(State&) {}
#endif

const State& state() {
    static State s;
    static std::once_flag once;
    std::call_once(once, [] {
        detect(s);
        const auto cache = [](int name, i64 fallback) {
            const long v = sysconf(name);
            return v > 0 ? static_cast<i64>(v) : fallback;
        };
#if defined(_SC_LEVEL1_DCACHE_SIZE)
        s.l1 = cache(_SC_LEVEL1_DCACHE_SIZE, s.l1);
        s.l2 = cache(_SC_LEVEL2_CACHE_SIZE, s.l2);
        s.l3 = cache(_SC_LEVEL3_CACHE_SIZE, s.l3);
#endif
        s.active = s.machine;
        if (const char* env = std::getenv("RB_ISA"); env && *env) {
            s.setting = env;
            bool known = false;
            for (int i = 0; i < kNumLevels; ++i) {
                if (s.setting != level_name(static_cast<Level>(i))) continue;
                known = true;
                if (i < s.machine) s.active = static_cast<Level>(i);
            }
            s.bad = !known;
        }
    });
    return s;
}

}  // namespace

Level machine_level() {
    return state().machine;
}
Level active_level() {
    return state().active;
}
const char* bad_level_setting() {
    return state().bad ? state().setting.c_str() : nullptr;
}
bool has_bf16_dot() {
    return state().bf16_dot;
}
const char* cpu_feature_string() {
    return state().features.c_str();
}

const char* level_name(Level level) {
    switch (level) {
        case level_ref:
            return "ref";
        case level_base:
            return "base";
        case level_avx2:
            return "avx2";
        case level_avx512:
            return "avx512";
    }
    return "?";
}

void cache_sizes(i64* l1, i64* l2, i64* l3) {
    *l1 = state().l1;
    *l2 = state().l2;
    *l3 = state().l3;
}

}  // namespace rb
