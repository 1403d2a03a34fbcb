// parallel.cpp: the one place with threads. Two back ends: a pool of std::threads (the default: one region costs about
// a microsecond, a worker the system has not scheduled delays nobody, sanitizers understand it, no second OpenMP
// runtime enters the process), and OpenMP. Work is cut into one contiguous piece per thread of the team. A region
// entered while another is running (nested, or a second Python thread) runs on its caller alone, so there is never more
// than one team.
#include "core/parallel.hpp"

#include <pthread.h>  // pthread_atfork
#include <sched.h>    // sched_getaffinity

#include <atomic>
#include <cstdio>   // reading cgroup files
#include <cstdlib>  // getenv, strtol
#include <cstring>
#include <mutex>
#include <string>

#if defined(__x86_64__)
#include <xmmintrin.h>  // _mm_getcsr
#endif
#if defined(RB_PARALLEL_OMP)
#include <omp.h>
#else
#include <signal.h>  // pthread_sigmask

#include <system_error>
#include <thread>
#endif

namespace rb {
namespace {

// Below this many nanoseconds of work a region is not worth its fork and join.
constexpr double kMinRegionNs = 20000.0;
// Each thread should have at least this much.
constexpr double kMinPieceNs = 8000.0;

std::atomic<bool> g_busy{false};
std::atomic<bool> g_forked{false};
thread_local bool t_inside = false;
thread_local i32 t_worker = 0;
thread_local i32 t_limit = kMaxThreads;  // see TeamLimit

struct Settings {
    std::atomic<i32> threads{1};
    std::string bad;
};

i32 affinity_count() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    const int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

// CPUs granted by the control group (v2, then v1), rounded up; 0 when there is no limit.
i32 cgroup_count() {
    char text[64];
    double quota = -1, period = -1;
    if (FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
        if (std::fscanf(f, "%63s %lf", text, &period) == 2 && std::strcmp(text, "max") != 0) quota = std::atof(text);
        std::fclose(f);
    } else {
        if (FILE* q = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
            if (std::fscanf(q, "%lf", &quota) != 1) quota = -1;
            std::fclose(q);
        }
        if (FILE* p = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r")) {
            if (std::fscanf(p, "%lf", &period) != 1) period = -1;
            std::fclose(p);
        }
    }
    if (quota <= 0 || period <= 0) return 0;
    const i32 n = static_cast<i32>((quota + period - 1) / period);
    return n > 0 ? n : 1;
}

// Parses a positive integer; 0 when the text is something else. OMP_NUM_THREADS may be a list: its first entry counts.
i32 positive(const char* text, bool list) {
    char* end = nullptr;
    const long v = std::strtol(text, &end, 10);
    if (end == text || v <= 0 || v > kMaxThreads) return 0;
    if (*end != '\0' && !(list && *end == ',')) return 0;
    return static_cast<i32>(v);
}

void child_after_fork();

Settings& settings() {
    static Settings s;
    static std::once_flag once;
    std::call_once(once, [] {
        i32 n = affinity_count();
        if (const i32 q = cgroup_count(); q > 0 && q < n) n = q;
        if (const char* e = std::getenv("OMP_NUM_THREADS"); e && *e) {
            if (const i32 v = positive(e, true); v > 0 && v < n) n = v;
        }
        if (const char* e = std::getenv("RB_THREADS"); e && *e) {
            const i32 v = positive(e, false);
            if (v > 0) {
                n = v;
            } else {
                s.bad = e;
            }
        }
        if (n > kMaxThreads) n = kMaxThreads;
        s.threads.store(n);
        pthread_atfork(nullptr, nullptr, child_after_fork);
    });
    return s;
}

struct Region {
    i64 n;
    i32 team;
    void (*fn)(void*, i64, i64);
    void* env;
    bool flush;
};

void run_piece(const Region& r, i32 piece, i32 worker);

#if !defined(RB_PARALLEL_OMP)
// A pool of std::threads. The pieces of a region are claimed one by one, by the caller too: a worker that the system
// has not scheduled yet delays nobody, which is what keeps a busy machine usable. Workers look for work for a short
// while after a region, then sleep. The pool is leaked on purpose: joining threads from static destructors deadlocks
// at interpreter exit.
class Pool {
  public:
    void run(const Region& region) {
        start_workers(region.team - 1);
        region_ = region;
        remaining_.store(region.team, std::memory_order_relaxed);
        const u64 generation = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
        ticket_.store(generation << 32 | static_cast<u64>(region.team) << 16, std::memory_order_seq_cst);
        epoch_.fetch_add(1, std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) > 0) epoch_.notify_all();
        while (claim_and_run(0)) {
        }
        for (i32 spin = 0; remaining_.load(std::memory_order_acquire) != 0; ++spin) {
            if (spin < kSpins) {
                pause();
                continue;
            }
            const i32 left = remaining_.load(std::memory_order_acquire);
            if (left != 0) remaining_.wait(left, std::memory_order_acquire);
        }
    }

  private:
    static constexpr i32 kSpins = 2000;  // pauses before sleeping: some 30 to 100 microseconds

    static void pause() {
#if defined(__x86_64__)
        _mm_pause();
#endif
    }

