// math.inl: exp, log, tanh, erf, pow and friends as branch-free scalar functions that the compiler vectorises in plain
// loops. One lane is one call: body and tail of a loop, and fused and unfused paths, give the same bits in a level.
//
// Bounds against a correctly rounded result, in ULP: the largest error over all floats as the ops deliver them
// (denormals flushed) at avx2 and avx512 / at base, results below 2^-118 left out. tests/test_math.py checks them.
//   exp 1.1 / 1.1    expm1 1.7 / 2.0   log 0.9 / 0.9    log1p 1.5 / 1.5   tanh 2.5 / 2.6   sigmoid 2.5 / 2.6
//   erf 1.6 / 2.5    pow 1.5 / libm (float); double within 0.5 more, its pow is libm's
// All: NaN gives NaN; the limits at +-inf are exact.

// a*b + c, rounded once where the level has FMA. The only way kernels fuse a multiply and an add.
static inline float rb_fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
static inline double rb_fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

static inline u32 to_bits(float x) {
    return __builtin_bit_cast(u32, x);
}
static inline u64 to_bits(double x) {
    return __builtin_bit_cast(u64, x);
}
static inline float from_bits(u32 x) {
    return __builtin_bit_cast(float, x);
}
static inline double from_bits(u64 x) {
    return __builtin_bit_cast(double, x);
}

static inline float rb_abs(float x) {
    return from_bits(to_bits(x) & 0x7fffffffu);
}
static inline double rb_abs(double x) {
    return from_bits(to_bits(x) & u64{0x7fffffffffffffff});
}
static inline float rb_copysign(float mag, float sgn) {  // mag must not be negative
    return from_bits(to_bits(mag) | (to_bits(sgn) & 0x80000000u));
}
static inline double rb_copysign(double mag, double sgn) {
    return from_bits(to_bits(mag) | (to_bits(sgn) & u64{0x8000000000000000}));
}
static inline float rb_sqrt(float x) {
    return __builtin_sqrtf(x);
}
static inline double rb_sqrt(double x) {
    return __builtin_sqrt(x);
}

#define RB_ROUNDING(name)                      \
    static inline float rb_##name(float x) {   \
        return __builtin_##name##f(x);         \
    }                                          \
    static inline double rb_##name(double x) { \
        return __builtin_##name(x);            \
    }
RB_ROUNDING(floor)
RB_ROUNDING(ceil)
RB_ROUNDING(rint)
#undef RB_ROUNDING

// NaN in either operand gives NaN.
template <typename T>
static inline T rb_max(T a, T b) {
    T m = a > b ? a : b;
    return a != a ? a : m;
}
template <typename T>
static inline T rb_min(T a, T b) {
    T m = a < b ? a : b;
    return a != a ? a : m;
}
template <typename T>
static inline T rb_relu(T x) {  // NaN stays NaN, relu(-0) = +0
    return x <= T(0) ? T(0) : x;
}

// The smaller of x and high > 0, the larger of x and low < 0, for arguments that are cut off where the result is known.
// float: on the bits, which compare like integers; a comparison of floats would cost a mask and a blend, and several of
// them in one function are merged into chains of masks. What is not a number may come out as the limit.
static inline float rb_at_most(float x, float high) {
    const i32 a = i32(to_bits(x)), b = i32(to_bits(high));
    return from_bits(u32(a < b ? a : b));
}
static inline float rb_at_least(float x, float low) {
    const u32 a = to_bits(x), b = to_bits(low);
    return from_bits(a < b ? a : b);
}
static inline double rb_at_most(double x, double high) {
    return x > high ? high : x;
}
static inline double rb_at_least(double x, double low) {
    return x < low ? low : x;
}

