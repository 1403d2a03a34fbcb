// pool.hpp: recycled 64-byte-aligned buffers behind every array we create and every workspace.
// Fresh pages cost about 3 GB/s to touch, so freed buffers are kept by size class up to a cap.
#pragma once

#include "rb/view.hpp"

namespace rb {

// A buffer of at least `bytes` bytes, 64-byte aligned, contents undefined. Null when the system has no memory left.
void* pool_get(i64 bytes);

// Gives a buffer from pool_get back (null is fine). Safe from any thread, with or without the GIL.
void pool_put(void* data);

struct PoolStats {
    i64 live_bytes;    // handed out now
    i64 cached_bytes;  // kept for reuse
    i64 peak_bytes;    // highest live_bytes since the last reset
    i64 cap_bytes;     // RB_POOL_MB, default 512 MiB; 0 keeps nothing
    i64 fresh;         // buffers taken from the system so far
    i64 reused;        // buffers taken from the cache so far
};
PoolStats pool_stats();
void pool_reset_peak();

// The value of RB_POOL_MB when it is not a whole number of megabytes, else null.
const char* bad_pool_setting();

// Returns every cached buffer to the system.
void pool_trim();

}  // namespace rb
