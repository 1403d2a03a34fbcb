// module.cpp: the _core module. Every op of ops.def becomes one function taking its fields in order (workspace left
// out); they share one body that reads the declarations, so a new op needs no binding code.
//
// Contract: TypeError for a wrong kind of argument, ValueError for wrong shapes or values, MemoryError when memory is
// out; in each case before any output is touched. The GIL is released while large calls run.
#include <pybind11/pybind11.h>

#include <cstring>
#include <string>

#include "bind/arrays.hpp"
#include "bind/program.hpp"
#include "bind/tape.hpp"
#include "core/check.hpp"
#include "core/cpu_features.hpp"
#include "core/describe.hpp"
#include "core/fft_table.hpp"
#include "core/parallel.hpp"
#include "core/pool.hpp"
#include "core/run.hpp"
#include "core/views.hpp"
#include "rb/fft_plan.hpp"

namespace py = pybind11;

namespace rb::bind {
namespace {

// Below this many elements in all views together, giving the GIL away costs more than the call.
constexpr i64 kReleaseFrom = 1 << 14;

bool same_view(const View& a, const View& b) {
    if (a.data != b.data || a.dtype != b.dtype || a.ndim != b.ndim) return false;
    for (i32 i = 0; i < a.ndim; ++i) {
        if (a.shape[i] != b.shape[i] || (a.shape[i] != 1 && a.stride[i] != b.stride[i])) return false;
    }
    return true;
}

// Refuses outputs that share memory with another argument, except identical views in elementwise ops.
bool check_overlap(const OpInfo& info, const char* args) {
    for (i32 i = 0; i < info.count; ++i) {
        const Field& out = info.fields[i];
        if (out.kind != Kind::view || out.role == Role::in) continue;
        const View& y = *reinterpret_cast<const View*>(args + out.offset);
        const char *y0, *y1, *x0, *x1;
        if (!byte_span(y, &y0, &y1)) continue;
        for (i32 j = 0; j < info.count; ++j) {
            const Field& other = info.fields[j];
            if (j == i || other.kind != Kind::view) continue;
            if (other.role != Role::in && j < i) continue;  // each pair of outputs once
            const View& x = *reinterpret_cast<const View*>(args + other.offset);
            if (!byte_span(x, &x0, &x1) || x0 >= y1 || y0 >= x1) continue;
            if (info.elementwise && other.role == Role::in && same_view(x, y)) continue;
            PyErr_Format(PyExc_ValueError, "%s: output %s overlaps %s in memory", info.name, out.name, other.name);
            return false;
        }
    }
    return true;
}

bool read_int(PyObject* object, const OpInfo& info, const Field& f, i64* value) {
    *value = PyLong_AsLongLong(object);
    if (*value == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "%s: %s must be an integer, got %R", info.name, f.name, Py_TYPE(object));
        } else if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            PyErr_Format(PyExc_ValueError, "%s: %s does not fit in 64 bits", info.name, f.name);
        }
        return false;
    }
    return true;
}

bool read_unsigned(PyObject* object, const OpInfo& info, const Field& f, u64* value) {
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: %s must be an integer, got %R", info.name, f.name, Py_TYPE(object));
        return false;
    }
    *value = PyLong_AsUnsignedLongLong(object);
    if (*value == static_cast<u64>(-1) && PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "%s: %s must be in [0, 2**64), got %R", info.name, f.name, object);
        return false;
    }
    return true;
}

// References to converted copies, released when the call ends (with the GIL held).
struct Kept {
    PyObject* objects[16] = {};
    i32 count = 0;
    ~Kept() {
        for (i32 i = 0; i < count; ++i) Py_XDECREF(objects[i]);
    }
};

// Environment variables read on first use, what each may say, and its value when it says something else.
struct Setting {
    const char* name;
    const char* expected;
    const char* (*bad)();
};
constexpr Setting kSettings[] = {
    {"RB_ISA", "ref, base, avx2 or avx512", bad_level_setting},
    {"RB_THREADS", "a positive integer up to 256", bad_threads_setting},
    {"RB_IMPL", "op:implementation, comma separated", bad_impl_setting},
    {"RB_POOL_MB", "a whole number of megabytes", bad_pool_setting},
    {"RB_TRACE", "0, 1 or program", bad_trace_setting},
    {"RB_WINOGRAD", "0 or 1", bad_winograd_setting},
};

