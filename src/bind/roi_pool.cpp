#include "bind/bind.h"

namespace roikit {

void bind_roi_pool(py::module_& module, const RoiPoolKernels& kernels) {
  module.def("roi_pool", kernels.forward, py::arg("input"), py::arg("boxes"), py::arg("spatial_scale"),
             py::arg("output"), py::arg("argmax"), py::arg("launch"), Release());
  module.def("roi_pool_backward", kernels.backward, py::arg("grad"), py::arg("argmax"), py::arg("boxes"),
             py::arg("gradient"), py::arg("launch"), Release());
}

}  // namespace roikit
