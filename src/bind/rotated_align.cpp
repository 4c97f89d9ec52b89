#include "bind/bind.h"

namespace roikit {

void bind_rotated_align(py::module_& module, const RotatedAlignKernels& kernels) {
  module.def("roi_align_rotated", kernels.forward, py::arg("input"), py::arg("boxes"), py::arg("spatial_scale"),
             py::arg("sampling_ratio"), py::arg("output"), py::arg("launch"), Release());
  module.def("roi_align_rotated_backward", kernels.backward, py::arg("grad"), py::arg("boxes"),
             py::arg("spatial_scale"), py::arg("sampling_ratio"), py::arg("gradient"), py::arg("launch"), Release());
}

void bind_rotated_align_workspace(py::module_& module, int64_t (*backward)(const View&)) {
  module.def("roi_align_rotated_backward_workspace", backward, py::arg("gradient"));
}

}  // namespace roikit