// Adding kRound rounds to the nearest integer and leaves it in the low bits: (kRound + bias + k) << mantissa bits is
// 2^k. log2(e) and ln 2 = hi + lo, hi with trailing zeros so that k*hi is exact without FMA.
constexpr float kRoundF = 12582912.0f;  // 1.5 * 2^23
constexpr float kLog2eF = 0x1.715476p+0f, kLn2HiF = 0x1.62e000p-1f, kLn2LoF = 0x1.0bfbe8p-15f;
constexpr double kRoundD = 6755399441055744.0;  // 1.5 * 2^52
constexpr double kLog2eD = 0x1.71547652b82fep+0, kLn2HiD = 0x1.62e42fee00000p-1, kLn2LoD = 0x1.a39ef35793c76p-33;

// exp(r) - 1 for |r| <= ln(2)/2, relative error below 0.2 ULP of the polynomial (Chebyshev fit of (exp(r)-1-r)/r^2).
static inline float rb_expm1_core(float r) {
    float q = 0.0013926199f;
    q = rb_fma(q, r, 0.008363191f);
    q = rb_fma(q, r, 0.041666556f);
    q = rb_fma(q, r, 0.16666576f);
    q = rb_fma(q, r, 0.5f);
    return rb_fma(r * r, q, r);
}
static inline double rb_expm1_core(double r) {
    double q = 0x1.af38c03804c23p-26;
    q = rb_fma(q, r, 0x1.289197b05519bp-22);
    q = rb_fma(q, r, 0x1.71de0da4ea540p-19);
    q = rb_fma(q, r, 0x1.a019b8fdc4827p-16);
    q = rb_fma(q, r, 0x1.a01a01a7c68ddp-13);
    q = rb_fma(q, r, 0x1.6c16c1788fd02p-10);
    q = rb_fma(q, r, 0x1.11111111109b0p-7);
    q = rb_fma(q, r, 0x1.5555555553d59p-5);
    q = rb_fma(q, r, 0x1.5555555555556p-3);
    q = rb_fma(q, r, 0.5);
    return rb_fma(r * r, q, r);
}

// exp(r) * 2^k in two factors, because 2^k itself may not be a normal number: m = k + twice the bias is split in
// halves, whose low bits are the two exponent fields.
static inline float rb_exp_scaled(float r, u32 m) {
    const u32 half = m >> 1;
    return (1.0f + rb_expm1_core(r)) * from_bits(half << 23) * from_bits((m - half) << 23);
}
// exp(x + low), |low| far below 1
static inline float rb_exp_sum(float x, float low) {
    x = x > 89.0f ? 89.0f : x;  // beyond: the result is inf or 0 all the same
    x = x < -104.0f ? -104.0f : x;
    const float shifted = rb_fma(x, kLog2eF, kRoundF + 254.0f), k = shifted - (kRoundF + 254.0f);
    const float r = rb_fma(k, -kLn2LoF, rb_fma(k, -kLn2HiF, x)) + low;
    const u32 m = to_bits(shifted), half = m >> 1;
    return (1.0f + rb_expm1_core(r)) * from_bits(half << 23) * from_bits((m - half) << 23);
}
static inline float rb_exp(float x) {
    const float t = rb_at_least(rb_at_most(x, 89.0f), -104.0f);
    const float shifted = rb_fma(t, kLog2eF, kRoundF + 254.0f), k = shifted - (kRoundF + 254.0f);
    const float y = rb_exp_scaled(rb_fma(k, -kLn2LoF, rb_fma(k, -kLn2HiF, t)), to_bits(shifted));
    return x == x ? y : x;
}
static inline double rb_exp(double x) {
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    const double shifted = rb_fma(x, kLog2eD, kRoundD + 2046.0), k = shifted - (kRoundD + 2046.0);
    const double r = rb_fma(k, -kLn2LoD, rb_fma(k, -kLn2HiD, x));
    const u64 m = to_bits(shifted), half = m >> 1;
    return (1.0 + rb_expm1_core(r)) * from_bits(half << 52) * from_bits((m - half) << 52);
}

