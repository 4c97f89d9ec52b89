// Of boxes whose centres lie near each other, the one with the best score.
//
// Boxes are taken in nms's order: descending scores, ties by index, NaN last. A box is kept unless a box kept before it
// has its centre nearer than T(distance).
//
//   opname(boxes (N, 4) T, scores (N,) S, distance, keep (N,) int64, count () int64)
//     the kept boxes in the order of their scores; beyond count keep is -1
//
// On CUDA the caller sorts: by_score (N,) int64 is that of core/nms.h.
//
//   opname_in_order(boxes, by_score, distance, keep, count)
//
// T float32 or float64, S any float; all contiguous; N < 2^31. Source: this project's own.
#pragma once

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

// A centre along one axis.
template <class T> ROIKIT_HD T opname_centre(T low, T high) { return (low + high) * T(0.5); }

// limit: the square of the distance.
template <class T> ROIKIT_HD bool opname_near(T kept_x, T kept_y, T x, T y, T limit) {
  const T dx = kept_x - x, dy = kept_y - y;
  return dx * dx + dy * dy < limit;
}

// order: of each box its score, or of each rank its box.
inline void check_opname(const View& boxes, const char* name, const View& order, const View& keep,
                         const View& count) {
  check_keep("opname", boxes, 4, name, order, keep, count);
  check_vector("opname", "keep", keep, boxes.shape[0]);
}

namespace cpu {
void opname(const View& boxes, const View& scores, double distance, const View& keep, const View& count,
            const Launch& launch);
}  // namespace cpu

namespace cuda {
int64_t opname_workspace(const View& boxes);  // bytes
void opname_in_order(const View& boxes, const View& by_score, double distance, const View& keep,
                     const View& count, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
