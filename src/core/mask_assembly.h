// Masks of detections, combined of prototypes of the whole image, cropped by their boxes and resampled to the image.
//
// T is float32 or float64, the dtype of prototypes, coefficients and boxes alike. Along an axis E of the cells cover the L
// pixels of the image: step = E / L. A box side [b0, b1] takes the cells j with b0 * step - 1 <= j < b1 * step + 1. Such a
// cell has z = 0, then for k = 0 ... K - 1: z = z + prototypes[k][j][i] * coefficients[n][k], and the value
// 1 / (1 + exp(0 - z)), with exp_of; every other cell 0, and all cells of a box that is not finite or is reversed.
//
// Pixel i of an axis: u = (i + 0.5) * step - 0.5, limited to [0, cells - 1]; with c = floor(u) and f = u - c
//
//   t = v[y][c] * (1 - f) + v[y][c + 1] * f          horizontally, at every row y of the cells,
//   value = t[c'] * (1 - f') + t[c' + 1] * f'        then vertically; in this order, never contracted; 0 beyond the cells.
//
// Source: Bolya et al., "YOLACT: Real-time Instance Segmentation", ICCV 2019, section 3.2, and the authors' code.
//
//   assemble_masks(prototypes (K, h, w) T, coefficients (N, K) T, boxes (N, 4) T, extent_y, extent_x, threshold,
//                  out (N, H, W))
//     out of dtype b8: value > threshold rounded to T; of dtype T: value. On the CPU only pixels near the box are written:
//     the others must be 0 before the call.
//   assemble_masks_rle(..., height, width, threshold >= 0, counts, offsets (N + 1) i64)
//     the same decisions as column-major run lengths, zeros first: those of mask n are
//     counts[offsets[n]:offsets[n + 1]] and sum to height * width, which is below 2^32.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/mask_paste.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

// One axis of one mask: the cells [first, last) of the box and its margin, and the pixels [begin, end) that they reach.
template <class T> struct AssemblyAxis {
  T step = 0;  // cells a pixel
  int64_t cells = 0;
  int64_t first = 0, last = 0;  // equal: none
  int64_t begin = 0, end = 0;

  ROIKIT_HD int64_t count() const { return last - first; }

  ROIKIT_HD T source(int64_t i) const {
    const T most = T(cells - 1);
    T u = (T(i) + T(0.5)) * step - T(0.5);
    u = u < T(0) ? T(0) : u;
    return u > most ? most : u;
  }

  // Counted from the cell before the first: the box's cells framed by zeros. Of a pixel in [begin, end).
  ROIKIT_HD PasteTap<T> tap(int64_t i) const {
    const T u = source(i), whole = std::floor(u), f = u - whole;
    return {int32_t(int64_t(whole) - first + 1), T(1) - f, f};
  }

  // The first of the pixels [0, extent] whose source is at least `limit`: the source never falls along the axis.
  ROIKIT_HD int64_t first_from(T limit, int64_t extent) const {
    int64_t lo = 0, hi = extent;
    while (lo < hi) {
      const int64_t mid = lo + (hi - lo) / 2;
      if (source(mid) >= limit)
        hi = mid;
      else
        lo = mid + 1;
    }
    return lo;
  }

  // `pixels` is above 0, and so is `cells`.
  ROIKIT_HD static AssemblyAxis of(T lo, T hi, T extent, int64_t cells, int64_t pixels) {
    AssemblyAxis axis;
    axis.step = extent / T(pixels);
    axis.cells = cells;
    if (!std::isfinite(lo) || !std::isfinite(hi) || !(hi >= lo)) return axis;
    axis.first = from_real(lo * axis.step - T(1), cells);
    axis.last = from_real(hi * axis.step + T(1), cells);
    if (axis.first >= axis.last) {
      axis.first = axis.last = 0;
      return axis;
    }
    axis.begin = axis.first_from(T(axis.first - 1), pixels);
    axis.end = axis.first_from(T(axis.last), pixels);
    return axis;
  }

 private:
  // The first whole number of [0, cells] that is not below x.
  ROIKIT_HD static int64_t from_real(T x, int64_t cells) {
    return x <= T(0) ? 0 : x > T(cells) ? cells : int64_t(std::ceil(x));
  }
};

template <class T> struct AssembledMask {
  AssemblyAxis<T> x, y;

  ROIKIT_HD bool empty() const { return x.begin >= x.end || y.begin >= y.end; }
  ROIKIT_HD int64_t columns() const { return x.end - x.begin; }
  ROIKIT_HD int64_t rows() const { return y.end - y.begin; }
};

template <class T> ROIKIT_HD T sigmoid_of(T z) { return T(1) / (T(1) + exp_of(T(0) - z)); }

// What a value reaches that is above the threshold: decisions are >= everywhere else.
template <class T> T above(double threshold) {
  return std::nextafter(T(threshold), std::numeric_limits<T>::infinity());
}

inline void check_assembly(const char* op, const View& prototypes, const View& coefficients, const View& boxes) {
  require(prototypes.rank == 3 && prototypes.contiguous(), op, "prototypes must be contiguous (K, h, w)");
  require(prototypes.shape[1] < (1 << 30) && prototypes.shape[2] < (1 << 30), op,
          "prototypes must have fewer than 2^30 cells a side");
  check_rows(op, "coefficients", coefficients, prototypes.shape[0]);
  check_rows(op, "boxes", boxes, 4);
  require(boxes.shape[0] == coefficients.shape[0] && boxes.dtype == prototypes.dtype &&
              coefficients.dtype == prototypes.dtype,
          op, "boxes and coefficients must be equally many, of the prototypes' dtype");
}

inline void check_assemble_masks(const View& prototypes, const View& coefficients, const View& boxes, const View& out) {
  check_assembly("assemble_masks", prototypes, coefficients, boxes);
  require(out.rank == 3 && out.shape[0] == boxes.shape[0] && out.contiguous(),
          "assemble_masks: out must be contiguous (N, H, W)");
}

namespace ROIKIT_DEVICE {
void assemble_masks(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                    double extent_x, double threshold, const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cpu {
void assemble_masks_rle(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                        double extent_x, int64_t height, int64_t width, double threshold, std::vector<uint32_t>& counts,
                        const View& offsets, const Launch& launch);
}  // namespace cpu

// On a GPU all of them want the scratch of assemble_masks_workspace. Runs take two steps, so that the caller can allocate
// what the first counts:
//   assemble_masks_rle_count(..., changes (N, max(width, 1)) i64)
//     how many runs each column makes. Their inclusive sums over all columns of all masks are `upto`, in which the last of
//     row n is offsets[n + 1].
//   assemble_masks_rle_write(..., upto, ends, counts)
//     with the scratch as assemble_masks_rle_count left it. Both are i32 with the bits of u32, as many as the last of upto;
//     `ends` is scratch as well, counts are those of the CPU.
namespace cuda {
int64_t assemble_masks_workspace(const View& prototypes, const View& boxes);
void assemble_masks_rle_count(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                              double extent_x, int64_t height, int64_t width, double threshold, const View& changes,
                              const Launch& launch);
void assemble_masks_rle_write(const View& prototypes, const View& boxes, int64_t height, int64_t width, double threshold,
                              const View& upto, const View& ends, const View& counts, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
