// describe.cpp: expands ops.def into op_info.
#include "core/describe.hpp"

#include <cstddef>  // offsetof
#include <cstring>  // strcmp

namespace rb {
namespace {

#define RB_VIEW(f, role, elem, optional, contiguous) \
    Field{#f, Kind::view, Role::role, Elem::elem, optional, contiguous, offsetof(A, f)},
#define IN(f) RB_VIEW(f, in, real, false, false)
#define IN_OPT(f) RB_VIEW(f, in, real, true, false)
#define INC(f) RB_VIEW(f, in, real, false, true)
#define INC_OPT(f) RB_VIEW(f, in, real, true, true)
#define INI(f) RB_VIEW(f, in, int64, false, true)
#define INX(f) RB_VIEW(f, in, int32, false, true)
#define INB(f) RB_VIEW(f, in, bfloat16, false, false)
#define INH(f) RB_VIEW(f, in, uint16, false, true)
#define OUT(f) RB_VIEW(f, out, real, false, true)
#define OUTS(f) RB_VIEW(f, out, real, false, false)
#define OUT_OPT(f) RB_VIEW(f, out, real, true, true)
#define OUTI(f) RB_VIEW(f, out, int64, false, true)
#define OUTX(f) RB_VIEW(f, out, int32, false, true)
#define OUTH(f) RB_VIEW(f, out, uint16, false, true)
#define INOUT(f) RB_VIEW(f, inout, real, false, true)
#define INOUT_OPT(f) RB_VIEW(f, inout, real, true, true)
#define I64(f) Field{#f, Kind::integer, Role::param, Elem::int64, false, false, offsetof(A, f)},
#define F64(f) Field{#f, Kind::real, Role::param, Elem::real, false, false, offsetof(A, f)},
#define SEED(f) Field{#f, Kind::seed, Role::seed, Elem::int64, false, false, offsetof(A, f)},
#define WORK(f) Field{#f, Kind::work, Role::workspace, Elem::real, false, false, offsetof(A, f)},
#define RB_OP(name, fields_)                         \
    struct describe_##name {                         \
        using A = name##_args;                       \
        static constexpr Field fields[] = {fields_}; \
    };                                               \
    static_assert(sizeof(name##_args) <= kMaxArgsBytes);
#include "rb/ops.def"
#include "rb/ops_undef.hpp"
#undef RB_VIEW

constexpr bool is_elementwise(i32 op) {
    return (op >= op_add && op <= op_sigmoid_dx) || op == op_dropout;
}

constexpr i32 work_offset(const Field* f, i32 n) {
    for (i32 i = 0; i < n; ++i) {
        if (f[i].kind == Kind::work) return f[i].offset;
    }
    return -1;
}

constexpr bool equal(const char* a, const char* b) {
    while (*a && *a == *b) ++a, ++b;
    return *a == *b;
}
constexpr i32 algo_offset(const Field* f, i32 n) {
    for (i32 i = 0; i < n; ++i) {
        if (f[i].kind == Kind::integer && equal(f[i].name, "algo")) return f[i].offset;
    }
    return -1;
}

void mix(u64& h, const char* text) {
    for (; *text; ++text) h = (h ^ static_cast<unsigned char>(*text)) * 0x100000001b3ull;
    h = (h ^ 0xff) * 0x100000001b3ull;
}

}  // namespace

#include "rb/ops_blank.hpp"
#define RB_OP(name, fields_)                                                                      \
    OpInfo{#name,                                                                                 \
           describe_##name::fields,                                                               \
           sizeof(describe_##name::fields) / sizeof(Field),                                       \
           sizeof(name##_args),                                                                   \
           work_offset(describe_##name::fields, sizeof(describe_##name::fields) / sizeof(Field)), \
           algo_offset(describe_##name::fields, sizeof(describe_##name::fields) / sizeof(Field)), \
           is_elementwise(op_##name)},
constinit const OpInfo op_info[kNumOps] = {
#include "rb/ops.def"
};
#include "rb/ops_undef.hpp"

i32 find_op(const char* name) {
    for (i32 i = 0; i < kNumOps; ++i) {
        if (std::strcmp(op_info[i].name, name) == 0) return i;
    }
    return -1;
}

u64 table_hash() {
    u64 h = 0xcbf29ce484222325ull;
    for (const OpInfo& op : op_info) {
        mix(h, op.name);
        for (i32 i = 0; i < op.count; ++i) {
            const Field& f = op.fields[i];
            mix(h, f.name);
            const char code[] = {static_cast<char>('a' + static_cast<i32>(f.kind)),
                                 static_cast<char>('a' + static_cast<i32>(f.role)),
                                 static_cast<char>('a' + static_cast<i32>(f.elem)),
                                 f.optional ? 'o' : 'r',
                                 f.contiguous ? 'c' : 's',
                                 '\0'};
            mix(h, code);
        }
    }
    return h;
}

}  // namespace rb
