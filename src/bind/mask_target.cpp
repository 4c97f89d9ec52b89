#include "core/mask_target.h"

#include "bind/bind.h"

namespace roikit {

void bind_mask_target(py::module_& module) {
  def(module, "mask_targets", device::mask_targets, "masks", "boxes", "matched", "binary", "out", "launch");
#if ROIKIT_ON_CUDA  // the caller sums the runs up
  def(module, "mask_targets_of_ends", device::mask_targets_of_ends, "ends", "offsets", "sizes", "boxes", "matched",
      "binary", "out", "launch");
#else
  def(module, "mask_targets_of_runs", device::mask_targets_of_runs, "counts", "offsets", "sizes", "boxes", "matched",
      "binary", "out", "launch");
#endif
}

}  // namespace roikit
