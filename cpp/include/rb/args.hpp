// args.hpp: one plain argument struct per op, `<op>_args`, generated from ops.def. Recording a call is copying one.
#pragma once

#include "rb/view.hpp"  // View, Work, Seed, i64

namespace rb {

// Activations an epilogue may fuse. The numbers are part of the interface (Python passes them).
enum Act : i32 { act_none = 0, act_relu = 1, act_tanh = 2, act_sigmoid = 3 };
constexpr int kNumActs = 4;

// What stands beyond the border: a constant, the border itself, the picture mirrored without or with its border,
// repeated.
enum PadMode : i32 { pad_constant = 0, pad_edge = 1, pad_reflect = 2, pad_symmetric = 3, pad_wrap = 4 };
constexpr int kNumPadModes = 5;

// Ways to compute a convolution that a caller may name, by the names of their implementations; a name stands for every
// implementation that begins with it. algo_auto: what the costs say.
enum Algo : i32 {
    algo_auto = 0,
    algo_direct = 1,
    algo_gemm = 2,
    algo_winograd = 3,
    algo_winograd4x4 = 4,
    algo_winograd2x2 = 5,
    algo_depthwise = 6,
    algo_fft = 7
};
constexpr int kNumAlgos = 8;
constexpr const char* kAlgoNames[kNumAlgos] = {"auto",        "direct",      "gemm",      "winograd",
                                               "winograd4x4", "winograd2x2", "depthwise", "fft"};

// Losses of `pair_loss` and their derivatives. The derivative of the first lacks its factor of two.
enum Pair : i32 {
    pair_square = 0,   // (x - t)^2; x - t
    pair_logistic = 1  // max(x, 0) - x t + log(1 + exp(-|x|)); sigmoid(x) - t
};
constexpr int kNumPairs = 2;

// Functions of `activate`; p is the parameter in brackets.
enum Fn : i32 {
    fn_leaky = 0,      // x > 0 ? x : p x   [slope]
    fn_elu = 1,        // x > 0 ? x : p (exp(x) - 1)   [scale]
    fn_softplus = 2,   // log(1 + exp(p x)) / p   [sharpness]
    fn_gelu = 3,       // x Phi(x)
    fn_gelu_tanh = 4,  // x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
    fn_silu = 5,       // x sigmoid(x)
    fn_algebraic = 6   // x / sqrt(1 + x^2)
};
constexpr int kNumFns = 7;

#define IN(f) View f;
#define IN_OPT(f) View f;
#define INC(f) View f;
#define INC_OPT(f) View f;
#define INI(f) View f;
#define INX(f) View f;
#define INB(f) View f;
#define INH(f) View f;
#define OUT(f) View f;
#define OUTS(f) View f;
#define OUT_OPT(f) View f;
#define OUTI(f) View f;
#define OUTX(f) View f;
#define OUTH(f) View f;
#define INOUT(f) View f;
#define INOUT_OPT(f) View f;
#define I64(f) i64 f;
#define F64(f) double f;
#define SEED(f) Seed f;
#define WORK(f) Work f;
#define RB_OP(name, fields) \
    struct name##_args {    \
        fields              \
    };
#include "rb/ops.def"
#include "rb/ops_undef.hpp"

enum OpId : i32 {
#include "rb/ops_blank.hpp"
#define RB_OP(name, fields) op_##name,
#include "rb/ops.def"
#include "rb/ops_undef.hpp"
    kNumOps
};

}  // namespace rb