// Refuses every call while an environment variable cannot be understood: a misspelt cap must not pass unnoticed.
bool check_settings() {
    static bool good = false;  // guarded by the GIL
    if (good) return true;
    for (const Setting& s : kSettings) {
        if (const char* value = s.bad()) {
            PyErr_Format(PyExc_ValueError, "%s: expected %s, got '%s'", s.name, s.expected, value);
            return false;
        }
    }
    good = true;
    return true;
}

// Writes a number into its field; other fields stay as they are.
bool write_scalar(PyObject* object, const OpInfo& info, const Field& f, char* args) {
    if (f.kind == Kind::integer) return read_int(object, info, f, reinterpret_cast<i64*>(args + f.offset));
    if (f.kind != Kind::real) return true;
    const double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) return false;
    *reinterpret_cast<double*>(args + f.offset) = value;
    return true;
}

// Instead of running: writes the scalars of a call into the program being patched.
PyObject* patch_op(OpId op, PyObject* const* given, Py_ssize_t n) {
    Patch& patch = active_patch();
    const OpInfo& info = op_info[op];
    if (patch.next >= patch.program->calls() || patch.program->op_of(patch.next) != op) {
        PyErr_Format(PyExc_RuntimeError, "capture: the optimiser called %s where the recorded step did not", info.name);
        return nullptr;
    }
    char* args = static_cast<char*>(patch.program->args_of(patch.next++));
    Py_ssize_t at = 0;
    for (i32 i = 0; i < info.count; ++i) {
        const Field& f = info.fields[i];
        if (f.kind == Kind::work) continue;
        if (at >= n) break;
        PyObject* object = given[at++];
        if (f.kind == Kind::seed) ++at;
        if (f.kind == Kind::view) {  // arrays stay as recorded; one that was replaced makes the program useless
            const View& v = *reinterpret_cast<const View*>(args + f.offset);
            const bool given_one = object != Py_None && py::isinstance<py::array>(object);
            if (given_one != (v.ndim >= 0) ||
                (given_one && !patch.program->in_arena(v.data) &&
                 py::detail::array_proxy(object)->data != static_cast<const char*>(v.data)))
                patch.moved = true;
        }
        if (!write_scalar(object, info, f, args)) return nullptr;
    }
    char message[512];
    if (const char* error = check_args(op, args, message, sizeof message)) {
        PyErr_SetString(PyExc_ValueError, error);
        return nullptr;
    }
    Py_RETURN_NONE;
}

}  // namespace

void patch_call(Program& program, i64 call, const py::tuple& scalars) {
    if (call < 0 || call >= program.calls()) throw py::value_error("capture: no such call");
    const OpInfo& info = op_info[program.op_of(call)];
    char* args = static_cast<char*>(program.args_of(call));
    size_t at = 0;
    for (i32 i = 0; i < info.count; ++i) {
        const Field& f = info.fields[i];
        if (f.kind != Kind::integer && f.kind != Kind::real) continue;
        if (at >= scalars.size()) throw py::value_error(std::string("capture: too few numbers for ") + info.name);
        if (!write_scalar(scalars[at++].ptr(), info, f, args)) throw py::error_already_set();
    }
    if (at != scalars.size()) throw py::value_error(std::string("capture: too many numbers for ") + info.name);
    char message[512];
    if (const char* error = check_args(program.op_of(call), args, message, sizeof message))
        throw py::value_error(error);
}

