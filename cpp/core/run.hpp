// run.hpp: the single gate through which every op call passes: choose an implementation, grant its workspace, run it.
#pragma once

#include "rb/table.hpp"

#include "core/cpu_features.hpp"  // Level

namespace rb {

// What select() decided.
struct Choice {
    const Impl* impl;
    Level level;
};

// Does the algorithm that a call names (Algo of args.hpp) apply to its shapes? True where it names none.
bool algo_applies(OpId op, i32 dtype, const void* args);

// Cheapest accepting implementation of the best level that has one; honours the algorithm that the call names where it
// applies, else RB_IMPL / force_impl. `args` is complete except for its workspace. Never fails: the reference accepts
// everything that passed check_args.
Choice select(OpId op, i32 dtype, const void* args);

// Runs one op on checked arguments. Throws std::bad_alloc when no workspace can be had (outputs untouched).
void run(OpId op, void* args);

// Forces `impl` ("name" or "level:name") for the op where it accepts; null or "" lifts it. False: no such op or impl.
bool force_impl(const char* op, const char* impl);

// The value of RB_TRACE when it is none of 0, 1, program, else null.
const char* bad_trace_setting();

// The value of RB_WINOGRAD when it is neither 0 nor 1, else null.
const char* bad_winograd_setting();

// The setting of RB_IMPL when it cannot be understood, else null.
const char* bad_impl_setting();

const Table* table_of(Level level);  // null when this build lacks the level

// "level:name" of the implementation that served this thread's last call, and how often the reference had to serve.
const char* last_impl();
i64 ref_calls();

}  // namespace rb
