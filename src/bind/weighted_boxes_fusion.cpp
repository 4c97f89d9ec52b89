#include "core/weighted_boxes_fusion.h"

#include "bind/bind.h"

namespace roikit {
namespace {

FusedScore rule_of(int rule) {
  require(rule >= 0 && rule <= 3, "weighted_boxes_fusion: the rule must be 0, 1, 2 or 3");
  return FusedScore(rule);
}

}  // namespace

void bind_weighted_boxes_fusion(py::module_& module) {
#if ROIKIT_ON_CUDA  // the caller sorts in between
  def(module, "weighted_boxes_fusion_vote", device::weighted_boxes_fusion_vote, "boxes", "scores", "models", "weights",
      "skip", "votes", "launch");
  def(module, "weighted_boxes_fusion_workspace", device::weighted_boxes_fusion_workspace, "boxes");
  def(module, "weighted_boxes_fusion_join", device::weighted_boxes_fusion_join, "boxes", "votes", "models", "by_vote",
      "classes", "ranks", "iou_threshold", "fused", "sums", "keys", "chosen", "launch");
  def(module, "weighted_boxes_fusion_score",
      [](const View& keys, const View& votes, const View& sums, const View& weights, const View& count, int rule,
         bool overflow, const View& fused_scores, const Launch& launch) {
        device::weighted_boxes_fusion_score(keys, votes, sums, weights, count, rule_of(rule), overflow, fused_scores,
                                            launch);
      },
      "keys", "votes", "sums", "weights", "count", "rule", "overflow", "fused_scores", "launch");
#else
  def(module, "weighted_boxes_fusion",
      [](const View& boxes, const View& scores, const View& idxs, const View& models, const View& weights,
         double iou_threshold, double skip, int rule, bool overflow, const View& fused, const View& fused_scores,
         const View& classes, const View& count, const Launch& launch) {
        device::weighted_boxes_fusion(boxes, scores, idxs, models, weights, iou_threshold, skip, rule_of(rule),
                                      overflow, fused, fused_scores, classes, count, launch);
      },
      "boxes", "scores", "idxs", "models", "weights", "iou_threshold", "skip", "rule", "overflow", "fused",
      "fused_scores", "classes", "count", "launch");
#endif
}

}  // namespace roikit
