// math.inl: exp, log, tanh, sigmoid and friends as branch-free scalar functions that the compiler vectorises in plain
// loops. One lane is one call: body and tail of a loop, and fused and unfused paths, give the same bits in a level.
//
// Bounds measured against a correctly rounded result (every 997th float; 20 million doubles), with and without FMA:
//   rb_exp      float 1.0  double 1.2 ULP, denormal results included
//   rb_log      float 0.8  double 0.9 ULP, denormal arguments included
//   rb_tanh     float 2.3  double 2.5 ULP, tiny x included; tanh(+-0) = +-0
//   rb_sigmoid  float 2.1  double 2.2 ULP, down to the denormals, no overflow anywhere
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

// Adding kRound rounds to the nearest integer and leaves it in the low bits; log2(e) and ln 2 = hi + lo, hi with
// trailing zeros so that k*hi is exact without FMA.
constexpr float kRoundF = 12582912.0f;  // 1.5 * 2^23
constexpr float kLog2eF = 0x1.715476p+0f, kLn2HiF = 0x1.62e000p-1f, kLn2LoF = 0x1.0bfbe8p-15f;
constexpr double kRoundD = 6755399441055744.0;  // 1.5 * 2^52
constexpr double kLog2eD = 0x1.71547652b82fep+0, kLn2HiD = 0x1.62e42fee00000p-1, kLn2LoD = 0x1.a39ef35793c76p-33;

// 2^k for integral k in the normal range: the low bits of k + bias + kRound are the exponent field.
static inline float rb_pow2i(float k) {
    return from_bits(to_bits(k + (kRoundF + 127.0f)) << 23);
}
static inline double rb_pow2i(double k) {
    return from_bits(to_bits(k + (kRoundD + 1023.0)) << 52);
}

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

static inline float rb_exp(float x) {
    x = x > 89.0f ? 89.0f : x;  // beyond: the result is inf or 0 all the same
    x = x < -104.0f ? -104.0f : x;
    float k = rb_fma(x, kLog2eF, kRoundF) - kRoundF;
    float r = rb_fma(k, -kLn2HiF, x);
    r = rb_fma(k, -kLn2LoF, r);
    float p = 1.0f + rb_expm1_core(r);
    float k1 = rb_fma(k, 0.5f, kRoundF) - kRoundF;  // two factors: 2^k itself may not be a normal number
    return p * rb_pow2i(k1) * rb_pow2i(k - k1);
}
static inline double rb_exp(double x) {
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    double k = rb_fma(x, kLog2eD, kRoundD) - kRoundD;
    double r = rb_fma(k, -kLn2HiD, x);
    r = rb_fma(k, -kLn2LoD, r);
    double p = 1.0 + rb_expm1_core(r);
    double k1 = rb_fma(k, 0.5, kRoundD) - kRoundD;
    return p * rb_pow2i(k1) * rb_pow2i(k - k1);
}

// log(2^e * m), m in [sqrt(1/2), sqrt(2)): with f = m-1, s = f/(2+f): log(1+f) = 2s + s^3 * L(s^2).
static inline float rb_log(float x) {
    float tiny = x < 0x1p-126f ? 8388608.0f : 1.0f;
    float bias = x < 0x1p-126f ? 8388608.0f + 127.0f + 23.0f : 8388608.0f + 127.0f;
    u32 ix = to_bits(x * tiny) + (0x3f800000u - 0x3f3504f3u);
    float e = from_bits(0x4b000000u + (ix >> 23)) - bias;
    float f = from_bits((ix & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float s = f / (2.0f + f);
    float z = s * s;
    float l = 0.23330964f;
    l = rb_fma(l, z, 0.28550804f);
    l = rb_fma(l, z, 0.40000123f);
    l = rb_fma(l, z, 0.6666667f);
    float hfsq = 0.5f * f * f;
    float t = rb_fma(s, rb_fma(l, z, hfsq), e * kLn2LoF);
    float y = rb_fma(e, kLn2HiF, f - (hfsq - t));
    y = x > 0x1.fffffep+127f ? x : y;
    y = x == 0.0f ? -__builtin_inff() : y;
    return x >= 0.0f ? y : __builtin_nanf("");
}
static inline double rb_log(double x) {
    double tiny = x < 0x1p-1022 ? 0x1p54 : 1.0;
    double bias = x < 0x1p-1022 ? 0x1p52 + 1023.0 + 54.0 : 0x1p52 + 1023.0;
    u64 ix = to_bits(x * tiny) + (u64{0x3ff0000000000000} - u64{0x3fe6a09e667f3bcd});
    double e = from_bits(u64{0x4330000000000000} + (ix >> 52)) - bias;
    double f = from_bits((ix & u64{0x000fffffffffffff}) + u64{0x3fe6a09e667f3bcd}) - 1.0;
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
    double y = rb_fma(e, kLn2HiD, f - (hfsq - t));
    y = x > 0x1.fffffffffffffp+1023 ? x : y;
    y = x == 0.0 ? -__builtin_inf() : y;
    return x >= 0.0 ? y : __builtin_nan("");
}

// tanh|x| = m / (m + 2), m = expm1(2|x|) = 2^k * expm1(r) + (2^k - 1); beyond the clamp the result rounds to 1.
static inline float rb_tanh(float x) {
    float t = 2.0f * rb_abs(x);
    t = t > 18.5f ? 18.5f : t;
    float k = rb_fma(t, kLog2eF, kRoundF) - kRoundF;
    float r = rb_fma(k, -kLn2HiF, t);
    r = rb_fma(k, -kLn2LoF, r);
    float s = rb_pow2i(k);
    float m = rb_fma(rb_expm1_core(r), s, s - 1.0f);
    return rb_copysign(m / (m + 2.0f), x);
}
static inline double rb_tanh(double x) {
    double t = 2.0 * rb_abs(x);
    t = t > 39.0 ? 39.0 : t;
    double k = rb_fma(t, kLog2eD, kRoundD) - kRoundD;
    double r = rb_fma(k, -kLn2HiD, t);
    r = rb_fma(k, -kLn2LoD, r);
    double s = rb_pow2i(k);
    double m = rb_fma(rb_expm1_core(r), s, s - 1.0);
    return rb_copysign(m / (m + 2.0), x);
}

// e = exp(-|x|) <= 1: 1/(1+e) for x >= 0, e/(1+e) below.
template <typename T>
static inline T rb_sigmoid(T x) {
    T e = rb_exp(-rb_abs(x));
    T num = x >= T(0) ? T(1) : e;
    return num / (T(1) + e);
}
