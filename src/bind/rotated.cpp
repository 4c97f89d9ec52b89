#include "bind/bind.h"

namespace roikit {

void bind_rotated(py::module_& module, const RotatedKernels& kernels) {
  module.def("box_iou_rotated", kernels.box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("out"),
             py::arg("launch"), Release());
  module.def("nms_rotated", kernels.nms, py::arg("boxes"), py::arg("scores"), py::arg("iou_threshold"),
             py::arg("keep"), py::arg("count"), py::arg("launch"), Release());
  module.def("batched_nms_rotated", kernels.batched_nms, py::arg("boxes"), py::arg("scores"), py::arg("idxs"),
             py::arg("iou_threshold"), py::arg("keep"), py::arg("count"), py::arg("launch"), Release());
}

void bind_rotated_steps(py::module_& module, const RotatedSteps& kernels) {
  module.def("box_iou_rotated_workspace", kernels.box_iou_workspace, py::arg("boxes1"), py::arg("boxes2"),
             "Bytes of scratch for box_iou_rotated.");
  module.def("box_iou_rotated", kernels.box_iou, py::arg("boxes1"), py::arg("boxes2"), py::arg("out"),
             py::arg("launch"), Release());
  module.def("nms_rotated_workspace", kernels.nms_workspace, py::arg("boxes"),
             "Bytes of scratch for the functions below.");
  module.def("nms_rotated_in_order", kernels.nms, py::arg("boxes"), py::arg("by_score"), py::arg("iou_threshold"),
             py::arg("chosen"), py::arg("launch"), Release());
  module.def("batched_nms_rotated_in_order", kernels.batched_nms, py::arg("boxes"), py::arg("by_score"),
             py::arg("classes"), py::arg("ranks"), py::arg("iou_threshold"), py::arg("chosen"), py::arg("launch"),
             Release());
}

}  // namespace roikit
