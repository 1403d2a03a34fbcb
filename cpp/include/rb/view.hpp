// view.hpp: the plain structs every layer below Python speaks.
//
// Promises: trivially copyable aggregates without member functions, so that a translation unit compiled for a
// higher instruction set that includes this header emits no shared (weak) code. Strides count ELEMENTS, not bytes.
#pragma once

#include <stdint.h>  // fixed-width integers (C header: nothing inline)

namespace rb {

using i32 = int32_t;
using i64 = int64_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;

// Element types. `f32`/`f64` are what ops compute in; `i64t` labels and argmax results; `i32t` pooling indices; `u16t`
// bit patterns of bfloat16 numbers.
enum DType : i32 { f32 = 0, f64 = 1, i64t = 2, i32t = 3, u16t = 4 };
constexpr int kNumFloatDTypes = 2;
constexpr int kMaxDims = 8;

// A strided window on memory somebody else owns. `data == nullptr && ndim < 0` means "argument not given".
struct View {
    void* data;
    i32 dtype;  // DType
    i32 ndim;   // -1: absent optional argument
    i64 shape[kMaxDims];
    i64 stride[kMaxDims];  // in elements; 0 for broadcast axes, may be negative for inputs
};

// Scratch memory granted for the duration of one call (64-byte aligned, contents undefined).
struct Work {
    void* data;
    i64 bytes;
};

// Position in the counter-based random stream: Philox4x32-10 with key `key`, starting at 128-bit block `counter`.
struct Seed {
    u64 key;
    u64 counter;
};

}  // namespace rb