namespace {

PyObject* call_op(OpId op, PyObject* const* given, Py_ssize_t n) {
    if (!check_settings()) return nullptr;
    if (active_patch().program) return patch_op(op, given, n);
    const OpInfo& info = op_info[op];
    alignas(64) char args[kMaxArgsBytes];
    std::memset(args, 0, static_cast<size_t>(info.args_bytes));
    Kept kept;
    Py_ssize_t at = 0;
    i64 elements = 0;
    const auto next = [&]() -> PyObject* { return at < n ? given[at++] : (++at, nullptr); };
    for (i32 i = 0; i < info.count; ++i) {
        const Field& f = info.fields[i];
        char* slot = args + f.offset;
        if (f.kind == Kind::work) continue;
        PyObject* object = next();
        PyObject* second = f.kind == Kind::seed ? next() : nullptr;
        if (!object || (f.kind == Kind::seed && !second)) continue;  // counted below
        switch (f.kind) {
            case Kind::view: {
                View* v = reinterpret_cast<View*>(slot);
                if (!to_view(object, f, info.name, v, &kept.objects[kept.count])) return nullptr;
                if (kept.objects[kept.count]) ++kept.count;
                i64 count = v->ndim < 0 ? 0 : 1;
                for (i32 d = 0; d < v->ndim; ++d) count *= v->shape[d];
                elements += count;
                break;
            }
            case Kind::integer:
                if (!read_int(object, info, f, reinterpret_cast<i64*>(slot))) return nullptr;
                break;
            case Kind::real: {
                const double value = PyFloat_AsDouble(object);
                if (value == -1.0 && PyErr_Occurred()) {
                    PyErr_Format(PyExc_TypeError, "%s: %s must be a number, got %R", info.name, f.name,
                                 Py_TYPE(object));
                    return nullptr;
                }
                *reinterpret_cast<double*>(slot) = value;
                break;
            }
            case Kind::seed: {
                Seed* s = reinterpret_cast<Seed*>(slot);
                if (!read_unsigned(object, info, f, &s->key) || !read_unsigned(second, info, f, &s->counter))
                    return nullptr;
                break;
            }
            case Kind::work:
                break;
        }
    }
    if (at != n) {
        PyErr_Format(PyExc_TypeError, "%s: expected %zd arguments, got %zd", info.name, at, n);
        return nullptr;
    }
    char message[512];
    if (const char* error = check_args(op, args, message, sizeof message)) {
        PyErr_SetString(PyExc_ValueError, error);
        return nullptr;
    }
    if (!check_overlap(info, args)) return nullptr;
    if (Recording* r = active_recording()) {
        for (Py_ssize_t i = 0; i < n; ++i) {
            if (py::isinstance<py::array>(given[i])) r->keep.append(py::handle(given[i]));
        }
        for (i32 i = 0; i < kept.count; ++i) r->keep.append(py::handle(kept.objects[i]));
        run_noted(op, args);
        Py_RETURN_NONE;
    }
    if (elements < kReleaseFrom) {
        run(op, args);
        Py_RETURN_NONE;
    }
    // Not gil_scoped_release: when the interpreter is exiting, taking the GIL back ends this thread by unwinding, which
    // must not start in a destructor; and what unwinds then must not touch Python objects.
    PyThreadState* released = PyEval_SaveThread();
    try {
        run(op, args);
    } catch (const std::bad_alloc&) {
        PyEval_RestoreThread(released);
        throw;
    }
    const i32 held = kept.count;
    kept.count = 0;
    PyEval_RestoreThread(released);
    kept.count = held;
    Py_RETURN_NONE;
}

PyObject* guarded(OpId op, PyObject* const* args, Py_ssize_t n) {
    try {
        return call_op(op, args, n);
    } catch (const std::bad_alloc&) {
        PyErr_Format(PyExc_MemoryError, "%s: out of memory", op_info[op].name);
    } catch (py::error_already_set& e) {
        e.restore();
    }
    return nullptr;
}

template <i32 Op>
PyObject* entry(PyObject*, PyObject* const* args, Py_ssize_t n) {
    return guarded(static_cast<OpId>(Op), args, n);
}

bool same_shape(PyObject* a, PyObject* b) {
    const auto type = py::detail::npy_api::get().PyArray_Type_;
    if (!PyObject_TypeCheck(a, reinterpret_cast<PyTypeObject*>(type)) ||
        !PyObject_TypeCheck(b, reinterpret_cast<PyTypeObject*>(type)))
        return false;
    const auto *x = py::detail::array_proxy(a), *y = py::detail::array_proxy(b);
    bool same = x->nd == y->nd && dtype_of(a) == dtype_of(b);
    for (int i = 0; same && i < x->nd; ++i) same = x->dimensions[i] == y->dimensions[i];
    return same;
}

// empty(shape: tuple[int, ...], dtype: int or array to take it from) -> array; 0 float32, 1 float64, 2 int64, 3 int32,
// 4 uint16
PyObject* empty(PyObject*, PyObject* const* args, Py_ssize_t n) {
    if (n != 2 || !PyTuple_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "empty: expected (shape tuple, dtype code)");
        return nullptr;
    }
    const Py_ssize_t ndim = PyTuple_GET_SIZE(args[0]);
    const bool like = py::isinstance<py::array>(args[1]);
    const long dtype = like ? dtype_of(args[1]) : PyLong_AsLong(args[1]);
    if (dtype == -1 && PyErr_Occurred()) return nullptr;
    if (ndim > kMaxDims || dtype < 0 || dtype > u16t) {
        PyErr_Format(PyExc_ValueError, "empty: at most %d axes and a dtype code 0..4, got %zd axes and code %ld",
                     kMaxDims, ndim, dtype);
        return nullptr;
    }
    i64 shape[kMaxDims];
    for (Py_ssize_t i = 0; i < ndim; ++i) {
        shape[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(args[0], i));
        if (shape[i] == -1 && PyErr_Occurred()) return nullptr;
    }
    return new_array(shape, static_cast<i32>(ndim), static_cast<i32>(dtype));
}

