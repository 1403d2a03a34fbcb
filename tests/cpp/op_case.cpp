// op_case.cpp: see op_case.hpp.
#include "op_case.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

#include "core/check.hpp"
#include "core/cpu_features.hpp"
#include "core/describe.hpp"
#include "core/parallel.hpp"
#include "core/run.hpp"

namespace test {
namespace {

using namespace rb;

constexpr unsigned char kGuard = 0xA5;
constexpr int64_t kGuardElements = 64;
int64_t g_runs = 0;

size_t size_of(int dtype) {
    return dtype == f32 || dtype == i32t ? 4 : 8;
}

int64_t product(const Shape& shape) {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return n;
}

}  // namespace

int64_t runs_compared() {
    return g_runs;
}

// The arrays of one call in one dtype, each inside its own guarded buffer.
struct OpCase::Memory {
    alignas(16) char args[kMaxArgsBytes] = {};
    std::vector<std::vector<unsigned char>> buffer, before;  // by field
    std::vector<std::vector<int64_t>> place;                 // by field: byte offset of each element, logical order
    std::vector<int> dtype;                                  // by field
};

OpCase::OpCase(const char* op, uint64_t seed) : op_(static_cast<OpId>(find_op(op))), rng_(seed * 7919 + 13) {
    if (op_ < 0) {
        std::fprintf(stderr, "no op named %s\n", op);
        std::abort();
    }
    arrays_.resize(size_t(op_info[op_].count));
    numbers_.resize(size_t(op_info[op_].count));
}

int OpCase::field(const char* name) const {
    for (int i = 0; i < op_info[op_].count; ++i) {
        if (!std::strcmp(op_info[op_].fields[i].name, name)) return i;
    }
    std::fprintf(stderr, "%s has no field %s\n", op_info[op_].name, name);
    std::abort();
}

OpCase& OpCase::in(const char* name, Shape shape, Layout layout, double low, double high) {
    std::vector<double> v(static_cast<size_t>(product(shape)));
    for (double& x : v) x = double(float(rng_.uniform(low, high)));
    return values(name, std::move(shape), std::move(v), layout);
}

OpCase& OpCase::values(const char* name, Shape shape, std::vector<double> v, Layout layout) {
    if (layout == Layout::broadcast && !shape.empty() && shape[0] > 0) {
        const size_t inner = v.size() / size_t(shape[0]);
        for (size_t i = inner; i < v.size(); ++i) v[i] = v[i % inner];
    }
    arrays_[size_t(field(name))] = {true, std::move(shape), layout, std::move(v), {}};
    return *this;
}

OpCase& OpCase::ints(const char* name, Shape shape, int64_t low, int64_t high) {
    std::vector<int64_t> v(static_cast<size_t>(product(shape)));
    for (int64_t& x : v) x = rng_.integer(low, high);
    return ints(name, std::move(shape), std::move(v));
}

OpCase& OpCase::ints(const char* name, Shape shape, std::vector<int64_t> v) {
    arrays_[size_t(field(name))] = {true, std::move(shape), Layout::contiguous, {}, std::move(v)};
    return *this;
}

OpCase& OpCase::out(const char* name, Shape shape, Layout layout) {
    arrays_[size_t(field(name))] = {true, std::move(shape), layout, {}, {}};
    return *this;
}

OpCase& OpCase::set(const char* name, double value) {
    numbers_[size_t(field(name))] = value;
    return *this;
}

OpCase& OpCase::seed(uint64_t key, uint64_t counter) {
    seed_ = {key, counter};
    return *this;
}

OpCase& OpCase::tolerance(double ulps, double scale) {
    ulps_ = ulps;
    scale_ = scale;
    return *this;
}

OpCase& OpCase::tolerance_of(const char* impl, double ulps) {
    special_.emplace_back(impl, ulps);
    return *this;
}

OpCase& OpCase::float_slack(double slack) {
    float_slack_ = slack;
    return *this;
}

OpCase& OpCase::same_dtype_reference() {
    same_dtype_ = true;
    return *this;
}

OpCase& OpCase::bit_exact() {
    exact_ = same_dtype_ = true;
    return *this;
}

const std::vector<double>& OpCase::expected(const char* name) const {
    return expected_[size_t(field(name))];
}

// `shift`: elements by which every array starts later in its buffer.
void OpCase::fill(Memory& m, int dtype, int shift) const {
    const OpInfo& info = op_info[op_];
    m.buffer.resize(size_t(info.count));
    m.place.resize(size_t(info.count));
    m.dtype.assign(size_t(info.count), -1);
    for (int i = 0; i < info.count; ++i) {
        const Field& f = info.fields[i];
        char* at = m.args + f.offset;
        if (f.kind == Kind::integer) {
            const i64 v = i64(numbers_[size_t(i)]);
            std::memcpy(at, &v, sizeof v);
        } else if (f.kind == Kind::real) {
            std::memcpy(at, &numbers_[size_t(i)], sizeof(double));
        } else if (f.kind == Kind::seed) {
            std::memcpy(at, &seed_, sizeof seed_);
        } else if (f.kind == Kind::view) {
            const Array& a = arrays_[size_t(i)];
            View v{};
            int type = f.elem == Elem::int64 ? int(i64t) : f.elem == Elem::int32 ? int(i32t) : dtype;
            if (op_ == op_cast && f.role == Role::out) type = dtype == f32 ? f64 : f32;
            v.dtype = type;
            v.ndim = a.given ? i32(a.shape.size()) : -1;
            if (a.given) {
                const int nd = v.ndim;
                int64_t step = a.layout == Layout::spaced ? 2 : 1, lowest = 0, highest = 0;
                for (int k = 0; k < nd; ++k) {  // fastest axis first
                    const int d = a.layout == Layout::transposed ? k : nd - 1 - k;
                    v.shape[d] = a.shape[size_t(d)];
                    v.stride[d] = step;
                    if (a.layout == Layout::broadcast && d == 0) v.stride[d] = 0;
                    if (a.layout == Layout::reversed) v.stride[d] = -step;
                    if (v.shape[d] > 0) {
                        const int64_t reach = (v.shape[d] - 1) * v.stride[d];
                        (reach < 0 ? lowest : highest) += reach;
                    }
                    step *= v.shape[d] > 0 ? v.shape[d] : 1;
                }
                const int64_t size = int64_t(size_of(type)), count = product(a.shape);
                const int64_t origin = kGuardElements + shift - lowest;
                m.buffer[size_t(i)].assign(size_t((origin + highest + 1 + kGuardElements) * size), kGuard);
                m.place[size_t(i)].resize(size_t(count));
                unsigned char* base = m.buffer[size_t(i)].data();
                v.data = base + origin * size;
                for (int64_t e = 0; e < count; ++e) {
                    int64_t rest = e, to = origin;
                    for (int d = nd - 1; d >= 0; --d) {
                        to += rest % v.shape[d] * v.stride[d];
                        rest /= v.shape[d];
                    }
                    m.place[size_t(i)][size_t(e)] = to * size;
                    if (f.role == Role::out) continue;  // keeps the guard pattern
                    if (type == i64t) {
                        std::memcpy(base + to * size, &a.integer[size_t(e)], 8);
                    } else if (type == i32t) {
                        const i32 x = i32(a.integer[size_t(e)]);
                        std::memcpy(base + to * size, &x, 4);
                    } else if (type == f32) {
                        const float x = float(a.real[size_t(e)]);
                        std::memcpy(base + to * size, &x, 4);
                    } else {
                        std::memcpy(base + to * size, &a.real[size_t(e)], 8);
                    }
                }
            }
            m.dtype[size_t(i)] = type;
            std::memcpy(at, &v, sizeof v);
        }
    }
    m.before = m.buffer;
}

namespace {

double read(const std::vector<unsigned char>& buffer, int64_t at, int dtype) {
    if (dtype == f32) {
        float x;
        std::memcpy(&x, buffer.data() + at, 4);
        return double(x);
    }
    if (dtype == f64) {
        double x;
        std::memcpy(&x, buffer.data() + at, 8);
        return x;
    }
    if (dtype == i32t) {
        i32 x;
        std::memcpy(&x, buffer.data() + at, 4);
        return double(x);
    }
    i64 x;
    std::memcpy(&x, buffer.data() + at, 8);
    return double(x);
}

// Runs one implementation with exactly the workspace it asked for, poisoned and guarded. False: the guard was hit.
bool run_impl(const Impl& impl, char* args, OpId op, i32 threads) {
    Ctx ctx{threads, 32 << 10, 1 << 20, 32 << 20};
    const i32 offset = op_info[op].work_offset;
    const i64 bytes = offset >= 0 && impl.work ? impl.work(args, ctx) : 0;
    const size_t total = (size_t(bytes) + 64 + 63) / 64 * 64;
    std::unique_ptr<unsigned char, void (*)(void*)> work(static_cast<unsigned char*>(std::aligned_alloc(64, total)),
                                                         std::free);
    std::memset(work.get(), 0xFF, total);  // NaN in both dtypes
    if (offset >= 0) {
        const Work w{bytes ? work.get() : nullptr, bytes};
        std::memcpy(args + offset, &w, sizeof w);
    }
    set_num_threads(threads);
    impl.run(args, ctx);
    for (size_t i = size_t(bytes); i < total; ++i) {
        if (work.get()[i] != 0xFF) return false;
    }
    return true;
}

}  // namespace

void OpCase::compare(const Memory& got, const Memory& want, const std::string& who, bool exact) {
    const OpInfo& info = op_info[op_];
    for (int i = 0; i < info.count; ++i) {
        const Field& f = info.fields[i];
        if (f.kind != Kind::view || !arrays_[size_t(i)].given) continue;
        const std::string where = who + " field " + f.name;
        const size_t fi = size_t(i), size = size_of(got.dtype[fi]);
        std::vector<unsigned char> rest = got.buffer[fi];  // everything that must not have changed
        if (f.role == Role::in) {
            if (rest != got.before[fi]) report(__FILE__, __LINE__, where + ": an input or its guard was written");
            continue;
        }
        for (int64_t at : got.place[fi]) std::memcpy(rest.data() + at, got.before[fi].data() + at, size);
        if (rest != got.before[fi]) report(__FILE__, __LINE__, where + ": written outside the array");
        const double eps = got.dtype[fi] == f32 ? double(std::numeric_limits<float>::epsilon())
                                                : std::numeric_limits<double>::epsilon();
        const double tiny = got.dtype[fi] == f32 ? 12e-45 + float_slack_ : 4e-323;
        const bool real = f.elem == Elem::real;
        for (size_t e = 0; e < got.place[fi].size(); ++e) {
            const double g = read(got.buffer[fi], got.place[fi][e], got.dtype[fi]);
            const double w = read(want.buffer[fi], want.place[fi][e], want.dtype[fi]);
            bool same = g == w || (std::isnan(g) && std::isnan(w));
            if (real && !exact && !same) {
                // an f64 reference beyond the float range rounds to infinity
                const double rounded = got.dtype[fi] == f32 ? double(float(w)) : w;
                same = g == rounded || std::fabs(g - w) <= ulps_ * eps * std::fmax(std::fabs(w), scale_) + tiny;
            }
            if (!same) {
                char text[160];
                std::snprintf(text, sizeof text, ": element %zu is %.9g, expected %.9g", e, g, w);
                report(__FILE__, __LINE__, where + text);
                return;
            }
        }
    }
}

void OpCase::run() {
    const OpInfo& info = op_info[op_];
    char message[256];
    const i32 threads_before = num_threads();
    const int failures_before = failed_checks();
    Memory oracle;
    fill(oracle, f64, 0);
    if (check_args(op_, oracle.args, message, sizeof message)) {
        report(__FILE__, __LINE__, std::string("check_args refused a valid call: ") + message);
        return;
    }
    run_impl(ref_table.entry[op_][f64].impls[0], oracle.args, op_, 1);
    expected_.resize(size_t(info.count));
    for (int i = 0; i < info.count; ++i) {
        for (int64_t at : oracle.place[size_t(i)]) {
            expected_[size_t(i)].push_back(read(oracle.buffer[size_t(i)], at, oracle.dtype[size_t(i)]));
        }
    }
    for (int dtype = 0; dtype < kNumFloatDTypes; ++dtype) {
        Memory own;  // the reference in this dtype
        fill(own, dtype, 0);
        run_impl(ref_table.entry[op_][dtype].impls[0], own.args, op_, 1);
        const Memory& want = same_dtype_ || op_ == op_cast ? own : oracle;
        if (!same_dtype_) compare(own, want, std::string(info.name) + " ref", op_ == op_cast);
        for (int level = level_base; level <= machine_level(); ++level) {
            const Table* table = table_of(static_cast<Level>(level));
            if (!table) continue;
            const Entry& entry = table->entry[op_][dtype];
            for (int k = 0; k < entry.count; ++k) {
                const Impl& impl = entry.impls[k];
                const std::string who = std::string(info.name) + (dtype == f32 ? " f32 " : " f64 ") +
                                        level_name(static_cast<Level>(level)) + ":" + impl.name;
                if (impl.accepts && !impl.accepts(oracle.args)) continue;
                Memory first;
                fill(first, dtype, 0);
                if (!run_impl(impl, first.args, op_, 1)) report(__FILE__, __LINE__, who + ": workspace overrun");
                const double usual = ulps_;
                for (const auto& [prefix, ulps] : special_)
                    if (std::string(impl.name).rfind(prefix, 0) == 0) ulps_ = ulps;
                compare(first, want, who, exact_ || op_ == op_cast);
                ulps_ = usual;
                ++g_runs;
                const struct {
                    i32 threads;
                    int shift;
                } variants[] = {{2, 0}, {5, 1}};
                for (const auto& v : variants) {
                    Memory again;
                    fill(again, dtype, v.shift);
                    if (!run_impl(impl, again.args, op_, v.threads))
                        report(__FILE__, __LINE__, who + ": workspace overrun");
                    const double ulps = ulps_;
                    ulps_ = 0;
                    compare(again, first, who + " with " + std::to_string(v.threads) + " threads", true);
                    ulps_ = ulps;
                    ++g_runs;
                }
                if (failed_checks() > failures_before) {
                    std::string shapes;
                    for (int i = 0; i < info.count; ++i) {
                        if (!arrays_[size_t(i)].given) continue;
                        shapes += std::string(" ") + info.fields[i].name + "[";
                        for (int64_t s : arrays_[size_t(i)].shape) shapes += std::to_string(s) + " ";
                        shapes += "]";
                    }
                    std::printf("    in the call: %s%s\n", info.name, shapes.c_str());
                    set_num_threads(threads_before);
                    return;
                }
            }
        }
    }
    set_num_threads(threads_before);
}

}  // namespace test
