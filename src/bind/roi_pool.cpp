#include "core/roi_pool.h"

#include "bind/bind.h"

namespace roikit {

void bind_roi_pool(py::module_& module) {
  def(module, "roi_pool", device::roi_pool, "input", "boxes", "spatial_scale", "output", "argmax", "launch");
  def(module, "roi_pool_backward", device::roi_pool_backward, "grad", "argmax", "boxes", "gradient", "launch");
#if ROIKIT_ON_CUDA
  def(module, "roi_pool_workspace", device::roi_pool_workspace, "rois", "rows", "columns");
  def(module, "roi_pool_backward_workspace", device::roi_pool_backward_workspace, "argmax", "gradient",
      "deterministic");
#endif
}

}  // namespace roikit
