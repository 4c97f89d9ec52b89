#include "core/matching.h"

#include "bind/bind.h"

namespace roikit {

void bind_matching(py::module_& module) {
  def(module, "match_boxes", device::match_boxes, "anchors", "gt_boxes", "high", "low", "allow_low_quality", "index",
      "label", "iou", "launch");
#if ROIKIT_ON_CUDA
  def(module, "match_boxes_workspace", device::match_boxes_workspace, "gt_boxes", "allow_low_quality");
#endif
}

}  // namespace roikit
