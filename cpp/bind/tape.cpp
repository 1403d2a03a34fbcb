// tape.cpp: what every eager op pays for beside its kernel, so it is written against the C interface: the two objects
// of the tape (TensorBase, Node), turning arguments into arrays, recording an op, and the backward pass. Meaning and
// rules of all of it are in rosenblatt/autograd.py; the rare paths (promotion, hooks, anomaly detection, errors) are
// Python functions handed over once through `tape_use`.
//
// Contract: everything here runs under the GIL. A pass holds its own state, so passes may nest and threads may each
// run one.
#include "bind/tape.hpp"

#include <pybind11/numpy.h>
#include <structmember.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "bind/arrays.hpp"
#include "rb/view.hpp"

namespace py = pybind11;

namespace rb::bind {
namespace {

using py::detail::npy_api;

struct TensorObject {
    PyObject_HEAD PyObject *data, *grad, *node;
    long long written;  // time of the last write in place
    char requires_grad;
};

struct NodeObject {
    PyObject_HEAD PyObject *name, *rule, *saved, *inputs, *needs, *output;
    PyObject* weak;
    long long sequence;
};

// Things of Python's, set by tape_use.
struct Python {
    PyObject *Tensor, *OUT, *promote, *float_array, *add, *astype, *copy, *promoted;
    PyObject* hooks;  // dict that is empty when no hook exists
    PyObject *hooked, *call_hooks, *freed, *overwritten;
};
Python python;
PyObject* on_node;  // called with every new node while somebody looks for anomalies
long long clock_now = 0;

enum Mode { off = 0, on = 1, probing = 2 };
int& grad_mode() {
    static thread_local int mode = on;
    return mode;
}

// --- the types

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // ready_types fills in what is used
PyTypeObject tensor_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyTypeObject node_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
#pragma GCC diagnostic pop

int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
    auto* t = reinterpret_cast<TensorObject*>(self);
    Py_VISIT(t->data);
    Py_VISIT(t->grad);
    Py_VISIT(t->node);
    return 0;
}

int tensor_clear(PyObject* self) {
    auto* t = reinterpret_cast<TensorObject*>(self);
    Py_CLEAR(t->data);
    Py_CLEAR(t->grad);
    Py_CLEAR(t->node);
    return 0;
}

// Long chains of nodes are freed without recursion: that is what the trashcan is for.
void tensor_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, tensor_dealloc);
    tensor_clear(self);
    Py_TYPE(self)->tp_free(self);
    Py_TRASHCAN_END;
}

PyObject* tensor_new(PyTypeObject* type, PyObject*, PyObject*) {
    PyObject* self = type->tp_alloc(type, 0);
    if (!self) return nullptr;
    auto* t = reinterpret_cast<TensorObject*>(self);
    t->grad = Py_NewRef(Py_None);
    t->node = Py_NewRef(Py_None);
    return self;
}

PyMemberDef tensor_members[] = {
    {"_data", T_OBJECT_EX, offsetof(TensorObject, data), 0, nullptr},
    {"grad", T_OBJECT, offsetof(TensorObject, grad), 0, "The gradient, or None."},
    {"_node", T_OBJECT, offsetof(TensorObject, node), 0, nullptr},
    {"_written", T_LONGLONG, offsetof(TensorObject, written), 0, nullptr},
    {"requires_grad", T_BOOL, offsetof(TensorObject, requires_grad), 0, "Whether backward leaves a gradient."},
    {nullptr, 0, 0, 0, nullptr}};

bool is_tensor(PyObject* x) {
    return reinterpret_cast<PyObject*>(Py_TYPE(x)) == python.Tensor || PyObject_TypeCheck(x, &tensor_type);
}
TensorObject* as_tensor(PyObject* x) {
    return reinterpret_cast<TensorObject*>(x);
}

int node_traverse(PyObject* self, visitproc visit, void* arg) {
    auto* n = reinterpret_cast<NodeObject*>(self);
    Py_VISIT(n->name);
    Py_VISIT(n->rule);
    Py_VISIT(n->saved);
    Py_VISIT(n->inputs);
    Py_VISIT(n->needs);
    Py_VISIT(n->output);
    return 0;
}

