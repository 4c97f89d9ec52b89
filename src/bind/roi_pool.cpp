#include "bind/bind.h"

namespace roikit {

void bind_roi_pool(py::module_& module, const RoiPoolKernels& kernels) {
  module.def("roi_pool", kernels.forward, py::arg("input"), py::arg("boxes"), py::arg("spatial_scale"),
             py::arg("output"), py::arg("argmax"), py::arg("launch"), Release());
  module.def("roi_pool_backward", kernels.backward, py::arg("grad"), py::arg("argmax"), py::arg("boxes"),
             py::arg("gradient"), py::arg("launch"), Release());
}

void bind_roi_pool_workspaces(py::module_& module, const RoiPoolWorkspaces& workspaces) {
  module.def("roi_pool_workspace", workspaces.forward, py::arg("rois"), py::arg("rows"), py::arg("columns"));
  module.def("roi_pool_backward_workspace", workspaces.backward, py::arg("argmax"), py::arg("gradient"),
             py::arg("deterministic"));
}

}  // namespace roikit
