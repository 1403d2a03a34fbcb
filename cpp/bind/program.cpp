// program.cpp: recordings and programs as Python objects; rosenblatt/_capture.py drives them.
#include "bind/program.hpp"

#include <atomic>
#include <cstring>
#include <exception>
#include <memory>

#include "bind/tape.hpp"
#include "core/check.hpp"
#include "core/views.hpp"

namespace rb::bind {
namespace {

// An argument of the recorded step: an array or tensor like its next input, or a number, text or None.
struct Argument {
    enum Kind { array, tensor, value } kind;
    py::object constant;
};

// A program with what it needs from Python: the persistent arrays it points to, and where its results lie.
struct PyProgram {
    std::unique_ptr<Program> program;
    py::list keep;
    std::vector<View> results;
    std::vector<View> inputs;  // the buffers that were recorded
    std::vector<i64> movable;  // number of the input in `program`, or -1: always copied into its buffer
    std::vector<Argument> arguments;
    int mode = -1;  // that the step was recorded in; -1 when `accept` is not to be asked
    std::atomic<bool> busy{false};

    ~PyProgram() {
        if (program && active_patch().program == program.get()) active_patch() = Patch{};
    }
};

// Inputs of fewer bytes are copied: that is as quick as pointing the calls elsewhere.
constexpr i64 kReadInPlace = 16 << 10;

// `copy`: takes over the copy of an array that is misaligned or byte-swapped; without it such an array is refused.
View view_of(const py::handle& array, const char* what, py::object* copy = nullptr) {
    View v{};
    PyObject* kept = nullptr;
    const i32 dtype = py::isinstance<py::array>(array) ? dtype_of(array.ptr()) : -1;
    const Elem elem = dtype == i64t   ? Elem::int64
                      : dtype == i32t ? Elem::int32
                      : dtype == u16t ? Elem::uint16
                                      : Elem::real;
    const Field f{what, Kind::view, Role::in, elem, false, false, 0};
    if (!to_view(array.ptr(), f, "capture", &v, &kept)) throw py::error_already_set();
    if (kept && copy) {
        *copy = py::reinterpret_steal<py::object>(kept);
    } else if (kept) {
        Py_DECREF(kept);
        throw py::value_error(std::string("capture: ") + what + " must be aligned and in native byte order");
    }
    return v;
}

i64 bytes_of(const View& v) {
    i64 n = kItemSize[v.dtype];
    for (i32 i = 0; i < v.ndim; ++i) n *= v.shape[i];
    return n;
}

std::unique_ptr<PyProgram> make_program(Recording& r, const py::list& results, const py::list& inputs) {
    auto p = std::make_unique<PyProgram>();
    std::vector<const void*> kept;
    for (const py::handle& array : results) {
        p->results.push_back(view_of(array, "result"));
        if (p->results.back().dtype > f64 && !is_dense(p->results.back()))
            throw py::value_error("capture: an integer result must be contiguous");
        kept.push_back(p->results.back().data);
    }
    for (const py::handle& array : inputs) p->inputs.push_back(view_of(array, "input"));
    p->program = std::make_unique<Program>(r.recorder, kept);
    for (const View& v : p->inputs) {
        const char *begin = static_cast<const char*>(v.data), *end = begin + bytes_of(v);
        // Integers are checked before they are used as indices: nobody may change them in between.
        bool movable = v.dtype <= f64 && end - begin >= kReadInPlace;
        for (const View& r : p->results) {
            const char* data = static_cast<const char*>(r.data);
            movable = movable && !(data >= begin && data < end);
        }
        p->movable.push_back(movable ? static_cast<i64>(p->program->add_input(v.data, end - begin)) : -1);
    }
    for (View& v : p->results) v.data = p->program->relocated(v.data);
    for (const py::handle& array : r.keep) {
        const void* data = py::detail::array_proxy(array.ptr())->data;
        if (p->program->relocated(data) == data) p->keep.append(array);
    }
    return p;
}

// Has input number i read from `given`, or copies that into the input's buffer. It must match in shape and dtype (the
// caller's signature) and live until the run is over.
void load_input(PyProgram& p, size_t i, const py::handle& given) {
    py::object copy;
    View from = view_of(given, "input", &copy);
    if (from.dtype > f64 && !is_dense(from)) {
        copy = py::reinterpret_borrow<py::object>(given).attr("copy")();
        from = view_of(copy, "input");
    }
    View to = p.inputs[i];
    bool same = from.dtype == to.dtype && from.ndim == to.ndim;
    for (i32 d = 0; same && d < to.ndim; ++d) same = from.shape[d] == to.shape[d];
    if (!same) throw py::value_error("capture: an input changed its shape or dtype");
    if (p.movable[i] >= 0) {
        const size_t number = static_cast<size_t>(p.movable[i]);
        if (!copy && is_dense(from) && p.program->read_from(number, from.data)) return;
        p.program->read_from(number, to.data);
    }
    if (from.data == to.data) return;
    if (is_dense(from)) {
        std::memcpy(to.data, from.data, static_cast<size_t>(bytes_of(to)));
    } else {
        copy_args args{from, to};
        rb::run(op_copy, &args);
    }
}

// Whether the given inputs of these numbers are, byte for byte, what the program's buffers hold.
bool holds(const PyProgram& p, const py::list& given, const py::list& which) {
    for (const py::handle& number : which) {
        const size_t i = py::cast<size_t>(number);
        py::object copy;
        const View from = view_of(given[i], "input", &copy), &to = p.inputs.at(i);
        if (!is_dense(from) || bytes_of(from) != bytes_of(to)) return false;
        if (from.data != to.data && std::memcmp(from.data, to.data, static_cast<size_t>(bytes_of(to))) != 0)
            return false;
    }
    return true;
}

py::object copy_result(const View& v) {
    PyObject* array = new_array(v.shape, v.ndim, v.dtype);
    if (!array) throw py::error_already_set();
    py::object out = py::reinterpret_steal<py::object>(array);
    View to = view_of(out, "result");
    if (is_dense(v)) {
        std::memcpy(to.data, v.data, static_cast<size_t>(bytes_of(v)));
    } else {
        copy_args args{v, to};
        rb::run(op_copy, &args);
    }
    return out;
}

// A read-only array on the program's own memory, which it keeps alive; the next replay writes there.
py::object window_on(const View& v, PyProgram& p) {
    const auto& api = py::detail::npy_api::get();
    const int number[] = {py::detail::npy_api::NPY_FLOAT_, py::detail::npy_api::NPY_DOUBLE_,
                          sizeof(long) == 8 ? py::detail::npy_api::NPY_LONG_ : py::detail::npy_api::NPY_LONGLONG_,
                          py::detail::npy_api::NPY_INT_, py::detail::npy_api::NPY_USHORT_};
    Py_intptr_t shape[kMaxDims], strides[kMaxDims];
    for (i32 i = 0; i < v.ndim; ++i) {
        shape[i] = v.shape[i];
        strides[i] = v.stride[i] * kItemSize[v.dtype];
    }
    PyObject* array = api.PyArray_NewFromDescr_(api.PyArray_Type_, api.PyArray_DescrFromType_(number[v.dtype]), v.ndim,
                                                shape, strides, v.data, 0, nullptr);
    if (!array) throw py::error_already_set();
    py::object out = py::reinterpret_steal<py::object>(array);
    if (api.PyArray_SetBaseObject_(array, py::cast(&p).release().ptr()) < 0) throw py::error_already_set();
    return out;
}

void execute(PyProgram& p, u64 key, u64 counter) {
    char message[512];
    if (const char* error = p.program->check_inputs(message, sizeof message)) throw py::value_error(error);
    PyThreadState* released = PyEval_SaveThread();
    try {
        p.program->run(key, counter);
    } catch (const std::exception&) {  // bad_alloc, invalid_argument
        PyEval_RestoreThread(released);
        throw;
    }
    PyEval_RestoreThread(released);
}

// The results; the first `windows` of them as windows, the others as copies.
py::list replay(PyProgram& p, const py::tuple& inputs, u64 key, u64 counter, size_t windows) {
    if (p.busy.exchange(true)) throw std::runtime_error("capture: this program is running on another thread");
    struct Release {
        std::atomic<bool>& flag;
        ~Release() { flag.store(false); }
    } release{p.busy};
    if (inputs.size() != p.inputs.size()) throw py::value_error("capture: wrong number of inputs");
    for (size_t i = 0; i < p.inputs.size(); ++i) load_input(p, i, inputs[i]);
    execute(p, key, counter);
    py::list out(p.results.size());
    for (size_t i = 0; i < p.results.size(); ++i) {
        out[i] = i < windows ? window_on(p.results[i], p) : copy_result(p.results[i]);
    }
    return out;
}

}  // namespace

Recording*& active_recording() {
    static thread_local Recording* recording = nullptr;
    return recording;
}

Recording::~Recording() {
    if (active_recording() == this) active_recording() = nullptr;
}

Patch& active_patch() {
    static thread_local Patch patch;
    return patch;
}

void run_noted(OpId op, void* args) {
    Recording* r = active_recording();
    if (r) r->recorder.check_before(op, args);
    rb::run(op, args);
    if (!r) return;
    r->recorder.check_after(op, args);
    r->recorder.note_call(op, args);
}

namespace {

std::vector<View> views_of(const py::list& arrays, const char* what) {
    std::vector<View> views;
    for (const py::handle& array : arrays) views.push_back(view_of(array, what));
    return views;
}

// (what differs or "", whether the step reads constants made outside the ops)
py::tuple difference(const Recording& a, const Recording& b, const py::list& results_a, const py::list& results_b) {
    const std::vector<View> va = views_of(results_a, "result"), vb = views_of(results_b, "result");
    if (va.size() != vb.size()) return py::make_tuple("the number of results changed from step to step", false);
    std::vector<std::pair<View, View>> results;
    for (size_t i = 0; i < va.size(); ++i) results.emplace_back(va[i], vb[i]);
    bool constants = false;
    const std::string text = compare_records(a.recorder, b.recorder, results, &constants);
    return py::make_tuple(text, constants);
}

// One thing a program takes for granted: the object behind a dict's key, a list's index, a cell or an attribute, or
// the length of a dict or list.
struct Fact {
    py::object holder, key, value;
    bool length;
    i64 index;
};
struct Guard {
    std::vector<Fact> facts;
};

// Same object, or equal numbers and texts of one type (zeros by sign).
bool same(PyObject* a, PyObject* b) {
    if (a == b) return true;
    if (!a || !b || Py_TYPE(a) != Py_TYPE(b)) return false;
    if (PyFloat_CheckExact(a)) {
        const double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
        return std::memcmp(&x, &y, sizeof x) == 0;
    }
    if (!PyLong_CheckExact(a) && !PyUnicode_CheckExact(a)) return false;
    const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
    if (equal < 0) throw py::error_already_set();
    return equal == 1;
}

std::unique_ptr<Guard> make_guard(const py::list& facts) {
    auto g = std::make_unique<Guard>();
    for (const py::handle& item : facts) {
        const py::tuple t = py::reinterpret_borrow<py::tuple>(item);
        const py::object holder = t[0], key = t[1];
        const bool length = key.is(py::type::of<Guard>());
        const i64 index = PyList_CheckExact(holder.ptr()) && !length ? py::cast<i64>(key) : -1;
        g->facts.push_back({holder, key, t[2], length, index});
    }
    return g;
}

int guard_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!py::detail::is_holder_constructed(self)) return 0;
    for (const Fact& f : py::cast<const Guard&>(py::handle(self)).facts) {
        Py_VISIT(f.holder.ptr());
        Py_VISIT(f.key.ptr());
        Py_VISIT(f.value.ptr());
    }
    return 0;
}
int guard_clear(PyObject* self) {
    if (!py::detail::is_holder_constructed(self)) return 0;
    const std::vector<Fact> gone = std::move(py::cast<Guard&>(py::handle(self)).facts);
    return 0;
}

