#include "bind/bind.h"

namespace roikit {

void bind_nms(py::module_& module, const NmsKernels& kernels) {
  module.def("nms", kernels.nms, py::arg("boxes"), py::arg("scores"), py::arg("iou_threshold"), py::arg("keep"),
             py::arg("count"), py::arg("launch"), Release());
  module.def("batched_nms", kernels.batched_nms, py::arg("boxes"), py::arg("scores"), py::arg("idxs"),
             py::arg("iou_threshold"), py::arg("keep"), py::arg("count"), py::arg("launch"), Release());
}

void bind_nms_steps(py::module_& module, const NmsSteps& kernels) {
  module.def("score_keys", kernels.score_keys, py::arg("scores"), py::arg("keys"), py::arg("launch"), Release());
  module.def("nms_workspace", kernels.workspace, py::arg("boxes"), "Bytes of scratch for the functions below.");
  module.def("nms_in_order", kernels.nms, py::arg("boxes"), py::arg("by_score"), py::arg("iou_threshold"),
             py::arg("keep"), py::arg("count"), py::arg("launch"), Release());
  module.def("batched_nms_in_order", kernels.batched_nms, py::arg("boxes"), py::arg("by_score"), py::arg("classes"),
             py::arg("ranks"), py::arg("iou_threshold"), py::arg("keep"), py::arg("count"), py::arg("launch"),
             Release());
}

}  // namespace roikit
