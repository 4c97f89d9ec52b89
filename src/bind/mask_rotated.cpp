#include "core/mask_rotated.h"

#include "bind/bind.h"
#include "bind/runs.h"

namespace roikit {

void bind_mask_rotated(py::module_& module) {
  def(module, "mask_targets_rotated", device::mask_targets_rotated, "masks", "boxes", "matched", "binary", "out",
      "launch");
  def(module, "paste_masks_rotated", device::paste_masks_rotated, "masks", "boxes", "threshold", "out", "launch");
#if ROIKIT_ON_CUDA  // the caller sums the runs up, and allocates what those of pasted masks need
  def(module, "mask_targets_rotated_of_ends", device::mask_targets_rotated_of_ends, "ends", "offsets", "sizes", "boxes",
      "matched", "binary", "out", "launch");
  def(module, "paste_masks_rotated_rle_chunks", device::paste_masks_rle_chunks, "width");
  def(module, "paste_masks_rotated_rle_count", device::paste_masks_rotated_rle_count, "masks", "boxes", "height",
      "width", "threshold", "changes", "launch");
  def(module, "paste_masks_rotated_rle_write", device::paste_masks_rotated_rle_write, "masks", "boxes", "height",
      "width", "threshold", "upto", "ends", "counts", "launch");
#else
  def(module, "mask_targets_rotated_of_runs", device::mask_targets_rotated_of_runs, "counts", "offsets", "sizes",
      "boxes", "matched", "binary", "out", "launch");
  def(module, "paste_masks_rotated_rle",  // the flat run lengths; fills offsets
      [](const View& masks, const View& boxes, int64_t height, int64_t width, double threshold, const View& offsets,
         const Launch& launch) {
        std::vector<uint32_t> counts;
        device::paste_masks_rotated_rle(masks, boxes, height, width, threshold, counts, offsets, launch);
        const py::gil_scoped_acquire held;
        return owned(std::move(counts));
      },
      "masks", "boxes", "height", "width", "threshold", "offsets", "launch");
#endif
}

}  // namespace roikit
