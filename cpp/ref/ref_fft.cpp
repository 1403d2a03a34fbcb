// ref_fft.cpp: discrete Fourier transforms by their definition, along axis 1; see ops.def. The tables are not read:
// this is what they are compared with.
#include "ref/ref.hpp"

#include <cmath>
#include <vector>

namespace rb::ref {
namespace {

// cos and sin of 2 pi k / n for 0 <= k < n; sums of n terms in long double leave nothing of the rounding
struct Circle {
    std::vector<long double> c, s;
    explicit Circle(i64 n) : c(std::size_t(n)), s(std::size_t(n)) {
        for (i64 k = 0; k < n; ++k) {
            const long double angle = 6.283185307179586476925286766559005768L * (long double)(k) / (long double)(n);
            c[std::size_t(k)] = cosl(angle);
            s[std::size_t(k)] = sinl(angle);
        }
    }
};

// Complex number k of line (a, b) of v [A,m,B,2], zero from m on.
template <typename T>
const T* at(const View& v, i64 a, i64 k, i64 b) {
    return ptr<T>(v) + ((a * v.shape[1] + k) * v.shape[2] + b) * 2;
}

// re, im += x e^(sign 2 pi i t / n)
void turn(const Circle& w, i64 t, double sign, double xr, double xi, long double& re, long double& im) {
    const long double c = w.c[std::size_t(t)], s = sign * w.s[std::size_t(t)];
    re += xr * c - xi * s;
    im += xr * s + xi * c;
}

}  // namespace

template <typename T>
void fft(const fft_args& a) {
    const i64 A = a.y.shape[0], n = a.y.shape[1], B = a.y.shape[2], m = a.x.shape[1] < n ? a.x.shape[1] : n;
    const Circle w(n);
    for (i64 u = 0; u < A; ++u)
        for (i64 b = 0; b < B; ++b)
            for (i64 k = 0; k < n; ++k) {
                long double re = 0, im = 0;
                for (i64 i = 0; i < m; ++i) {
                    const T* x = at<T>(a.x, u, i, b);
                    turn(w, i * k % n, a.inverse ? 1.0 : -1.0, double(x[0]), double(x[1]), re, im);
                }
                T* y = const_cast<T*>(at<T>(a.y, u, k, b));
                y[0] = T(a.scale * re);
                y[1] = T(a.scale * im);
            }
}

template <typename T>
void rfft(const rfft_args& a) {
    const i64 A = a.y.shape[0], n = a.n, B = a.y.shape[2], m = a.x.shape[1] < n ? a.x.shape[1] : n;
    const Circle w(n);
    for (i64 u = 0; u < A; ++u)
        for (i64 b = 0; b < B; ++b)
            for (i64 k = 0; k <= n / 2; ++k) {
                long double re = 0, im = 0;
                for (i64 i = 0; i < m; ++i)
                    turn(w, i * k % n, -1.0, double(ptr<T>(a.x)[(u * a.x.shape[1] + i) * B + b]), 0.0, re, im);
                T* y = const_cast<T*>(at<T>(a.y, u, k, b));
                y[0] = T(a.scale * re);
                y[1] = T(a.scale * im);
            }
}

template <typename T>
void irfft(const irfft_args& a) {
    const i64 A = a.y.shape[0], n = a.y.shape[1], B = a.y.shape[2];
    const i64 m = a.x.shape[1] < n / 2 + 1 ? a.x.shape[1] : n / 2 + 1;
    const Circle w(n);
    for (i64 u = 0; u < A; ++u)
        for (i64 b = 0; b < B; ++b)
            for (i64 i = 0; i < n; ++i) {
                long double re = 0, im = 0;
                for (i64 k = 0; k < m; ++k) {
                    const T* x = at<T>(a.x, u, k, b);
                    const bool own = k == 0 || 2 * k == n;  // a bin without a mirror image; its imaginary part is void
                    long double r = 0;
                    turn(w, i * k % n, 1.0, double(x[0]), own ? 0.0 : double(x[1]), r, im);
                    re += own ? r : 2 * r;
                }
                ptr<T>(a.y)[(u * n + i) * B + b] = T(a.scale * re);
            }
}

RB_REF_INSTANTIATE(fft)
RB_REF_INSTANTIATE(rfft)
RB_REF_INSTANTIATE(irfft)

}  // namespace rb::ref
