// program.hpp: a step recorded as a list of kernel calls, and its replay as one native call.
//
// While a Recorder is active on a thread, the binding notes every buffer it hands out and every call it makes. A
// Program is built from such a record: buffers that were born inside the step are placed in one arena by lifetime, so
// that memory is reused as soon as its last reader has run; everything else (parameters, optimiser state, batch
// buffers) keeps its address. Random positions are stored relative to the stream, scalars of optimiser updates can be
// patched. Runs of elementwise calls are fused: all of them on one block of elements before the next, each by its own
// kernel, so the bits stay. Updates of parameters run as soon as their gradient is complete. A replay runs the same
// implementations on the same shapes as the recorded calls: the same bits.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/run.hpp"  // Choice

namespace rb {

struct Recorder {
    struct Buffer {
        const char* data;
        i64 bytes;
    };
    struct Call {
        OpId op;
        size_t args;   // offset of the argument struct in `blob`
        bool dynamic;  // scalars may differ from step to step (optimiser updates)
    };
    std::vector<Buffer> buffers;
    std::vector<Call> calls;
    std::vector<char> blob;
    u64 stream_counter = 0;  // position of the random stream when recording began
    bool dynamic = false;    // set while an optimiser updates
    std::string trouble;     // why a replay could not repeat the step; empty while there is no reason

    void note_buffer(const void* data, i64 bytes);
    void note_call(OpId op, const void* args);

    // Arrays that change although no op writes them: contents are summed when an op has read or written them, and
    // compared when the next op uses them and at the end. A difference becomes `trouble`.
    void check_before(OpId op, const void* args);
    void check_after(OpId op, const void* args);
    void check_end();
    // Takes over from the record of the step before the arrays that lived longer than it, with their contents now.
    void watch(const Recorder& before);

    // Whether the address lies in a buffer born during this record.
    bool born(const void* address) const;

  private:
    struct Sum {
        View view;
        u64 value;
        const char* name;  // of the op that used it last
    };
    std::vector<Sum> sums_;
};

// Empty when two records of a step describe the same program: the same calls on the same shapes, the same scalars
// (optimiser updates apart), the same persistent arrays, and equal contents of arrays made anew each time outside the
// ops. Otherwise a sentence that says what differs. `results`: what the step returned each time, which must come from
// the same calls; `constants` becomes true when the step reads arrays made anew outside the ops, with equal contents.
std::string compare_records(const Recorder& a, const Recorder& b,
                            const std::vector<std::pair<View, View>>& results = {}, bool* constants = nullptr);

// Empty, or a sentence that names the call that writes into one of `inputs` or whose random position lies outside the
// `advance` blocks that the step uses up.
std::string check_record(const Recorder& r, const std::vector<View>& inputs, u64 advance);

class Program {
  public:
    // `kept`: addresses inside buffers that must survive the run (results of the step). Throws std::bad_alloc.
    Program(const Recorder& record, const std::vector<const void*>& kept);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    // Null, or why the integer inputs (labels, indices) do not fit; nothing has run then. Those that calls of the
    // program compute are not there yet: `run` looks at them.
    const char* check_inputs(char* message, size_t size) const;

    // Runs every call with the random stream at (key, counter). Throws std::bad_alloc before anything has run, and
    // std::invalid_argument, as eager calls do, at a call that does not fit the indices computed before it.
    void run(u64 key, u64 counter);

    // Names `bytes` bytes at `data`, outside the arena, as an input that `read_from` may move; returns its number.
    size_t add_input(const void* data, i64 bytes);

    // From now on input number `input` is read at `data`. False, with nothing changed, where the step writes into that
    // memory; its own place never is such a one.
    bool read_from(size_t input, const void* data);

    // Where the byte at a recorded address lives now (the address itself for memory outside the arena).
    void* relocated(const void* address) const;

    // The argument struct of the call that was recorded as number `index`, for patching scalars; its op.
    void* args_of(i64 index);
    OpId op_of(i64 index) const { return calls_[place_[static_cast<size_t>(index)]].op; }

    // Whether an address in an argument struct lies in the arena (and not in memory that outlives the step).
    bool in_arena(const void* address) const {
        return address >= arena_ && address < static_cast<const void*>(arena_ + arena_bytes_);
    }

    i64 fused_calls() const;  // calls that run inside a chain
    i64 calls() const { return static_cast<i64>(calls_.size()); }
    i64 arena_bytes() const { return arena_bytes_; }    // memory of the step's own buffers when replayed
    i64 buffer_bytes() const { return buffer_bytes_; }  // what they would take without reuse
    i64 work_bytes() const { return work_bytes_; }
    std::string describe() const;

  private:
    struct Call {
        OpId op;
        size_t args;
        Choice choice;
        bool flush;
        bool checks, computed;  // it has integer inputs; calls before it write them
    };
    // Neighbouring elementwise calls on arrays of one size, run block by block through the cache.
    struct Chain {
        size_t first, count;     // calls
        i64 elements;            // of every array that is not a single number
        std::vector<char> flat;  // the calls' argument structs with one axis each, kMaxArgsBytes apart
    };
    // An input of the step: where it was recorded, where it is read now, and the places in blob_ that point into it.
    struct Input {
        const char* home;
        i64 bytes;
        const char* now;
        std::vector<std::pair<size_t, i64>> places;  // of a View in blob_; bytes from the input's start
        std::vector<std::pair<View*, i64>> chained;  // of its copies in the chains
    };
    struct SeedSlot {
        size_t at;  // of the Seed in blob_
        u64 offset;
    };

    void advance(size_t update);
    void plan(const std::vector<const void*>& kept);
    void choose(i32 threads);
    void find_chains();
    void find_chained();
    static void point(std::vector<char>& blob, Input& input, const char* data);
    void run_chain(const Chain& chain, Ctx& ctx) const;
    void run_calls(Ctx& ctx) const;

    std::vector<Call> calls_;    // in the order in which they run
    std::vector<size_t> place_;  // of the calls as they were recorded
    std::vector<char> blob_;
    std::vector<Chain> chains_;  // in order of their calls
    std::vector<SeedSlot> seeds_;
    std::vector<Input> inputs_;
    std::vector<std::pair<const char*, const char*>> written_;  // memory outside the arena that calls write
    std::vector<Recorder::Buffer> buffers_;                     // recorded addresses
    std::vector<i64> offsets_;                                  // in the arena; -1: never used
    char* arena_ = nullptr;
    void* work_ = nullptr;
    i64 arena_bytes_ = 0, buffer_bytes_ = 0, work_bytes_ = 0;
    i32 threads_ = 0;
};

}  // namespace rb
