// The boxes that several models found in one image, fused into one set.
//
// A box's vote is its score times the weight of its model; NaN stands for the vote of a box that is left out. Within each
// class boxes are taken in nms's order of votes: descending, ties by index, NaN last. A box joins the cluster whose fused
// box has the largest IoU with it, of equal ones the earliest, where that exceeds T(threshold), or else begins a cluster.
// Source: Solovyev, Wang, Gabruseva: "Weighted boxes fusion", Image and Vision Computing 107, 2021, arXiv:1910.13302.
//
//   weighted_boxes_fusion(boxes (N, 4) T, scores (N,) T, idxs (N,) int64, models (N,) int64, weights (M,) T, threshold,
//                         skip, rule, overflow, fused (N, 4) T, fused_scores (N,) T, classes (N,) int64, count () int64)
//     the clusters in the order of their scores; what lies beyond count is not written. No weights: 1 each, of as many
//     models as the highest index tells. Throws std::out_of_range for a model that has no weight or is 2^31 or more.
//
// On CUDA the caller sorts between three steps; a box whose model is out of range is left out.
//
//   weighted_boxes_fusion_vote(boxes, scores, models, weights, skip, votes (N,) T)
//   weighted_boxes_fusion_join(boxes, votes, models, by_vote, classes, ranks, threshold, fused, sums (N,) T,
//                              keys (N,) int64, chosen (N,) bool): fused and sums at the first box of each cluster, which
//     is chosen. by_vote, classes and ranks are those of core/nms.h.
//   weighted_boxes_fusion_score(keys in ascending order, votes, sums, weights, count () int64, rule, overflow,
//                               fused_scores): at the first box of each cluster. count: the number of models.
//
// T float32 or float64; all contiguous; N < 2^31.
#pragma once

#include <limits>

#include "core/boxes.h"
#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

enum class FusedScore : int { avg = 0, max = 1, box_and_model_avg = 2, absent_model_aware_avg = 3 };

constexpr int64_t kMostModels = int64_t(1) << 31;

// The box with its corners in order; a NaN stays where it is.
template <class T> ROIKIT_HD Box<T> weighted_boxes_fusion_box(const T* p) {
  const bool x = p[2] < p[0], y = p[3] < p[1];
  const T corners[4] = {x ? p[2] : p[0], y ? p[3] : p[1], x ? p[0] : p[2], y ? p[1] : p[3]};
  return Box<T>::at(corners);
}

// weight: of the box's model.
template <class T> ROIKIT_HD T weighted_boxes_fusion_vote_of(const T* corners, T score, T weight, T skip) {
  const T vote = score * weight;
  const bool taken = score >= skip && vote - vote == T(0) && weighted_boxes_fusion_box(corners).area != T(0);
  return taken ? vote : std::numeric_limits<T>::quiet_NaN();
}

// A cluster as boxes join it: its fused box, and the sums of votes times corners and of votes.
template <class T> struct FusedBox {
  T box[4];
  T corners[4];
  T sum;

  ROIKIT_HD static FusedBox of(const Box<T>& b, T vote) {
    return {{b.x1, b.y1, b.x2, b.y2}, {vote * b.x1, vote * b.y1, vote * b.x2, vote * b.y2}, vote};
  }

  ROIKIT_HD void add(const Box<T>& b, T vote) {
    const T other[4] = {b.x1, b.y1, b.x2, b.y2};
    sum = sum + vote;
    for (int i = 0; i < 4; ++i) {
      corners[i] = corners[i] + vote * other[i];
      box[i] = sum != T(0) ? corners[i] / sum : box[i];
    }
  }
};

// The key of a box is its cluster's first box, then its own model: in ascending order clusters lie together, and their
// boxes by model.
ROIKIT_HD int64_t weighted_boxes_fusion_key(int64_t first, int64_t model) { return first * kMostModels + model; }
constexpr int64_t kNoCluster = std::numeric_limits<int64_t>::max();

// All models. weights: of each, or null for 1 each.
template <class T> struct FusingModels {
  const T* weights;
  int64_t count;
  T sum, largest;

  ROIKIT_HD static FusingModels of(const T* weights, int64_t count) {
    FusingModels m = {weights, count, T(count), T(1)};
    if (!weights) return m;
    m.sum = T(0), m.largest = weights[0];
    for (int64_t i = 0; i < count; ++i) {
      m.sum = m.sum + weights[i];
      m.largest = max_of(m.largest, weights[i]);
    }
    return m;
  }

  ROIKIT_HD T weight(int64_t model) const { return weights ? weights[model] : T(1); }
};

template <class T> ROIKIT_HD T weighted_boxes_fusion_over(T a, T b) { return b != T(0) ? a / b : T(0); }

// The score of the cluster whose keys begin at `begin`. vote: of its first box; sum: of all its votes.
template <class T>
ROIKIT_HD T fused_score_of(const int64_t* keys, int64_t begin, int64_t end, T vote, T sum,
                           const FusingModels<T>& models, FusedScore rule, bool overflow) {
  const int64_t first = keys[begin] / kMostModels;
  int64_t size = 0, before = -1;
  T own = T(0), present = T(0);
  for (int64_t p = begin; p < end && keys[p] / kMostModels == first; ++p) {
    const int64_t model = keys[p] % kMostModels;
    const T weight = models.weight(model);
    own = own + weight;
    present = model != before ? present + weight : present;
    before = model;
    ++size;
  }
  const T n = T(size), average = sum / n;
  if (rule == FusedScore::max) return weighted_boxes_fusion_over(vote, models.largest);
  if (rule == FusedScore::box_and_model_avg)
    return weighted_boxes_fusion_over(weighted_boxes_fusion_over(average * n, own) * present, models.sum);
  if (rule == FusedScore::absent_model_aware_avg)
    return weighted_boxes_fusion_over(average * n, own + (models.sum - present));
  const int64_t least = models.count < size ? models.count : size;
  return weighted_boxes_fusion_over(average * T(overflow ? size : least), models.sum);
}

inline void check_weighted_boxes_fusion(const View& boxes, const View& votes, const View& models) {
  check_boxes("weighted_boxes_fusion", boxes, 4);
  check_vector("weighted_boxes_fusion", "scores", votes, boxes.shape[0]);
  check_vector("weighted_boxes_fusion", "models", models, boxes.shape[0]);
}

namespace cpu {
void weighted_boxes_fusion(const View& boxes, const View& scores, const View& idxs, const View& models,
                           const View& weights, double threshold, double skip, FusedScore rule, bool overflow,
                           const View& fused, const View& fused_scores, const View& classes, const View& count,
                           const Launch& launch);
}  // namespace cpu

namespace cuda {
void weighted_boxes_fusion_vote(const View& boxes, const View& scores, const View& models, const View& weights,
                                double skip, const View& votes, const Launch& launch);
int64_t weighted_boxes_fusion_workspace(const View& boxes);  // bytes, of the joining
void weighted_boxes_fusion_join(const View& boxes, const View& votes, const View& models, const View& by_vote,
                                const View& classes, const View& ranks, double threshold, const View& fused,
                                const View& sums, const View& keys, const View& chosen, const Launch& launch);
void weighted_boxes_fusion_score(const View& keys, const View& votes, const View& sums, const View& weights,
                                 const View& count, FusedScore rule, bool overflow, const View& fused_scores,
                                 const Launch& launch);
}  // namespace cuda

}  // namespace roikit