// Number of the first fact that is no longer so, or -1. The class itself as a key stands for the holder's length.
i64 check_guard(const Guard& g) {
    for (size_t i = 0; i < g.facts.size(); ++i) {
        const Fact& f = g.facts[i];
        PyObject* holder = f.holder.ptr();
        py::object owned;
        PyObject* now = nullptr;
        if (f.length) {
            owned = py::reinterpret_steal<py::object>(PyLong_FromSsize_t(PyObject_Size(holder)));
            now = owned.ptr();
        } else if (PyDict_Check(holder)) {
            now = PyDict_GetItemWithError(holder, f.key.ptr());
        } else if (PyList_CheckExact(holder)) {
            now = f.index < PyList_GET_SIZE(holder) ? PyList_GET_ITEM(holder, f.index) : nullptr;
        } else if (PyCell_Check(holder)) {
            now = PyCell_GET(holder);
        } else {
            now = PyObject_GetAttr(holder, f.key.ptr());
            owned = py::reinterpret_steal<py::object>(now);
        }
        if (!now) PyErr_Clear();  // gone
        if (!same(now, f.value.ptr())) return static_cast<i64>(i);
    }
    return -1;
}

// Notes the arguments of the recorded step, whose arrays are the inputs, and the mode of the tape. False when one is
// neither an array nor a plain value: then `accept` takes no call.
bool expect(PyProgram& p, const py::tuple& args) {
    std::vector<Argument> arguments;
    size_t arrays = 0;
    for (const py::handle& a : args) {
        const bool tensor = parts_of(a.ptr()).data != nullptr;
        const PyTypeObject* type = Py_TYPE(a.ptr());
        if (tensor || py::isinstance<py::array>(a)) {
            arguments.push_back({tensor ? Argument::tensor : Argument::array, {}});
            ++arrays;
        } else if (a.is_none() || type == &PyBool_Type || type == &PyLong_Type || type == &PyFloat_Type ||
                   type == &PyUnicode_Type) {
            arguments.push_back({Argument::value, py::reinterpret_borrow<py::object>(a)});
        } else {
            return false;
        }
    }
    if (arrays != p.inputs.size()) return false;
    p.arguments = std::move(arguments);
    p.mode = tape_mode();
    return true;
}

