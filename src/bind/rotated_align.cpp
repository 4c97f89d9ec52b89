#include "core/rotated_align.h"

#include "bind/bind.h"

namespace roikit {

void bind_rotated_align(py::module_& module) {
  def(module, "roi_align_rotated", device::roi_align_rotated, "input", "boxes", "spatial_scale", "sampling_ratio",
      "output", "launch");
  def(module, "roi_align_rotated_backward", device::roi_align_rotated_backward, "grad", "boxes", "spatial_scale",
      "sampling_ratio", "gradient", "launch");
#if ROIKIT_ON_CUDA
  def(module, "roi_align_rotated_backward_workspace", device::roi_align_rotated_backward_workspace, "gradient");
#endif
}

}  // namespace roikit