int node_clear(PyObject* self) {
    auto* n = reinterpret_cast<NodeObject*>(self);
    Py_CLEAR(n->name);
    Py_CLEAR(n->rule);
    Py_CLEAR(n->saved);
    Py_CLEAR(n->inputs);
    Py_CLEAR(n->needs);
    Py_CLEAR(n->output);
    return 0;
}

void node_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, node_dealloc);
    if (reinterpret_cast<NodeObject*>(self)->weak) PyObject_ClearWeakRefs(self);
    node_clear(self);
    Py_TYPE(self)->tp_free(self);
    Py_TRASHCAN_END;
}

PyObject* node_repr(PyObject* self) {
    auto* n = reinterpret_cast<NodeObject*>(self);
    return PyUnicode_FromFormat("<%S>", n->name ? n->name : Py_None);
}

PyMemberDef node_members[] = {{"name", T_OBJECT, offsetof(NodeObject, name), 0, nullptr},
                              {"rule", T_OBJECT, offsetof(NodeObject, rule), 0, nullptr},
                              {"saved", T_OBJECT, offsetof(NodeObject, saved), 0, nullptr},
                              {"inputs", T_OBJECT, offsetof(NodeObject, inputs), 0, nullptr},
                              {"needs", T_OBJECT, offsetof(NodeObject, needs), 0, nullptr},
                              {"output", T_OBJECT, offsetof(NodeObject, output), 0, nullptr},
                              {"sequence", T_LONGLONG, offsetof(NodeObject, sequence), 0, nullptr},
                              {nullptr, 0, 0, 0, nullptr}};

void ready_types() {
    tensor_type.tp_name = "rosenblatt._core.TensorBase";
    tensor_type.tp_doc = "What a tensor consists of; see rosenblatt.Tensor.";
    tensor_type.tp_basicsize = sizeof(TensorObject);
    tensor_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;
    tensor_type.tp_new = tensor_new;
    tensor_type.tp_dealloc = tensor_dealloc;
    tensor_type.tp_traverse = tensor_traverse;
    tensor_type.tp_clear = tensor_clear;
    tensor_type.tp_members = tensor_members;

    node_type.tp_name = "rosenblatt._core.Node";
    node_type.tp_doc =
        "One taped op: `inputs` are the tensors that want gradients (None elsewhere), `needs` says where they are, "
        "`saved` is what its rule gets, `output` its result if saved, `sequence` the time it was made.";
    node_type.tp_basicsize = sizeof(NodeObject);
    node_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC;
    node_type.tp_new = PyType_GenericNew;
    node_type.tp_dealloc = node_dealloc;
    node_type.tp_traverse = node_traverse;
    node_type.tp_clear = node_clear;
    node_type.tp_repr = node_repr;
    node_type.tp_members = node_members;
    node_type.tp_weaklistoffset = offsetof(NodeObject, weak);
    if (PyType_Ready(&tensor_type) < 0 || PyType_Ready(&node_type) < 0) throw py::error_already_set();
}

// A tensor around `data`, a new reference.
PyObject* wrap(PyObject* data) {
    auto* type = reinterpret_cast<PyTypeObject*>(python.Tensor);
    PyObject* self = type->tp_alloc(type, 0);
    if (!self) return nullptr;
    TensorObject* t = as_tensor(self);
    t->data = Py_NewRef(data);
    t->grad = Py_NewRef(Py_None);
    t->node = Py_NewRef(Py_None);
    return self;
}

bool expect(const char* who, Py_ssize_t n, Py_ssize_t wanted) {
    if (n == wanted) return true;
    PyErr_Format(PyExc_TypeError, "%s: expected %zd arguments, got %zd", who, wanted, n);
    return false;
}

// --- arguments of ops

