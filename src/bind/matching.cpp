#include "bind/bind.h"

namespace roikit {

void bind_matching(py::module_& module, const MatchingKernels& kernels) {
  module.def("match_boxes", kernels.match_boxes, py::arg("anchors"), py::arg("gt_boxes"), py::arg("high"),
             py::arg("low"), py::arg("allow_low_quality"), py::arg("index"), py::arg("label"), py::arg("iou"),
             py::arg("launch"), Release());
}

void bind_matching_workspace(py::module_& module, int64_t (*workspace)(const View&, bool)) {
  module.def("match_boxes_workspace", workspace, py::arg("gt_boxes"), py::arg("allow_low_quality"));
}

}  // namespace roikit
