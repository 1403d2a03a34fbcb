// ctx.hpp: what a kernel may ask of the house while it runs. Kernels never allocate, lock, print or throw.
#pragma once

#include "rb/view.hpp"

namespace rb {

// Machine facts a kernel may use for speed, never for anything that changes the bits of a result.
struct Ctx {
    i32 threads;  // size of the team parallel_for may use
    i64 l1_bytes, l2_bytes, l3_bytes;
};

// Runs fn(env, begin, end) over [0, n) in contiguous pieces, one per thread. `cost` is the work of one index in
// "simple operations" (about a nanosecond's worth each); below a grain everything runs on the caller. Pieces depend on
// the thread count, so an index must be the unit of determinism: its result may not depend on which piece it is in.
// Nested calls, a second concurrent caller and forked children run serially. `fn` must not throw.
void parallel_for(i64 n, double cost, void (*fn)(void* env, i64 begin, i64 end), void* env);

// May convolutions use Winograd's algorithm? RB_WINOGRAD=0 says no.
bool winograd_enabled();

// Fills the constants of a Fourier transform (fft_plan.hpp): table [fft_table_size(n, real)] of f32 or f64. For kernels
// only with smooth lengths, which need no memory and throw nothing.
void fft_table(i64 n, bool real, i32 dtype, void* table);

// Has this machine AVX512_BF16?
bool has_bf16_dot();

// Index of the calling worker inside the innermost parallel_for (0 when serial), < Ctx::threads and < its n. For
// scratch only.
i32 worker_index();

}  // namespace rb
