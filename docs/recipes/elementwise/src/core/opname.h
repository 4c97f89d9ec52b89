// The centre of each box, in pixels of a map of some stride.
//
//   opname(boxes (N, 4) T, stride, out (N, 2) T): x = ((x1 + x2) * 0.5) / T(stride), likewise y
//
// T float32 or float64; all contiguous. Source: this project's own.
#pragma once

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

// One row: four numbers in, two out.
template <class T>
ROIKIT_HD void opname_row(const T* ROIKIT_RESTRICT box, T stride, T* ROIKIT_RESTRICT out) {
  out[0] = ((box[0] + box[2]) * T(0.5)) / stride;
  out[1] = ((box[1] + box[3]) * T(0.5)) / stride;
}

inline void check_opname(const View& boxes, const View& out) {
  check_rows("opname", "boxes", boxes, 4);
  check_rows("opname", "out", out, 2);
  require(out.shape[0] == boxes.shape[0], "opname: out must have a row for each box");
}

namespace ROIKIT_DEVICE {
void opname(const View& boxes, double stride, const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE

}  // namespace roikit
