#include "core/roi_warp.h"

#include "bind/bind.h"

namespace roikit {

void bind_roi_warp(py::module_& module) {
  def(module, "roi_warp",
      [](const View& input, const View& boxes, double spatial_scale, int reduce, const View& output,
         const View& argmax, const Launch& launch) {
        device::roi_warp(input, boxes, spatial_scale, WarpReduce(reduce), output, argmax, launch);
      },
      "input", "boxes", "spatial_scale", "reduce", "output", "argmax", "launch");
  def(module, "roi_warp_backward", device::roi_warp_backward, "grad", "argmax", "boxes", "spatial_scale", "gradient",
      "launch");
#if ROIKIT_ON_CUDA
  def(module, "roi_warp_backward_workspace", device::roi_warp_backward_workspace, "gradient");
#endif
}

}  // namespace roikit