// float32 or float64 as the kernels read it, or -1.
i32 plain_dtype(PyObject* x) {
    if (Py_TYPE(x) != reinterpret_cast<PyTypeObject*>(npy_api::get().PyArray_Type_)) return -1;
    const i32 dtype = dtype_of(x);
    if (dtype != f32 && dtype != f64) return -1;
    const char order = py::detail::array_descriptor_proxy(py::detail::array_proxy(x)->descr)->byteorder;
    return order == '=' || order == (PY_LITTLE_ENDIAN ? '<' : '>') ? dtype : -1;
}

// The array of a tensor, x itself when it is none. Null with an error for a tensor that was never initialised.
PyObject* data_of(PyObject* x) {
    if (!is_tensor(x)) return x;
    PyObject* data = as_tensor(x)->data;
    if (!data) PyErr_SetString(PyExc_RuntimeError, "a tensor without an array: Tensor.__init__ was not called");
    return data;
}

// A 0-d array of numpy's own memory, so that a recording takes it for the constant it is.
PyObject* scalar(PyObject* number, i32 dtype) {
    const double value = PyFloat_AsDouble(number);
    if (value == -1.0 && PyErr_Occurred()) return nullptr;
    const npy_api& api = npy_api::get();
    PyObject* descr = api.PyArray_DescrFromType_(dtype == f32 ? npy_api::NPY_FLOAT_ : npy_api::NPY_DOUBLE_);
    PyObject* array = api.PyArray_NewFromDescr_(api.PyArray_Type_, descr, 0, nullptr, nullptr, nullptr, 0, nullptr);
    if (!array) return nullptr;
    void* to = py::detail::array_proxy(array)->data;
    if (dtype == f32) {
        *static_cast<float*>(to) = static_cast<float>(value);
    } else {
        *static_cast<double*>(to) = value;
    }
    return array;
}

// Whether a Python number becomes an element of `dtype` without a warning that numpy would give.
bool fits(PyObject* number, i32 dtype) {
    if (PyFloat_CheckExact(number)) {
        const double v = std::fabs(PyFloat_AS_DOUBLE(number));
        return dtype == f64 || !(v > std::numeric_limits<float>::max()) || std::isinf(v);
    }
    if (!PyLong_CheckExact(number)) return false;
    int overflow = 0;
    PyLong_AsLongLongAndOverflow(number, &overflow);
    return overflow == 0;
}

PyObject* promote(PyObject* where, PyObject* list) {
    PyObject* result = PyObject_CallFunctionObjArgs(python.promote, where, list, nullptr);
    Py_DECREF(list);
    return result;
}

// operands(where, *xs) -> arrays of one dtype; None passes through
PyObject* operands(PyObject*, PyObject* const* a, Py_ssize_t n) {
    if (n < 1) return expect("operands", n, 1), nullptr;
    PyObject* out = PyList_New(n - 1);
    if (!out) return nullptr;
    i32 dtype = -1;
    bool plain = true;
    for (Py_ssize_t i = 1; i < n; ++i) {
        PyObject* x = data_of(a[i]);
        if (!x) {
            Py_DECREF(out);
            return nullptr;
        }
        PyList_SET_ITEM(out, i - 1, Py_NewRef(x));
        if (x == Py_None) continue;
        const i32 d = plain_dtype(x);
        if (dtype < 0) dtype = d;
        plain = plain && d >= 0 && d == dtype;
    }
    return plain && dtype >= 0 ? out : promote(a[0], out);
}

// pair(where, a, b) -> two arrays of one dtype
PyObject* pair(PyObject*, PyObject* const* a, Py_ssize_t n) {
    if (!expect("pair", n, 3)) return nullptr;
    PyObject *x = data_of(a[1]), *z = x ? data_of(a[2]) : nullptr;
    if (!z) return nullptr;
    const i32 dtype = plain_dtype(x);
    if (dtype >= 0) {
        if (plain_dtype(z) == dtype) return PyTuple_Pack(2, x, z);
        if (fits(z, dtype)) {
            PyObject* number = scalar(z, dtype);
            if (!number) return nullptr;
            PyObject* out = PyTuple_Pack(2, x, number);
            Py_DECREF(number);
            return out;
        }
    }
    PyObject* list = PyList_New(2);
    if (!list) return nullptr;
    PyList_SET_ITEM(list, 0, Py_NewRef(x));
    PyList_SET_ITEM(list, 1, Py_NewRef(z));
    return promote(a[0], list);
}