bool is_like(PyObject* array, const View& v) {
    if (Py_TYPE(array) != py::detail::npy_api::get().PyArray_Type_ || dtype_of(array) != v.dtype) return false;
    const auto* a = py::detail::array_proxy(array);
    if (a->nd != v.ndim) return false;
    for (i32 d = 0; d < v.ndim; ++d) {
        if (a->dimensions[d] != v.shape[d]) return false;
    }
    return true;
}

// The arrays of a call whose arguments and mode are those of the recorded step, else None.
py::object accept(const PyProgram& p, const py::tuple& args) {
    if (p.mode != tape_mode() || args.size() != p.arguments.size()) return py::none();
    py::tuple arrays(p.inputs.size());
    size_t next = 0;
    for (size_t i = 0; i < p.arguments.size(); ++i) {
        PyObject* a = PyTuple_GET_ITEM(args.ptr(), static_cast<Py_ssize_t>(i));
        const Argument& expected = p.arguments[i];
        if (expected.kind == Argument::value) {
            if (!same(a, expected.constant.ptr())) return py::none();
            continue;
        }
        const TensorParts parts = parts_of(a);
        if ((parts.data != nullptr) != (expected.kind == Argument::tensor)) return py::none();
        if (parts.data && parts.requires_grad && p.mode) return py::none();
        if (parts.data) a = parts.data;
        if (!is_like(a, p.inputs[next])) return py::none();
        arrays[next++] = py::reinterpret_borrow<py::object>(a);
    }
    return arrays;
}

