#include "bind/bind.h"

namespace roikit {

void bind_boxes(py::module_& module, const BoxesKernels& kernels) {
  module.def("box_iou", kernels.box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("out"), py::arg("launch"),
             Release());
  module.def("generalized_box_iou", kernels.generalized_box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("out"),
             py::arg("launch"), Release());
  module.def("distance_box_iou", kernels.distance_box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("eps"),
             py::arg("out"), py::arg("launch"), Release());
  module.def("complete_box_iou", kernels.complete_box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("eps"),
             py::arg("out"), py::arg("launch"), Release());
}

}  // namespace roikit