// operand(where, x) -> its float array
PyObject* operand(PyObject*, PyObject* const* a, Py_ssize_t n) {
    if (!expect("operand", n, 2)) return nullptr;
    if (is_tensor(a[1])) return Py_XNewRef(data_of(a[1]));
    if (plain_dtype(a[1]) >= 0) return Py_NewRef(a[1]);
    return PyObject_CallFunctionObjArgs(python.float_array, a[0], a[1], nullptr);
}

// kept(given, array) -> what a rule keeps of an input: a tensor, so that second-order gradients see it, or its array.
// An array of another dtype than the tensor's becomes a tensor that hangs on it.
PyObject* kept(PyObject*, PyObject* const* a, Py_ssize_t n) {
    if (!expect("kept", n, 2)) return nullptr;
    if (!is_tensor(a[0])) return Py_NewRef(a[1]);
    const TensorObject* t = as_tensor(a[0]);
    if (t->data == a[1]) return Py_NewRef(a[0]);
    if (!t->requires_grad || grad_mode() != on) return Py_NewRef(a[1]);
    return PyObject_CallFunctionObjArgs(python.promoted, a[0], a[1], nullptr);
}

PyObject* wrap_entry(PyObject*, PyObject* array) {
    return wrap(array);
}

PyObject* tick(PyObject*, PyObject*) {
    return PyLong_FromLongLong(++clock_now);
}

PyObject* set_grad_mode(PyObject*, PyObject* value) {
    const long mode = PyLong_AsLong(value);
    if (mode == -1 && PyErr_Occurred()) return nullptr;
    if (mode < off || mode > probing) {
        PyErr_Format(PyExc_ValueError, "set_grad_mode: expected 0, 1 or 2, got %ld", mode);
        return nullptr;
    }
    const int before = grad_mode();
    grad_mode() = static_cast<int>(mode);
    return PyLong_FromLong(before);
}

PyObject* get_grad_mode(PyObject*, PyObject*) {
    return PyLong_FromLong(grad_mode());
}

// --- recording

bool wants_grad(PyObject* x) {
    return is_tensor(x) && as_tensor(x)->requires_grad;
}

// The tuple of bools for `count` inputs with the bits of `mask`; those of up to four inputs are made once.
PyObject* needs_tuple(Py_ssize_t count, unsigned long mask) {
    static PyObject* known[5][16];
    if (count <= 4 && known[count][mask]) return Py_NewRef(known[count][mask]);
    PyObject* t = PyTuple_New(count);
    if (!t) return nullptr;
    for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(t, i, Py_NewRef(mask >> i & 1 ? Py_True : Py_False));
    if (count <= 4) known[count][mask] = Py_NewRef(t);
    return t;
}

// The node of an op whose inputs are `inputs` (a tuple of anything), or null with an error.
PyObject* new_node(PyObject* name, PyObject* result, PyObject* rule, PyObject* inputs, PyObject* saved) {
    const Py_ssize_t count = PyTuple_GET_SIZE(inputs);
    PyObject* self = node_type.tp_alloc(&node_type, 0);
    if (!self) return nullptr;
    auto* n = reinterpret_cast<NodeObject*>(self);
    n->name = Py_NewRef(name);
    n->rule = Py_NewRef(rule);
    n->saved = Py_NewRef(saved);
    n->output = Py_None;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(saved); ++i) {
        if (PyTuple_GET_ITEM(saved, i) == python.OUT) n->output = result;
    }
    Py_INCREF(n->output);
    n->sequence = ++clock_now;
    Py_ssize_t wanting = 0;
    for (Py_ssize_t i = 0; i < count; ++i) wanting += wants_grad(PyTuple_GET_ITEM(inputs, i));
    if (count <= 4) {
        unsigned long mask = 0;
        for (Py_ssize_t i = 0; i < count; ++i)
            mask |= static_cast<unsigned long>(wants_grad(PyTuple_GET_ITEM(inputs, i))) << i;
        n->needs = needs_tuple(count, mask);
    } else {
        n->needs = PyTuple_New(count);
        for (Py_ssize_t i = 0; n->needs && i < count; ++i) {
            PyTuple_SET_ITEM(n->needs, i, Py_NewRef(wants_grad(PyTuple_GET_ITEM(inputs, i)) ? Py_True : Py_False));
        }
    }
    if (wanting == count) {
        n->inputs = Py_NewRef(inputs);
    } else if ((n->inputs = PyTuple_New(count))) {
        for (Py_ssize_t i = 0; i < count; ++i) {
            PyObject* x = PyTuple_GET_ITEM(inputs, i);
            PyTuple_SET_ITEM(n->inputs, i, Py_NewRef(wants_grad(x) ? x : Py_None));
        }
    }
    if (!n->needs || !n->inputs) {
        Py_DECREF(self);
        return nullptr;
    }
    return self;
}

