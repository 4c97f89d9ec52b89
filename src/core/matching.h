// Ground truth for anchors by IoU.
//
// An anchor's index is the ground truth with the largest IoU, the lowest of equals; its label 1 where that IoU is at
// least `high`, else -1 where it is at least `low`, else 0. With allow_low_quality, for each ground truth whose best
// IoU over all anchors is above 0, every anchor that has exactly that IoU with it gets label 1 too and keeps its index.
// Source: Ren et al., "Faster R-CNN", arXiv:1506.01497, section 3.1.2.
//
//   match_boxes(anchors (N, 4) T, gt_boxes (M, 4) T, high, low, allow_low_quality,
//               index (N,) int64, label (N,) int8, iou (N,) T), T float32 or float64; all contiguous.
//   Without ground truth: index -1, label 0, IoU 0.
#pragma once

#include "core/boxes.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

template <class T> ROIKIT_HD int8_t match_label(T iou, T high, T low) {
  return iou >= high ? int8_t(1) : iou >= low ? int8_t(-1) : int8_t(0);
}

// Whether a box may overlap one of a group, given the group's bounds: over its boxes, the least x1 and y1 and the
// largest x2 and y2 that are numbers. A box that does not has IoU 0 with all of them, those with a NaN included.
template <class T> ROIKIT_HD bool may_meet(const Box<T>& b, T low_x, T low_y, T high_x, T high_y) {
  return (b.x1 < high_x) & (b.x2 > low_x) & (b.y1 < high_y) & (b.y2 > low_y);
}

inline void check_match_boxes(const View& anchors, const View& gt_boxes, const View& index, const View& label,
                              const View& iou) {
  check_rows("match_boxes", "anchors", anchors, 4);
  check_rows("match_boxes", "gt_boxes", gt_boxes, 4);
  check_vector("match_boxes", "index", index, anchors.shape[0]);
  check_vector("match_boxes", "label", label, anchors.shape[0]);
  check_vector("match_boxes", "iou", iou, anchors.shape[0]);
}

namespace ROIKIT_DEVICE {
void match_boxes(const View& anchors, const View& gt_boxes, double high, double low, bool allow_low_quality,
                 const View& index, const View& label, const View& iou, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
// Scratch of match_boxes, in bytes: a number for each ground truth with allow_low_quality, else nothing.
int64_t match_boxes_workspace(const View& gt_boxes, bool allow_low_quality);
}  // namespace cuda

}  // namespace roikit
