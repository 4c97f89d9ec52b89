#include "core/group_norm.h"

#include "bind/bind.h"

namespace roikit {

void bind_group_norm(py::module_& module) {
#if !ROIKIT_ON_CUDA  // the host's alone
  def(module, "group_norm", device::group_norm, "x", "weight", "bias", "groups", "eps", "onto", "relu", "out", "mean",
      "rate", "launch");
  def(module, "group_norm_backward", device::group_norm_backward, "grad", "x", "out", "weight", "bias", "mean", "rate",
      "relu", "grad_x", "grad_sum", "grad_weight", "grad_bias", "launch");
#endif
}

}  // namespace roikit
