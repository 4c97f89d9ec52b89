#include "core/roi_align.h"
#include "core/roi_align_integral.h"
#include "core/roi_align_max.h"

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {
namespace {

using Maps = std::vector<View>;
using Numbers = std::vector<double>;

}  // namespace

void bind_roi_align(py::module_& module) {
  def(module, "roi_align",
      [](Maps features, const View& boxes, Numbers scales, Numbers thresholds, const View& output,
         int64_t sampling_ratio, bool aligned, bool integral, const Launch& launch) {
        device::roi_align({std::move(features), std::move(scales), std::move(thresholds)}, boxes, output,
                          {sampling_ratio, aligned, integral}, launch);
      },
      "features", "boxes", "scales", "thresholds", "output", "sampling_ratio", "aligned", "integral", "launch");
  def(module, "roi_align_backward",
      [](const View& grad, const View& boxes, Numbers scales, Numbers thresholds, Maps gradients,
         int64_t sampling_ratio, bool aligned, bool integral, const Launch& launch) {
        device::roi_align_backward(grad, boxes, {std::move(gradients), std::move(scales), std::move(thresholds)},
                                   {sampling_ratio, aligned, integral}, launch);
      },
      "grad", "boxes", "scales", "thresholds", "gradients", "sampling_ratio", "aligned", "integral", "launch");
  def(module, "roi_align_boxes_backward", device::roi_align_boxes_backward, "grad", "input", "boxes", "spatial_scale",
      "aligned", "gradient", "launch");
  def(module, "roi_align_max",
      [](Maps features, const View& boxes, Numbers scales, Numbers thresholds, const View& output, const View& argmax,
         bool given, int64_t sampling_ratio, bool aligned, const Launch& launch) {
        device::roi_align_max({std::move(features), std::move(scales), std::move(thresholds)}, boxes, output, argmax,
                              given, {sampling_ratio, aligned}, launch);
      },
      "features", "boxes", "scales", "thresholds", "output", "argmax", "given", "sampling_ratio", "aligned", "launch");
  def(module, "roi_align_max_backward",
      [](const View& grad, const View& argmax, const View& boxes, Numbers scales, Numbers thresholds, Maps gradients,
         int64_t sampling_ratio, bool aligned, const Launch& launch) {
        device::roi_align_max_backward(grad, argmax, boxes,
                                       {std::move(gradients), std::move(scales), std::move(thresholds)},
                                       {sampling_ratio, aligned}, launch);
      },
      "grad", "argmax", "boxes", "scales", "thresholds", "gradients", "sampling_ratio", "aligned", "launch");
#if ROIKIT_ON_CUDA
  def(module, "roi_align_backward_workspace", device::roi_align_backward_workspace, "grad", "gradients",
      "deterministic");
  def(module, "roi_align_max_backward_workspace", device::roi_align_max_backward_workspace, "gradients");
#endif
}

}  // namespace roikit