// product(a, b) -> a @ b for two matrices of one float dtype that fit, else None: the short way through ops.gemm
PyObject* product(PyObject*, PyObject* const* args, Py_ssize_t n) {
    if (n != 2) {
        PyErr_Format(PyExc_TypeError, "product: expected 2 arguments, got %zd", n);
        return nullptr;
    }
    const auto type = reinterpret_cast<PyTypeObject*>(py::detail::npy_api::get().PyArray_Type_);
    if (Py_TYPE(args[0]) != type || Py_TYPE(args[1]) != type) Py_RETURN_NONE;
    const auto *a = py::detail::array_proxy(args[0]), *b = py::detail::array_proxy(args[1]);
    const i32 dtype = dtype_of(args[0]);
    if (a->nd != 2 || b->nd != 2 || a->dimensions[1] != b->dimensions[0] || (dtype != f32 && dtype != f64) ||
        dtype != dtype_of(args[1]))
        Py_RETURN_NONE;
    static PyObject *one = PyFloat_FromDouble(1.0), *zero = PyFloat_FromDouble(0.0), *none = PyLong_FromLong(0);
    const i64 shape[] = {a->dimensions[0], b->dimensions[1]};
    PyObject* y = new_array(shape, 2, dtype);
    if (!y) return nullptr;
    PyObject* all[] = {args[0], args[1], Py_None, y, one, zero, none};
    PyObject* done = guarded(op_gemm, all, 7);
    if (!done) {
        Py_DECREF(y);
        return nullptr;
    }
    Py_DECREF(done);
    return y;
}

// update_all(op name, tensors, states, scalars): one optimiser update of every tensor that has a gradient,
// op(data, gradient, *states[i], *scalars), after all gradients were found to fit. Marks the tensors as written.
PyObject* update_all(PyObject*, PyObject* const* args, Py_ssize_t n) {
    if (n != 4 || !PyUnicode_Check(args[0]) || !PyList_Check(args[1]) || !PyList_Check(args[2]) ||
        !PyTuple_Check(args[3]) || PyList_GET_SIZE(args[1]) != PyList_GET_SIZE(args[2])) {
        PyErr_SetString(PyExc_TypeError, "update_all: expected (name, tensors, states, scalars)");
        return nullptr;
    }
    const char* name = PyUnicode_AsUTF8(args[0]);
    const i32 op = name ? find_op(name) : -1;
    if (op < 0) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "update_all: there is no op named '%U'", args[0]);
        return nullptr;
    }
    const Py_ssize_t count = PyList_GET_SIZE(args[1]), scalars = PyTuple_GET_SIZE(args[3]);
    for (Py_ssize_t i = 0; i < count; ++i) {
        const TensorParts t = parts_of(PyList_GET_ITEM(args[1], i));
        if (!t.data || !PyTuple_Check(PyList_GET_ITEM(args[2], i))) {
            PyErr_SetString(PyExc_TypeError, "update_all: expected tensors and tuples");
            return nullptr;
        }
        if (t.grad && !same_shape(t.data, t.grad)) {
            PyErr_Format(PyExc_ValueError, "%s: the gradient of parameter %zd does not fit", name, i);
            return nullptr;
        }
    }
    PyObject* row[32];
    for (Py_ssize_t i = 0; i < count; ++i) {
        // Other threads may run while a kernel does: what it works on must not be theirs to free.
        if (i >= PyList_GET_SIZE(args[1]) || i >= PyList_GET_SIZE(args[2])) {
            PyErr_Format(PyExc_RuntimeError, "%s: the list of parameters became shorter during the update", name);
            return nullptr;
        }
        const py::object tensor = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(args[1], i));
        const py::object kept = py::reinterpret_borrow<py::object>(PyList_GET_ITEM(args[2], i));
        const TensorParts t = parts_of(tensor.ptr());
        if (!t.data || !PyTuple_Check(kept.ptr())) {
            PyErr_SetString(PyExc_TypeError, "update_all: expected tensors and tuples");
            return nullptr;
        }
        if (!t.grad) continue;
        const py::object data = py::reinterpret_borrow<py::object>(t.data);
        const py::object grad = py::reinterpret_borrow<py::object>(t.grad);
        PyObject* const state = kept.ptr();
        Py_ssize_t k = 0;
        if (2 + PyTuple_GET_SIZE(state) + scalars > 32) {
            PyErr_SetString(PyExc_TypeError, "update_all: too many arguments");
            return nullptr;
        }
        row[k++] = t.data;
        row[k++] = t.grad;
        for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(state); ++j) row[k++] = PyTuple_GET_ITEM(state, j);
        for (Py_ssize_t j = 0; j < scalars; ++j) row[k++] = PyTuple_GET_ITEM(args[3], j);
        mark_written(tensor.ptr());
        PyObject* done = guarded(static_cast<OpId>(op), row, k);
        if (!done) return nullptr;
        Py_DECREF(done);
    }
    Py_RETURN_NONE;
}

