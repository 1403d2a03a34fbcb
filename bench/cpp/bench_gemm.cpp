// bench_gemm.cpp: the matrix products of bench/shapes/gemm.txt through rb::run, the gate every call passes.
// With --sweep as the first argument: the squares 128 to 320 instead, to see the steps between neighbouring sizes.
#include "common.hpp"

namespace {

using bench::Array;

void product(benchmark::State& state, rb::i64 m, rb::i64 k, rb::i64 n, const std::string& form, rb::i64 batch) {
    const bool ta = form[0] == 'T', tb = form[1] == 'T';
    Array a({batch, ta ? k : m, ta ? m : k}), b({batch, tb ? n : k, tb ? k : n}), c({batch, m, n});
    rb::gemm_args args{};
    args.a = ta ? bench::transposed(a.view()) : a.view();
    args.b = tb ? bench::transposed(b.view()) : b.view();
    args.bias = bench::absent();
    args.c = c.view();
    if (batch == 1)
        for (rb::View* v : {&args.a, &args.b, &args.c}) {  // plain matrices
            v->ndim = 2;
            for (int d = 0; d < 2; ++d) {
                v->shape[d] = v->shape[d + 1];
                v->stride[d] = v->stride[d + 1];
            }
        }
    args.alpha = 1;
    bench::time_op(state, rb::op_gemm, &args, c, 2.0 * double(batch) * double(m) * double(n) * double(k));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::string(argv[1]) == "--sweep") {
        for (rb::i64 n = 128; n <= 320; ++n)
            for (const std::string form : {"NN", "NT", "TN"})
                bench::add_benchmark("sweep/" + form + "/" + std::to_string(n),
                                     [=](benchmark::State& s) { product(s, n, n, n, form, 1); });
        argv[1] = argv[0];
        return bench::run_all(argc - 1, argv + 1);
    }
    for (const auto& w : bench::read_shapes(RB_SHAPES "/gemm.txt")) {
        if (w.size() != 6) continue;
        const rb::i64 m = std::stoll(w[1]), k = std::stoll(w[2]), n = std::stoll(w[3]), batch = std::stoll(w[5]);
        const std::string form = w[4];
        bench::add_benchmark("gemm/" + w[0], [=](benchmark::State& s) { product(s, m, k, n, form, batch); });
    }
    return bench::run_all(argc, argv);
}
