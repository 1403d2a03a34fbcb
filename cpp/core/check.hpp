// check.hpp: the wall in front of every kernel. After check_args has accepted a call, no implementation of the op reads
// or writes outside its views, divides by zero or overflows an index, whatever the values in the arrays.
#pragma once

#include <cstddef>  // size_t

#include "rb/args.hpp"

namespace rb {

// Null when shapes, dtypes, parameters and index values of the call fit together; else a message that names the op and
// says what was expected and what came, written into `buf` (always terminated) and returned. The caller has made sure
// of the kinds, the contiguity and the presence of the non-optional fields.
const char* check_args(OpId op, const void* args, char* buf, size_t buflen);

}  // namespace rb
