// op_case.hpp: one call of one op, described once in double, run through every implementation of every level the
// machine has, in float and double, and compared with the reference. Every run checks: values against ref<double> (or,
// on request, bits against the reference of the same dtype), guard bands around every array, inputs untouched,
// workspace poisoned with NaN and guarded, the same bits with 1, 2 and 5 threads and from buffers at another alignment.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness.hpp"
#include "rb/table.hpp"

namespace test {

// How the elements of a view lie in memory.
enum class Layout { contiguous, transposed, reversed, spaced, broadcast };

using Shape = std::vector<int64_t>;

class OpCase {
  public:
    explicit OpCase(const char* op, uint64_t seed = 1);

    // A float input (also the initial value of an INOUT field): uniform values, or the given ones in logical order.
    // `broadcast` gives stride 0 to the first axis.
    OpCase& in(const char* field, Shape shape, Layout layout = Layout::contiguous, double low = -1, double high = 1);
    OpCase& values(const char* field, Shape shape, std::vector<double> v, Layout layout = Layout::contiguous);
    OpCase& ints(const char* field, Shape shape, int64_t low, int64_t high);
    OpCase& ints(const char* field, Shape shape, std::vector<int64_t> v);
    OpCase& out(const char* field, Shape shape, Layout layout = Layout::contiguous);
    OpCase& set(const char* field, double value);
    OpCase& seed(uint64_t key, uint64_t counter);

    // Allowed error: ulps * eps * max(|want|, scale). The scale is the size of the terms that were added up.
    OpCase& tolerance(double ulps, double scale = 0);
    // Implementations whose name begins with `impl` may err by `ulps` instead.
    OpCase& tolerance_of(const char* impl, double ulps);
    // Allowed absolute error in float beside that: for results whose factors lie below the normal numbers.
    OpCase& float_slack(double slack);
    OpCase& same_dtype_reference();  // compare with ref<T>, not ref<double>
    OpCase& bit_exact();             // .. and demand its bits

    void run();  // reports through the harness

    // The reference's result of an output field in double (after run).
    const std::vector<double>& expected(const char* field) const;

  private:
    struct Array {
        bool given = false;
        Shape shape;
        Layout layout = Layout::contiguous;
        std::vector<double> real;  // logical order
        std::vector<int64_t> integer;
    };
    struct Memory;
    int field(const char* name) const;
    void fill(Memory& m, int dtype, int shift) const;
    void compare(const Memory& got, const Memory& want, const std::string& who, bool exact);

    rb::OpId op_;
    Rng rng_;
    std::vector<Array> arrays_;  // by field
    std::vector<double> numbers_;
    rb::Seed seed_{0, 0};
    double ulps_ = 4, scale_ = 0, float_slack_ = 0;
    std::vector<std::pair<std::string, double>> special_;  // implementations with other ulps
    bool same_dtype_ = false, exact_ = false;
    std::vector<std::vector<double>> expected_;  // by field
};

// Number of implementation runs compared since the start of the program.
int64_t runs_compared();

}  // namespace test