// fft_table(n, real, dtype code) -> the table that fft (real = 0) or rfft and irfft (1) of length n take. Memory of
// NumPy's, at a multiple of 64 bytes: constants must not count as born in a step that is being recorded.
PyObject* fft_table_of(PyObject*, PyObject* const* args, Py_ssize_t n) {
    i64 given[3] = {0, 0, 0};
    for (Py_ssize_t i = 0; i < 3 && n == 3; ++i) {
        given[i] = PyLong_AsLongLong(args[i]);
        if (given[i] == -1 && PyErr_Occurred()) return nullptr;
    }
    if (given[0] < 1 || given[0] > kFftMaxLength || given[2] < f32 || given[2] > f64) {
        PyErr_Format(PyExc_ValueError, "fft_table: expected (length 1 .. %lld, real, dtype code 0 or 1)",
                     static_cast<long long>(kFftMaxLength));
        return nullptr;
    }
    const i64 size = fft_table_size(given[0], given[1] != 0), item = given[2] == f32 ? 4 : 8;
    try {
        const py::array_t<char> memory(static_cast<py::ssize_t>(size * item + 64));
        const char* at = memory.data();
        at += (64 - reinterpret_cast<uintptr_t>(at) % 64) % 64;
        const py::dtype dtype = given[2] == f32 ? py::dtype::of<float>() : py::dtype::of<double>();
        const py::array table(dtype, {size}, {item}, at, memory);
        fft_table(given[0], given[1] != 0, static_cast<i32>(given[2]), const_cast<char*>(at));
        return py::array(table).release().ptr();
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    } catch (py::error_already_set& error) {
        error.restore();
        return nullptr;
    }
}

template <i32... Ops>
PyMethodDef* methods(std::integer_sequence<i32, Ops...>) {
    static PyMethodDef table[] = {
        {op_info[Ops].name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(entry<Ops>)), METH_FASTCALL,
         nullptr}...,
        {"empty", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(empty)), METH_FASTCALL, nullptr},
        {"update_all", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(update_all)), METH_FASTCALL, nullptr},
        {"fft_table", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(fft_table_of)), METH_FASTCALL,
         nullptr},
        {"product", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(product)), METH_FASTCALL, nullptr},
        {nullptr, nullptr, 0, nullptr}};
    return table;
}

const char* kind_name(const Field& f) {
    switch (f.kind) {
        case Kind::view:
            return "view";
        case Kind::integer:
            return "int";
        case Kind::real:
            return "float";
        case Kind::seed:
            return "seed";
        case Kind::work:
            return "work";
    }
    return "?";
}

const char* role_name(Role role) {
    switch (role) {
        case Role::in:
            return "in";
        case Role::out:
            return "out";
        case Role::inout:
            return "inout";
        case Role::param:
            return "param";
        case Role::seed:
            return "seed";
        case Role::workspace:
            return "workspace";
    }
    return "?";
}

