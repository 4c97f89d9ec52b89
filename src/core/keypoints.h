// Keypoints as cells of an S x S grid over their box, and the place of the largest value of a map that is resized to its
// box by cubic convolution. Decisions: every floor has the same bits, no contraction. T is float32 or float64.
//
// encode: along an axis, scale = T(S) / (high - low), cell = floor((at - low) * scale), at most S - 1. Valid where low <=
// at <= high on both axes, 0 < scale < infinity and the visibility is above 0. The target is by * S + bx, or 0.
//
// decode: along an axis of extent E, side = max(high - low, 1), G = min(ceil(side), 4096) cells; cell i is at
// u = (i + 0.5) * (T(E) / T(G)) - 0.5, c = floor(u) limited to [-1, E - 1], t = u - c, and reads the pixels c - 1 ... c + 2,
// limited to [0, E - 1], with the weights of CubicTap: ((p0 * w0 + p1 * w1) + p2 * w2) + p3 * w3, columns first. The search
// starts at position 0 with -infinity and goes by rows; a strictly greater value wins, NaN never. The keypoint is
// (T(i) + 0.5) * (side / T(G)) + low; keypoint and score are 0 where a box's coordinate or side is not finite.
//
// Source: He et al. 2017, arXiv:1703.06870, section 5; Keys, "Cubic convolution interpolation for digital image
// processing", 1981, with A = -0.75.
//
//   encode_keypoints(keypoints (N, K, 3) T, boxes (N, 4) T, size, target (N, K) i64, valid (N, K) b8)
//   decode_keypoints(maps (N, K, H, W) T, boxes (N, 4) T, xy (N, K, 2) T, scores (N, K) T), H and W at least 1
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

constexpr int64_t kKeypointGrid = 4096;  // cells along a side, at most: a box without bounds must not hang a kernel

// The cell of a point along an axis; `valid` stays true where the point is in the box.
template <class T>
ROIKIT_HD int64_t keypoint_cell(T at, T low, T high, int64_t size, bool& valid) {
  const T scale = T(size) / (high - low);
  valid = valid && low <= at && at <= high && scale > T(0) && scale <= std::numeric_limits<T>::max();
  if (!valid) return 0;
  const T cell = std::floor((at - low) * scale);
  return cell < T(size) ? int64_t(cell) : size - 1;
}

template <class T>
ROIKIT_HD int64_t keypoint_target(const T* point, const T* box, int64_t size, bool& valid) {
  valid = point[2] > T(0);
  const int64_t x = keypoint_cell(point[0], box[0], box[2], size, valid);
  const int64_t y = keypoint_cell(point[1], box[1], box[3], size, valid);
  return valid ? y * size + x : 0;
}

// One axis of a box as cells of its resized map.
template <class T> struct KeypointAxis {
  T low, side;
  int32_t cells;  // 0: the box is not finite

  ROIKIT_HD static KeypointAxis of(T low, T high) {
    const T side = high - low;
    if (!(low - low == T(0) && high - high == T(0) && side - side == T(0))) return {T(0), T(0), 0};
    const T length = side > T(1) ? side : T(1);
    return {low, length, length < T(kKeypointGrid) ? int32_t(std::ceil(length)) : int32_t(kKeypointGrid)};
  }

  ROIKIT_HD T place(int32_t cell) const { return (T(cell) + T(0.5)) * (side / T(cells)) + low; }
};

// What a cell reads along an axis: the pixels cell - 1 ... cell + 2, limited to the map.
template <class T> struct CubicTap {
  int32_t cell;  // from -1 to extent - 1
  T weight[4];

  ROIKIT_HD static T near(T d) {
    const T a = T(-0.75);
    return ((a + T(2)) * d - (a + T(3))) * d * d + T(1);
  }
  ROIKIT_HD static T far(T d) {
    const T a = T(-0.75);
    return ((a * d - T(5) * a) * d + T(8) * a) * d - T(4) * a;
  }

  // step: T(extent) / T(cells)
  ROIKIT_HD static CubicTap of(int32_t i, T step, int32_t extent) {
    const T u = (T(i) + T(0.5)) * step - T(0.5);
    T c = std::floor(u);
    c = c < T(-1) ? T(-1) : c;
    c = c > T(extent - 1) ? T(extent - 1) : c;
    const T t = u - c;
    return {int32_t(c), {far(t + T(1)), near(t), near(T(1) - t), far((T(1) - t) + T(1))}};
  }
};

template <class T> ROIKIT_HD T cubic_mix(T p0, T p1, T p2, T p3, T w0, T w1, T w2, T w3) {
  return ((p0 * w0 + p1 * w1) + p2 * w2) + p3 * w3;
}
template <class T> ROIKIT_HD T cubic_mix(T p0, T p1, T p2, T p3, const T* w) {
  return cubic_mix(p0, p1, p2, p3, w[0], w[1], w[2], w[3]);
}

ROIKIT_HD int32_t limited_pixel(int32_t i, int32_t extent) { return i < 0 ? 0 : i < extent ? i : extent - 1; }

// A row of the map at the cell of a column.
template <class T> ROIKIT_HD T cubic_of_row(const T* row, const CubicTap<T>& x, int32_t width) {
  return cubic_mix(row[limited_pixel(x.cell - 1, width)], row[limited_pixel(x.cell, width)],
                   row[limited_pixel(x.cell + 1, width)], row[limited_pixel(x.cell + 2, width)], x.weight);
}

inline void check_encode_keypoints(const View& keypoints, const View& boxes, int64_t size, const View& target,
                                   const View& valid) {
  check_rows("encode_keypoints", "boxes", boxes, 4);
  require(keypoints.rank == 3 && keypoints.shape[0] == boxes.shape[0] && keypoints.shape[2] == 3 &&
              keypoints.contiguous() && keypoints.dtype == boxes.dtype,
          "encode_keypoints: keypoints must be contiguous (N, K, 3) of the boxes' dtype");
  const int64_t points = keypoints.shape[0] * keypoints.shape[1];
  require(target.size() == points && target.contiguous() && valid.size() == points && valid.contiguous(),
          "encode_keypoints: target and valid must be contiguous (N, K)");
  require(size >= 1 && size <= 1 << 24, "encode_keypoints: size must be from 1 to 2^24");
}

inline void check_decode_keypoints(const View& maps, const View& boxes, const View& xy, const View& scores) {
  check_rows("decode_keypoints", "boxes", boxes, 4);
  require(maps.rank == 4 && maps.shape[0] == boxes.shape[0] && maps.contiguous() && maps.dtype == boxes.dtype,
          "decode_keypoints: maps must be contiguous (N, K, H, W) of the boxes' dtype");
  require(maps.shape[2] >= 1 && maps.shape[3] >= 1 && maps.shape[2] <= 1 << 24 && maps.shape[3] <= 1 << 24,
          "decode_keypoints: H and W must be from 1 to 2^24");
  const int64_t points = maps.shape[0] * maps.shape[1];
  require(xy.size() == 2 * points && xy.contiguous() && scores.size() == points && scores.contiguous(),
          "decode_keypoints: xy must be contiguous (N, K, 2), scores (N, K)");
}

namespace ROIKIT_DEVICE {
void encode_keypoints(const View& keypoints, const View& boxes, int64_t size, const View& target, const View& valid,
                      const Launch& launch);
void decode_keypoints(const View& maps, const View& boxes, const View& xy, const View& scores, const Launch& launch);
}  // namespace ROIKIT_DEVICE

}  // namespace roikit
