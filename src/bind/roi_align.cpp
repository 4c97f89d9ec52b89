#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {

void bind_roi_align(py::module_& module, const RoiAlignKernels& kernels) {
  module.def(
      "roi_align",
      [forward = kernels.forward](std::vector<View> features, const View& boxes, std::vector<double> scales,
                                  std::vector<double> thresholds, const View& output, int64_t sampling_ratio,
                                  bool aligned, bool integral, const Launch& launch) {
        forward({std::move(features), std::move(scales), std::move(thresholds)}, boxes, output,
                {sampling_ratio, aligned, integral}, launch);
      },
      py::arg("features"), py::arg("boxes"), py::arg("scales"), py::arg("thresholds"), py::arg("output"),
      py::arg("sampling_ratio"), py::arg("aligned"), py::arg("integral"), py::arg("launch"), Release());
  module.def(
      "roi_align_backward",
      [backward = kernels.backward](const View& grad, const View& boxes, std::vector<double> scales,
                                    std::vector<double> thresholds, std::vector<View> gradients,
                                    int64_t sampling_ratio, bool aligned, bool integral, const Launch& launch) {
        backward(grad, boxes, {std::move(gradients), std::move(scales), std::move(thresholds)},
                 {sampling_ratio, aligned, integral}, launch);
      },
      py::arg("grad"), py::arg("boxes"), py::arg("scales"), py::arg("thresholds"), py::arg("gradients"),
      py::arg("sampling_ratio"), py::arg("aligned"), py::arg("integral"), py::arg("launch"), Release());
  module.def("roi_align_boxes_backward", kernels.boxes_backward, py::arg("grad"), py::arg("input"), py::arg("boxes"),
             py::arg("spatial_scale"), py::arg("aligned"), py::arg("gradient"), py::arg("launch"), Release());
}

void bind_roi_align_workspace(py::module_& module, int64_t (*backward)(const View&, const std::vector<View>&, bool)) {
  module.def("roi_align_backward_workspace", backward, py::arg("grad"), py::arg("gradients"), py::arg("deterministic"));
}

void bind_roi_align_max(py::module_& module, const RoiAlignMaxKernels& kernels) {
  module.def(
      "roi_align_max",
      [forward = kernels.forward](std::vector<View> features, const View& boxes, std::vector<double> scales,
                                  std::vector<double> thresholds, const View& output, const View& argmax, bool given,
                                  int64_t sampling_ratio, bool aligned, const Launch& launch) {
        forward({std::move(features), std::move(scales), std::move(thresholds)}, boxes, output, argmax, given,
                {sampling_ratio, aligned}, launch);
      },
      py::arg("features"), py::arg("boxes"), py::arg("scales"), py::arg("thresholds"), py::arg("output"),
      py::arg("argmax"), py::arg("given"), py::arg("sampling_ratio"), py::arg("aligned"), py::arg("launch"),
      Release());
  module.def(
      "roi_align_max_backward",
      [backward = kernels.backward](const View& grad, const View& argmax, const View& boxes,
                                    std::vector<double> scales, std::vector<double> thresholds,
                                    std::vector<View> gradients, int64_t sampling_ratio, bool aligned,
                                    const Launch& launch) {
        backward(grad, argmax, boxes, {std::move(gradients), std::move(scales), std::move(thresholds)},
                 {sampling_ratio, aligned}, launch);
      },
      py::arg("grad"), py::arg("argmax"), py::arg("boxes"), py::arg("scales"), py::arg("thresholds"),
      py::arg("gradients"), py::arg("sampling_ratio"), py::arg("aligned"), py::arg("launch"), Release());
}

void bind_roi_align_max_workspace(py::module_& module, int64_t (*backward)(const std::vector<View>&)) {
  module.def("roi_align_max_backward_workspace", backward, py::arg("gradients"));
}

}  // namespace roikit
