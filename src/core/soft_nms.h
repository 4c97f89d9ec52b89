// Suppression that decays scores (soft, matrix) and suppression in one step (fast).
//
// Source: Bodla et al., "Soft-NMS", ICCV 2017; Bolya et al., "YOLACT", ICCV 2019, section 3.3 (fast); Wang et al.,
// "SOLOv2", NeurIPS 2020, section 3.3 (matrix). Boxes stand in nms's order: descending scores, ties by index, NaN last.
// A box is dropped for good as soon as its score is below T(min_score) or is -inf.
//
//   soft_nms(boxes (N, 4) T, scores (N,) T, threshold, sigma, min_score, method, keep (N,) int64, decayed (N,) T,
//            count () int64): the boxes in the order in which they are taken, and the scores that they then have; beyond
//     count keep is -1 and decayed 0.
//   fast_nms(boxes (N, 4) T, scores (N,) S, idxs (N,) int64, threshold, top_k, keep (N,), count): of the best top_k boxes
//     of each class those that no better one of them overlaps by more than T(threshold), in the order of their scores.
//   matrix_nms(boxes, scores T, idxs, sigma, min_score, method, keep, decayed, count): the boxes in the order of their
//     decayed scores.
//
// On CUDA the caller sorts before fast_nms and around matrix_nms. by_score, classes and ranks are those of
// batched_nms_in_order (core/nms.h):
//
//   fast_nms_in_order(boxes, by_score, classes, ranks, threshold, top_k, kept (N,) bool): of each rank whether it is kept
//   matrix_nms_in_order(boxes, scores, by_score, classes, ranks, sigma, method, decayed (N,) T): of each box its score
//
// T float32 or float64, S any float; all contiguous; N < 2^31.
#pragma once

#include <limits>

#include "core/boxes.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/nms.h"
#include "core/view.h"

namespace roikit {

enum class Decay : int { naive = 0, linear = 1, gaussian = 2 };

// The values are those of T; the method is a template argument, so that loops have no branch on it.
template <class T> struct SoftRule {
  T threshold, sigma, min_score;
};

// What the score of a box is multiplied with that has this IoU with the box taken.
template <Decay method, class T> ROIKIT_HD T soft_weight(T iou, const SoftRule<T>& rule) {
  if constexpr (method == Decay::gaussian) {
    const T weight = exp_of(-(iou * iou) / rule.sigma);
    return iou > T(0) ? weight : T(1);
  } else {
    const T weight = method == Decay::linear ? T(1) - iou : T(0);
    return iou > rule.threshold ? weight : T(1);
  }
}

// Whether boxes with an IoU of 0 keep their scores.
template <Decay method, class T> ROIKIT_HD bool spares_the_distant(const SoftRule<T>& rule) {
  return method != Decay::naive || !(T(0) > rule.threshold);
}

template <class T> ROIKIT_HD constexpr T lowest_score() { return -std::numeric_limits<T>::infinity(); }

template <class T> ROIKIT_HD bool dropped(T score, T min_score) {
  return (score < min_score) | (score == lowest_score<T>());
}

// descending_key where a score takes part in the search for the best; for NaN and -inf a key after all others.
template <class T> ROIKIT_HD auto search_key(T score) {
  using Key = decltype(descending_key(score));
  return descending_key(score) | (Key(0) - Key(!(score > lowest_score<T>())));
}

// The decay of matrix_nms: step() for every better box, with the IoU and the largest IoU that the better box has with
// boxes better still.
template <Decay method, class T> struct MatrixDecay;
template <class T> struct MatrixDecay<Decay::linear, T> {
  static constexpr T kStart = T(1);
  ROIKIT_HD static T step(T least, T iou, T own) {
    const T ratio = (T(1) - iou) / (T(1) - own);
    return ratio < least ? ratio : least;  // neither infinity nor NaN, where own is 1
  }
  ROIKIT_HD static T merge(T a, T b) { return b < a ? b : a; }
  ROIKIT_HD static T weight(T least, T) { return least; }
};
template <class T> struct MatrixDecay<Decay::gaussian, T> {
  static constexpr T kStart = T(0);  // the best box has no other before it, so none adds less than this
  ROIKIT_HD static T step(T most, T iou, T own) {
    const T gain = iou * iou - own * own;
    return gain > most ? gain : most;
  }
  ROIKIT_HD static T merge(T a, T b) { return b > a ? b : a; }
  // A sigma beyond T is infinite, and its product with 0 no number.
  ROIKIT_HD static T weight(T most, T sigma) { return most > T(0) ? exp_of(-(sigma * most)) : T(1); }
};

inline void check_soft_nms(const char* op, const View& boxes, const View& scores, const View& keep, const View& decayed,
                           const View& count) {
  check_keep(op, boxes, 4, "scores", scores, keep, count);
  check_vector(op, "keep", keep, boxes.shape[0]);
  check_vector(op, "decayed", decayed, boxes.shape[0]);
}

namespace ROIKIT_DEVICE {
void soft_nms(const View& boxes, const View& scores, double threshold, double sigma, double min_score, Decay method,
              const View& keep, const View& decayed, const View& count, const Launch& launch);
}  // namespace ROIKIT_DEVICE

namespace cpu {
void fast_nms(const View& boxes, const View& scores, const View& idxs, double threshold, int64_t top_k,
              const View& keep, const View& count, const Launch& launch);
void matrix_nms(const View& boxes, const View& scores, const View& idxs, double sigma, double min_score, Decay method,
                const View& keep, const View& decayed, const View& count, const Launch& launch);
}  // namespace cpu

namespace cuda {
int64_t soft_nms_workspace(const View& boxes);  // bytes, of all three functions
void fast_nms_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                       double threshold, int64_t top_k, const View& kept, const Launch& launch);
void matrix_nms_in_order(const View& boxes, const View& scores, const View& by_score, const View& classes,
                         const View& ranks, double sigma, Decay method, const View& decayed, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
