// test_conv_winograd.cpp: Winograd's algorithm against the float64 reference: its documented error, every level, tiles
// that stick out, any padding; the sanity of its workspace; and which shapes it leaves alone.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/cpu_features.hpp"
#include "core/parallel.hpp"
#include "core/run.hpp"
#include "op_case.hpp"

using namespace rb;

namespace {

struct Shape {
    i64 N, H, W, C, K, pad_h, pad_w, extra;
    i64 P() const { return H + 2 * pad_h - 2 + extra; }
    i64 Q() const { return W + 2 * pad_w - 2 + extra; }
};

// A contiguous array of one dtype holding float-representable values.
struct Array {
    std::vector<double> wide;
    std::vector<float> narrow;
    View view{};
    Array(std::initializer_list<i64> shape, i32 dtype, const std::vector<double>& values) : wide(values) {
        view.dtype = dtype;
        view.ndim = i32(shape.size());
        std::copy(shape.begin(), shape.end(), view.shape);
        i64 step = 1;
        for (int d = view.ndim - 1; d >= 0; --d) {
            view.stride[d] = step;
            step *= view.shape[d];
        }
        wide.resize(size_t(step));
        narrow.assign(wide.begin(), wide.end());
        view.data = dtype == f32 ? static_cast<void*>(narrow.data()) : wide.data();
    }
    double at(size_t i) const { return view.dtype == f32 ? double(narrow[i]) : wide[i]; }
};

// One of the three operations in one dtype; `values` are x, w and dy.
struct Call {
    Array x, w, y, bias;
    conv2d_args forward{};
    conv2d_dx_args dx{};
    conv2d_dw_args dw{};
    Call(const Shape& s, i32 dtype, const std::vector<double> (&v)[3], const std::vector<double>& b)
        : x({s.N, s.H, s.W, s.C}, dtype, v[0]),
          w({s.K, 3, 3, s.C}, dtype, v[1]),
          y({s.N, s.P(), s.Q(), s.K}, dtype, v[2]),
          bias({s.K}, dtype, b) {
        const auto geometry = [&](auto& a) {
            a.stride_h = a.stride_w = a.dil_h = a.dil_w = a.groups = 1;
            a.pad_h = s.pad_h;
            a.pad_w = s.pad_w;
        };
        forward.x = x.view;
        forward.w = w.view;
        forward.bias = bias.view;
        forward.y = y.view;
        forward.act = act;
        dx.dy = y.view;
        dx.w = w.view;
        dx.dx = x.view;
        dw.x = x.view;
        dw.dy = y.view;
        dw.dw = w.view;
        geometry(forward);
        geometry(dx);
        geometry(dw);
    }
    static inline i64 act = 0;
    void* args(OpId op) {
        return op == op_conv2d ? static_cast<void*>(&forward) : op == op_conv2d_dx ? static_cast<void*>(&dx) : &dw;
    }
    Work& work(OpId op) { return op == op_conv2d ? forward.work : op == op_conv2d_dx ? dx.work : dw.work; }
    Array& out(OpId op) { return op == op_conv2d ? y : op == op_conv2d_dx ? x : w; }
};

void run(const Impl& impl, Call& c, OpId op) {
    Ctx ctx{1, 32 << 10, 1 << 20, 32 << 20};
    const i64 bytes = impl.work ? impl.work(c.args(op), ctx) : 0;
    std::unique_ptr<void, void (*)(void*)> scratch(std::aligned_alloc(64, size_t(bytes + 64) / 64 * 64), std::free);
    std::memset(scratch.get(), 0xFF, size_t(bytes));
    c.work(op) = Work{scratch.get(), bytes};
    set_num_threads(1);  // as the workspace was booked for
    impl.run(c.args(op), ctx);
}

// Relative L2 error of every Winograd implementation of every level. Returns the largest in float32.
double check(const Shape& s, uint64_t seed, double bound) {
    test::Rng rng(seed);
    const auto random = [&](i64 n, double low) {
        std::vector<double> v(static_cast<size_t>(n));
        for (double& e : v) e = double(float(rng.uniform(low, 1)));
        return v;
    };
    const double low = seed % 3 ? -1 : 0;  // also inputs that are not centred
    const std::vector<double> values[3] = {random(s.N * s.H * s.W * s.C, low), random(s.K * 9 * s.C, -1),
                                           random(s.N * s.P() * s.Q() * s.K, -1)};
    const std::vector<double> bias = random(s.K, -1);
    Call::act = i64(seed % 4);
    double worst = 0;
    for (const OpId op : {op_conv2d, op_conv2d_dx, op_conv2d_dw}) {
        Call want(s, f64, values, bias);
        run(ref_table.entry[op][f64].impls[0], want, op);
        for (int dtype = 0; dtype < kNumFloatDTypes; ++dtype)
            for (int level = level_base; level <= machine_level(); ++level) {
                const Table* table = table_of(static_cast<Level>(level));
                if (!table) continue;
                int found = 0;
                for (i32 i = 0; i < table->entry[op][dtype].count; ++i) {
                    const Impl& impl = table->entry[op][dtype].impls[i];
                    if (std::strncmp(impl.name, "winograd", 8) != 0) continue;
                    ++found;
                    Call got(s, dtype, values, bias);
                    CHECK(impl.accepts(got.args(op)));
                    run(impl, got, op);
                    double error = 0, norm = 0;
                    for (size_t e = 0; e < got.out(op).wide.size(); ++e) {
                        const double d = got.out(op).at(e) - want.out(op).at(e);
                        error += d * d;
                        norm += want.out(op).at(e) * want.out(op).at(e);
                    }
                    const double relative = std::sqrt(error / norm);
                    if (!(relative <= (dtype == f32 ? bound : bound * 2e-9))) {
                        char text[200];
                        std::snprintf(
                            text, sizeof text, "%s %s %s: relative error %.3g on %d %d %d %d -> %d, pad %d %d",
                            level_name(static_cast<Level>(level)), impl.name, dtype == f32 ? "f32" : "f64", relative,
                            int(s.N), int(s.H), int(s.W), int(s.C), int(s.K), int(s.pad_h), int(s.pad_w));
                        test::report(__FILE__, __LINE__, text);
                    }
                    if (dtype == f32 && relative > worst) worst = relative;
                }
                CHECK(found == 2);
            }
    }
    return worst;
}

}  // namespace

