// RoIAlign: the mean of bilinear samples in each bin of a box, on one map or on a pyramid.
//
// Per axis of a RoI with corners low, high; P bins; a map of extent H; T is the wider of the accumulate type and the
// boxes' type; no contraction, because a sample is dropped or kept by this arithmetic:
//
//   off = aligned ? 0.5 : 0; start = low * scale - off; size = (high * scale - off) - start, at least 1 unless aligned;
//   step = size / P; grid = sampling_ratio > 0 ? sampling_ratio : ceil(step) limited to [0, 2^24];
//   sample k of bin p at y = (start + p * step) + ((k + 0.5) * step) / grid; it counts if -1 <= y <= H;
//   y = max(y, 0), low = floor(y); rows low, low + 1 with 1 - (y - low), y - low; both are H - 1 from H - 1 on.
//
// A bin is the mean over its grid_y * grid_x samples. A sample's weight is the product of its axes' weights, so the
// sum separates: sum over rows of Wy * (sum over columns of Wx * f), with the samples' weights merged per row, column.
// A RoI whose corners are not finite or overflow gives 0 and gradient 0; so does a map without pixels.
//
// Source: He et al. 2017, arXiv:1703.06870, section 3; edge rules as torchvision's. Levels: Lin et al. 2017,
// arXiv:1612.03144, equation 1.
#pragma once

#include <cmath>
#include <vector>

#include "core/boxes.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

struct RoiAlignRule {
  int64_t sampling_ratio = -1;  // samples a bin along each axis; 0 or less: ceil(step)
  bool aligned = false;
};

// The samples of one axis of one RoI.
template <class T>
struct SampleAxis {
  T start = 0, step = 0;
  int64_t grid = 0;  // 0: the RoI gives 0

  ROIKIT_HD static SampleAxis of(T low, T high, T scale, int64_t bins, int64_t extent, const RoiAlignRule& rule) {
    constexpr T kGridLimit = 16777216;  // 2^24: k stays exact in float32
    const T off = rule.aligned ? T(0.5) : T(0);
    SampleAxis axis;
    axis.start = low * scale - off;
    T size = (high * scale - off) - axis.start;
    // x - x is 0 for finite x alone. The corners are tested too: a scale of 0 may not hide an infinity.
    const T test = ((low - low) + (high - high)) + ((axis.start - axis.start) + (size - size));
    if (!(test == T(0)) || extent <= 0) return SampleAxis{};
    if (!rule.aligned) size = size > T(1) ? size : T(1);
    axis.step = size / T(bins);
    if (rule.sampling_ratio > 0) {
      axis.grid = rule.sampling_ratio;
    } else {
      const T wish = std::ceil(axis.step);
      axis.grid = wish > T(0) ? int64_t(wish < kGridLimit ? wish : kGridLimit) : 0;
    }
    return axis;
  }

  ROIKIT_HD T base(int64_t bin) const { return start + T(bin) * step; }
  ROIKIT_HD T at(T base, int64_t k) const { return base + ((T(k) + T(0.5)) * step) / T(grid); }
};

// A position outside the band [-1, extent] has no sample; inside, two pixels and their weights.
template <class T>
struct Bilinear {
  int64_t low, high;
  T low_weight, high_weight;

  ROIKIT_HD static bool inside(T y, int64_t extent) { return y >= T(-1) && y <= T(extent); }

  ROIKIT_HD static Bilinear at(T y, int64_t extent) {
    y = y > T(0) ? y : T(0);
    const int64_t low = int64_t(y);  // y >= 0: truncation is floor
    if (low >= extent - 1) return {extent - 1, extent - 1, T(1), T(0)};
    const T fraction = y - T(low);
    return {low, low + 1, T(1) - fraction, fraction};
  }
};

// The pyramid level of a box: how many thresholds (in double, ascending) its size in float32 reaches.
template <class T>
ROIKIT_HD int pyramid_level(const T* corners, const double* thresholds, int count) {
  const float width = side(float(corners[0]), float(corners[2])), height = side(float(corners[1]), float(corners[3]));
  const float size = std::sqrt(width * height);
  int level = 0;
  for (int i = 0; i < count; ++i) level += double(size) >= thresholds[i] ? 1 : 0;
  return level;
}

// One map, or the levels of a pyramid, finest first.
struct RoiAlignLevels {
  std::vector<View> maps;          // (N, C, H_i, W_i) F each, contiguous or channels_last, all of them alike
  std::vector<double> scales;      // map pixels an input pixel
  std::vector<double> thresholds;  // one fewer than maps: see pyramid_level
};

// features F: float16, bfloat16, float32, float64; boxes (K, 5) T float32 or float64, contiguous, batch index first;
// output and grad (K, C, PH, PW) F, contiguous or channels_last. Throws std::out_of_range for a batch index that is
// not whole or not in [0, N). Backward fills the maps of `gradients` with the gradient of the features: each is added
// up by one thread over the RoIs in a fixed order and rounded once.
namespace cpu {
void roi_align(const RoiAlignLevels& features, const View& boxes, const View& output, const RoiAlignRule& rule,
               const Launch& launch);
void roi_align_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients, const RoiAlignRule& rule,
                        const Launch& launch);
}  // namespace cpu

}  // namespace roikit