// exp(x) - 1 = 2 * (2^(k-1) * expm1(r) + (2^(k-1) - 1/2)): k - 1 stays in range where exp(x) overflows.
static inline float rb_expm1(float x) {
    const float t = rb_at_least(rb_at_most(x, 89.0f), -20.0f);
    const float shifted = rb_fma(t, kLog2eF, kRoundF + 126.0f), k = shifted - (kRoundF + 126.0f);
    const float r = rb_fma(k, -kLn2LoF, rb_fma(k, -kLn2HiF, t));
    const float s = from_bits(to_bits(shifted) << 23);
    const float y = 2.0f * rb_fma(rb_expm1_core(r), s, s - 0.5f);
    return x == x ? y : x;
}
static inline double rb_expm1(double x) {
    double t = x > 710.0 ? 710.0 : x;
    t = t < -40.0 ? -40.0 : t;
    const double shifted = rb_fma(t, kLog2eD, kRoundD + 1022.0), k = shifted - (kRoundD + 1022.0);
    const double r = rb_fma(k, -kLn2LoD, rb_fma(k, -kLn2HiD, t));
    const double s = from_bits(to_bits(shifted) << 52);
    return 2.0 * rb_fma(rb_expm1_core(r), s, s - 0.5);
}

// e ln 2 + log(1 + f), 1 + f in [sqrt(1/2), sqrt(2)): with s = f/(2+f): log(1+f) = 2s + s^3 * L(s^2).
static inline float rb_log_core(float e, float f) {
    float s = f / (2.0f + f);
    float z = s * s;
    float l = 0.23330964f;
    l = rb_fma(l, z, 0.28550804f);
    l = rb_fma(l, z, 0.40000123f);
    l = rb_fma(l, z, 0.6666667f);
    float hfsq = 0.5f * f * f;
    float t = rb_fma(s, rb_fma(l, z, hfsq), e * kLn2LoF);
    return rb_fma(e, kLn2HiF, f - (hfsq - t));
}
static inline double rb_log_core(double e, double f) {
    double s = f / (2.0 + f);
    double z = s * s;
    double l = 0x1.2b5b5fb2eac92p-3;
    l = rb_fma(l, z, 0x1.39fe208c33457p-3);
    l = rb_fma(l, z, 0x1.7462b69705382p-3);
    l = rb_fma(l, z, 0x1.c71c62debf86bp-3);
    l = rb_fma(l, z, 0x1.2492492df6947p-2);
    l = rb_fma(l, z, 0x1.99999999952b2p-2);
    l = rb_fma(l, z, 0x1.5555555555558p-1);
    double hfsq = 0.5 * f * f;
    double t = rb_fma(s, rb_fma(l, z, hfsq), e * kLn2LoD);
    return rb_fma(e, kLn2HiD, f - (hfsq - t));
}

// x = 2^e * (1 + f); the constants move the mantissa's range from [1, 2) to [sqrt(1/2), sqrt(2)).
constexpr u32 kHalfRootF = 0x3f3504f3u, kShiftF = 0x3f800000u - 0x3f3504f3u;
constexpr u64 kHalfRootD = 0x3fe6a09e667f3bcd, kShiftD = u64{0x3ff0000000000000} - u64{0x3fe6a09e667f3bcd};

static inline float rb_log(float x) {
    float tiny = x < 0x1p-126f ? 8388608.0f : 1.0f;
    float bias = x < 0x1p-126f ? 8388608.0f + 127.0f + 23.0f : 8388608.0f + 127.0f;
    u32 ix = to_bits(x * tiny) + kShiftF;
    float e = from_bits(0x4b000000u + (ix >> 23)) - bias;
    float y = rb_log_core(e, from_bits((ix & 0x007fffffu) + kHalfRootF) - 1.0f);
    y = x > 0x1.fffffep+127f ? x : y;
    y = x == 0.0f ? -__builtin_inff() : y;
    return x >= 0.0f ? y : __builtin_nanf("");
}
static inline double rb_log(double x) {
    double tiny = x < 0x1p-1022 ? 0x1p54 : 1.0;
    double bias = x < 0x1p-1022 ? 0x1p52 + 1023.0 + 54.0 : 0x1p52 + 1023.0;
    u64 ix = to_bits(x * tiny) + kShiftD;
    double e = from_bits(u64{0x4330000000000000} + (ix >> 52)) - bias;
    double y = rb_log_core(e, from_bits((ix & u64{0x000fffffffffffff}) + kHalfRootD) - 1.0);
    y = x > 0x1.fffffffffffffp+1023 ? x : y;
    y = x == 0.0 ? -__builtin_inf() : y;
    return x >= 0.0 ? y : __builtin_nan("");
}

