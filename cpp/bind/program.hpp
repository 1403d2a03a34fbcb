// program.hpp: recording and patching state of the calling thread, asked by every op call.
#pragma once

#include "bind/arrays.hpp"
#include "core/program.hpp"

namespace rb::bind {

// A record under way. `keep` holds every array the step touched, so that no address is used twice while it lasts.
struct Recording {
    Recorder recorder;
    py::list keep;
    ~Recording();  // ends it, should it still be under way
};

// While set, op calls of this thread only write their scalars into the program's calls from `next` on.
struct Patch {
    Program* program = nullptr;
    i64 next = 0;
    bool moved = false;  // an array that the calls point at was replaced
};

Recording*& active_recording();
Patch& active_patch();

// run(), noted by the active recorder.
void run_noted(OpId op, void* args);

// Writes `scalars`, in the op's order, into call number `call` of a program. Throws for numbers that do not fit.
void patch_call(Program& program, i64 call, const py::tuple& scalars);

// Adds the Python classes Recording and Program.
void define_program(py::module_& m);

}  // namespace rb::bind
