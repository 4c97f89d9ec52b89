#include "core/focal_loss.h"

#include "bind/bind.h"

namespace roikit {

void bind_focal_loss(py::module_& module) {
  def(module, "sigmoid_focal_loss", device::sigmoid_focal_loss, "inputs", "targets", "alpha", "gamma", "loss", "slope",
      "launch");
#if ROIKIT_ON_CUDA
  def(module, "sigmoid_focal_loss_workspace", cuda::sigmoid_focal_loss_workspace, "n");
#endif
}

}  // namespace roikit
