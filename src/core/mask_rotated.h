// Masks and rotated boxes cx, cy, w, h, degrees: targets of the mask branch in the frame of the box, and masks of M x M
// cells pasted into images. T, float32 or float64, is the dtype of boxes (and of masks that are pasted); all in T, in
// this order, never contracted, so that every decision is exact.
//
// Targets: an object's mask m in {0, 1}, averaged to S x S cells by the samples of core/rotated_align.h (scale 1,
// adaptive). A sample that counts is put on the map and its position cut to whole 2^-14 pixels: y = (max(row, 0) * 2^14
// truncated, at most (H - 1) * 2^14), i = y / 2^14, p = y mod 2^14, likewise x, j, q; with one = 2^14
//
//   total += (one - p) * ((one - q) * m[i][j] + q * m[i][j + 1]) + p * ((one - q) * m[i + 1][j] + q * m[i + 1][j + 1])
//
// in whole numbers, which any order of adding gives exactly. value = total / (grid_v * grid_u * 2^28) in double, 0
// where the RoI gives 0. "binary": value >= 0.5.
//
// Pasting: lo = cx - 0.5 * w, length = (cx + 0.5 * w) - lo, k = cx - (cx * cos - cy * sin); likewise lo', length' of cy
// and h, k' = cy - (cx * sin + cy * cos). The pixel centre X = i + 0.5, Y = j + 0.5 lies in the frame of the upright box
// at
//
//   u = (((X * cos - Y * sin) + k) - lo) / length * M - 0.5,  v = (((X * sin + Y * cos) + k') - lo') / length' * M - 0.5
//
// and takes its value there as core/mask_paste.h does by the continuous rule, covered where -1 <= u < M and likewise v.
// At angle 0, where cos is 1 and sin 0, these are its bits for the box lo, lo + length. A pixel that is not covered is 0;
// so is every pixel where a length is not above 0, or a number is not finite.
//
// Source: He et al. 2017, arXiv:1703.06870, section 3.1; Ma et al. 2017, arXiv:1703.01086, section IV.
//
//   mask_targets_rotated(masks (N, H, W) u8 or b8, boxes (R, 5) T, matched (R) i64, binary, out (R, S, S) f32)
//   mask_targets_rotated_of_runs(counts, offsets, sizes, boxes, matched, binary, out): as mask_targets_of_runs
//   paste_masks_rotated(masks (N, M, M) T, boxes (N, 5) T, threshold, out (N, H, W)): as paste_masks
//   paste_masks_rotated_rle(masks, boxes, height, width, threshold > 0, counts, offsets): as paste_masks_rle
#pragma once

#include <vector>

#include "core/mask_paste.h"
#include "core/mask_target.h"
#include "core/rotated_align.h"

namespace roikit {

constexpr int kTargetBits = 14;
constexpr int32_t kTargetUnit = 1 << kTargetBits;

// A position in [-1, extent], put on the map, in whole 2^-14 pixels.
template <class T>
ROIKIT_HD int64_t target_position(T at, int64_t extent) {
  const T held = at > T(0) ? at : T(0);
  const int64_t units = int64_t(held * T(kTargetUnit)), most = (extent - 1) << kTargetBits;
  return units < most ? units : most;
}

// What a sample adds: p, q are the parts of its position, m00 ... m11 are 1 inside the object. Beyond the map's last row
// or column the part is 0, and any m will do.
ROIKIT_HD uint32_t target_sample(uint32_t p, uint32_t q, uint32_t m00, uint32_t m01, uint32_t m10, uint32_t m11) {
  const uint32_t one = kTargetUnit;
  return (one - p) * ((one - q) * m00 + q * m01) + p * ((one - q) * m10 + q * m11);
}

ROIKIT_HD float target_value(uint64_t total, int64_t grid_v, int64_t grid_u, bool binary) {
  const double value = double(total) / ((double(grid_v) * double(grid_u)) * 268435456.0);
  return binary ? (value >= 0.5 ? 1.0f : 0.0f) : float(value);
}

// Where the pixels of an image lie in one mask.
template <class T>
struct RotatedPaste {
  T sin = 0, cos = 1;
  T x_shift = 0, x_low = 0, x_length = 0;  // of u; x_length 0: nothing is covered
  T y_shift = 0, y_low = 0, y_length = 0;  // of v
  T cells = 0;

