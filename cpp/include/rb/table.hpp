// table.hpp: the op table. One constant-initialised Table per level (ref, base, avx2, avx512); core/select.cpp reads
// them from the best level the machine has downwards, so a level only lists what it improves.
#pragma once

#include "rb/args.hpp"  // OpId, <op>_args
#include "rb/ctx.hpp"   // Ctx

namespace rb {

using KernelFn = void (*)(const void* args, Ctx& ctx);     // args: the op's <op>_args
using WorkFn = i64 (*)(const void* args, const Ctx& ctx);  // bytes of scratch; depends on shapes and Ctx only
using AcceptFn = bool (*)(const void* args);               // shapes this implementation handles
using CostFn = double (*)(const void* args);               // predicted nanoseconds; a function of shape alone

// One way to compute an op. Null `work` books nothing, null `accepts` takes everything, null `cost` counts as 0.
struct Impl {
    const char* name;  // e.g. "packed", "direct", "ref"; what RB_IMPL=op:name and RB_TRACE=1 use
    KernelFn run;
    WorkFn work;
    AcceptFn accepts;
    CostFn cost;
};

// Candidates for one op and dtype in one level; the cheapest that accepts wins, the earlier one on equal cost.
struct Entry {
    const Impl* impls;
    i32 count;
};

struct Table {
    Entry entry[kNumOps][kNumFloatDTypes];
};

// Null when the build or architecture lacks the level. `ref` is complete: every op, both dtypes.
extern const Table ref_table;
extern const Table base_table;
#if defined(RB_HAVE_AVX2)
extern const Table avx2_table;
#endif
#if defined(RB_HAVE_AVX512)
extern const Table avx512_table;
#endif

}  // namespace rb
