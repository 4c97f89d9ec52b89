// Masks of M x M cells pasted into images, each at the box that it was predicted for.
//
// T is float32 or float64, the dtype of masks and boxes alike. The mask is framed by cells of value 0. Pixel i of an
// axis has a source coordinate u; with c = floor(u) and f = u - c it takes 1 - f of cell c and f of cell c + 1:
//
//   t = m[y][c] * (1 - f) + m[y][c + 1] * f          horizontally, at every row y of the mask,
//   v = t[c'] * (1 - f') + t[c' + 1] * f'            then vertically; in this order, never contracted.
//
// Rule "continuous": u = ((i + 0.5) - lo) / (hi - lo) * M - 0.5, covered where -1 <= c <= M - 1.
// Rule "integer": half = (hi - lo) * 0.5 * ((M + 2) / M), centre = (hi + lo) * 0.5; the corners centre -+ half are
// truncated toward zero and limited to +-2^30; w = max(hi' - lo' + 1, 1); covered from lo' to hi', there
// u = ((i - lo') + 0.5) * ((M + 2) / w) - 0.5, at least 0, counted from the frame's first cell.
//
// A pixel that is not covered is 0; so is every pixel of a box that is not finite or, by the continuous rule, is empty
// or reversed. Source: He et al., "Mask R-CNN", ICCV 2017, section 3; the continuous rule is detectron2's, the integer
// rule Detectron's and torchvision's.
//
//   paste_masks(masks (N, M, M) T, boxes (N, 4) T, threshold, rule, out (N, H, W))
//     out of dtype b8: v >= threshold rounded to T; of dtype T: v. Only covered pixels are written: the others must be
//     0 before the call.
//   paste_masks_rle(masks, boxes, height, width, threshold > 0, rule, counts, offsets (N + 1) i64)
//     the same decisions as column-major run lengths, zeros first: those of mask n are
//     counts[offsets[n]:offsets[n + 1]] and sum to height * width, which is below 2^32.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

enum class PasteRule : int { continuous = 0, integer = 1 };

// What a pixel takes along an axis: `near` of a cell of the framed mask and `far` of the next cell.
template <class T> struct PasteTap {
  int32_t cell;
  T near, far;
};

template <class T> ROIKIT_HD T paste_mix(T a, T near, T b, T far) { return a * near + b * far; }

