// Anchors: a cell's shapes, and their copies at every position of a feature map.
//
//   cell_anchors(sizes (S,) T, ratios (R,) T, ratio_outside, rounded, out (S R, 4) T)
//     h = sqrt(ratio), w = 1 / h; [-w size, -h size, w size, h size] / 2, rounded half to even where asked
//   grid_anchors(cell (A, 4) T, height, width, stride_y, stride_x, offset, out (H W A, 4) T)
//     rows in the order y, x, cell; shift + cell, where the shift of column j is (T(j) + T(offset)) T(stride_x).
//     (A, 5) cells are rotated boxes cx, cy, w, h, angle: their centres alone are shifted.
//
// T float32 or float64, contiguous. Source: Ren et al., "Faster R-CNN", arXiv:1506.01497, section 3.1.1.
#pragma once

#include <cmath>

#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

template <class T> ROIKIT_HD T grid_shift(int64_t j, T offset, T stride) { return (T(j) + offset) * stride; }

template <class T> struct AnchorGrid {
  int64_t width, cells;
  T stride_y, stride_x, offset;
};

// A box of the cell, moved to a position: four corners, or the five numbers of a rotated box.
template <int numbers, class T>
ROIKIT_HD void place_anchor(const T* ROIKIT_RESTRICT cell, T x, T y, T* ROIKIT_RESTRICT to) {
  to[0] = x + cell[0];
  to[1] = y + cell[1];
  to[2] = numbers == 5 ? cell[2] : x + cell[2];
  to[3] = numbers == 5 ? cell[3] : y + cell[3];
  if constexpr (numbers == 5) to[4] = cell[4];
}

inline void check_grid_anchors(const View& cell, int64_t height, int64_t width, const View& out) {
  require(cell.rank == 2 && (cell.shape[1] == 4 || cell.shape[1] == 5) && cell.contiguous(),
          "grid_anchors: cell must be contiguous (A, 4) or (A, 5)");
  require(height >= 0 && width >= 0 && out.size() == height * width * cell.size() && out.contiguous(),
          "grid_anchors: out must be contiguous (H W A, 4) or (H W A, 5)");
}

// Half the sides of an anchor. Correctly rounded at each step, which torch.sqrt on a CPU is not.
template <class T> struct HalfSides { T width, height; };

template <class T> ROIKIT_HD HalfSides<T> cell_anchor(T size, T ratio, bool rounded) {
  const T h = std::sqrt(ratio), w = T(1) / h;
  const T half_w = (w * size) / T(2), half_h = (h * size) / T(2);
  if (!rounded) return {half_w, half_h};
  return {std::nearbyint(half_w), std::nearbyint(half_h)};
}

namespace ROIKIT_DEVICE {
void grid_anchors(const View& cell, int64_t height, int64_t width, double stride_y, double stride_x, double offset,
                  const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cpu {
void cell_anchors(const View& sizes, const View& ratios, bool ratio_outside, bool rounded, const View& out,
                  const Launch& launch);
}  // namespace cpu

}  // namespace roikit
