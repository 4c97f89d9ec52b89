#include "bind/bind.h"

namespace roikit {

void bind_nms(py::module_& module, const NmsKernels& kernels) {
  module.def("nms", kernels.nms, py::arg("boxes"), py::arg("scores"), py::arg("iou_threshold"), py::arg("keep"),
             py::arg("count"), py::arg("launch"), Release());
  module.def("batched_nms", kernels.batched_nms, py::arg("boxes"), py::arg("scores"), py::arg("idxs"),
             py::arg("iou_threshold"), py::arg("keep"), py::arg("count"), py::arg("launch"), Release());
}

}  // namespace roikit
