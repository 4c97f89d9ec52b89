#include "bind/bind.h"

namespace roikit {

void bind_anchors(py::module_& module, const AnchorsKernels& kernels) {
  module.def("cell_anchors", kernels.cell_anchors, py::arg("sizes"), py::arg("ratios"), py::arg("ratio_outside"),
             py::arg("rounded"), py::arg("out"), py::arg("launch"), Release());
  bind_grid_anchors(module, kernels.grid_anchors);
}

void bind_grid_anchors(py::module_& module, GridAnchorsKernel kernel) {
  module.def("grid_anchors", kernel, py::arg("cell_anchors"), py::arg("height"), py::arg("width"),
             py::arg("stride_y"), py::arg("stride_x"), py::arg("offset"), py::arg("out"), py::arg("launch"), Release());
}

}  // namespace roikit