// record(name, result, rule, inputs, saved) -> tensor, or the result itself when no input is a tensor
PyObject* record(PyObject*, PyObject* const* a, Py_ssize_t n) {
    if (!expect("record", n, 5)) return nullptr;
    PyObject *result = a[1], *inputs = a[3], *saved = a[4];
    if (!PyTuple_Check(inputs) || !PyTuple_Check(saved)) {
        PyErr_SetString(PyExc_TypeError, "record: inputs and saved must be tuples");
        return nullptr;
    }
    bool taped = false, wanted = false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inputs) && !wanted; ++i) {
        PyObject* x = PyTuple_GET_ITEM(inputs, i);
        if (!is_tensor(x)) continue;
        taped = true;
        wanted = as_tensor(x)->requires_grad;
    }
    if (!taped) return Py_NewRef(result);
    PyObject* out = wrap(result);
    const int mode = grad_mode();
    if (!out || !wanted || mode == off) return out;
    as_tensor(out)->requires_grad = 1;
    if (mode == probing) return out;
    PyObject* node = new_node(a[0], result, a[2], inputs, saved);
    if (!node) {
        Py_DECREF(out);
        return nullptr;
    }
    Py_SETREF(as_tensor(out)->node, node);
    if (on_node) {
        PyObject* const watcher = Py_NewRef(on_node);  // the call may take it away
        PyObject* done = PyObject_CallOneArg(watcher, node);
        Py_DECREF(watcher);
        if (!done) {
            Py_DECREF(out);
            return nullptr;
        }
        Py_DECREF(done);
    }
    return out;
}

// --- the pass

py::object call(PyObject* function, PyObject* a, PyObject* b) {
    PyObject* args[] = {a, b};
    PyObject* result = PyObject_Vectorcall(function, args, 2, nullptr);
    if (!result) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

[[noreturn]] void fail(const py::object& error) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
    throw py::error_already_set();
}

py::object borrow(PyObject* x) {
    return py::reinterpret_borrow<py::object>(x);
}

struct Pending {
    py::object node, grad;
};

// One backward pass. Nodes wait by falling sequence number, which is a topological order: the largest has all of its
// gradient. Sequence numbers are unique, so they are the key.
class Pass {
  public:
    Pass(bool retain, bool create, PyObject* leaf, PyObject* watched, PyObject* anomaly)
        : retain_(retain), create_(create), leaf_(leaf), watched_(watched), anomaly_(anomaly) {}

    void run(PyObject* root, PyObject* seed) {
        handed_out(seed);
        deliver(root, create_ ? wrapped(seed) : borrow(seed));
        while (!waiting_.empty()) {
            const auto first = waiting_.begin();
            Pending next = std::move(first->second);
            waiting_.erase(first);
            visit(next);
        }
        for (auto& [t, g] : held_) leaf(t.ptr(), call(python.call_hooks, t.ptr(), g.ptr()));
    }

  private:
    static py::object wrapped(PyObject* array) {
        PyObject* t = wrap(array);
        if (!t) throw py::error_already_set();
        return py::reinterpret_steal<py::object>(t);
    }

