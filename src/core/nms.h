// Greedy non-maximum suppression.
//
// Boxes are taken by descending score; equal scores by ascending index, NaN last. A box is kept unless a kept box of
// its class that came before it has iou(kept, box) > T(threshold). Source: Felzenszwalb et al., "Object Detection with
// Discriminatively Trained Part-Based Models", PAMI 2010, section 5.2.
//
//   nms(boxes (N, 4) T, scores (N,) S, threshold, keep (K,) int64, count () int64)
//     the first K kept boxes in the order of their scores; the rest of keep is -1. K < N stops early.
//   batched_nms(boxes, scores, idxs (N,) int64, threshold, keep, count): the same within each class.
//
// On CUDA the caller sorts between two steps; nothing of it comes to the host. The workspace is that of nms_workspace.
//
//   score_keys(scores (N,) S, keys (N,)): int32, or int64 for float64; the stable ascending order of the keys is the
//     order of the scores, by_score (N,) int64
//   nms_in_order(boxes, by_score, threshold, keep, count)
//   batched_nms_in_order(boxes, by_score, classes (N,) int64, ranks (N,) int64, threshold, keep, count): classes is
//     idxs[by_score] in its stable ascending order, and ranks says where in idxs[by_score] each of them stood
//
// T float32 or float64, S any float; all contiguous; N < 2^31.
#pragma once

#include "core/boxes.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

template <class T> ROIKIT_HD bool suppresses(const Box<T>& kept, const Box<T>& later, T threshold) {
  return iou(kept, later) > threshold;
}

// False only where the IoU is 0: a side that does not reach the other box leaves no intersection, and a NaN no area.
// Such a pair needs suppresses() only below a threshold of 0.
template <class T> ROIKIT_HD bool reach(const Box<T>& a, const Box<T>& b) {
  return (a.x1 < b.x2) & (b.x1 < a.x2) & (a.y1 < b.y2) & (b.y1 < a.y2);
}

// A box that has no IoU but 0 with anything: empty, reversed or not finite.
template <class T> ROIKIT_HD bool inert(const Box<T>& b) { return !(b.area > T(0) && b.area - b.area == T(0)); }

// Unsigned keys whose ascending order is the descending order of the scores, NaN last. Adding 0 makes -0 the equal of 0.
// Without a choice between values, so that loops over them run in lanes.
ROIKIT_HD uint32_t descending_key(float score) {
  const uint32_t bits = bit_cast<uint32_t>(score + 0.0f), negative = 0u - (bits >> 31);
  return (bits ^ (~negative & 0x7fffffffu)) | (0u - uint32_t(score != score));
}
ROIKIT_HD uint64_t descending_key(double score) {
  const uint64_t bits = bit_cast<uint64_t>(score + 0.0), negative = 0u - (bits >> 63);
  return (bits ^ (~negative & 0x7fffffffffffffffu)) | (uint64_t(0) - uint64_t(score != score));
}

namespace cpu {
void nms(const View& boxes, const View& scores, double threshold, const View& keep, const View& count,
         const Launch& launch);
void batched_nms(const View& boxes, const View& scores, const View& idxs, double threshold, const View& keep,
                 const View& count, const Launch& launch);
}  // namespace cpu

namespace cuda {
void score_keys(const View& scores, const View& keys, const Launch& launch);
int64_t nms_workspace(const View& boxes);  // bytes
void nms_in_order(const View& boxes, const View& by_score, double threshold, const View& keep, const View& count,
                  const Launch& launch);
void batched_nms_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                          double threshold, const View& keep, const View& count, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