// log(1 + x): what rounding 1 + x = u lost, x - (u - 1), goes into f, scaled by 2^-e.
static inline float rb_log1p(float x) {
    const float u = 1.0f + x, lost = x - (u - 1.0f);
    const u32 ix = to_bits(u) + kShiftF, field = ix >> 23;
    const float e = from_bits(0x4b000000u + field) - (8388608.0f + 127.0f);
    const float f = from_bits((ix & 0x007fffffu) + kHalfRootF) - 1.0f;
    float y = rb_log_core(e, rb_fma(lost, from_bits((field < 254u ? 254u - field : 0u) << 23), f));
    y = x > 0x1.fffffep+127f ? x : y;
    y = x == -1.0f ? -__builtin_inff() : y;
    return x >= -1.0f ? y : __builtin_nanf("");
}
static inline double rb_log1p(double x) {
    const double u = 1.0 + x, lost = x - (u - 1.0);
    const u64 ix = to_bits(u) + kShiftD, field = ix >> 52;
    const double e = from_bits(u64{0x4330000000000000} + field) - (0x1p52 + 1023.0);
    const double f = from_bits((ix & u64{0x000fffffffffffff}) + kHalfRootD) - 1.0;
    double y = rb_log_core(e, rb_fma(lost, from_bits((field < 2046 ? u64{2046} - field : u64{0}) << 52), f));
    y = x > 0x1.fffffffffffffp+1023 ? x : y;
    y = x == -1.0 ? -__builtin_inf() : y;
    return x >= -1.0 ? y : __builtin_nan("");
}

// tanh|x| = m / (m + 2), m = expm1(2|x|) = 2^k * expm1(r) + (2^k - 1); beyond the clamp the result rounds to 1. With
// fma, ln 2 in one float is enough: k <= 27 times its error of 2e-9 is nothing where the slope is not.
static inline float rb_tanh(float x) {
    float t = rb_abs(x);
    t = rb_at_most(t + t, 18.5f);
    const float shifted = rb_fma(t, kLog2eF, kRoundF + 127.0f), k = shifted - (kRoundF + 127.0f);
#if defined(__FMA__) || defined(__aarch64__)
    const float r = rb_fma(k, -0.693147182f, t);
#else
    const float r = rb_fma(k, -kLn2LoF, rb_fma(k, -kLn2HiF, t));
#endif
    const float s = from_bits(to_bits(shifted) << 23);
    const float m = rb_fma(rb_expm1_core(r), s, s - 1.0f);
    const float y = rb_copysign(m / (m + 2.0f), x);
    return x == x ? y : x;
}
static inline double rb_tanh(double x) {
    double t = 2.0 * rb_abs(x);
    t = t > 39.0 ? 39.0 : t;
    const double shifted = rb_fma(t, kLog2eD, kRoundD + 1023.0), k = shifted - (kRoundD + 1023.0);
    const double r = rb_fma(k, -kLn2LoD, rb_fma(k, -kLn2HiD, t));
    const double s = from_bits(to_bits(shifted) << 52);
    const double m = rb_fma(rb_expm1_core(r), s, s - 1.0);
    return rb_copysign(m / (m + 2.0), x);
}

// 1 / (1 + e^-x), 1 + e^-x = 2^k * expm1(r) + (1 + 2^k). The clamps keep 2^k normal: beyond the upper one the quotient
// is below the normal numbers, which float ops flush to 0.
static inline float rb_sigmoid(float x) {
    const float t = rb_at_least(rb_at_most(-x, 88.0f), -87.0f);
    const float shifted = rb_fma(t, kLog2eF, kRoundF + 127.0f), k = shifted - (kRoundF + 127.0f);
    const float r = rb_fma(k, -kLn2LoF, rb_fma(k, -kLn2HiF, t));
    const float s = from_bits(to_bits(shifted) << 23);
    const float y = 1.0f / rb_fma(rb_expm1_core(r), s, 1.0f + s);
    return x < -87.33654f ? 0.0f : x == x ? y : x;
}
// e = exp(-|x|) <= 1: 1/(1+e) for x >= 0, e/(1+e) below, down to the denormals.
static inline double rb_sigmoid(double x) {
    const double e = rb_exp(-rb_abs(x)), num = x >= 0.0 ? 1.0 : e;
    return num / (1.0 + e);
}