// Raises each of the counts at `indices`, all equal, by one and returns the new count; 0, with nothing changed, when
// they differ.
i64 count_up(const py::list& counts, const py::tuple& indices) {
    i64 count = -1;
    for (const py::handle& index : indices) {
        const i64 now = py::cast<i64>(counts[py::cast<size_t>(index)]);
        if (count >= 0 && now != count) return 0;
        count = now;
    }
    const py::int_ next(count + 1);
    for (const py::handle& index : indices) counts[py::cast<size_t>(index)] = next;
    return count + 1;
}

// The one result of a program with one input and no random numbers, or None when the guard finds a change, the input
// is not of the recorded kind, somebody records, or the program runs on another thread.
py::object replay_if(PyProgram& p, const Guard& guard, const py::array& input) {
    if (active_recording() || p.results.size() != 1 || p.inputs.size() != 1 || check_guard(guard) >= 0)
        return py::none();
    const View& to = p.inputs[0];
    bool same = dtype_of(input.ptr()) == to.dtype && input.ndim() == to.ndim;
    for (i32 d = 0; same && d < to.ndim; ++d) same = input.shape(d) == to.shape[d];
    if (!same || p.busy.exchange(true)) return py::none();
    struct Release {
        std::atomic<bool>& flag;
        ~Release() { flag.store(false); }
    } release{p.busy};
    load_input(p, 0, input);
    execute(p, 0, 0);
    return copy_result(p.results[0]);
}

}  // namespace

