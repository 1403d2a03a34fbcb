// all.inl: the kernel families in one translation unit per instruction set. RB_ISA_NS names the level.
// Rules for everything included here: no standard-library headers beyond the C ones below, no inline function with
// external linkage, no static initialiser, no allocation, no exceptions.
#include <math.h>    // only for declarations of functions the base level may call
#include <stddef.h>  // size_t
#include <string.h>  // memcpy, memset
#if defined(__x86_64__)
#include <immintrin.h>  // used by vec.hpp alone; every function in it is always_inline
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "rb/fft_plan.hpp"
#include "rb/table.hpp"

namespace rb::RB_ISA_NS {
namespace {

#include "vec.hpp"

#include "math.inl"

#include "parallel.inl"

#include "copy.inl"

#include "elementwise.inl"

#include "reduce.inl"

#include "select.inl"

#include "softmax.inl"

#include "tile.inl"

#include "gemm_plan.inl"

#include "gemm_quad.inl"

#include "gemm.inl"

#include "gemm_bf16.inl"

#include "fft_pass.inl"

#include "fft.inl"

#include "conv2d.inl"

#include "conv2d_dw.inl"

#include "conv2d_gemm.inl"

#include "conv2d_depthwise.inl"

#include "conv2d_winograd.inl"

#include "conv2d_winograd_dw.inl"

#include "conv2d_scatter.inl"

#include "conv2d_fft.inl"

#include "conv2d_choice.inl"

#include "pool.inl"

#include "pad.inl"

#include "warp.inl"

#include "fft_ops.inl"

#include "filter.inl"

#include "filter_fft.inl"

#include "random.inl"

#include "optim.inl"

constexpr Table make_table() {
    Table t{};
    add_copy(t);
    add_elementwise(t);
    add_reduce(t);
    add_select(t);
    add_softmax(t);
    add_gemm(t);
    add_gemm_bf16(t);
    add_conv2d(t);
    add_pool(t);
    add_pad(t);
    add_warp(t);
    add_fft(t);
    add_filter(t);
    add_random(t);
    add_optim(t);
    return t;
}

}  // namespace

#define RB_CAT2(a, b) a##b
#define RB_CAT(a, b) RB_CAT2(a, b)
}  // namespace rb::RB_ISA_NS

namespace rb {
extern constinit const Table RB_CAT(RB_ISA_NS, _table) = RB_ISA_NS::make_table();
}
