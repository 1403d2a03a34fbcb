// test_bfloat16.cpp: conversions, and products whose bits every implementation of every level shares with the
// reference, for any number of threads, inside guarded buffers and workspaces.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "core/cpu_features.hpp"
#include "core/parallel.hpp"
#include "core/run.hpp"
#include "harness.hpp"
#include "rb/table.hpp"

using namespace rb;

namespace {

constexpr size_t kGuard = 64;  // bytes after an array
constexpr unsigned char kMark = 0xA5;

template <typename T>
View view(std::vector<T>& data, DType dtype, i64 rows, i64 cols, bool transposed) {
    View v{};
    v.data = data.data();
    v.dtype = dtype;
    v.ndim = 2;
    v.shape[0] = rows;
    v.shape[1] = cols;
    v.stride[0] = transposed ? 1 : cols;
    v.stride[1] = transposed ? rows : 1;
    return v;
}

// Runs `impl` with the workspace that it asks for, between marks.
bool run_guarded(const Impl& impl, gemm_bf16_args args, i32 threads) {
    Ctx ctx{threads, 32 << 10, 1 << 20, 32 << 20};
    const i64 bytes = impl.work ? impl.work(&args, ctx) : 0;
    const size_t total = (size_t(bytes) + 64 + kGuard) / 64 * 64;
    std::unique_ptr<unsigned char, void (*)(void*)> work(static_cast<unsigned char*>(std::aligned_alloc(64, total)),
                                                         std::free);
    std::memset(work.get(), kMark, total);
    args.work = {work.get(), bytes};
    set_num_threads(threads);
    const FlushDenormals scope;
    impl.run(&args, ctx);
    for (size_t i = size_t(bytes); i < total; ++i)
        if (work.get()[i] != kMark) return false;
    return true;
}

// The bits of c, every NaN the same one; empty if the guard behind c was hit.
std::vector<u32> bits_of(const std::vector<unsigned char>& memory, i64 count) {
    for (size_t i = size_t(count) * 4; i < memory.size(); ++i)
        if (memory[i] != kMark) return {};
    std::vector<u32> bits(static_cast<size_t>(count));
    std::memcpy(bits.data(), memory.data(), size_t(count) * 4);
    for (u32& u : bits)
        if ((u & 0x7fffffff) > 0x7f800000) u = 0x7fc00000;
    return bits;
}

}  // namespace

TEST(bfloat16_products) {
    test::Rng rng(17);
    const i32 before = num_threads();
    int runs = 0;
    for (int round = 0; round < 60; ++round) {
        const i64 m = rng.integer(1, 70), n = rng.integer(1, 90), k = round % 15 ? rng.integer(0, 150) : 2601;
        const int low = round % 4 == 1 ? 60 : round % 4 == 2 ? 180 : 110, spread = round % 4 == 3 ? 100 : 25;
        const auto number = [&] {  // a float of random sign and fraction
            const u32 u = u32(rng.bits() & 0x807fffff) | u32(rng.integer(low, low + spread)) << 23;
            float f;
            std::memcpy(&f, &u, 4);
            return f;
        };
        std::vector<float> a(size_t(m * k)), b(size_t(k * n)), bias(static_cast<size_t>(n));
        for (std::vector<float>* v : {&a, &b, &bias})
            for (float& x : *v) x = number();
        std::vector<u16> ua(a.size()), ub(b.size());
        for (const auto& [from, to] : {std::pair{&a, &ua}, std::pair{&b, &ub}}) {
            to_bfloat16_args c{};
            c.x.data = from->data();
            c.y.data = to->data();
            c.y.dtype = u16t;
            c.x.ndim = c.y.ndim = 1;
            c.x.shape[0] = c.y.shape[0] = i64(from->size());
            c.x.stride[0] = c.y.stride[0] = 1;
            rb::run(op_to_bfloat16, &c);
        }
        const size_t bytes = size_t(m * n) * 4 + kGuard;
        gemm_bf16_args args{};
        args.a = round % 2 ? view(ua, u16t, m, k, round % 3 == 0) : view(a, f32, m, k, round % 3 == 0);
        args.b = round % 5 ? view(ub, u16t, k, n, round % 7 < 3) : view(b, f32, k, n, round % 7 < 3);
        args.bias.ndim = -1;
        if (round % 3) {
            args.bias = view(bias, f32, 1, n, false);
            args.bias.ndim = 1;
            args.bias.shape[0] = n;
            args.bias.stride[0] = 1;
        }
        args.act = round % 2;  // none, relu: the others are functions of a level
        std::vector<float> none;
        args.c = view(none, f32, m, n, false);
        const auto run = [&](const Impl& impl, i32 threads, const std::string& who) {
            std::vector<unsigned char> memory(bytes, kMark);
            args.c.data = memory.data();
            char message[256];
            if (check_args(op_gemm_bf16, &args, message, sizeof message)) test::report(__FILE__, __LINE__, message);
            if (!run_guarded(impl, args, threads)) test::report(__FILE__, __LINE__, who + ": workspace overrun");
            ++runs;
            return bits_of(memory, m * n);
        };
        const std::vector<u32> want = run(ref_table.entry[op_gemm_bf16][f32].impls[0], 1, "ref");
        for (int level = level_base; level <= machine_level(); ++level) {
            const Table* table = table_of(static_cast<Level>(level));
            if (!table) continue;
            const Entry& entry = table->entry[op_gemm_bf16][f32];
            CHECK(entry.count > 0);
            for (int i = 0; i < entry.count; ++i) {
                const Impl& impl = entry.impls[i];
                if (impl.accepts && !impl.accepts(&args)) continue;
                for (const i32 threads : {1, 2, 5}) {
                    const std::string who = std::string(level_name(static_cast<Level>(level))) + ":" + impl.name + " " +
                                            std::to_string(m) + "x" + std::to_string(k) + "x" + std::to_string(n) +
                                            " with " + std::to_string(threads) + " threads";
                    if (run(impl, threads, who) != want) test::report(__FILE__, __LINE__, who + ": other bits");
                }
            }
        }
    }
    set_num_threads(before);
    test::note(std::to_string(runs) + " runs");
}

TEST(bfloat16_refused) {
    std::vector<float> f(16);
    std::vector<double> d(16);
    std::vector<u16> u(16);
    char message[256];
    gemm_bf16_args args{};
    args.a = view(u, u16t, 4, 4, false);
    args.b = view(f, f32, 4, 4, false);
    args.c = view(f, f32, 4, 4, false);
    args.bias.ndim = -1;
    CHECK(!check_args(op_gemm_bf16, &args, message, sizeof message));
    args.c = view(d, f64, 4, 4, false);
    CHECK(check_args(op_gemm_bf16, &args, message, sizeof message));
    args.c = view(f, f32, 4, 4, false);
    args.a = view(d, f64, 4, 4, false);
    CHECK(check_args(op_gemm_bf16, &args, message, sizeof message));
    args.a = view(u, u16t, 4, 3, false);
    CHECK(check_args(op_gemm_bf16, &args, message, sizeof message));
}