// op_table() -> {op: [(field, kind, role, element class, optional, contiguous), ...]}
py::dict op_table() {
    constexpr const char* names[] = {"float", "int64", "int32", "uint16", "bfloat16"};  // by Elem
    py::dict table;
    for (const OpInfo& op : op_info) {
        py::list fields;
        for (i32 i = 0; i < op.count; ++i) {
            const Field& f = op.fields[i];
            const char* elem = names[static_cast<i32>(f.elem)];
            fields.append(py::make_tuple(f.name, kind_name(f), role_name(f.role), elem, f.optional, f.contiguous));
        }
        table[op.name] = fields;
    }
    return table;
}

// impls(op) -> ["avx512:packed", ...], best level first, as far as this machine and RB_ISA allow
py::list impls(const std::string& name) {
    const i32 op = find_op(name.c_str());
    if (op < 0) throw py::value_error("impls: there is no op named '" + name + "'");
    py::list out;
    for (i32 l = active_level(); l >= 0; --l) {
        const Table* t = table_of(static_cast<Level>(l));
        if (!t) continue;
        for (i32 i = 0; i < t->entry[op][f32].count; ++i) {
            out.append(std::string(level_name(static_cast<Level>(l))) + ":" + t->entry[op][f32].impls[i].name);
        }
    }
    return out;
}

py::dict config() {
    i64 l1, l2, l3;
    cache_sizes(&l1, &l2, &l3);
    py::dict d;
    d["isa"] = level_name(active_level());
    d["machine_isa"] = level_name(machine_level());
    d["cpu_features"] = cpu_feature_string();
    d["threads"] = num_threads();
    d["parallel"] = parallel_backend();
    d["forked"] = in_forked_child();
    d["l1_bytes"] = l1;
    d["l2_bytes"] = l2;
    d["l3_bytes"] = l3;
    d["ops"] = static_cast<i32>(kNumOps);
    d["table_hash"] = table_hash();
    d["compiler"] = __VERSION__;
    py::dict errors;
    for (const Setting& s : kSettings) {
        if (const char* value = s.bad()) errors[s.name] = value;
    }
    d["bad_settings"] = errors;
    return d;
}

py::dict pool_dict() {
    const PoolStats s = pool_stats();
    py::dict d;
    d["live_bytes"] = s.live_bytes;
    d["cached_bytes"] = s.cached_bytes;
    d["peak_bytes"] = s.peak_bytes;
    d["cap_bytes"] = s.cap_bytes;
    d["fresh"] = s.fresh;
    d["reused"] = s.reused;
    return d;
}

}  // namespace
}  // namespace rb::bind

PYBIND11_MODULE(_core, m) {
    using namespace rb;
    using namespace rb::bind;
    m.doc() = "Compiled kernels of rosenblatt; call them through rosenblatt.ops.";
    if (PyModule_AddFunctions(m.ptr(), methods(std::make_integer_sequence<i32, kNumOps>())) < 0)
        throw py::error_already_set();
    define_program(m);
    define_tape(m);
    m.def("op_table", &op_table);
    m.def("impls", &impls, py::arg("op"));
    m.def("config", &config);
    m.def("num_threads", &num_threads);
    m.def(
        "set_num_threads",
        [](i32 n) {
            if (n < 1 || n > kMaxThreads)
                throw py::value_error("set_num_threads: expected 1.." + std::to_string(kMaxThreads) + ", got " +
                                      std::to_string(n));
            set_num_threads(n);
        },
        py::arg("n"));
    m.def(
        "force_impl",
        [](const std::string& op, const py::object& impl) {
            const std::string name = impl.is_none() ? std::string() : impl.cast<std::string>();
            if (!force_impl(op.c_str(), name.c_str()))
                throw py::value_error("force_impl: '" + op + "' has no implementation '" + name + "' here");
        },
        py::arg("op"), py::arg("impl"));
    m.def("check_settings", [] {
        if (!check_settings()) throw py::error_already_set();
    });
    m.def("last_impl", &last_impl);
    m.def("ref_calls", &ref_calls);
    m.def("pool_stats", &pool_dict);
    m.def("pool_reset_peak", &pool_reset_peak);
    m.def("pool_trim", &pool_trim);
}
