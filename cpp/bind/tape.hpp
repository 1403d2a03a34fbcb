// tape.hpp: tensors and nodes of the tape as C types, recording an op, and the backward pass.
#pragma once

#include <pybind11/pybind11.h>

namespace rb::bind {

// Adds TensorBase, Node and the functions of the tape; rosenblatt/autograd.py says what they mean.
void define_tape(pybind11::module_& m);

}  // namespace rb::bind
