#include "bind/bind.h"

namespace roikit {

void bind_roi_warp(py::module_& module, const RoiWarpKernels& kernels) {
  module.def(
      "roi_warp",
      [forward = kernels.forward](const View& input, const View& boxes, double spatial_scale, int reduce,
                                  const View& output, const View& argmax, const Launch& launch) {
        forward(input, boxes, spatial_scale, WarpReduce(reduce), output, argmax, launch);
      },
      py::arg("input"), py::arg("boxes"), py::arg("spatial_scale"), py::arg("reduce"), py::arg("output"),
      py::arg("argmax"), py::arg("launch"), Release());
  module.def("roi_warp_backward", kernels.backward, py::arg("grad"), py::arg("argmax"), py::arg("boxes"),
             py::arg("spatial_scale"), py::arg("gradient"), py::arg("launch"), Release());
}

void bind_roi_warp_workspace(py::module_& module, int64_t (*backward)(const View&)) {
  module.def("roi_warp_backward_workspace", backward, py::arg("gradient"));
}

}  // namespace roikit
