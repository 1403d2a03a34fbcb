// table.cpp: the reference level of the op table: one Impl named "ref" for every op and both dtypes.
#include "ref/ref.hpp"

namespace rb {
namespace {

#include "rb/ops_blank.hpp"
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
