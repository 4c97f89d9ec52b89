// How detections are judged against objects: COCO's similarity of keypoints, matching and precision at recalls.
//
// Source: Lin et al., "Microsoft COCO", ECCV 2014, arXiv:1405.0312; pycocotools 2.0.11 (cocoeval.py), whose choices among
// equals are kept, and whose arithmetic, but for exp, is taken operation by operation.
//
// Detections and objects stand in P groups, those of one image and one class; a group is a range of rows, starts[p] to
// starts[p + 1], in both. In a group detections fall in score. `overlaps` holds of each group a matrix (D_p, G_p), one
// after the other. A counts area ranges, T thresholds, M limits of detections in a group, R recalls, K classes.
//
//   keypoint_similarity(found (D, J, 3) f64, known (G, J, 3) f64, boxes (G, 4) f64, areas (G,) f64, sigmas (J,) f64,
//     starts (P + 1,) i64, known_starts (P + 1,) i64, overlaps f64)
//   match_groups(overlaps, starts, known_starts, ignored (A, G) b8, crowds (G,) b8, outside (A, D) b8,
//     thresholds (T,) f64, matched (A, T, D) i64, outcome (A, T, D) i8): each detection takes the free object that it
//     overlaps most, the last of equals, where the overlap reaches the threshold; one that is ignored only where no other
//     is left; a crowd may be taken by many. matched is the object's row, -1 for none. outcome is 1 of what is right, 0
//     of what is wrong, -1 of what is neither: it has taken an ignored object, or none and is itself outside the range.
//   precision_recall(outcome, order (D,) i64, class_starts (K + 1,) i64, ranks (D,) i64, limits (M,) i64,
//     totals (A, K) i64, recalls (R,) f64 ascending, precision (T, R, K, A, M) f64, recall (T, K, A, M) f64): order has the
//     rows of each class by falling score, ranks the place of each row in its group, totals the objects that count. -1
//     where there is none.
#pragma once

#include <cstdint>

#include "core/launch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

// numpy.spacing(1), which keeps pycocotools' quotients from 0 / 0.
constexpr double kEvaluationSpacing = 2.220446049250313e-16;
// An overlap of 1 that rounding has made less still reaches a threshold of 1.
constexpr double kHighestThreshold = 1 - 1e-10;

// One detection's and one object's J keypoints, x y and a third number each. Where no keypoint of the object is labelled,
// distances are those to its box, made three times as large.
ROIKIT_HD double keypoint_similarity_of(const double* found, const double* known, const double* box, double area,
                                               const double* sigmas, int64_t count) {
  int64_t labelled = 0;
  for (int64_t j = 0; j < count; ++j) labelled += known[3 * j + 2] > 0;
  double sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    double distance[2];
    for (int axis = 0; axis < 2; ++axis) {
      const double at = found[3 * j + axis], low = box[axis] - box[2 + axis], high = box[axis] + box[2 + axis] * 2;
      distance[axis] = labelled ? at - known[3 * j + axis]
                                : (low - at > 0 ? low - at : 0.0) + (at - high > 0 ? at - high : 0.0);
    }
    if (labelled && !(known[3 * j + 2] > 0)) continue;
    const double spread = sigmas[j] * 2;
    const double squared = distance[0] * distance[0] + distance[1] * distance[1];
    sum += exp_of(-(squared / (spread * spread) / (area + kEvaluationSpacing) / 2));
  }
  return sum / double(labelled ? labelled : count);
}

// The object that a detection takes, -1 for none. order: the objects that count, then those that are ignored.
ROIKIT_HD int64_t best_object(const double* overlaps, const int64_t* order, int64_t count, const bool* ignored,
                                     const bool* crowds, const bool* taken, double threshold) {
  double least = threshold < kHighestThreshold ? threshold : kHighestThreshold;
  int64_t best = -1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t g = order[i];
    if (taken[g] && !crowds[g]) continue;
    if (best >= 0 && !ignored[best] && ignored[g]) break;
    if (overlaps[g] < least) continue;
    least = overlaps[g];
    best = g;
  }
  return best;
}

namespace cpu {
void keypoint_similarity(const View& found, const View& known, const View& boxes, const View& areas,
                         const View& sigmas, const View& starts, const View& known_starts, const View& overlaps,
                         const Launch& launch);
void match_groups(const View& overlaps, const View& starts, const View& known_starts, const View& ignored,
                  const View& crowds, const View& outside, const View& thresholds, const View& matched,
                  const View& outcome, const Launch& launch);
void precision_recall(const View& outcome, const View& order, const View& class_starts, const View& ranks,
                      const View& limits, const View& totals, const View& recalls, const View& precision,
                      const View& recall, const Launch& launch);
}  // namespace cpu

}  // namespace roikit
