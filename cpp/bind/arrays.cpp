// arrays.cpp: see arrays.hpp. Inputs that are byte-swapped, misaligned or not contiguous where the kernel needs it are
// copied here, once; outputs in such a state are refused.
#include "bind/arrays.hpp"

#include <new>

#include "bind/program.hpp"
#include "core/pool.hpp"
#include "core/run.hpp"
#include "core/views.hpp"

namespace rb::bind {
namespace {

using py::detail::npy_api;

constexpr const char* kDTypeName[] = {"float32", "float64", "int64", "int32", "uint16"};

// The dtypes of each element class, and their name in errors.
struct Wanted {
    i32 dtype, other;
    const char* text;
};
constexpr Wanted kWanted[] = {{f32, f64, "an array of float32 or float64"},
                              {i64t, i64t, "an array of int64"},
                              {i32t, i32t, "an array of int32"},
                              {u16t, u16t, "an array of uint16 (bfloat16 bit patterns)"},
                              {u16t, f32, "an array of uint16 (bfloat16 bit patterns) or float32"}};

PyObject* descriptor(i32 dtype) {
    static PyObject* cache[5] = {};
    if (!cache[dtype]) {
        const int number[] = {npy_api::NPY_FLOAT_, npy_api::NPY_DOUBLE_,
                              sizeof(long) == 8 ? npy_api::NPY_LONG_ : npy_api::NPY_LONGLONG_, npy_api::NPY_INT_,
                              npy_api::NPY_USHORT_};
        cache[dtype] = npy_api::get().PyArray_DescrFromType_(number[dtype]);
    }
    Py_INCREF(cache[dtype]);
    return cache[dtype];
}

void free_buffer(PyObject* capsule) {
    pool_put(PyCapsule_GetPointer(capsule, "rosenblatt.buffer"));
}

py::detail::PyArray_Proxy* proxy(PyObject* array) {
    return py::detail::array_proxy(array);
}

bool refuse(PyObject* type, const char* op, const Field& f, const char* expected, PyObject* got) {
    PyErr_Format(type, "%s: %s must be %s, got %R", op, f.name, expected, got);
    return false;
}

// Reads geometry; false when strides are no multiple of the item size, the data pointer is misaligned, or the bytes
// are swapped (then only a copy will do).
bool direct(PyObject* array, i32 dtype, View* v) {
    auto* a = proxy(array);
    const i64 item = kItemSize[dtype];
    const char order = py::detail::array_descriptor_proxy(a->descr)->byteorder;
    bool ok = order == '=' || order == '|' || order == (PY_LITTLE_ENDIAN ? '<' : '>');
    ok = ok && reinterpret_cast<uintptr_t>(a->data) % static_cast<uintptr_t>(item) == 0;
    v->data = a->data;
    v->dtype = dtype;
    v->ndim = a->nd;
    for (int i = 0; i < a->nd; ++i) {
        v->shape[i] = a->dimensions[i];
        ok = ok && a->strides[i] % item == 0;
        v->stride[i] = a->strides[i] / item;
    }
    return ok;
}

}  // namespace

i32 dtype_of(PyObject* array) {
    const int number = py::detail::array_descriptor1_proxy(proxy(array)->descr)->type_num;
    if (number == npy_api::NPY_FLOAT_) return f32;
    if (number == npy_api::NPY_DOUBLE_) return f64;
    if (number == npy_api::NPY_INT_) return i32t;
    if (number == npy_api::NPY_USHORT_) return u16t;
    if ((number == npy_api::NPY_LONG_ && sizeof(long) == 8) || number == npy_api::NPY_LONGLONG_) return i64t;
    return -1;
}

PyObject* new_array(const i64* shape, i32 ndim, i32 dtype) {
    i64 bytes = kItemSize[dtype];
    Py_intptr_t dims[kMaxDims];
    for (i32 i = 0; i < ndim; ++i) {
        if (shape[i] < 0 || (shape[i] > 0 && __builtin_mul_overflow(bytes, shape[i], &bytes))) {
            PyErr_Format(PyExc_ValueError, "empty: axis %d of length %lld makes no array", i,
                         static_cast<long long>(shape[i]));
            return nullptr;
        }
        dims[i] = shape[i];
    }
    for (i32 i = 0; i < ndim; ++i) {
        if (shape[i] == 0) bytes = 0;
    }
    void* data = pool_get(bytes);
    if (!data) {
        PyErr_Format(PyExc_MemoryError, "cannot allocate an array of %lld bytes", static_cast<long long>(bytes));
        return nullptr;
    }
    const npy_api& api = npy_api::get();
    PyObject* array = api.PyArray_NewFromDescr_(
        api.PyArray_Type_, descriptor(dtype), ndim, dims, nullptr, data,
        npy_api::NPY_ARRAY_WRITEABLE_ | npy_api::NPY_ARRAY_ALIGNED_ | npy_api::NPY_ARRAY_C_CONTIGUOUS_, nullptr);
    if (!array) {
        pool_put(data);
        return nullptr;
    }
    PyObject* capsule = PyCapsule_New(data, "rosenblatt.buffer", free_buffer);
    if (!capsule) {
        Py_DECREF(array);
        pool_put(data);
        return nullptr;
    }
    if (api.PyArray_SetBaseObject_(array, capsule) < 0) {  // steals the capsule, also on failure
        Py_DECREF(array);
        return nullptr;
    }
    if (Recording* r = active_recording()) {
        try {
            r->keep.append(py::handle(array));
            r->recorder.note_buffer(data, bytes);
        } catch (py::error_already_set& e) {
            e.restore();
            Py_DECREF(array);
            return nullptr;
        } catch (const std::bad_alloc&) {
            Py_DECREF(array);
            return PyErr_NoMemory();
        }
    }
    return array;
}

bool to_view(PyObject* object, const Field& f, const char* op, View* view, PyObject** keep) {
    if (object == Py_None) {
        if (!f.optional) return refuse(PyExc_TypeError, op, f, "a numpy array", object);
        *view = View{};
        view->ndim = -1;
        return true;
    }
    if (!npy_api::get().PyArray_Check_(object)) {
        return refuse(PyExc_TypeError, op, f, f.optional ? "a numpy array or None" : "a numpy array",
                      reinterpret_cast<PyObject*>(Py_TYPE(object)));
    }
    auto* a = proxy(object);
    const i32 dtype = dtype_of(object);
    const Wanted& wanted = kWanted[static_cast<i32>(f.elem)];
    if (dtype < 0 || (dtype != wanted.dtype && dtype != wanted.other)) {
        return refuse(PyExc_TypeError, op, f, wanted.text, a->descr);
    }
    if (a->nd > kMaxDims) {
        PyErr_Format(PyExc_ValueError, "%s: %s must have at most %d axes, got %d", op, f.name, kMaxDims, a->nd);
        return false;
    }
    const bool usable = direct(object, dtype, view);
    if (f.role != Role::in) {
        if (!(a->flags & npy_api::NPY_ARRAY_WRITEABLE_)) {
            PyErr_Format(PyExc_ValueError, "%s: output %s is read-only", op, f.name);
            return false;
        }
        if (!usable || (f.contiguous && !is_dense(*view))) {
            PyErr_Format(PyExc_ValueError, "%s: output %s must be %saligned and in native byte order", op, f.name,
                         f.contiguous ? "contiguous, " : "");
            return false;
        }
        return true;
    }
    if (!usable) {  // rare: let numpy untangle bytes and alignment
        py::object copy =
            py::reinterpret_borrow<py::object>(object).attr("astype")(kDTypeName[dtype], py::arg("order") = "C");
        direct(copy.ptr(), dtype, view);
        *keep = copy.release().ptr();
        return true;
    }
    if (f.contiguous && !is_dense(*view)) {
        PyObject* copy;
        if (f.elem == Elem::real) {
            copy = new_array(view->shape, view->ndim, dtype);
            if (!copy) return false;
            copy_args args{*view, View{}};
            direct(copy, dtype, &args.y);
            run_noted(op_copy, &args);
        } else {
            copy = py::reinterpret_borrow<py::object>(object).attr("copy")().release().ptr();
        }
        direct(copy, dtype, view);
        *keep = copy;
    }
    return true;
}

}  // namespace rb::bind
