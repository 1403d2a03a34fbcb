// tape.hpp: tensors and nodes of the tape as C types, recording an op, and the backward pass.
#pragma once

#include <pybind11/pybind11.h>

namespace rb::bind {

// Borrowed arrays of a tensor: `data` is null for what is no tensor, `grad` for one without a gradient.
struct TensorParts {
    PyObject *data, *grad;
    bool requires_grad;
};
TensorParts parts_of(PyObject* tensor);

// How ops of this thread are taped now, as `autograd.State` numbers it.
int tape_mode();

// Gives the tensor the present time as that of its last write.
void mark_written(PyObject* tensor);

// Adds TensorBase, Node and the functions of the tape; rosenblatt/autograd.py says what they mean.
void define_tape(pybind11::module_& m);

}  // namespace rb::bind
