// bind_ops(module) defines the functions of every op. Which ops there are is told by the names of the files in
// src/bind: the build hands them to the two module files, as -DROIKIT_OPS="ROIKIT_OP(boxes) ROIKIT_OP(nms) ...".
#pragma once

#include "bind/bind.h"

namespace roikit {

#define ROIKIT_OP(op) void bind_##op(py::module_& module);
ROIKIT_OPS
#undef ROIKIT_OP

inline void bind_ops(py::module_& module) {
#define ROIKIT_OP(op) bind_##op(module);
  ROIKIT_OPS
#undef ROIKIT_OP
}

}  // namespace roikit
