#include "core/anchors.h"

#include "bind/bind.h"

namespace roikit {

void bind_anchors(py::module_& module) {
#if !ROIKIT_ON_CUDA  // a few numbers, made on the host for every device
  def(module, "cell_anchors", device::cell_anchors, "sizes", "ratios", "ratio_outside", "rounded", "out", "launch");
#endif
  def(module, "grid_anchors", device::grid_anchors, "cell_anchors", "height", "width", "stride_y", "stride_x", "offset",
      "out", "launch");
}

}  // namespace roikit