void define_program(py::module_& m) {
    py::class_<Recording>(m, "Recording")
        .def(py::init([](u64 stream_counter) {
                 auto r = std::make_unique<Recording>();
                 r->recorder.stream_counter = stream_counter;
                 return r;
             }),
             py::arg("stream_counter"))
        .def(
            "start",
            [](Recording& r, const Recording* before) {
                if (active_recording()) throw std::runtime_error("capture: this thread is recording already");
                if (before) r.recorder.watch(before->recorder);
                active_recording() = &r;
            },
            py::arg("before") = nullptr)
        .def("stop",
             [](Recording& r) {
                 if (active_recording() != &r) return;
                 active_recording() = nullptr;
                 r.recorder.check_end();
             })
        .def_property_readonly("trouble", [](const Recording& r) { return r.recorder.trouble; })
        .def(
            "born", [](const Recording& r, const py::object& a) { return r.recorder.born(view_of(a, "array").data); },
            py::arg("array"))
        .def_property(
            "dynamic", [](const Recording& r) { return r.recorder.dynamic; },
            [](Recording& r, bool value) { r.recorder.dynamic = value; })
        .def_property_readonly("calls", [](const Recording& r) { return r.recorder.calls.size(); })
        .def("difference", &difference, py::arg("other"), py::arg("results"), py::arg("other_results"))
        .def(
            "check",
            [](const Recording& r, const py::list& inputs, u64 advance) {
                return check_record(r.recorder, views_of(inputs, "input"), advance);
            },
            py::arg("inputs"), py::arg("advance"));
    // A guard refers to the objects of the step, which may refer to the captured step: the collector must see that.
    py::class_<Guard>(m, "Guard", py::custom_type_setup([](PyHeapTypeObject* heap) {
                          PyTypeObject* type = &heap->ht_type;
                          type->tp_flags |= Py_TPFLAGS_HAVE_GC;
                          type->tp_traverse = guard_traverse;
                          type->tp_clear = guard_clear;
                      }))
        .def(py::init(&make_guard), py::arg("facts"))
        .def("check", &check_guard);
    py::class_<PyProgram>(m, "Program")
        .def(py::init(&make_program), py::arg("recording"), py::arg("results"), py::arg("inputs"))
        .def("replay", &replay, py::arg("inputs"), py::arg("key"), py::arg("counter"), py::arg("windows") = 0)
        .def("replay_if", &replay_if, py::arg("guard"), py::arg("input"))
        .def("expect", &expect, py::arg("args"))
        .def("accept", &accept, py::arg("args"))
        .def("holds", &holds, py::arg("inputs"), py::arg("which"))
        .def("start_patch",
             [](PyProgram& p, i64 call) {
                 if (call < 0 || call > p.program->calls()) throw py::value_error("capture: no such call");
                 active_patch() = Patch{p.program.get(), call};
             })
        .def("stop_patch",
             [](PyProgram&) {
                 const bool moved = active_patch().moved;
                 active_patch() = Patch{};
                 return moved;
             })
        .def("patch",
             [](PyProgram& p, const py::tuple& calls, const py::tuple& scalars) {
                 for (const py::handle& call : calls) patch_call(*p.program, py::cast<i64>(call), scalars);
             })
        .def("describe", [](const PyProgram& p) { return p.program->describe(); })
        .def_property_readonly("calls", [](const PyProgram& p) { return p.program->calls(); })
        .def_property_readonly("fused_calls", [](const PyProgram& p) { return p.program->fused_calls(); })
        .def_property_readonly("arena_bytes", [](const PyProgram& p) { return p.program->arena_bytes(); })
        .def_property_readonly("buffer_bytes", [](const PyProgram& p) { return p.program->buffer_bytes(); })
        .def_property_readonly("work_bytes", [](const PyProgram& p) { return p.program->work_bytes(); });
    m.def("count_up", &count_up, py::arg("counts"), py::arg("indices"));
    m.def("recording", [] { return active_recording() != nullptr; });
}

}  // namespace rb::bind
