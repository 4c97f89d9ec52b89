#include "core/mask_paste.h"

#include "bind/bind.h"
#include "bind/runs.h"

namespace roikit {
namespace {

PasteRule rule_of(const char* op, int rule) {
  require(rule == 0 || rule == 1, op, "rule must be 0 (continuous) or 1 (integer)");
  return PasteRule(rule);
}

}  // namespace

void bind_mask_paste(py::module_& module) {
  def(module, "paste_masks",
      [](const View& masks, const View& boxes, double threshold, int rule, const View& out, const Launch& launch) {
        device::paste_masks(masks, boxes, threshold, rule_of("paste_masks", rule), out, launch);
      },
      "masks", "boxes", "threshold", "rule", "out", "launch");
#if ROIKIT_ON_CUDA  // in steps: the caller allocates what the runs need, once they are counted
  def(module, "paste_masks_workspace", device::paste_masks_workspace, "masks");
  def(module, "paste_masks_rle_chunks", device::paste_masks_rle_chunks, "width");
  def(module, "paste_masks_rle_count",
      [](const View& masks, const View& boxes, int64_t height, int64_t width, double threshold, int rule,
         const View& changes, const Launch& launch) {
        device::paste_masks_rle_count(masks, boxes, height, width, threshold, rule_of("paste_masks_rle", rule), changes,
                                      launch);
      },
      "masks", "boxes", "height", "width", "threshold", "rule", "changes", "launch");
  def(module, "paste_masks_rle_write", device::paste_masks_rle_write, "masks", "height", "width", "threshold", "upto",
      "ends", "counts", "launch");
#else
  def(module, "paste_masks_rle",  // the flat run lengths; fills offsets
      [](const View& masks, const View& boxes, int64_t height, int64_t width, double threshold, int rule,
         const View& offsets, const Launch& launch) {
        std::vector<uint32_t> counts;
        device::paste_masks_rle(masks, boxes, height, width, threshold, rule_of("paste_masks_rle", rule), counts,
                                offsets, launch);
        const py::gil_scoped_acquire held;
        return owned(std::move(counts));
      },
      "masks", "boxes", "height", "width", "threshold", "rule", "offsets", "launch");
#endif
}

}  // namespace roikit
