#include "core/rotated_boxes.h"

#include "bind/bind.h"

namespace roikit {

void bind_rotated_boxes(py::module_& module) {
  def(module, "min_area_boxes", device::min_area_boxes, "masks", "out", "launch");
#if ROIKIT_ON_CUDA
  def(module, "min_area_boxes_workspace", device::min_area_boxes_workspace, "masks");
#else
  def(module, "min_area_boxes_of_points", device::min_area_boxes_of_points, "points", "offsets", "out", "launch");
  def(module, "min_area_boxes_of_runs", device::min_area_boxes_of_runs, "counts", "offsets", "sizes", "out", "launch");
#endif
}

}  // namespace roikit