    // Takes the next piece of the running region, if there is one for this worker. The ticket holds generation, number
    // of pieces and next piece; a claimed piece keeps the region alive, so region_ is read only after the claim.
    bool claim_and_run(i32 worker) {
        u64 t = ticket_.load(std::memory_order_seq_cst);
        for (;;) {
            const i32 pieces = static_cast<i32>(t >> 16 & 0xffff), next = static_cast<i32>(t & 0xffff);
            if (next >= pieces || worker >= pieces) return false;
            if (!ticket_.compare_exchange_weak(t, t + 1, std::memory_order_acq_rel)) continue;
            run_piece(region_, next, worker);
            if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining_.notify_one();
            return true;
        }
    }

    void work(i32 worker) {
        for (i32 spin = 0;;) {
            if (claim_and_run(worker)) {
                spin = 0;
            } else if (++spin < kSpins) {
                pause();
            } else {
                sleepers_.fetch_add(1, std::memory_order_seq_cst);
                const u32 seen = epoch_.load(std::memory_order_seq_cst);
                if (!claim_and_run(worker)) epoch_.wait(seen, std::memory_order_seq_cst);
                sleepers_.fetch_sub(1, std::memory_order_seq_cst);
                spin = 0;
            }
        }
    }

    // As many as the system grants: those there are share the pieces.
    void start_workers(i32 count) {
        if (count > most_) count = most_;
        if (started_ >= count) return;
        sigset_t all, before;  // signals are for the interpreter's threads
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            for (; started_ < count; ++started_) std::thread([this, worker = started_ + 1] { work(worker); }).detach();
        } catch (const std::system_error&) {
            most_ = started_;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    Region region_{};
    i32 started_ = 0, most_ = kMaxThreads;
    alignas(64) std::atomic<u64> ticket_{0};
    alignas(64) std::atomic<i32> remaining_{0};
    alignas(64) std::atomic<u32> epoch_{0};
    std::atomic<i32> sleepers_{0};
};

Pool& pool() {
    static Pool* p = new Pool;
    return *p;
}
#endif

void child_after_fork() {
    g_forked.store(true);
    g_busy.store(false);
    t_inside = false;
    t_worker = 0;
}

#if defined(__x86_64__)
constexpr u32 kFlushBits = 0x8040;  // flush-to-zero, denormals-are-zero
bool flushing() {
    return (_mm_getcsr() & kFlushBits) == kFlushBits;
}
#else
bool flushing() {
    return false;
}
#endif

void run_piece(const Region& r, i32 piece, i32 worker) {
    const i64 base = r.n / r.team, extra = r.n % r.team;
    const i64 begin = piece * base + (piece < extra ? piece : extra);
    const i64 end = begin + base + (piece < extra ? 1 : 0);
    if (begin >= end) return;
    const bool outer = t_inside;
    const i32 index = t_worker;
    t_inside = true;
    t_worker = worker;
    if (r.flush) {
        const FlushDenormals scope;
        r.fn(r.env, begin, end);
    } else {
        r.fn(r.env, begin, end);
    }
    t_inside = outer;
    t_worker = index;
}

}  // namespace

i32 num_threads() {
    return settings().threads.load(std::memory_order_relaxed);
}

void set_num_threads(i32 n) {
    settings().threads.store(n);
}

bool in_forked_child() {
    return g_forked.load();
}

const char* parallel_backend() {
#if defined(RB_PARALLEL_OMP)
    return "openmp";
#else
    return "std::thread";
#endif
}

const char* bad_threads_setting() {
    return settings().bad.empty() ? nullptr : settings().bad.c_str();
}

i32 worker_index() {
    return t_worker;
}

void parallel_for(i64 n, double cost, void (*fn)(void*, i64, i64), void* env) {
    if (n <= 0) return;
    const double total = cost * static_cast<double>(n);
    i64 team = num_threads();
    if (team > t_limit) team = t_limit;
    if (team > n) team = n;
    if (const i64 pieces = static_cast<i64>(total / kMinPieceNs); team > pieces) team = pieces;
    bool idle = false;
    if (team <= 1 || total < kMinRegionNs || t_inside || g_forked.load(std::memory_order_relaxed) ||
        !g_busy.compare_exchange_strong(idle, true)) {
        fn(env, 0, n);
        return;
    }
    const Region region{n, static_cast<i32>(team), fn, env, flushing()};
#if defined(RB_PARALLEL_OMP)
#pragma omp parallel num_threads(region.team)
    {
        // The runtime may grant fewer threads than asked: the pieces stay the same, someone takes two.
        const i32 worker = omp_get_thread_num();
        for (i32 i = worker; i < region.team; i += omp_get_num_threads()) run_piece(region, i, worker);
    }
#else
    pool().run(region);
#endif
    g_busy.store(false);
}

TeamLimit::TeamLimit(i32 threads) : before_(t_limit) {
    t_limit = threads;
}
TeamLimit::~TeamLimit() {
    t_limit = before_;
}

#if defined(__x86_64__)
FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
    _mm_setcsr(saved_ | kFlushBits);
}
FlushDenormals::~FlushDenormals() {
    _mm_setcsr(saved_);
}
#else
FlushDenormals::FlushDenormals() : saved_(0) {}
FlushDenormals::~FlushDenormals() {
    static_cast<void>(saved_);
}
#endif

}  // namespace rb
