// ref_gemm.cpp: c = act(alpha * a @ b + bias + beta * c), optionally with leading batch axes on every operand.
#include "ref/ref.hpp"

#include <cmath>

namespace rb::ref {

double activate(double x, i64 act) {
    switch (act) {
        case act_relu:
            return x <= 0.0 ? 0.0 : x;
        case act_tanh:
            return std::tanh(x);
        case act_sigmoid:
            return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
        default:
            return x;
    }
}

template <typename T>
void gemm(const gemm_args& g) {
    const int lead = g.c.ndim - 2;  // batch axes
    i64 B = 1;
    for (int d = 0; d < lead; ++d) B *= g.c.shape[d];
    const auto offset = [lead](const View& v, i64 n) {  // of product n
        i64 at = 0;
        for (int d = lead - 1; d >= 0; n /= v.shape[d--]) at += n % v.shape[d] * v.stride[d];
        return at;
    };
    const i64 M = g.c.shape[lead], N = g.c.shape[lead + 1], K = g.a.shape[lead + 1];
    for (i64 n = 0; n < B; ++n) {
        const T* a = ptr<T>(g.a) + offset(g.a, n);                                                    // [M,K] strided
        const T* b = ptr<T>(g.b) + offset(g.b, n);                                                    // [K,N] strided
        const T* bias = present(g.bias) ? ptr<T>(g.bias) + (g.bias.ndim == 2 ? n * N : 0) : nullptr;  // [N]
        T* c = ptr<T>(g.c) + offset(g.c, n);                                                          // [M,N]
        for (i64 i = 0; i < M; ++i) {
            for (i64 j = 0; j < N; ++j) {
                double s = 0.0;
                for (i64 k = 0; k < K; ++k) {
                    s += double(a[i * g.a.stride[lead] + k * g.a.stride[lead + 1]]) *
                         double(b[k * g.b.stride[lead] + j * g.b.stride[lead + 1]]);
                }
                s *= g.alpha;
                if (bias) s += double(bias[j]);
                T* out = c + i * g.c.stride[lead] + j * g.c.stride[lead + 1];
                if (g.beta != 0.0) s += g.beta * double(*out);
                *out = T(activate(s, g.act));
            }
        }
    }
}

RB_REF_INSTANTIATE(gemm)

}  // namespace rb::ref
