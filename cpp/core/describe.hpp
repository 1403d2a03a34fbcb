// describe.hpp: ops.def as data: name, kind, role and place of every field of every op.
#pragma once

#include "rb/args.hpp"

namespace rb {

enum class Kind : i32 { view, integer, real, seed, work };
enum class Role : i32 { in, out, inout, param, seed, workspace };
// Element class of a view: the op's float dtype, or fixed. bfloat16: bit patterns in uint16, or float32 to be rounded.
enum class Elem : i32 { real, int64, int32, uint16, bfloat16 };

struct Field {
    const char* name;
    Kind kind;
    Role role;
    Elem elem;
    bool optional;
    bool contiguous;  // the kernel needs C order
    i32 offset;       // in the op's argument struct
};

struct OpInfo {
    const char* name;
    const Field* fields;
    i32 count;
    i32 args_bytes;
    i32 work_offset;   // of the workspace field, -1 when the op books none
    i32 algo_offset;   // of the field `algo` (Algo of args.hpp), -1 when the caller has no say
    bool elementwise;  // an output may be the very same memory as an input
};

extern const OpInfo op_info[kNumOps];

// Largest argument struct: enough room for any recorded call.
constexpr i32 kMaxArgsBytes = 2048;

// Op of that name, or -1.
i32 find_op(const char* name);

// A 64-bit hash of every declaration in ops.def; two builds with equal hashes agree on every call.
u64 table_hash();

}  // namespace rb
