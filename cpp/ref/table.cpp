// table.cpp: the reference level of the op table: one Impl named "ref" for every op and both dtypes.
#include "ref/ref.hpp"

namespace rb {
namespace {

#define IN(f)
#define IN_OPT(f)
#define INC(f)
#define INC_OPT(f)
#define INI(f)
#define INX(f)
#define OUT(f)
#define OUTS(f)
#define OUT_OPT(f)
#define OUTI(f)
#define OUTX(f)
#define INOUT(f)
#define INOUT_OPT(f)
#define I64(f)
#define F64(f)
#define SEED(f)
#define WORK(f)
#define RB_OP(name, fields)                                     \
    template <typename T>                                       \
    void run_##name(const void* args, Ctx&) {                   \
        ref::name<T>(*static_cast<const name##_args*>(args));   \
    }                                                           \
    constexpr Impl name##_impls[kNumFloatDTypes] = {            \
        {"ref", run_##name<float>, nullptr, nullptr, nullptr},  \
        {"ref", run_##name<double>, nullptr, nullptr, nullptr}, \
    };
#include "rb/ops.def"
#undef RB_OP

constexpr Table make_table() {
    Table t{};
#define RB_OP(name, fields)                            \
    t.entry[op_##name][f32] = {&name##_impls[f32], 1}; \
    t.entry[op_##name][f64] = {&name##_impls[f64], 1};
#include "rb/ops.def"
#include "rb/ops_undef.hpp"
    return t;
}

}  // namespace

extern constinit const Table ref_table = make_table();

}  // namespace rb
