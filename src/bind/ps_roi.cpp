#include "bind/bind.h"

namespace roikit {

void bind_ps_roi(py::module_& module, const PsRoiKernels& kernels) {
  module.def(
      "ps_roi",
      [forward = kernels.forward](const View& input, const View& boxes, double spatial_scale, bool align,
                                  int64_t sampling_ratio, const View& output, const Launch& launch) {
        forward(input, boxes, spatial_scale, {align, sampling_ratio}, output, launch);
      },
      py::arg("input"), py::arg("boxes"), py::arg("spatial_scale"), py::arg("align"), py::arg("sampling_ratio"),
      py::arg("output"), py::arg("launch"), Release());
  module.def(
      "ps_roi_backward",
      [backward = kernels.backward](const View& grad, const View& boxes, double spatial_scale, bool align,
                                    int64_t sampling_ratio, const View& gradient, const Launch& launch) {
        backward(grad, boxes, spatial_scale, {align, sampling_ratio}, gradient, launch);
      },
      py::arg("grad"), py::arg("boxes"), py::arg("spatial_scale"), py::arg("align"), py::arg("sampling_ratio"),
      py::arg("gradient"), py::arg("launch"), Release());
}

void bind_ps_roi_workspace(py::module_& module, int64_t (*backward)(const View&)) {
  module.def("ps_roi_backward_workspace", backward, py::arg("gradient"));
}

}  // namespace roikit
