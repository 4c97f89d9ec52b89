#include "core/rotated.h"

#include "bind/bind.h"

namespace roikit {

void bind_rotated(py::module_& module) {
  def(module, "box_iou_rotated", device::box_iou_rotated, "boxes1", "boxes2", "out", "launch");
#if ROIKIT_ON_CUDA  // the caller sorts before, and picks the chosen ones after
  def(module, "box_iou_rotated_workspace", device::box_iou_rotated_workspace, "boxes1", "boxes2");
  def(module, "nms_rotated_workspace", device::nms_rotated_workspace, "boxes");
  def(module, "nms_rotated_in_order", device::nms_rotated_in_order, "boxes", "by_score", "iou_threshold", "chosen",
      "launch");
  def(module, "batched_nms_rotated_in_order", device::batched_nms_rotated_in_order, "boxes", "by_score", "classes",
      "ranks", "iou_threshold", "chosen", "launch");
#else
  def(module, "nms_rotated", device::nms_rotated, "boxes", "scores", "iou_threshold", "keep", "count", "launch");
  def(module, "batched_nms_rotated", device::batched_nms_rotated, "boxes", "scores", "idxs", "iou_threshold", "keep",
      "count", "launch");
#endif
}

}  // namespace roikit
