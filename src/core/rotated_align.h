// RoIAlign of rotated boxes: the mean of bilinear samples in each bin of a box cx, cy, w, h, degrees, on one map or on
// a pyramid.
//
// P x Q bins, a map of H x W pixels; T is the wider of the accumulate type and the boxes' type; all in T and without
// contraction, because a sample is dropped or kept by this arithmetic:
//
//   x = cx * scale - 0.5, y = cy * scale - 0.5, w *= scale, h *= scale; sin, cos: sin_cos_degrees, rounded to T;
//   along the height start = -(0.5 * h), step = h / P, along the width likewise with w and Q; grids and the sample k of
//   a bin as in core/roi_align.h, which gives v along the height and u along the width;
//   the sample lies at ((v * sin + u * cos) + x, (v * cos - u * sin) + y), and counts if both lie in the band of
//   roi_align; its four pixels and weights are the products of those of its two positions there.
//
// A bin is the mean over its grid * grid samples, those that do not count included. A RoI gives 0, and gradient 0,
// where a side is not above 0, and where a number is not finite or, scaled, is 2^24 or more; so does a map without
// pixels. On a pyramid a RoI is on the level that its w and h ask for, as in core/roi_align.h.
//
// Source: Ma et al. 2017, arXiv:1703.01086, section IV (rotated RoI pooling); He et al. 2017, arXiv:1703.06870,
// section 3 (bilinear samples); edge rules as in core/roi_align.h.
#pragma once

#include <string>

#include "core/roi_align.h"
#include "core/rotated.h"

namespace roikit {

template <class T>
struct RotatedSample {
  Bilinear<T> y, x;
};

// The samples of one RoI.
template <class T>
struct RotatedRoi {
  SampleAxis<T> v, u;  // along the height and along the width; grids of 0: the RoI gives 0
  T x = 0, y = 0, sin = 0, cos = 1;
  T v_low = 0, v_high = 0, u_low = 0, u_high = 0;  // no sample beyond them lies in the map's band

  // box: cx, cy, w, h, degrees.
  template <class B>
  ROIKIT_HD static RotatedRoi of(const B* box, T scale, int64_t rows, int64_t columns, int64_t height, int64_t width,
                                 int64_t sampling_ratio) {
    const T limit = T(16777216);  // 2^24: up to here float32 knows pixels apart, and the samples over a map stay few
    RotatedRoi r;
    const T x = T(box[0]) * scale - T(0.5), y = T(box[1]) * scale - T(0.5), w = T(box[2]) * scale;
    const T h = T(box[3]) * scale;
    const double degrees = double(box[4]);
    const bool real = x < limit && x > -limit && y < limit && y > -limit && w > T(0) && w < limit && h > T(0) &&
                      h < limit && degrees - degrees == 0.0 && height > 0 && width > 0;
    if (!real) return r;
    const SinCos turn = sin_cos_degrees(degrees);
    r.x = x, r.y = y, r.sin = T(turn.sin), r.cos = T(turn.cos);
    r.v = SampleAxis<T>::from(-(T(0.5) * h), h, rows, sampling_ratio);
    r.u = SampleAxis<T>::from(-(T(0.5) * w), w, columns, sampling_ratio);
    r.bound(T(height), T(width), w + h);
    return r;
  }

  ROIKIT_HD bool empty() const { return v.grid == 0 || u.grid == 0; }
  ROIKIT_HD T count() const { return T(v.grid) * T(u.grid); }
  ROIKIT_HD T x_at(T v, T u) const { return (v * sin + u * cos) + x; }
  ROIKIT_HD T y_at(T v, T u) const { return (v * cos - u * sin) + y; }

  // Those of a bin that can count.
  ROIKIT_HD SampleRange rows(int64_t bin) const { return SampleRange::between(v, v.base(bin), v_low, v_high); }
  ROIKIT_HD SampleRange columns(int64_t bin) const { return SampleRange::between(u, u.base(bin), u_low, u_high); }

  // False where the sample does not count.
  ROIKIT_HD bool sample(T v, T u, int64_t height, int64_t width, RotatedSample<T>& s) const {
    const T at_x = x_at(v, u), at_y = y_at(v, u);
    if (!Bilinear<T>::inside(at_y, height) || !Bilinear<T>::inside(at_x, width)) return false;
    s.y = Bilinear<T>::at(at_y, height), s.x = Bilinear<T>::at(at_x, width);
    return true;
  }

 private:
  // The corners of the band in the box's own axes, and far more than all roundings come to.
  ROIKIT_HD void bound(T height, T width, T sides) {
    const T from_x = T(-1) - x, to_x = width - x, from_y = T(-1) - y, to_y = height - y;
    const T size = sides + (absolute_of(x) + absolute_of(y)) + (height + width);
    const T slack = size * (sizeof(T) == 4 ? T(1.9073486328125e-6) : T(3.5527136788005009e-15));  // 16 epsilon
    v_low = (least(from_x * sin, to_x * sin) + least(from_y * cos, to_y * cos)) - slack;
    v_high = (most(from_x * sin, to_x * sin) + most(from_y * cos, to_y * cos)) + slack;
    u_low = (least(from_x * cos, to_x * cos) - most(from_y * sin, to_y * sin)) - slack;
    u_high = (most(from_x * cos, to_x * cos) - least(from_y * sin, to_y * sin)) + slack;
  }

  ROIKIT_HD static T least(T a, T b) { return a < b ? a : b; }
  ROIKIT_HD static T most(T a, T b) { return a < b ? b : a; }
  ROIKIT_HD static T absolute_of(T a) { return a < T(0) ? -a : a; }
};

// The pyramid level of a box cx, cy, w, h, degrees.
template <class B>
ROIKIT_HD int rotated_level(const B* box, const double* thresholds, int count) {
  return level_of_sides(side(0.0f, float(box[2])), side(0.0f, float(box[3])), thresholds, count);
}

// levels: features or gradients; bins: output or grad. True when the maps are channels_last (one that is both counts as
// contiguous).
inline bool check_rotated_align(const char* op, const RoiAlignLevels& levels, const View& boxes, const View& bins) {
  const bool channels_last = check_roi_align(op, levels, boxes, bins, 6);
  check_format(op, "the bins", bins);
  for (const View& map : levels.maps)
    if (map.shape[2] * map.shape[3] > INT32_MAX)
      throw std::invalid_argument(std::string(op) + ": input must have less than 2^31 pixels a plane, got " +
                                  std::to_string(map.shape[2]) + " x " + std::to_string(map.shape[3]));
  return channels_last;
}

// features F (N, C, H_i, W_i): float16, bfloat16, float32, float64, of one format; boxes (K, 6) float32 or float64,
// contiguous, batch index first; output and grad F (K, C, PH, PW), contiguous or channels_last. A batch index that is
// not whole or not in [0, N): the CPU throws std::out_of_range, CUDA, which takes at most 16 levels, gives that RoI 0.
// Backward adds up each element of the gradients in one thread, over the RoIs in order (CUDA: where
// launch.deterministic; else with atomics).
namespace ROIKIT_DEVICE {
void roi_align_rotated(const RoiAlignLevels& features, const View& boxes, int64_t sampling_ratio, const View& output,
                       const Launch& launch);
void roi_align_rotated_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients,
                                int64_t sampling_ratio, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
// bytes: float32 copies of gradients in half, else nothing
int64_t roi_align_rotated_backward_workspace(const std::vector<View>& gradients);
}  // namespace cuda

}  // namespace roikit
