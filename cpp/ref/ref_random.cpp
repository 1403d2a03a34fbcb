// ref_random.cpp: random numbers straight from the definition in ops.def, one block at a time. Element i of y takes
// word i%4 of block i/4 (double: words 2*(i%2) and 2*(i%2)+1 of block i/2). Normal numbers come in pairs (elements 2j,
// 2j+1) by Box-Muller: r = sqrt(-2 ln u1), (r cos 2 pi u2, r sin 2 pi u2), u1 from the first element's word(s), u2 from
// the second's.
#include "ref/ref.hpp"

#include <cmath>

namespace rb::ref {
namespace {

#include "core/philox.hpp"

constexpr long double kTwoPi = 6.283185307179586476925286766559L;

// u in [0,1) of element i.
double uniform_at(const Seed& seed, i64 i, float) {
    u32 w[4];
    philox_block(seed, u64(i) / 4, w);
    return double(uniform_from(w[i % 4]));
}
double uniform_at(const Seed& seed, i64 i, double) {
    u32 w[4];
    philox_block(seed, u64(i) / 2, w);
    return uniform_from(w[2 * (i % 2)], w[2 * (i % 2) + 1]);
}

double open_uniform_at(const Seed& seed, i64 i, float) {
    u32 w[4];
    philox_block(seed, u64(i) / 4, w);
    return double(open_uniform_from(w[i % 4]));
}
double open_uniform_at(const Seed& seed, i64 i, double) {
    u32 w[4];
    philox_block(seed, u64(i) / 2, w);
    return open_uniform_from(w[2 * (i % 2)], w[2 * (i % 2) + 1]);
}

}  // namespace

template <typename T>
void uniform(const uniform_args& a) {
    const T low = T(a.low), span = T(a.high - a.low);
    for (i64 i = 0; i < numel(a.y); ++i) ptr<T>(a.y)[i] = low + span * T(uniform_at(a.seed, i, T()));
}

template <typename T>
void normal(const normal_args& a) {
    for (i64 i = 0; i < numel(a.y); ++i) {
        const i64 first = i - i % 2;
        double r = std::sqrt(-2.0 * std::log(open_uniform_at(a.seed, first, T())));
        long double angle = kTwoPi * uniform_at(a.seed, first + 1, T());
        T z = T(r * double(i % 2 ? std::sin(angle) : std::cos(angle)));
        ptr<T>(a.y)[i] = T(a.mean + a.std * double(z));
    }
}

template <typename T>
void dropout(const dropout_args& a) {
    const T scale = T(1.0 / (1.0 - a.p));
    for (i64 i = 0; i < numel(a.y); ++i)
        ptr<T>(a.y)[i] = uniform_at(a.seed, i, T()) >= a.p ? ptr<T>(a.x)[i] * scale : T(0);
}

RB_REF_INSTANTIATE(uniform)
RB_REF_INSTANTIATE(normal)
RB_REF_INSTANTIATE(dropout)

}  // namespace rb::ref
