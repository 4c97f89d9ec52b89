#include "core/soft_nms.h"

#include "bind/bind.h"

namespace roikit {
namespace {

Decay decay_of(const char* op, int method) {
  require(method >= 0 && method <= 2, op, "the method must be 0, 1 or 2");
  return Decay(method);
}

}  // namespace

void bind_soft_nms(py::module_& module) {
  def(module, "soft_nms",
      [](const View& boxes, const View& scores, double threshold, double sigma, double min_score, int method,
         const View& keep, const View& decayed, const View& count, const Launch& launch) {
        device::soft_nms(boxes, scores, threshold, sigma, min_score, decay_of("soft_nms", method), keep, decayed, count,
                         launch);
      },
      "boxes", "scores", "iou_threshold", "sigma", "min_score", "method", "keep", "decayed", "count", "launch");
#if ROIKIT_ON_CUDA  // the caller sorts around the others
  def(module, "soft_nms_workspace", device::soft_nms_workspace, "boxes");
  def(module, "fast_nms_in_order", device::fast_nms_in_order, "boxes", "by_score", "classes", "ranks", "iou_threshold",
      "top_k", "kept", "launch");
  def(module, "matrix_nms_in_order",
      [](const View& boxes, const View& scores, const View& by_score, const View& classes, const View& ranks,
         double sigma, int method, const View& decayed, const Launch& launch) {
        device::matrix_nms_in_order(boxes, scores, by_score, classes, ranks, sigma, decay_of("matrix_nms", method),
                                    decayed, launch);
      },
      "boxes", "scores", "by_score", "classes", "ranks", "sigma", "method", "decayed", "launch");
#else
  def(module, "fast_nms", device::fast_nms, "boxes", "scores", "idxs", "iou_threshold", "top_k", "keep", "count",
      "launch");
  def(module, "matrix_nms",
      [](const View& boxes, const View& scores, const View& idxs, double sigma, double min_score, int method,
         const View& keep, const View& decayed, const View& count, const Launch& launch) {
        device::matrix_nms(boxes, scores, idxs, sigma, min_score, decay_of("matrix_nms", method), keep, decayed, count,
                           launch);
      },
      "boxes", "scores", "idxs", "sigma", "min_score", "method", "keep", "decayed", "count", "launch");
#endif
}

}  // namespace roikit
