#include "core/ps_roi.h"

#include "bind/bind.h"

namespace roikit {

void bind_ps_roi(py::module_& module) {
  def(module, "ps_roi", device::ps_roi, "input", "boxes", "spatial_scale", "align", "sampling_ratio", "output",
      "launch");
  def(module, "ps_roi_backward", device::ps_roi_backward, "grad", "boxes", "spatial_scale", "align", "sampling_ratio",
      "gradient", "launch");
#if ROIKIT_ON_CUDA
  def(module, "ps_roi_backward_workspace", device::ps_roi_backward_workspace, "gradient");
#endif
}

}  // namespace roikit
