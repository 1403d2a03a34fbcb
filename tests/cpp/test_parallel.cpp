// test_parallel.cpp: parallel_for (every index once, nesting, concurrent callers, forked children, worker numbers) and
// the pool of workspace buffers.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/parallel.hpp"
#include "core/pool.hpp"
#include "harness.hpp"

using rb::i32;
using rb::i64;

namespace {

constexpr double kHeavy = 1e6;  // nanoseconds per index: always worth a team

template <typename F>
void loop(i64 n, double cost, F body) {
    rb::parallel_for(n, cost, [](void* env, i64 begin, i64 end) { (*static_cast<F*>(env))(begin, end); }, &body);
}

// Every index of [0, n) visited exactly once?
bool covers(i64 n, double cost) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(n > 0 ? n : 1));
    loop(n, cost, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) seen[size_t(i)].fetch_add(1);
    });
    for (i64 i = 0; i < n; ++i) {
        if (seen[size_t(i)].load() != 1) return false;
    }
    return true;
}

struct Threads {  // sets the team size for a scope
    i32 before = rb::num_threads();
    explicit Threads(i32 n) { rb::set_num_threads(n); }
    ~Threads() { rb::set_num_threads(before); }
};

}  // namespace

TEST(covers_every_index_once) {
    for (i32 threads : {1, 2, 3, 5, 8}) {
        const Threads scope(threads);
        for (i64 n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 1001}) {
            CHECK(covers(n, kHeavy));
            CHECK(covers(n, 1.0));
            CHECK(covers(n, 0.0));
        }
    }
}

TEST(worker_numbers_stay_in_range) {
    for (i32 threads : {1, 2, 5}) {
        const Threads scope(threads);
        std::atomic<int> bad{0};
        loop(64, kHeavy, [&](i64, i64) {
            const i32 w = rb::worker_index();
            if (w < 0 || w >= threads) bad.fetch_add(1);
        });
        CHECK(bad.load() == 0);
        CHECK(rb::worker_index() == 0);
    }
}

TEST(a_limit_holds_whatever_the_setting_becomes) {
    const Threads scope(2);
    std::atomic<int> bad{0}, pieces{0};
    const auto body = [&](i64, i64) {
        pieces.fetch_add(1);
        if (rb::worker_index() >= 2) bad.fetch_add(1);
    };
    {
        const rb::TeamLimit limit(2);
        rb::set_num_threads(8);
        loop(64, kHeavy, body);
        CHECK(pieces.load() <= 2);
        const rb::TeamLimit inner(1);
        loop(64, kHeavy, body);
        CHECK(pieces.load() <= 3);
    }
    CHECK(bad.load() == 0);
    pieces.store(0);
    loop(64, kHeavy, body);
    CHECK(pieces.load() == 8);
}

TEST(small_work_stays_on_the_caller) {
    const Threads scope(4);
    const auto caller = std::this_thread::get_id();
    std::atomic<int> elsewhere{0}, calls{0};
    loop(100, 1.0, [&](i64, i64) {
        calls.fetch_add(1);
        if (std::this_thread::get_id() != caller) elsewhere.fetch_add(1);
    });
    CHECK(elsewhere.load() == 0);
    CHECK(calls.load() == 1);
}

TEST(nested_loops_run_serially) {
    const Threads scope(4);
    std::atomic<i64> total{0};
    std::atomic<int> moved{0};
    loop(8, kHeavy, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const auto here = std::this_thread::get_id();
            loop(10, kHeavy, [&](i64 b, i64 e) {
                if (std::this_thread::get_id() != here) moved.fetch_add(1);
                total.fetch_add(e - b);
            });
        }
    });
    CHECK(total.load() == 80);
    CHECK(moved.load() == 0);
}

TEST(concurrent_callers) {
    const Threads scope(3);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t) {
        callers.emplace_back([&] {
            for (int k = 0; k < 50; ++k) {
                if (!covers(37 + k, kHeavy)) wrong.fetch_add(1);
            }
        });
    }
    for (std::thread& t : callers) t.join();
    CHECK(wrong.load() == 0);
}

#if !defined(__SANITIZE_THREAD__)
TEST(forked_child_runs_serially) {
    const Threads scope(4);
    CHECK(covers(100, kHeavy));  // the team exists before the fork
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);  // a hang ends the child with a signal
        const auto here = std::this_thread::get_id();
        bool serial = true;
        loop(100, kHeavy, [&](i64, i64) { serial = serial && std::this_thread::get_id() == here; });
        _exit(serial && covers(1000, kHeavy) && rb::in_forked_child() ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(!rb::in_forked_child());
    CHECK(covers(100, kHeavy));  // the parent's team still works
}
#endif

TEST(denormals_are_restored) {
    volatile float tiny = 1e-40f;
    {
        const rb::FlushDenormals scope;
    }
    CHECK(tiny * 1.0f != 0.0f);
}

TEST(workspace_pool) {
    std::vector<void*> buffers;
    for (i64 bytes : {i64{1}, i64{63}, i64{64}, i64{65}, i64{4096}, i64{1000000}, i64{70000000}}) {
        void* p = rb::pool_get(bytes);
        CHECK(p != nullptr);
        if (!p) continue;
        CHECK(reinterpret_cast<uintptr_t>(p) % 64 == 0);
        std::memset(p, 0x5A, size_t(bytes));
        for (void* q : buffers) CHECK(p != q);
        buffers.push_back(p);
    }
    const rb::PoolStats held = rb::pool_stats();
    CHECK(held.live_bytes >= 71000000);
    for (void* p : buffers) rb::pool_put(p);
    rb::pool_put(nullptr);
    CHECK(rb::pool_stats().live_bytes <= held.live_bytes - 71000000);
    void* again = rb::pool_get(1000000);
    CHECK(again != nullptr);
    rb::pool_put(again);
    rb::pool_trim();
    CHECK(rb::pool_stats().cached_bytes == 0);
    CHECK(rb::pool_get(i64{1} << 60) == nullptr);
}

TEST(workspace_pool_from_many_threads) {
    std::vector<std::thread> users;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 4; ++t) {
        users.emplace_back([t, &wrong] {
            test::Rng rng(uint64_t(t) + 1);
            for (int k = 0; k < 500; ++k) {
                const i64 bytes = rng.integer(1, 100000);
                unsigned char* p = static_cast<unsigned char*>(rb::pool_get(bytes));
                if (!p) {
                    wrong.fetch_add(1);
                    continue;
                }
                std::memset(p, t, size_t(bytes));
                if (p[0] != t || p[bytes - 1] != t) wrong.fetch_add(1);
                rb::pool_put(p);
            }
        });
    }
    for (std::thread& t : users) t.join();
    CHECK(wrong.load() == 0);
}
