// parallel.hpp: the team of threads behind parallel_for (declared in rb/ctx.hpp, implemented in parallel.cpp only).
#pragma once

#include "rb/ctx.hpp"

namespace rb {

// Size of the team. Default: RB_THREADS if set, else min(OMP_NUM_THREADS, CPU affinity, cgroup quota).
i32 num_threads();

// Sets the team size for the process, 1 <= n <= kMaxThreads (the caller checks). An explicit setting overrides quotas.
constexpr i32 kMaxThreads = 256;
void set_num_threads(i32 n);

// A scope in which regions of the calling thread have teams of at most `threads`, whatever set_num_threads says
// meanwhile: a kernel's scratch has been booked for so many.
class TeamLimit {
  public:
    explicit TeamLimit(i32 threads);
    ~TeamLimit();
    TeamLimit(const TeamLimit&) = delete;
    TeamLimit& operator=(const TeamLimit&) = delete;

  private:
    i32 before_;
};

// True in a child forked after the library was loaded: its parallel loops run serially.
bool in_forked_child();

// "openmp" or "std::thread".
const char* parallel_backend();

// Value of RB_THREADS when it is not a positive integer, else null.
const char* bad_threads_setting();

// A scope in which denormals are flushed on the calling thread; restores the control register on exit.
class FlushDenormals {
  public:
    FlushDenormals();
    ~FlushDenormals();
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

  private:
    u32 saved_;
};

}  // namespace rb