    static PyObject* array_of(PyObject* t) {
        PyObject* data = data_of(t);
        if (!data) throw py::error_already_set();
        return data;
    }

    // g's dtype becomes t's: the op had promoted its inputs to one.
    static py::object like(PyObject* t, py::object g) {
        PyObject *data = array_of(t), *array = array_of(g.ptr());
        if (!npy_api::get().PyArray_Check_(array)) {
            PyErr_Format(PyExc_TypeError, "backward: a gradient must be an array or a tensor, got %R", Py_TYPE(array));
            throw py::error_already_set();
        }
        if (dtype_of(array) == dtype_of(data)) return g;
        return call(python.astype, g.ptr(), borrow(data).attr("dtype").ptr());
    }

    void deliver(PyObject* t, py::object g) {
        g = like(t, std::move(g));
        PyObject* node = as_tensor(t)->node;
        if (node != Py_None) {
            auto* made = reinterpret_cast<NodeObject*>(node);
            if (as_tensor(t)->written > made->sequence && as_tensor(t)->data == made->output)
                fail(call(python.overwritten, node, t));
            const auto [at, fresh] = waiting_.try_emplace(reinterpret_cast<NodeObject*>(node)->sequence);
            Pending& p = at->second;
            if (fresh) {
                p = {borrow(node), std::move(g)};
            } else {  // the call may run anything, so the entry is looked up again
                const long long sequence = at->first;
                py::object total = call(python.add, p.grad.ptr(), g.ptr());
                waiting_[sequence].grad = std::move(total);
            }
            return;
        }
        if (PyDict_GET_SIZE(python.hooks) && is_hooked(t)) {
            for (auto& [tensor, total] : held_) {  // leaves with hooks wait for their whole gradient
                if (tensor.ptr() == t) {
                    total = call(python.add, total.ptr(), g.ptr());
                    return;
                }
            }
            held_.emplace_back(borrow(t), std::move(g));
            return;
        }
        leaf(t, std::move(g));
    }

    static bool is_hooked(PyObject* t) {
        const py::object answer = py::reinterpret_steal<py::object>(PyObject_CallOneArg(python.hooked, t));
        const int yes = answer ? PyObject_IsTrue(answer.ptr()) : -1;
        if (yes < 0) throw py::error_already_set();
        return yes == 1;
    }

    bool handed_out(PyObject* array) {
        if (!given_.insert(array).second) return true;
        alive_.push_back(borrow(array));
        return false;
    }

    void leaf(PyObject* tensor, py::object g) {
        if (leaf_) {
            call(leaf_, tensor, g.ptr());
            return;
        }
        TensorObject* t = as_tensor(tensor);
        if (t->grad != Py_None && t->grad) {
            g = call(python.add, t->grad, g.ptr());
        } else {
            // `.grad` is the user's to change: it never shares memory with another gradient or a view.
            PyObject *array = array_of(g.ptr()), *base = py::detail::array_proxy(array)->base;
            if ((base && npy_api::get().PyArray_Check_(base)) || handed_out(array)) {
                PyObject* copy = PyObject_CallOneArg(python.copy, g.ptr());  // by our kernel: a captured step sees it
                if (!copy) throw py::error_already_set();
                g = py::reinterpret_steal<py::object>(copy);
            }
        }
        if (!is_tensor(g.ptr())) g = wrapped(g.ptr());
        Py_XSETREF(t->grad, g.release().ptr());
    }