  ROIKIT_HD static RotatedPaste of(const T* box, int64_t cells) {
    RotatedPaste r;
    const T x = box[0], y = box[1], w = box[2], h = box[3];
    const double degrees = double(box[4]);
    if (cells == 0 || !(degrees - degrees == 0.0)) return r;
    const SinCos turn = sin_cos_degrees(degrees);
    const T sin = T(turn.sin), cos = T(turn.cos);
    const T x_low = x - T(0.5) * w, y_low = y - T(0.5) * h;
    const T x_length = (x + T(0.5) * w) - x_low, y_length = (y + T(0.5) * h) - y_low;
    const T x_shift = x - (x * cos - y * sin), y_shift = y - (x * sin + y * cos);
    // x - x is 0 for finite x alone.
    const T test = ((x_low - x_low) + (y_low - y_low)) + ((x_length - x_length) + (y_length - y_length)) +
                   ((x_shift - x_shift) + (y_shift - y_shift));
    if (!(test == T(0)) || !(x_length > T(0)) || !(y_length > T(0))) return r;
    return {sin, cos, x_shift, x_low, x_length, y_shift, y_low, y_length, T(cells)};
  }

  ROIKIT_HD bool empty() const { return !(x_length > T(0)); }
  // Of X * cos and Y * sin; of X * sin and Y * cos.
  ROIKIT_HD T u_at(T x_cos, T y_sin) const { return (((x_cos - y_sin) + x_shift) - x_low) / x_length * cells - T(0.5); }
  ROIKIT_HD T v_at(T x_sin, T y_cos) const { return (((x_sin + y_cos) + y_shift) - y_low) / y_length * cells - T(0.5); }
  ROIKIT_HD bool covers(T u, T v) const { return (u >= T(-1)) & (u < cells) & (v >= T(-1)) & (v < cells); }
};

// The cell below a coordinate in [-2, M], and `part` of the next one.
template <class T>
ROIKIT_HD int32_t cell_below(T u, T& part) {
  const int32_t whole = int32_t(u), cell = whole - (u < T(whole) ? 1 : 0);
  part = u - T(cell);
  return cell;
}

// The rows, or the columns, of an image that a mask can cover in one of its columns, or rows; a few too many.
struct PasteSpan {
  int64_t begin, end;

  ROIKIT_HD PasteSpan within(const PasteSpan& other) const {
    const int64_t first = begin > other.begin ? begin : other.begin, last = end < other.end ? end : other.end;
    return {first, last > first ? last : first};
  }
};

// Spans for any column or row of an image, in double. Along a column Y runs, u falls with Y * sin and v grows with
// Y * cos; along a row X runs, u grows with X * cos and v with X * sin.
class PasteSpans {
 public:
  template <class T>
  ROIKIT_HD static PasteSpans of(const RotatedPaste<T>& p, int64_t height, int64_t width) {
    PasteSpans s;
    s.sin_ = double(p.sin), s.cos_ = double(p.cos), s.height_ = height, s.width_ = width;
    s.per_sin_ = s.sin_ == 0.0 ? 0.0 : 1.0 / s.sin_, s.per_cos_ = s.cos_ == 0.0 ? 0.0 : 1.0 / s.cos_;
    s.u_shift_ = double(p.x_shift), s.v_shift_ = double(p.y_shift);
    const double far_x = absolute(s.u_shift_) + absolute(double(p.x_low)) + double(p.x_length);
    const double far_y = absolute(s.v_shift_) + absolute(double(p.y_low)) + double(p.y_length);
    // Far more than all roundings come to, in pixels.
    s.slack_ = (far_x + far_y + double(height) + double(width)) * (sizeof(T) == 4 ? 1.9073486328125e-6 : 3.6e-15);
    const double half_x = 0.5 * double(p.x_length) / double(p.cells), half_y = 0.5 * double(p.y_length) / double(p.cells);
    s.u_low_ = double(p.x_low) - half_x - s.slack_, s.u_high_ = double(p.x_low) + double(p.x_length) + half_x + s.slack_;
    s.v_low_ = double(p.y_low) - half_y - s.slack_, s.v_high_ = double(p.y_low) + double(p.y_length) + half_y + s.slack_;
    return s;
  }

  // How far a coordinate in pixels of the box may be from its exact value.
  ROIKIT_HD double slack() const { return slack_; }

  // The columns of the image that can have a covered pixel.
  ROIKIT_HD PasteSpan columns() const {
    // X = (a * cos + b * sin) of a = u - k and b = v - k'.
    const double a0 = (u_low_ - u_shift_) * cos_, a1 = (u_high_ - u_shift_) * cos_;
    const double b0 = (v_low_ - v_shift_) * sin_, b1 = (v_high_ - v_shift_) * sin_;
    return cut((a0 < a1 ? a0 : a1) + (b0 < b1 ? b0 : b1), (a0 < a1 ? a1 : a0) + (b0 < b1 ? b1 : b0), width_);
  }

