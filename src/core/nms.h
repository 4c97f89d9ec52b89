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

// A box that has no IoU but 0 with anything: empty, reversed or not finite.
template <class T> ROIKIT_HD bool inert(const Box<T>& b) { return !(b.area > T(0) && b.area - b.area == T(0)); }

// Unsigned keys whose ascending order is the descending order of the scores. Adding 0 makes -0 the equal of 0.
ROIKIT_HD uint32_t descending_key(float score) {
  const uint32_t bits = bit_cast<uint32_t>(score + 0.0f);
  const uint32_t key = bits >> 31 ? bits : 0x7fffffffu - bits;
  return score != score ? 0xffffffffu : key;
}
ROIKIT_HD uint64_t descending_key(double score) {
  const uint64_t bits = bit_cast<uint64_t>(score + 0.0);
  const uint64_t key = bits >> 63 ? bits : 0x7fffffffffffffffu - bits;
  return score != score ? 0xffffffffffffffffu : key;
}

namespace cpu {
void nms(const View& boxes, const View& scores, double threshold, const View& keep, const View& count,
         const Launch& launch);
void batched_nms(const View& boxes, const View& scores, const View& idxs, double threshold, const View& keep,
                 const View& count, const Launch& launch);
}  // namespace cpu

}  // namespace roikit