    void visit(Pending& p) {
        PyObject* const object = p.node.ptr();
        auto* node = reinterpret_cast<NodeObject*>(object);
        if (PyDict_GET_SIZE(python.hooks)) p.grad = call(python.call_hooks, object, p.grad.ptr());
        if (watched_ && PyDict_GET_SIZE(watched_)) {
            if (PyObject* seen = PyDict_GetItemWithError(watched_, object)) {
                PyObject* done = PyObject_CallOneArg(seen, p.grad.ptr());
                if (!done) throw py::error_already_set();
                Py_DECREF(done);
            } else if (PyErr_Occurred()) {
                throw py::error_already_set();
            }
        }
        if (!node->saved || node->saved == Py_None) {
            PyObject* error = PyObject_CallOneArg(python.freed, object);
            if (!error) throw py::error_already_set();
            fail(py::reinterpret_steal<py::object>(error));
        }
        const py::object saved = borrow(node->saved), inputs = borrow(node->inputs), needs = borrow(node->needs);
        const bool again = PyTuple_GET_SIZE(needs.ptr()) == 0;  // the rule makes the tensor to go on from
        const Py_ssize_t count = PyTuple_GET_SIZE(saved.ptr());
        std::vector<PyObject*> args;
        std::vector<py::object> made;
        args.reserve(static_cast<size_t>(count) + 2);
        if (again) {
            args.push_back(object);
        } else {
            args.push_back(p.grad.ptr());
            args.push_back(needs.ptr());
        }
        for (Py_ssize_t i = 0; i < count; ++i) {
            PyObject* s = PyTuple_GET_ITEM(saved.ptr(), i);
            if (is_tensor(s)) {
                if (as_tensor(s)->written > node->sequence) fail(call(python.overwritten, object, s));
                args.push_back(create_ ? s : array_of(s));
            } else if (s == python.OUT) {
                if (create_) {
                    made.push_back(wrapped(node->output));
                    TensorObject* y = as_tensor(made.back().ptr());
                    Py_SETREF(y->node, Py_NewRef(object));
                    y->requires_grad = 1;
                    args.push_back(made.back().ptr());
                } else {
                    args.push_back(node->output);
                }
            } else {
                args.push_back(s);
            }
        }
        if (anomaly_ && !again) borrow(anomaly_).attr("check")(p.node);
        PyObject* given = PyObject_Vectorcall(node->rule, args.data(), args.size(), nullptr);
        if (!given) throw py::error_already_set();
        const py::object grads = py::reinterpret_steal<py::object>(given);
        if (again) {
            forget(node);
            if (!is_tensor(given)) {
                PyErr_Format(PyExc_TypeError, "backward: %S made no tensor to go on from", node->name);
                throw py::error_already_set();
            }
            deliver(given, p.grad);
            return;
        }
        if (anomaly_) borrow(anomaly_).attr("inspect")(p.node, p.grad, grads);
        const Py_ssize_t wanted = PyTuple_GET_SIZE(inputs.ptr());
        if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != wanted) {
            PyErr_Format(PyExc_ValueError, "backward: the gradient rule of %S must return a tuple of %zd", node->name,
                         wanted);
            throw py::error_already_set();
        }
        forget(node);
        for (Py_ssize_t i = 0; i < wanted; ++i) {
            PyObject *t = PyTuple_GET_ITEM(inputs.ptr(), i), *g = PyTuple_GET_ITEM(given, i);
            if (t != Py_None && g != Py_None) deliver(t, borrow(g));
        }
    }

    void forget(NodeObject* node) {
        if (retain_) return;
        Py_XSETREF(node->saved, Py_NewRef(Py_None));
        Py_XSETREF(node->output, Py_NewRef(Py_None));
        Py_XSETREF(node->inputs, PyTuple_New(0));
    }

    const bool retain_, create_;
    PyObject *const leaf_, *const watched_, *const anomaly_;
    std::map<long long, Pending, std::greater<>> waiting_;
    std::vector<std::pair<py::object, py::object>> held_;
    std::unordered_set<PyObject*> given_;  // arrays that became a gradient in this pass, and references to them
    std::vector<py::object> alive_;
};