// One axis of one mask: the pixels [begin, end) that it covers, and where each lies in the framed mask.
template <class T> struct PasteAxis {
  PasteRule rule = PasteRule::continuous;
  int64_t cells = 0;           // M
  T low = 0;                   // continuous: the box's corner
  T length = 1;                // continuous: the box's side; integer: cells a pixel
  int64_t start = 0;           // integer: the first pixel of the grown box
  int64_t begin = 0, end = 0;  // equal: none

  ROIKIT_HD T source(int64_t i) const {
    if (rule == PasteRule::continuous) return ((T(i) + T(0.5)) - low) / length * T(cells) - T(0.5);
    const T u = (T(i - start) + T(0.5)) * length - T(0.5);
    return u < T(0) ? T(0) : u;
  }

  // The cell in the framed mask, in [0, M + 1]; `fraction` is the part that the next one has.
  ROIKIT_HD int32_t cell(int64_t i, T& fraction) const {
    const T u = source(i), whole = std::floor(u);
    fraction = u - whole;
    const int32_t c = int32_t(whole) + (rule == PasteRule::continuous ? 1 : 0);
    return c < int32_t(cells) + 1 ? c : int32_t(cells) + 1;
  }

  ROIKIT_HD PasteTap<T> tap(int64_t i) const {
    T f;
    const int32_t c = cell(i, f);
    return {c, T(1) - f, f};
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

  ROIKIT_HD static PasteAxis of(PasteRule rule, T lo, T hi, int64_t cells, int64_t extent) {
    PasteAxis axis;
    axis.rule = rule;
    axis.cells = cells;
    if (cells == 0 || extent == 0 || !std::isfinite(lo) || !std::isfinite(hi)) return axis;
    if (rule == PasteRule::continuous) {
      axis.low = lo;
      axis.length = hi - lo;
      if (!(axis.length > T(0)) || !std::isfinite(axis.length)) return axis;
      axis.begin = axis.first_from(T(-1), extent);
      axis.end = axis.first_from(T(cells), extent);
      return axis;
    }
    const T half = (hi - lo) * T(0.5) * (T(cells + 2) / T(cells));
    const T centre = (hi + lo) * T(0.5);
    if (!std::isfinite(centre - half) || !std::isfinite(centre + half)) return axis;
    axis.start = corner(centre - half);
    const int64_t last = corner(centre + half);
    const int64_t pixels = last - axis.start + 1 > 1 ? last - axis.start + 1 : 1;
    axis.length = T(cells + 2) / T(pixels);
    axis.begin = axis.start > 0 ? axis.start : 0;
    axis.end = last + 1 < extent ? last + 1 : extent;
    if (axis.begin > axis.end) axis.begin = axis.end = 0;
    return axis;
  }

 private:
  ROIKIT_HD static int64_t corner(T c) {
    const T limit = T(1 << 30);
    return int64_t(c < -limit ? -limit : c > limit ? limit : c);
  }
};

// The rectangle of pixels that one mask covers.
template <class T> struct Placed {
  PasteAxis<T> x, y;

  ROIKIT_HD int64_t columns() const { return x.end - x.begin; }
  ROIKIT_HD int64_t rows() const { return y.end - y.begin; }
  ROIKIT_HD bool empty() const { return x.begin >= x.end || y.begin >= y.end; }
};

inline void check_masks(const char* op, const View& masks) {
  require(masks.rank == 3 && masks.shape[1] == masks.shape[2] && masks.contiguous(), op,
          "masks must be contiguous (N, M, M)");
  require(masks.shape[1] < (1 << 30), op, "masks must have fewer than 2^30 cells a side");
}

inline void check_mask_boxes(const char* op, const View& masks, const View& boxes) {
  require(boxes.shape[0] == masks.shape[0] && boxes.dtype == masks.dtype, op,
          "boxes must be as many as the masks, of their dtype");
}

inline void check_paste(const char* op, const View& masks, const View& boxes) {
  check_masks(op, masks);
  check_rows(op, "boxes", boxes, 4);
  check_mask_boxes(op, masks, boxes);
}

// The images of as many masks.
inline void check_images(const char* op, const View& masks, const View& out) {
  require(out.rank == 3 && out.shape[0] == masks.shape[0] && out.contiguous(), op, "out must be contiguous (N, H, W)");
}

inline void check_paste_masks(const View& masks, const View& boxes, const View& out) {
  check_paste("paste_masks", masks, boxes);
  check_images("paste_masks", masks, out);
}

// Run lengths and their sums are unsigned 32-bit numbers.
inline void check_paste_size(const char* op, int64_t height, int64_t width) {
  require(height >= 0 && width >= 0 && height < (int64_t(1) << 32) && width < (int64_t(1) << 32) &&
              height * width < (int64_t(1) << 32),
          op, "height * width must be below 2^32");
}

namespace ROIKIT_DEVICE {
void paste_masks(const View& masks, const View& boxes, double threshold, PasteRule rule, const View& out,
                 const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cpu {
void paste_masks_rle(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                     PasteRule rule, std::vector<uint32_t>& counts, const View& offsets, const Launch& launch);
}  // namespace cpu

// On a GPU all of them want the scratch of paste_masks_workspace, and decisions a threshold above 0. Runs take two steps,
// so that the caller can allocate what the first counts:
//   paste_masks_rle_count(..., changes (N, paste_masks_rle_chunks(width)) i64)
//     how many runs each chunk of columns makes. Their inclusive sums over all chunks of all masks are `upto`, in which
//     the last of row n is offsets[n + 1].
//   paste_masks_rle_write(..., upto, ends, counts)
//     with the scratch as paste_masks_rle_count left it. Both are i32 with the bits of u32, as many as the last of upto;
//     `ends` is scratch as well, counts are those of the CPU.
namespace cuda {
int64_t paste_masks_workspace(const View& masks);
inline int64_t paste_masks_rle_chunks(int64_t width) { return width > 32 ? (width + 31) / 32 : 1; }
void paste_masks_rle_count(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                           PasteRule rule, const View& changes, const Launch& launch);
void paste_masks_rle_write(const View& masks, int64_t height, int64_t width, double threshold, const View& upto,
                           const View& ends, const View& counts, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
