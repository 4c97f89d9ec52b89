#include "core/opname.h"

#include "bind/bind.h"

namespace roikit {

void bind_opname(py::module_& module) {
  def(module, "opname", device::opname, "boxes", "stride", "out", "launch");
}

}  // namespace roikit