// run_backward(root, seed, retain, create, leaf or None, {node: function} or None, anomaly or None)
PyObject* run_backward(PyObject*, PyObject* const* a, Py_ssize_t n) {
    if (!expect("run_backward", n, 7)) return nullptr;
    if (!is_tensor(a[0]) || !npy_api::get().PyArray_Check_(a[1]) || (a[5] != Py_None && !PyDict_Check(a[5]))) {
        PyErr_SetString(PyExc_TypeError, "run_backward: expected a tensor, an array, two flags, a function, a dict");
        return nullptr;
    }
    const auto given = [](PyObject* x) { return x == Py_None ? nullptr : x; };
    const int retain = PyObject_IsTrue(a[2]), create = retain < 0 ? -1 : PyObject_IsTrue(a[3]);
    if (create < 0) return nullptr;
    struct Restore {
        int mode;
        ~Restore() { grad_mode() = mode; }
    } restore{grad_mode()};
    grad_mode() = create ? on : off;
    try {
        Pass(retain == 1, create == 1, given(a[4]), given(a[5]), given(a[6])).run(a[0], a[1]);
    } catch (py::error_already_set& e) {
        e.restore();
        return nullptr;
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyObject* watch_nodes(PyObject*, PyObject* function) {
    PyObject* before = on_node;
    on_node = function == Py_None ? nullptr : Py_NewRef(function);
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

// tape_use({name: object}): the Python side of the tape; may be called several times
PyObject* tape_use(PyObject*, PyObject* dict) {
    const std::pair<const char*, PyObject**> known[] = {{"Tensor", &python.Tensor},
                                                        {"OUT", &python.OUT},
                                                        {"promote", &python.promote},
                                                        {"float_array", &python.float_array},
                                                        {"add", &python.add},
                                                        {"astype", &python.astype},
                                                        {"copy", &python.copy},
                                                        {"promoted", &python.promoted},
                                                        {"hooks", &python.hooks},
                                                        {"hooked", &python.hooked},
                                                        {"call_hooks", &python.call_hooks},
                                                        {"freed", &python.freed},
                                                        {"overwritten", &python.overwritten}};
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "tape_use: expected a dict");
        return nullptr;
    }
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict, &at, &key, &value)) {
        const char* name = PyUnicode_AsUTF8(key);
        if (!name) return nullptr;
        PyObject** slot = nullptr;
        for (const auto& [text, where] : known) {
            if (std::string(text) == name) slot = where;
        }
        if (!slot) {
            PyErr_Format(PyExc_ValueError, "tape_use: there is no '%s'", name);
            return nullptr;
        }
        Py_XSETREF(*slot, Py_NewRef(value));
    }
    Py_RETURN_NONE;
}

PyCFunction fast(PyObject* (*f)(PyObject*, PyObject* const*, Py_ssize_t)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

}  // namespace

TensorParts parts_of(PyObject* tensor) {
    if (!is_tensor(tensor)) return {nullptr, nullptr, false};
    const TensorObject* t = as_tensor(tensor);
    PyObject* grad = t->grad && is_tensor(t->grad) ? as_tensor(t->grad)->data : nullptr;
    return {t->data, grad, t->requires_grad != 0};
}

int tape_mode() {
    return grad_mode();
}

void mark_written(PyObject* tensor) {
    as_tensor(tensor)->written = ++clock_now;
}

void define_tape(py::module_& m) {
    ready_types();
    static PyMethodDef methods[] = {{"operand", fast(operand), METH_FASTCALL, nullptr},
                                    {"operands", fast(operands), METH_FASTCALL, nullptr},
                                    {"pair", fast(pair), METH_FASTCALL, nullptr},
                                    {"kept", fast(kept), METH_FASTCALL, nullptr},
                                    {"record", fast(record), METH_FASTCALL, nullptr},
                                    {"run_backward", fast(run_backward), METH_FASTCALL, nullptr},
                                    {"wrap", wrap_entry, METH_O, nullptr},
                                    {"tick", tick, METH_NOARGS, nullptr},
                                    {"grad_mode", get_grad_mode, METH_NOARGS, nullptr},
                                    {"set_grad_mode", set_grad_mode, METH_O, nullptr},
                                    {"watch_nodes", watch_nodes, METH_O, nullptr},
                                    {"tape_use", tape_use, METH_O, nullptr},
                                    {nullptr, nullptr, 0, nullptr}};
    if (PyModule_AddFunctions(m.ptr(), methods) < 0) throw py::error_already_set();
    m.attr("TensorBase") = py::handle(reinterpret_cast<PyObject*>(&tensor_type));
    m.attr("Node") = py::handle(reinterpret_cast<PyObject*>(&node_type));
}

}  // namespace rb::bind
