// ref_gemm.cpp: c = act(alpha * a @ b + bias + beta * c), optionally with leading batch axes on every operand.
#include "ref/ref.hpp"

#include <cmath>
#include <cstring>  // memcpy

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

namespace {

// Bits, not values: reading a subnormal float may give 0.
float from_bits(u32 bits) {
    const u32 word = bits << 16;
    float f;
    std::memcpy(&f, &word, 4);
    return f;
}

// The nearest bfloat16, halves to even.
u32 bfloat16_of_bits(u32 u) {
    if ((u & 0x7fffffff) > 0x7f800000) return (u >> 16) | 0x40;  // NaN
    const u32 rest = u & 0xffff, half = 0x8000;
    u >>= 16;
    return rest > half || (rest == half && u % 2 == 1) ? u + 1 : u;
}
u32 bfloat16_of(float x) {
    u32 u;
    std::memcpy(&u, &x, 4);
    return bfloat16_of_bits(u);
}
u32 bfloat16_of(double x) {  // first to the odd float: cut off, the last bit set if that lost any
    const float f = float(x);
    u32 u;
    std::memcpy(&u, &f, 4);
    if (std::isnan(x)) return bfloat16_of_bits(u);
    if (std::fabs(double(f)) > std::fabs(x)) --u;
    if (double(f) != x) u |= 1;
    return bfloat16_of_bits(u);
}

}  // namespace

template <typename T>
void to_bfloat16(const to_bfloat16_args& a) {
    for (i64 i = 0; i < numel(a.y); ++i) ptr<u16>(a.y)[i] = u16(bfloat16_of(ptr<T>(a.x)[i]));
}
template <typename T>
void from_bfloat16(const from_bfloat16_args& a) {
    for (i64 i = 0; i < numel(a.y); ++i) ptr<T>(a.y)[i] = T(from_bits(ptr<u16>(a.x)[i]));
}

// T = float has the bits of every level: a product of bfloat16 numbers is exact in double, and so is its sum with a
// float, or too far from a tie of floats for the second rounding to matter. T = double rounds less.
template <typename T>
void gemm_bf16(const gemm_bf16_args& g) {
    constexpr i64 kBlock = 640;  // pairs
    const i64 M = g.c.shape[0], N = g.c.shape[1], K = g.a.shape[1], pairs = (K + 1) / 2;
    const i64 blocks = pairs > kBlock ? (pairs + kBlock - 1) / kBlock : 1;
    const auto at = [](const View& v, i64 i, i64 j) {
        const i64 o = i * v.stride[0] + j * v.stride[1];
        return double(from_bits(v.dtype == u16t ? u32(ptr<u16>(v)[o]) : bfloat16_of(ptr<float>(v)[o])));
    };
    const auto flushed = [](double x) { return std::fabs(x) < 0x1p-126 ? std::copysign(0.0, x) : x; };
    for (i64 i = 0; i < M; ++i) {
        for (i64 j = 0; j < N; ++j) {
            T sum = 0;
            i64 p = 0;
            for (i64 block = 0; block < blocks; ++block) {
                T chain = 0;
                for (const i64 end = p + pairs / blocks + (block < pairs % blocks); p < end; ++p) {
                    for (i64 k = 2 * p + 1; k >= 2 * p; --k) {
                        const double x = k < K ? flushed(at(g.a, i, k)) : 0, y = k < K ? flushed(at(g.b, k, j)) : 0;
                        chain = T(double(chain) + x * y);
                    }
                }
                sum = block ? sum + chain : chain;
            }
            if (present(g.bias)) sum += ptr<T>(g.bias)[j];
            ptr<T>(g.c)[i * N + j] = T(activate(double(sum), g.act));
        }
    }
}

RB_REF_INSTANTIATE(gemm)
RB_REF_INSTANTIATE(to_bfloat16)
RB_REF_INSTANTIATE(from_bfloat16)
RB_REF_INSTANTIATE(gemm_bf16)

}  // namespace rb::ref