TEST(winograd_random_shapes) {
    test::Rng rng(5);
    double worst = 0;
    for (int i = 0; i < 40; ++i) {
        Shape s{rng.integer(1, 2),  rng.integer(1, 15), rng.integer(1, 15), rng.integer(8, 50),
                rng.integer(8, 50), rng.integer(0, 3),  rng.integer(0, 3),  rng.integer(0, 1)};
        if (s.P() < 1 || s.Q() < 1) continue;
        worst = std::fmax(worst, check(s, uint64_t(i), 3e-6));
    }
    char text[64];
    std::snprintf(text, sizeof text, "largest relative error %.2g", worst);
    test::note(text);
}

// The documented bound where chains are long: many channels, many tiles.
TEST(winograd_error_bound) {
    const double channels = check({1, 4, 4, 1024, 16, 1, 1, 0}, 3, 5e-6);
    const double tiles = check({4, 64, 64, 8, 9, 1, 1, 0}, 4, 5e-6);
    char text[96];
    std::snprintf(text, sizeof text, "relative error %.2g with 1024 channels, %.2g with 1024 tiles", channels, tiles);
    test::note(text);
}

TEST(winograd_workspace) {  // at most four times input, weights and output, for one thread
    const Shape shapes[] = {{1, 56, 56, 64, 64, 1, 1, 0},   {8, 28, 28, 128, 128, 1, 1, 0},
                            {1, 7, 7, 512, 512, 1, 1, 0},   {2, 56, 56, 256, 256, 1, 1, 0},
                            {1, 14, 14, 512, 512, 1, 1, 0}, {1, 28, 28, 512, 512, 1, 1, 0}};
    for (const Shape& s : shapes) {
        const std::vector<double> none[3];
        Call c(s, f32, none, {});
        const i64 elems = s.N * s.H * s.W * s.C + s.K * 9 * s.C + s.N * s.P() * s.Q() * s.K;
        const Ctx ctx{1, 32 << 10, 1 << 20, 32 << 20};
        for (const OpId op : {op_conv2d, op_conv2d_dx, op_conv2d_dw})
            for (i32 i = 0; i < table_of(machine_level())->entry[op][f32].count; ++i) {
                const Impl& impl = table_of(machine_level())->entry[op][f32].impls[i];
                if (std::strncmp(impl.name, "winograd", 8) != 0) continue;
                const double ratio = double(impl.work(c.args(op), ctx)) / double(4 * elems);
                if (!(ratio <= 4))
                    test::report(__FILE__, __LINE__,
                                 std::string(impl.name) + " op " + std::to_string(op) + " C " + std::to_string(s.C) +
                                     " H " + std::to_string(s.H) + ": workspace ratio " + std::to_string(ratio));
            }
    }
}