// log(1 + e^x), no overflow
template <typename T>
static inline T rb_softplus(T x) {
    return rb_relu(x) + rb_log1p(rb_exp(-rb_abs(x)));
}

// exp(-(square + low)): low is what rounding lost of a square.
static inline double rb_gauss(double square, double low) {
    const double g = rb_exp(-square);
    return rb_fma(-low, g, g);
}

// erfc(t) * exp(t^2) = h(q) / (t + K), q = (t - K) / (t + K), for finite t >= 0; h: Chebyshev fit on [-1, 1].
static inline double rb_erfc_scaled(double t) {
    const double inverse = 1.0 / (t + 4.0), q = (t - 4.0) * inverse;
    double h = -0x1.99842fd62f414p-33;
    h = rb_fma(h, q, -0x1.504c6004758c6p-34);
    h = rb_fma(h, q, 0x1.3f851dfdb9e2ep-29);
    h = rb_fma(h, q, 0x1.83a51375685c6p-31);
    h = rb_fma(h, q, -0x1.38d2f974d9e8ap-26);
    h = rb_fma(h, q, -0x1.2ec531c275946p-32);
    h = rb_fma(h, q, 0x1.10a0f6c4b1e42p-23);
    h = rb_fma(h, q, -0x1.3f8e9228958bbp-24);
    h = rb_fma(h, q, -0x1.c7340dc93a223p-21);
    h = rb_fma(h, q, 0x1.7e21437faf536p-20);
    h = rb_fma(h, q, 0x1.3b147375569a6p-18);
    h = rb_fma(h, q, -0x1.3c6de66a9c08fp-16);
    h = rb_fma(h, q, -0x1.e7ecfab456f4bp-19);
    h = rb_fma(h, q, 0x1.72cda1cde2ceap-13);
    h = rb_fma(h, q, -0x1.dd2844a3d9b3dp-12);
    h = rb_fma(h, q, -0x1.269b51c9aaecdp-12);
    h = rb_fma(h, q, 0x1.908f47249f50ep-8);
    h = rb_fma(h, q, -0x1.b00c052c4aa07p-6);
    h = rb_fma(h, q, 0x1.38dbd2c8e096bp-4);
    h = rb_fma(h, q, -0x1.645fd8a4bc0c5p-3);
    h = rb_fma(h, q, 0x1.52cac237101a8p-2);
    h = rb_fma(h, q, -0x1.14eacb1ad0338p-1);
    h = rb_fma(h, q, 0x1.8be202d26c705p-1);
    h = rb_fma(h, q, -0x1.f3fe31ecb49bfp-1);
    h = rb_fma(h, q, 0x1.18932bf08e154p+0);
    return h * inverse;
}

