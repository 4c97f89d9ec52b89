#include "core/nms.h"

#include "bind/bind.h"

namespace roikit {

void bind_nms(py::module_& module) {
#if ROIKIT_ON_CUDA  // the caller sorts in between
  def(module, "score_keys", device::score_keys, "scores", "keys", "launch");
  def(module, "nms_workspace", device::nms_workspace, "boxes");
  def(module, "nms_in_order", device::nms_in_order, "boxes", "by_score", "iou_threshold", "keep", "count", "launch");
  def(module, "batched_nms_in_order", device::batched_nms_in_order, "boxes", "by_score", "classes", "ranks",
      "iou_threshold", "keep", "count", "launch");
#else
  def(module, "nms", device::nms, "boxes", "scores", "iou_threshold", "keep", "count", "launch");
  def(module, "batched_nms", device::batched_nms, "boxes", "scores", "idxs", "iou_threshold", "keep", "count",
      "launch");
#endif
}

}  // namespace roikit
