#include "core/evaluation.h"

#include "bind/bind.h"

namespace roikit {

void bind_evaluation(py::module_& module) {
#if !ROIKIT_ON_CUDA  // the host's alone
  def(module, "keypoint_similarity", device::keypoint_similarity, "found", "known", "boxes", "areas", "sigmas",
      "starts", "known_starts", "overlaps", "launch");
  def(module, "match_groups", device::match_groups, "overlaps", "starts", "known_starts", "ignored", "crowds",
      "outside", "thresholds", "matched", "outcome", "launch");
  def(module, "precision_recall", device::precision_recall, "outcome", "order", "class_starts", "ranks", "limits",
      "totals", "recalls", "precision", "recall", "launch");
#endif
}

}  // namespace roikit