  ROIKIT_HD PasteSpan rows() const {
    const double a0 = -(u_low_ - u_shift_) * sin_, a1 = -(u_high_ - u_shift_) * sin_;
    const double b0 = (v_low_ - v_shift_) * cos_, b1 = (v_high_ - v_shift_) * cos_;
    return cut((a0 < a1 ? a0 : a1) + (b0 < b1 ? b0 : b1), (a0 < a1 ? a1 : a0) + (b0 < b1 ? b1 : b0), height_);
  }

  ROIKIT_HD PasteSpan in_column(int64_t i) const {
    const double x = double(i) + 0.5;
    return along(x * cos_ + u_shift_, -per_sin_, x * sin_ + v_shift_, per_cos_, height_);
  }

  ROIKIT_HD PasteSpan in_row(int64_t j) const {
    const double y = double(j) + 0.5;
    return along(u_shift_ - y * sin_, per_cos_, y * cos_ + v_shift_, per_sin_, width_);
  }

 private:
  // Where both u + t / per_u and v + t / per_v can be covered; 0 stands for infinity.
  ROIKIT_HD PasteSpan along(double u, double per_u, double v, double per_v, int64_t extent) const {
    double low = -1.0, high = double(extent) + 1.0;
    clip(u_low_ - u, u_high_ - u, per_u, low, high);
    clip(v_low_ - v, v_high_ - v, per_v, low, high);
    return cut(low, high, extent);
  }

  // low <= t <= high, so that t / per is in [from, to].
  ROIKIT_HD static void clip(double from, double to, double per, double& low, double& high) {
    if (per == 0.0) {
      if (from > 0.0 || to < 0.0) high = low - 4.0;
      return;
    }
    const double a = from * per, b = to * per, first = a < b ? a : b, last = a < b ? b : a;
    if (first > low) low = first;
    if (last < high) high = last;
  }

  // The pixels whose centres can lie in [low, high].
  ROIKIT_HD static PasteSpan cut(double low, double high, int64_t extent) {
    const double most = double(extent);
    const double first = floor(low) - 1.0, last = ceil(high) + 1.0;
    const int64_t begin = first > 0.0 ? (first < most ? int64_t(first) : extent) : 0;
    const int64_t end = last < most ? (last > 0.0 ? int64_t(last) : 0) : extent;
    return {begin, end > begin ? end : begin};
  }

  double sin_, cos_, per_sin_, per_cos_, u_shift_, v_shift_, u_low_, u_high_, v_low_, v_high_, slack_;
  int64_t height_, width_;
};

inline void check_mask_targets_rotated(const View& boxes, const View& matched, const View& out) {
  check_rows("mask_targets_rotated", "boxes", boxes, 5);
  check_target_rows("mask_targets_rotated", boxes, matched, out);
}

inline void check_paste_rotated(const char* op, const View& masks, const View& boxes) {
  check_masks(op, masks);
  check_rows(op, "boxes", boxes, 5);
  check_mask_boxes(op, masks, boxes);
}

namespace ROIKIT_DEVICE {
void mask_targets_rotated(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                          const Launch& launch);
void paste_masks_rotated(const View& masks, const View& boxes, double threshold, const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cpu {
void mask_targets_rotated_of_runs(const View& counts, const View& offsets, const View& sizes, const View& boxes,
                                  const View& matched, bool binary, const View& out, const Launch& launch);
void paste_masks_rotated_rle(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                             std::vector<uint32_t>& counts, const View& offsets, const Launch& launch);
}  // namespace cpu

// As for mask_targets and paste_masks_rle, in the same steps; paste_masks_rotated needs no scratch. A mask's chunks of
// columns are counted from the image's first.
namespace cuda {
void mask_targets_rotated_of_ends(const View& ends, const View& offsets, const View& sizes, const View& boxes,
                                  const View& matched, bool binary, const View& out, const Launch& launch);
void paste_masks_rotated_rle_count(const View& masks, const View& boxes, int64_t height, int64_t width,
                                   double threshold, const View& changes, const Launch& launch);
void paste_masks_rotated_rle_write(const View& masks, const View& boxes, int64_t height, int64_t width,
                                   double threshold, const View& upto, const View& ends, const View& counts,
                                   const Launch& launch);
}  // namespace cuda

}  // namespace roikit
