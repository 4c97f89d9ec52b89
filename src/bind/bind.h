// What every binding file uses. bind/<op>.cpp is compiled once for each module, with -DROIKIT_DEVICE=cpu or =cuda; it
// defines bind_<op>(module), which the module calls (bind/ops.h). device::box_iou is the kernel of the module at hand,
// and what one of them has alone stands in #if ROIKIT_ON_CUDA.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "core/launch.h"
#include "core/view.h"

#define ROIKIT_JOINED(a, b) a##b
#define ROIKIT_JOIN(a, b) ROIKIT_JOINED(a, b)
#define ROIKIT_IS_cpu 0
#define ROIKIT_IS_cuda 1
#define ROIKIT_ON_CUDA ROIKIT_JOIN(ROIKIT_IS_, ROIKIT_DEVICE)

namespace roikit {

namespace py = pybind11;

namespace ROIKIT_DEVICE {}
namespace device = ROIKIT_DEVICE;

// Defines a function of the module by its name, the kernel, and the names of its arguments. The GIL is released while
// the kernel runs.
template <class Kernel, class... Names>
void def(py::module_& module, const char* name, Kernel&& kernel, Names... arguments) {
  module.def(name, std::forward<Kernel>(kernel), py::arg(arguments)..., py::call_guard<py::gil_scoped_release>());
}

}  // namespace roikit
