#include "bind/bind.h"

namespace roikit {

void bind_boxes(py::module_& module, const BoxesKernels& kernels) {
  module.def("box_iou", kernels.box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("out"), py::arg("launch"),
             Release());
}

}  // namespace roikit
