#include "core/opname.h"

#include "bind/bind.h"

namespace roikit {

void bind_opname(py::module_& module) {
  def(module, "opname", device::opname, "input", "boxes", "spatial_scale", "output",
      "launch");
  def(module, "opname_backward", device::opname_backward, "grad", "boxes",
      "spatial_scale", "gradient", "launch");
#if ROIKIT_ON_CUDA
  def(module, "opname_backward_workspace", device::opname_backward_workspace, "gradient");
#endif
}

}  // namespace roikit
