#include "core/boxes.h"

#include "bind/bind.h"

namespace roikit {

void bind_boxes(py::module_& module) {
  def(module, "box_iou", device::box_iou, "boxes1", "boxes2", "out", "launch");
  def(module, "generalized_box_iou", device::generalized_box_iou, "boxes1", "boxes2", "out", "launch");
  def(module, "distance_box_iou", device::distance_box_iou, "boxes1", "boxes2", "eps", "out", "launch");
  def(module, "complete_box_iou", device::complete_box_iou, "boxes1", "boxes2", "eps", "out", "launch");
}

}  // namespace roikit