// erf(x) / x - 1 for |x| <= 1 in z = x^2
static inline float rb_erf_core(float z) {
    float p = 7.875875e-05f;
    p = rb_fma(p, z, -0.00080168643f);
    p = rb_fma(p, z, 0.0051890872f);
    p = rb_fma(p, z, -0.026854211f);
    p = rb_fma(p, z, 0.11283594f);
    p = rb_fma(p, z, -0.37612626f);
    return rb_fma(p, z, 0.12837917f);
}
static inline double rb_erf_core(double z) {
    double p = 0x1.05ffd737fb32ep-34;
    p = rb_fma(p, z, -0x1.389d4f2641625p-30);
    p = rb_fma(p, z, 0x1.f7b4bf3b13964p-27);
    p = rb_fma(p, z, -0x1.5f1ecb6f0764cp-23);
    p = rb_fma(p, z, 0x1.b9df224ca4b97p-20);
    p = rb_fma(p, z, -0x1.f4d1e3183f7aep-17);
    p = rb_fma(p, z, 0x1.f9a321d5b8e1ep-14);
    p = rb_fma(p, z, -0x1.c02db3dac435fp-11);
    p = rb_fma(p, z, 0x1.565bcd0dbaa38p-8);
    p = rb_fma(p, z, -0x1.b82ce31284e00p-6);
    p = rb_fma(p, z, 0x1.ce2f21a042b30p-4);
    p = rb_fma(p, z, -0x1.812746b0379e6p-2);
    return rb_fma(p, z, 0x1.06eba8214db69p-3);
}
// Phi(-|x|) = erfc(|x| / sqrt(2)) / 2, the normal distribution's tail, and bell = exp(-x^2 / 2).
static inline double rb_normal_tail(double x, double& bell) {
    constexpr double kEnd = 39.0;  // from here on 0
    double a = rb_abs(x);
    a = a > kEnd ? kEnd : a;
    const double half = 0.5 * a, square = half * a;
    bell = rb_gauss(square, rb_fma(half, a, -square));
    return 0.5 * rb_erfc_scaled(a * 0.70710678118654752440) * bell;
}
// float32: a = |x| up to where bell becomes 0 (2^k is 2^-126 or 0); Phi(-a) = tail * bell. tail: fit
// of erfc(a / sqrt(2)) exp(a^2 / 2) / 2 * (a + K) in (a - K) / (a + K) on this interval, relative error 2^-26.
static inline void rb_normal_tail(float a, float& tail, float& bell) {
    const float half = 0.5f * a, square = half * a, low = rb_fma(half, a, -square);
    const float shifted = rb_fma(square, -kLog2eF, kRoundF + 127.0f), k = shifted - (kRoundF + 127.0f);
    const float r = rb_fma(k, -kLn2LoF, rb_fma(k, -kLn2HiF, -square)) - low;
    const float s = from_bits(to_bits(shifted) << 23);
    bell = (1.0f + rb_expm1_core(r)) * s;
    const float inverse = 1.0f / (a + 4.75f), q = (a - 4.75f) * inverse;
    float h = -0.0013068339f;
    h = rb_fma(h, q, 0.00022593065f);
    h = rb_fma(h, q, 0.011543291f);
    h = rb_fma(h, q, -0.050628684f);
    h = rb_fma(h, q, 0.13810687f);
    h = rb_fma(h, q, -0.28418383f);
    h = rb_fma(h, q, 0.47206444f);
    h = rb_fma(h, q, -0.65358937f);
    h = rb_fma(h, q, 0.7664163f);
    tail = h * inverse;
}
static inline float rb_erf(float x) {  // beyond 1: 1 - 2 Phi(-|x| sqrt(2)), beyond 4 it rounds to 1
    const float a = rb_abs(x);
    float tail, bell;
    rb_normal_tail(1.41421356f * rb_at_most(a, 4.0f), tail, bell);
    const float inner = rb_fma(x, rb_erf_core(x * x), x);
    return a > 1.0f ? rb_copysign(rb_fma(-2.0f * tail, bell, 1.0f), x) : inner;
}
static inline double rb_erf(double x) {
    const double a = rb_abs(x), t = a > 10.0 ? 10.0 : a, square = t * t;
    const double tail = rb_erfc_scaled(t) * rb_gauss(square, rb_fma(t, t, -square));
    const double inner = rb_fma(x, rb_erf_core(x * x), x);
    return a > 1.0 ? rb_copysign(1.0 - tail, x) : inner;
}
constexpr float kNormalEnd = 13.25f;    // 2^k is 0 here
static inline float rb_gelu(float x) {  // max(x, 0) - |x| Phi(-|x|)
    const float a = rb_at_most(rb_abs(x), kNormalEnd);
    float tail, bell;
    rb_normal_tail(a, tail, bell);
    return rb_fma(-(a * tail), bell, rb_relu(x));
}
static inline float rb_gelu_slope(float x) {  // d = Phi(-|x|) - |x| phi(x), or 1 - d
    const float a = rb_at_most(rb_abs(x), kNormalEnd);
    float tail, bell;
    rb_normal_tail(a, tail, bell);
    const float d = rb_fma(a, -0.39894228f, tail) * bell;
    const float y = x > 0.0f ? 1.0f - d : d;
    return x == x ? y : x;
}

