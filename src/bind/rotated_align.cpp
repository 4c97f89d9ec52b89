#include "core/rotated_align.h"

#include <pybind11/stl.h>

#include "bind/bind.h"

namespace roikit {
namespace {

using Maps = std::vector<View>;
using Numbers = std::vector<double>;

}  // namespace

void bind_rotated_align(py::module_& module) {
  def(module, "roi_align_rotated",
      [](Maps features, const View& boxes, Numbers scales, Numbers thresholds, const View& output,
         int64_t sampling_ratio, const Launch& launch) {
        device::roi_align_rotated({std::move(features), std::move(scales), std::move(thresholds)}, boxes,
                                  sampling_ratio, output, launch);
      },
      "features", "boxes", "scales", "thresholds", "output", "sampling_ratio", "launch");
  def(module, "roi_align_rotated_backward",
      [](const View& grad, const View& boxes, Numbers scales, Numbers thresholds, Maps gradients,
         int64_t sampling_ratio, const Launch& launch) {
        device::roi_align_rotated_backward(grad, boxes,
                                           {std::move(gradients), std::move(scales), std::move(thresholds)},
                                           sampling_ratio, launch);
      },
      "grad", "boxes", "scales", "thresholds", "gradients", "sampling_ratio", "launch");
#if ROIKIT_ON_CUDA
  def(module, "roi_align_rotated_backward_workspace", device::roi_align_rotated_backward_workspace, "gradients");
#endif
}

}  // namespace roikit
