// fft_table.hpp: the constants of a Fourier transform (see rb/fft_plan.hpp).
#pragma once

#include "rb/view.hpp"

namespace rb {

// Fills table [fft_table_size(n, real)] of f32 or f64. Every root of unity is computed in double from an angle within
// an eighth of a turn, so that the symmetries of the circle hold exactly; Bluestein's filter is transformed in double.
// n >= 1. Throws bad_alloc when there is no memory for a scratch copy, which only lengths with a prime above 13 take.
void fft_table(i64 n, bool real, i32 dtype, void* table);

}  // namespace rb
