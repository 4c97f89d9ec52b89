// Targets of the mask branch: the matched object's mask under a box, averaged to S x S cells.
//
// The average is RoIAlign's over m in {0, 1} (core/roi_align.h: scale 1, adaptive, aligned for "binary" alone), with the
// axes' weights W not divided and the sums in a fixed order, so that the decisions of "binary" are exact:
//
//   column[p, x] = sum over y ascending of Wy[p, y] * m[y, x];  total[p, q] = sum over x ascending of column[p, x] * Wx[q, x]
//   value = total / (T(grid_y) * T(grid_x)), 0 where a grid is 0;  "binary": value >= 0.5
//
// T is the dtype of the boxes, float32 or float64. Weights of pixels outside the object add 0 and change no bit.
// Source: He et al. 2017, arXiv:1703.06870, section 3.1; "soft" is torchvision's target, "binary" detectron2's.
//
//   mask_targets(masks (N, H, W) u8 or b8, boxes (R, 4) T, matched (R) i64, binary, out (R, S, S) f32)
//   mask_targets_of_runs(counts u32, offsets (N + 1) i64, sizes (N, 2) i64, boxes, matched, binary, out)
//     masks as column-major run lengths, zeros first: those of mask n are counts[offsets[n]:offsets[n + 1]] and sum to
//     sizes[n][0] * sizes[n][1].
//   On the CPU both throw std::out_of_range for a `matched` that names no mask.
#pragma once

#include "core/checks.h"
#include "core/launch.h"
#include "core/roi_align.h"
#include "core/view.h"

namespace roikit {

template <class T>
ROIKIT_HD float mask_target_value(T total, int64_t grid_y, int64_t grid_x, bool binary) {
  const T value = total / (T(grid_y) * T(grid_x));
  return binary ? (value >= T(0.5) ? 1.0f : 0.0f) : float(value);
}

// Masks as bytes, whose rows are in one piece.
inline void check_bitmaps(const char* op, const View& masks) {
  require(masks.rank == 3 && (masks.dtype == DType::u8 || masks.dtype == DType::b8) &&
              (masks.size() == 0 || masks.shape[2] == 1 || masks.stride[2] == 1) &&
              masks.shape[1] <= INT32_MAX && masks.shape[2] <= INT32_MAX,
          op, "masks must be (N, H, W) bytes with rows in one piece");
}

// Masks as runs: their counts, or the ends of these.
inline void check_runs(const char* op, const View& runs, const View& offsets, const View& sizes) {
  require(sizes.rank == 2 && sizes.shape[1] == 2 && sizes.contiguous() && runs.contiguous() && offsets.contiguous() &&
              offsets.size() == sizes.shape[0] + 1,
          op, "runs, offsets (N + 1) and sizes (N, 2) must be contiguous");
}

// What belongs to each box.
inline void check_target_rows(const char* op, const View& boxes, const View& matched, const View& out) {
  check_vector(op, "matched", matched, boxes.shape[0]);
  require(out.rank == 3 && out.shape[0] == boxes.shape[0] && out.shape[1] == out.shape[2] && out.contiguous(), op,
          "out must be contiguous (R, S, S)");
}

inline void check_mask_targets(const View& boxes, const View& matched, const View& out) {
  check_rows("mask_targets", "boxes", boxes, 4);
  check_target_rows("mask_targets", boxes, matched, out);
}

namespace ROIKIT_DEVICE {
void mask_targets(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                  const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cpu {
void mask_targets_of_runs(const View& counts, const View& offsets, const View& sizes, const View& boxes,
                          const View& matched, bool binary, const View& out, const Launch& launch);
}  // namespace cpu

// A GPU gives 0 for a `matched` that names no mask. It takes runs as their ends: the inclusive sums (i64) of the counts
// of all masks. These, offsets and sizes lie on the device and are trusted; sides are below 2^31.
namespace cuda {
void mask_targets_of_ends(const View& ends, const View& offsets, const View& sizes, const View& boxes,
                          const View& matched, bool binary, const View& out, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
