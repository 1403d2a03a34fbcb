// arrays.hpp: numpy array <-> View, through the raw C interface that pybind11 carries (no numpy headers at build time).
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "core/describe.hpp"  // Field, Elem
#include "rb/view.hpp"

namespace rb::bind {

namespace py = pybind11;

// A new C-ordered array on a pooled 64-byte-aligned buffer, contents undefined; a new reference.
// Throws std::bad_alloc; sets ValueError for a negative or overflowing size.
PyObject* new_array(const i64* shape, i32 ndim, i32 dtype);

// Fills `view` from `object` for field `f` of op `op`. `keep` receives a new reference to a converted copy when the
// array cannot be used in place (inputs only). Returns false with a Python error set.
bool to_view(PyObject* object, const Field& f, const char* op, View* view, PyObject** keep);

// The numpy type number of a DType and back (-1: not one of ours).
i32 dtype_of(PyObject* array);

}  // namespace rb::bind
