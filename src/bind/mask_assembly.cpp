#include "core/mask_assembly.h"

#include <pybind11/numpy.h>

#include <memory>

#include "bind/bind.h"

namespace roikit {
namespace {

#if !ROIKIT_ON_CUDA
// Hands the runs over to NumPy without a copy.
py::array_t<uint32_t> owned(std::vector<uint32_t>&& runs) {
  auto kept = std::make_unique<std::vector<uint32_t>>(std::move(runs));
  std::vector<uint32_t>* const data = kept.get();
  py::capsule owner(kept.release(), [](void* p) { delete static_cast<std::vector<uint32_t>*>(p); });
  return py::array_t<uint32_t>(py::ssize_t(data->size()), data->data(), owner);
}
#endif

}  // namespace

void bind_mask_assembly(py::module_& module) {
  def(module, "assemble_masks", device::assemble_masks, "prototypes", "coefficients", "boxes", "extent_y", "extent_x",
      "threshold", "out", "launch");
#if ROIKIT_ON_CUDA  // in steps: the caller allocates what the runs need, once they are counted
  def(module, "assemble_masks_workspace", device::assemble_masks_workspace, "prototypes", "boxes");
  def(module, "assemble_masks_rle_count", device::assemble_masks_rle_count, "prototypes", "coefficients", "boxes",
      "extent_y", "extent_x", "height", "width", "threshold", "changes", "launch");
  def(module, "assemble_masks_rle_write", device::assemble_masks_rle_write, "prototypes", "boxes", "height", "width",
      "threshold", "upto", "ends", "counts", "launch");
#else
  def(module, "assemble_masks_rle",  // the flat run lengths; fills offsets
      [](const View& prototypes, const View& coefficients, const View& boxes, double extent_y, double extent_x,
         int64_t height, int64_t width, double threshold, const View& offsets, const Launch& launch) {
        std::vector<uint32_t> counts;
        device::assemble_masks_rle(prototypes, coefficients, boxes, extent_y, extent_x, height, width, threshold, counts,
                                   offsets, launch);
        const py::gil_scoped_acquire held;
        return owned(std::move(counts));
      },
      "prototypes", "coefficients", "boxes", "extent_y", "extent_x", "height", "width", "threshold", "offsets",
      "launch");
#endif
}

}  // namespace roikit
