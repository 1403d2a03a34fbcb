// harness.hpp: a small test harness. TEST(name) { .. CHECK(..) .. } registers a test; main (harness.cpp) runs those
// whose name contains the first command-line argument and fails when any check failed.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

namespace test {

using Fn = void (*)();

struct Registrar {
    Registrar(const char* name, Fn fn);
};

// Counts a failed check of the running test and prints it (the first few of each test).
void report(const char* file, int line, const std::string& what);

int failed_checks();  // of the running test, so far

// A short note printed with the test's result, e.g. how many calls it compared.
void note(const std::string& text);

// splitmix64: a small generator so that tests depend on nothing they test.
struct Rng {
    uint64_t state;
    explicit Rng(uint64_t seed) : state(seed) {}
    uint64_t bits() {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    double uniform(double low, double high) { return low + (high - low) * double(bits() >> 11) * 0x1p-53; }
    int64_t integer(int64_t low, int64_t high) { return low + int64_t(bits() % uint64_t(high - low + 1)); }
};

}  // namespace test

#define TEST(name)                                                     \
    static void test_##name();                                         \
    static const test::Registrar registrar_##name(#name, test_##name); \
    static void test_##name()

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) test::report(__FILE__, __LINE__, #condition); \
    } while (0)

// |got - want| <= tolerance; NaN equals NaN.
#define CHECK_CLOSE(got, want, tolerance)                                                                           \
    do {                                                                                                            \
        const double g_ = double(got), w_ = double(want);                                                           \
        const bool same_ = g_ == w_ || (std::isnan(g_) && std::isnan(w_)) || std::fabs(g_ - w_) <= (tolerance);     \
        if (!same_)                                                                                                 \
            test::report(__FILE__, __LINE__, #got " = " + std::to_string(g_) + ", expected " + std::to_string(w_)); \
    } while (0)