// x * Phi(x): no cancellation on either side
static inline double rb_gelu(double x) {
    double bell;
    const double tail = rb_normal_tail(x, bell);
    return x < -39.0 ? 0.0 : x * (x > 0.0 ? 1.0 - tail : tail);
}
// Phi(x) + x * phi(x)
static inline double rb_gelu_slope(double x) {
    double bell;
    const double tail = rb_normal_tail(x, bell);
    const double near = x > 39.0 ? 39.0 : (x < -39.0 ? -39.0 : x);  // infinity times 0 is not a number
    const double y = rb_fma(near * 0.39894228040143267794, bell, x > 0.0 ? 1.0 - tail : tail);
    return x == x ? y : x;
}

#if defined(__FMA__) || defined(__aarch64__)
// a^b = exp(b * log|a|) with log|a| and the product as sums of two floats, and the sign of odd powers.
static inline float rb_pow(float a, float b) {
    const float x = rb_abs(a);
    const float tiny = x < 0x1p-126f ? 8388608.0f : 1.0f;
    const float bias = x < 0x1p-126f ? 8388608.0f + 127.0f + 23.0f : 8388608.0f + 127.0f;
    const u32 ix = to_bits(x * tiny) + kShiftF;
    const float e = from_bits(0x4b000000u + (ix >> 23)) - bias;
    const float f = from_bits((ix & 0x007fffffu) + kHalfRootF) - 1.0f;
    const float d = 2.0f + f, inverse = 1.0f / d, s = f * inverse;
    const float s_low = rb_fma(-s, f - (d - 2.0f), rb_fma(-s, d, f)) * inverse;
    const float z = s * s;
    float l = 0.23330964f;
    l = rb_fma(l, z, 0.28550804f);
    l = rb_fma(l, z, 0.40000123f);
    l = rb_fma(l, z, 0.6666667f);
    // log x = e ln 2 + 2 s + (s z l + 2 s_low), the first two exact as sum + (rounding of sum)
    const float twice = s + s, sum = rb_fma(e, kLn2HiF, twice), rounded = rb_fma(e, kLn2HiF, -sum) + twice;
    const float rest = rb_fma(s * z, l, rb_fma(2.0f, s_low, rb_fma(e, kLn2LoF, rounded)));
    const float high = sum + rest, low = rest - (high - sum);
    const float p = b * high;
    float p_low = rb_fma(b, low, rb_fma(b, high, -p));
    p_low = rb_abs(p) < 200.0f ? p_low : 0.0f;
    float y = rb_exp_sum(p, p_low);
    const float inf = __builtin_inff();
    y = x == 0.0f ? (b > 0.0f ? 0.0f : inf) : y;
    y = x == inf ? (b > 0.0f ? inf : 0.0f) : y;
    const float half = 0.5f * b;
    const bool whole = __builtin_truncf(b) == b, odd = whole & (__builtin_truncf(half) != half);
    y = odd ? from_bits(to_bits(y) | (to_bits(a) & 0x80000000u)) : y;
    y = (a < 0.0f) & !whole & (x != inf) ? __builtin_nanf("") : y;
    y = (a != a) | (b != b) ? a + b : y;
    y = (x == 1.0f) & (rb_abs(b) == inf) ? 1.0f : y;
    y = (a == 1.0f) | (b == 0.0f) ? 1.0f : y;
    return b == 2.0f ? a * a : y;
}
#else
static inline float rb_pow(float a, float b) {
    return b == 2.0f ? a * a : __builtin_powf(a, b);
}
#endif
static inline double rb_pow(double a, double b) {
    return b == 2.0 ? a * a : __builtin_pow(a, b);
}
