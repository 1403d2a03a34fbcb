// test_program.cpp: records compared, and programs: memory by lifetime, relocation, workspace, random positions.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/parallel.hpp"
#include "core/program.hpp"
#include "harness.hpp"

using namespace rb;

namespace {

View view(const void* data, std::initializer_list<i64> shape, i32 dtype = f32) {
    View v{};
    v.data = const_cast<void*>(data);
    v.dtype = dtype;
    v.ndim = static_cast<i32>(shape.size());
    i64 stride = 1;
    for (i32 i = v.ndim - 1; i >= 0; --i) {
        v.shape[i] = shape.begin()[i];
        v.stride[i] = stride;
        stride *= v.shape[i];
    }
    return v;
}

constexpr i64 kN = 256;

// A record made by hand: every buffer is memory of its own, calls run as they are noted.
struct Script {
    Recorder recorder;
    std::vector<std::unique_ptr<std::vector<float>>> memory;

    float* buffer(i64 n = kN) {
        memory.push_back(std::make_unique<std::vector<float>>(static_cast<size_t>(n), 0.0f));
        recorder.note_buffer(memory.back()->data(), n * 4);
        return memory.back()->data();
    }
    template <typename Args>
    void call(OpId op, Args args) {
        recorder.check_before(op, &args);
        run(op, &args);
        recorder.check_after(op, &args);
        recorder.note_call(op, &args);
    }
    float* unary(OpId op, const float* x) {
        float* y = buffer();
        call(op, neg_args{view(x, {kN}), view(y, {kN})});
        return y;
    }
};

std::vector<float> ramp(float start) {
    std::vector<float> x(kN);
    for (size_t i = 0; i < x.size(); ++i) x[i] = start + float(i) / 8;
    return x;
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

// x -> neg -> square -> neg -> square, each in a buffer of its own.
float* chain(Script& s, const float* x) {
    float* y = s.unary(op_neg, x);
    y = s.unary(op_square, y);
    y = s.unary(op_neg, y);
    return s.unary(op_square, y);
}

}  // namespace

TEST(buffers_share_memory_by_lifetime) {
    std::vector<float> x = ramp(1);
    Script s;
    float* y = chain(s, x.data());
    Program p(s.recorder, {y});
    CHECK(p.calls() == 4);
    CHECK(p.buffer_bytes() == 4 * kN * 4);
    CHECK(p.arena_bytes() < p.buffer_bytes());  // two at a time at most
    CHECK(p.arena_bytes() >= kN * 4);
    CHECK(p.relocated(x.data()) == x.data());  // memory from outside stays
    CHECK(p.relocated(y) != y);
    CHECK(p.in_arena(p.relocated(y)) && !p.in_arena(x.data()));
    CHECK(static_cast<char*>(p.relocated(y + 3)) == static_cast<char*>(p.relocated(y)) + 12);
    for (int round = 0; round < 3; ++round) {  // reads what stands in x now, writes nothing but the arena
        const std::vector<float> next = ramp(float(round));
        std::copy(next.begin(), next.end(), x.begin());
        std::memset(y, 0xFF, kN * 4);
        p.run(0, 0);
        const float* got = static_cast<const float*>(p.relocated(y));
        for (size_t i = 0; i < size_t(kN); ++i) {
            const float square = x[i] * x[i];
            CHECK(got[i] == square * square);
        }
        CHECK(std::isnan(y[0]));
    }
}

TEST(results_outlive_later_calls) {
    const std::vector<float> x = ramp(2);
    Script s;
    float* first = s.unary(op_neg, x.data());
    float* last = chain(s, first);
    Program kept(s.recorder, {first, last}), lost(s.recorder, {last});
    CHECK(kept.arena_bytes() > lost.arena_bytes());
    kept.run(0, 0);
    const float* a = static_cast<const float*>(kept.relocated(first));
    for (size_t i = 0; i < size_t(kN); ++i) CHECK(a[i] == -x[i]);
}

TEST(buffers_filled_outside_the_ops_stay_where_they_are) {
    Script s;
    float* constant = s.buffer();
    float* untouched = s.buffer();
    for (i64 i = 0; i < kN; ++i) constant[i] = untouched[i] = float(i);
    float* y = s.unary(op_neg, constant);
    Program p(s.recorder, {y, untouched});
    CHECK(p.relocated(constant) == constant);
    CHECK(p.relocated(untouched) == untouched);  // a result that no call writes
    p.run(0, 0);
    CHECK(static_cast<float*>(p.relocated(y))[7] == -7.0f);
}

TEST(workspace_is_booked_once_for_the_largest_call_and_again_for_other_thread_counts) {
    const i64 n = 192;
    std::vector<float> a(size_t(n * n)), b(size_t(n * n));
    test::Rng rng(3);
    for (float& v : a) v = float(rng.uniform(-1, 1));
    for (float& v : b) v = float(rng.uniform(-1, 1));
    Script s;
    float *c = s.buffer(n * n), *d = s.buffer(n * n);
    gemm_args args{};
    args.a = view(a.data(), {n, n});
    args.b = view(b.data(), {n, n});
    args.bias.ndim = -1;
    args.c = view(c, {n, n});
    args.alpha = 1;
    s.call(op_gemm, args);
    args.a = view(c, {n, n});
    args.c = view(d, {n, n});
    s.call(op_gemm, args);
    const i32 before = num_threads();
    for (i32 threads : {1, 2, 3, 1}) {
        set_num_threads(threads);
        Program p(s.recorder, {d});
        for (i32 other : {threads, 2, 1}) {
            set_num_threads(other);
            p.run(0, 0);
            CHECK(std::memcmp(p.relocated(d), d, size_t(n * n) * 4) == 0);
            const i64 work = p.work_bytes();
            p.run(0, 0);
            CHECK(p.work_bytes() == work);
        }
    }
    set_num_threads(before);
}

TEST(scratch_is_booked_for_the_team_that_runs) {
    const i64 rows = 64, length = 2000;  // sort books two rows for each worker
    const i32 before = num_threads();
    std::vector<float> x(size_t(rows * length));
    test::Rng rng(5);
    for (float& v : x) v = float(rng.uniform(-1, 1));
    Script s;
    float* y = s.buffer(rows * length);
    float* index = s.buffer(2 * rows * length);
    sort_args args{};
    args.x = view(x.data(), {rows, length, 1});
    args.y = view(y, {rows, length, 1});
    args.idx = view(index, {rows, length, 1}, i64t);
    set_num_threads(1);
    run(op_sort, &args);
    s.recorder.note_call(op_sort, &args);
    Program p(s.recorder, {y});
    std::atomic<bool> done{false};
    std::thread other([&] {
        for (i32 n = 1; !done.load(); n = n == 1 ? 64 : 1) set_num_threads(n);
    });
    std::vector<float> again(x.size());
    args.y.data = again.data();
    for (int round = 0; round < 50; ++round) {
        p.run(0, 0);
        CHECK(std::memcmp(p.relocated(y), y, x.size() * 4) == 0);
        run(op_sort, &args);
        CHECK(std::memcmp(again.data(), y, x.size() * 4) == 0);
    }
    done.store(true);
    other.join();
    set_num_threads(before);
}

TEST(random_positions_are_relative_to_the_stream) {
    const std::vector<float> x = ramp(1);
    Script s;
    s.recorder.stream_counter = 1000;
    float* y = s.buffer();
    dropout_args args{};
    args.x = view(x.data(), {kN});
    args.y = view(y, {kN});
    args.p = 0.5;
    args.seed = Seed{5, 1010};
    s.call(op_dropout, args);
    Program p(s.recorder, {y});
    const auto eager = [&](u64 key, u64 counter) {
        std::vector<float> want(kN);
        dropout_args again = args;
        again.y = view(want.data(), {kN});
        again.seed = Seed{key, counter};
        run(op_dropout, &again);
        return want;
    };
    for (const auto& [key, counter] : {std::pair<u64, u64>{5, 1000}, {5, 77}, {9, 1000}}) {
        p.run(key, counter);
        CHECK(std::memcmp(p.relocated(y), eager(key, counter + 10).data(), kN * 4) == 0);
    }
    CHECK(std::memcmp(eager(5, 1010).data(), eager(9, 1010).data(), kN * 4) != 0);
    CHECK(check_record(s.recorder, {}, 11).empty());
    CHECK(contains(check_record(s.recorder, {}, 10), "dropout (call 0), seed: the random stream was moved"));
}

// y = x * s, z = -y, with s = sum(x): the number s shares memory with z, which is written block by block.
TEST(chains_read_single_numbers_before_their_memory_is_used_again) {
    const i64 n = 10000;
    std::vector<float> x(size_t(n), 0.5f);
    for (size_t i = 0; i < x.size(); i += 3) x[i] = float(i % 7);
    Script script;
    float *s = script.buffer(1), *y = script.buffer(n), *z = script.buffer(n), *w = script.buffer(n);
    script.call(op_sum, sum_args{view(x.data(), {1, n, 1}), view(s, {1, 1}), 1.0});
    script.call(op_mul, mul_args{view(x.data(), {n}), view(s, {}), view(y, {n})});
    script.call(op_neg, neg_args{view(y, {n}), view(z, {n})});
    script.call(op_square, neg_args{view(z, {n}), view(w, {n})});
    Program p(script.recorder, {w});
    CHECK(p.fused_calls() >= 2);
    CHECK(p.arena_bytes() < 3 * n * 4);
    for (int round = 0; round < 2; ++round) {
        p.run(0, 0);
        CHECK(std::memcmp(p.relocated(w), w, size_t(n) * 4) == 0);
    }
}

TEST(integer_inputs_are_checked_before_anything_runs) {
    std::vector<float> x = ramp(0);
    std::vector<i64> labels(16, 3);
    Script s;
    float *loss = s.buffer(16), *probs = s.buffer(kN);
    softmax_xent_args args{};
    args.x = view(x.data(), {16, 16});
    args.labels = view(labels.data(), {16}, i64t);
    args.loss = view(loss, {16});
    args.probs = view(probs, {16, 16});
    s.call(op_softmax_xent, args);
    Program p(s.recorder, {loss});
    char message[256];
    CHECK(p.check_inputs(message, sizeof message) == nullptr);
    labels[5] = 16;
    const char* error = p.check_inputs(message, sizeof message);
    CHECK(error && contains(error, "softmax_xent"));
}

TEST(integer_inputs_that_calls_compute_are_checked_when_they_are_there) {
    std::vector<float> x(256, 0.0f), table = ramp(1);  // x [16,16]: each row's largest names a row of table [8]
    for (size_t i = 0; i < 16; ++i) x[16 * i + i % 8] = 1.0f;
    Script s;
    i64* rows = reinterpret_cast<i64*>(s.buffer(32));
    float *y = s.buffer(16), *z = s.buffer(16), *late = s.buffer(16);
    s.call(op_argmax, argmax_args{view(x.data(), {16, 16, 1}), view(rows, {16, 1}, i64t)});
    s.call(op_take, take_args{view(table.data(), {1, 8, 1}), view(rows, {16}, i64t), view(y, {1, 16, 1})});
    s.call(op_neg, neg_args{view(y, {16}), view(z, {16})});  // the indices' memory is free from here on
    s.call(op_square, square_args{view(z, {16}), view(late, {16})});
    Program p(s.recorder, {late});
    char message[256];
    for (int round = 0; round < 3; ++round) {
        CHECK(p.check_inputs(message, sizeof message) == nullptr);
        p.run(0, 0);
        CHECK(std::memcmp(p.relocated(late), late, 16 * 4) == 0);
    }
    x[16 * 5 + 12] = 2.0f;  // a row that the table does not have
    CHECK(p.check_inputs(message, sizeof message) == nullptr);
    std::string error;
    try {
        p.run(0, 0);
    } catch (const std::invalid_argument& e) {
        error = e.what();
    }
    CHECK(contains(error, "take: index 12 at element 5 is outside 0 .. 7"));
    x[16 * 5 + 12] = 0.0f;
    p.run(0, 0);
    CHECK(std::memcmp(p.relocated(late), late, 16 * 4) == 0);
}

TEST(every_difference_between_records_is_reported) {
    const std::vector<float> x = ramp(1), x2 = ramp(1), other = ramp(2);
    const auto base = [&](Script& s, OpId op = op_neg) { return s.unary(op, s.unary(op_square, x.data())); };
    Script a;
    float* ra = base(a);
    {
        Script b;
        float* result = base(b);
        CHECK(compare_records(a.recorder, b.recorder).empty());
        CHECK(compare_records(a.recorder, b.recorder, {{view(ra, {kN}), view(result, {kN})}}).empty());
        CHECK(contains(compare_records(a.recorder, b.recorder, {{view(ra, {kN}), view(result, {2, kN / 2})}}),
                       "result 0: its shape changed"));
        CHECK(contains(compare_records(a.recorder, b.recorder, {{view(ra, {kN}), view(x.data(), {kN})}}),
                       "result 0: it was computed outside the ops"));
        CHECK(contains(compare_records(a.recorder, b.recorder, {{view(ra, {kN}), view(b.memory[0]->data(), {kN})}}),
                       "result 0: it came from another call"));
    }
    {
        Script b;
        base(b);
        b.unary(op_neg, x.data());
        CHECK(contains(compare_records(a.recorder, b.recorder), "made 2 kernel calls once and 3 the next time"));
    }
    {
        Script b;
        base(b, op_relu);
        CHECK(contains(compare_records(a.recorder, b.recorder), "call 1 was neg once and relu the next time"));
    }
    {
        Script b;
        float* y = b.buffer();
        b.call(op_square, neg_args{view(x.data(), {kN / 2}), view(y, {kN / 2})});
        b.unary(op_neg, y);
        CHECK(contains(compare_records(a.recorder, b.recorder), "square (call 0), x: its shape changed"));
    }
    {
        Script b;  // the second call reads x, not the first call's result
        b.unary(op_square, x.data());
        b.unary(op_neg, x.data());
        CHECK(contains(compare_records(a.recorder, b.recorder), "neg (call 1), x"));
    }
    {
        Script b;  // an array made anew: a constant if its contents are the same
        b.unary(op_neg, b.unary(op_square, x2.data()));
        bool constants = false;
        CHECK(compare_records(a.recorder, b.recorder, {}, &constants).empty() && constants);
        Script c;
        c.unary(op_neg, c.unary(op_square, other.data()));
        CHECK(contains(compare_records(a.recorder, c.recorder),
                       "square (call 0), x: its contents were computed outside"));
    }
    {
        Script b;  // reads what the step before computed
        b.unary(op_neg, b.unary(op_square, ra));
        CHECK(contains(compare_records(a.recorder, b.recorder), "computed by the step before"));
    }
    {
        std::vector<float> p1 = ramp(1), p2 = ramp(1);  // an output made anew outside the ops
        Script c, d;
        c.call(op_square, neg_args{view(x.data(), {kN}), view(p1.data(), {kN})});
        d.call(op_square, neg_args{view(x.data(), {kN}), view(p2.data(), {kN})});
        CHECK(contains(compare_records(c.recorder, d.recorder), "made anew outside the ops in every step"));
    }
}

TEST(numbers_that_change_are_reported_unless_an_optimiser_set_them) {
    std::vector<float> y = ramp(0);
    const auto fill = [&](double value, bool dynamic) {
        Script s;
        s.recorder.dynamic = dynamic;
        fill_args args{};
        args.y = view(y.data(), {kN});
        args.value = value;
        s.call(op_fill, args);
        return s.recorder;
    };
    CHECK(compare_records(fill(1, false), fill(1, false)).empty());
    CHECK(contains(compare_records(fill(1, false), fill(2, false)), "fill (call 0), value: the number changed"));
    CHECK(contains(compare_records(fill(0.0, false), fill(-0.0, false)), "value: the number changed"));
    CHECK(compare_records(fill(1, true), fill(2, true)).empty());
    Script a, b;
    for (Script* s : {&a, &b}) {
        uniform_args args{};
        args.y = view(y.data(), {kN});
        args.seed = Seed{1, s == &a ? u64(3) : u64(4)};
        s->call(op_uniform, args);
    }
    CHECK(contains(compare_records(a.recorder, b.recorder), "uniform (call 0), seed: its random position moved"));
    b.recorder.stream_counter = 1;
    CHECK(compare_records(a.recorder, b.recorder).empty());
}

TEST(writes_outside_the_ops_are_noticed) {
    {
        std::vector<float> x = ramp(1);
        Script s;
        s.unary(op_neg, x.data());
        x[5] += 1;
        s.unary(op_neg, x.data());
        CHECK(contains(s.recorder.trouble, "neg (call 1), x: it was written outside the ops after neg had used it"));
    }
    {
        std::vector<float> x = ramp(1);
        Script s;
        float* y = s.unary(op_neg, x.data());
        s.recorder.check_end();
        CHECK(s.recorder.trouble.empty());
        y[0] = 99;
        s.recorder.check_end();
        CHECK(contains(s.recorder.trouble, "an array that neg had used was written outside the ops"));
    }
    {
        std::vector<float> x = ramp(1);  // written by the next step before any op has read it
        Script a, b;
        a.unary(op_neg, x.data());
        x[0] = 3;  // between steps: fine
        b.recorder.watch(a.recorder);
        b.unary(op_neg, x.data());
        CHECK(b.recorder.trouble.empty());
        Script c;
        c.recorder.watch(a.recorder);
        x[0] = 4;
        c.unary(op_neg, x.data());
        CHECK(contains(c.recorder.trouble, "it was written outside the ops"));
    }
    {
        std::vector<float> x = ramp(1), y = ramp(2);  // ops may write what they like
        Script s;
        s.call(op_neg, neg_args{view(x.data(), {kN}), view(y.data(), {kN})});
        s.call(op_square, neg_args{view(x.data(), {kN / 2}), view(y.data() + 8, {kN / 2})});
        s.unary(op_neg, y.data());
        s.recorder.check_end();
        CHECK(s.recorder.trouble.empty());
        CHECK(check_record(s.recorder, {view(x.data(), {kN})}, 0).empty());
        CHECK(contains(check_record(s.recorder, {view(y.data(), {kN})}, 0),
                       "neg (call 0), y: the step writes into one of its arguments"));
    }
}
