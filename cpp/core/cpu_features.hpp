// cpu_features.hpp: which instruction sets this processor AND this operating system let us use.
#pragma once

#include "rb/view.hpp"

namespace rb {

// Levels in ascending order; each includes the ones below.
enum Level : i32 { level_ref = 0, level_base = 1, level_avx2 = 2, level_avx512 = 3 };
constexpr int kNumLevels = 4;

// Best level of the machine: cpuid says what the processor has, xgetbv whether the system saves the registers.
Level machine_level();

// Best level in use: machine_level() capped by the environment variable RB_ISA (ref, base, avx2, avx512), read once.
Level active_level();

const char* level_name(Level level);

// The value of RB_ISA when it names no level (the Python layer turns it into an error at first use), else null.
const char* bad_level_setting();

// Space-separated names of the processor features that matter here, e.g. "sse4.2 avx2 fma avx512f ...".
const char* cpu_feature_string();

// Data cache sizes in bytes, from cpuid where known, otherwise modest defaults.
void cache_sizes(i64* l1, i64* l2, i64* l3);

}  // namespace rb
