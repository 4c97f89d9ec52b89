#include "core/opname.h"

#include "bind/bind.h"

namespace roikit {

void bind_opname(py::module_& module) {
#if ROIKIT_ON_CUDA  // the caller sorts
  def(module, "opname_workspace", device::opname_workspace, "boxes");
  def(module, "opname_in_order", device::opname_in_order, "boxes", "by_score", "distance",
      "keep", "count", "launch");
#else
  def(module, "opname", device::opname, "boxes", "scores", "distance", "keep", "count",
      "launch");
#endif
}

}  // namespace roikit
