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
// With the rule's `integral` a bin is a mean over all its points instead: roi_align_integral.h.
//
// Source: He et al. 2017, arXiv:1703.06870, section 3; edge rules as torchvision's. Levels: Lin et al. 2017,
// arXiv:1612.03144, equation 1.
#pragma once

#include <cmath>
#include <vector>

#include "core/boxes.h"
#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

struct RoiAlignRule {
  int64_t sampling_ratio = -1;  // samples a bin along each axis; 0 or less: ceil(step)
  bool aligned = false;
  bool integral = false;  // no samples: the integral of the surface over a bin, divided by its area
};

// The samples of one axis of one RoI.
template <class T>
struct SampleAxis {
  T start = 0, step = 0;
  int64_t grid = 0;  // 0: the RoI gives 0
  bool integral = false;  // the bins are [base(p), base(p + 1)], and grid is 1

  ROIKIT_HD static SampleAxis of(T low, T high, T scale, int64_t bins, int64_t extent, const RoiAlignRule& rule) {
    const T off = rule.aligned ? T(0.5) : T(0);
    const T start = low * scale - off;
    T size = (high * scale - off) - start;
    // x - x is 0 for finite x alone. The corners are tested too: a scale of 0 may not hide an infinity.
    const T test = ((low - low) + (high - high)) + ((start - start) + (size - size));
    if (!(test == T(0)) || extent <= 0) return SampleAxis{};
    if (rule.integral) {
      if (!(size > T(0))) return SampleAxis{};
      return {start, size / T(bins), 1, true};
    }
    if (!rule.aligned) size = size > T(1) ? size : T(1);
    return from(start, size, bins, rule.sampling_ratio);
  }

  // So many bins of a finite size from `start` on.
  ROIKIT_HD static SampleAxis from(T start, T size, int64_t bins, int64_t sampling_ratio) {
    constexpr T kGridLimit = 16777216;  // 2^24: k stays exact in float32
    SampleAxis axis;
    axis.start = start, axis.step = size / T(bins);
    if (sampling_ratio > 0) {
      axis.grid = sampling_ratio;
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

// The samples k of a bin that can lie inside the map are [first, last): positions are monotonic in k, so a huge grid is
// searched by bisection. Some of them may lie outside all the same.
struct SampleRange {
  int64_t first, last;

  template <class T>
  ROIKIT_HD static SampleRange of(const SampleAxis<T>& axis, T base, int64_t extent) {
    return between(axis, base, T(-1), T(extent));
  }

  // Those that can lie in [low, high].
  template <class T>
  ROIKIT_HD static SampleRange between(const SampleAxis<T>& axis, T base, T low, T high) {
    if (few(axis)) return {0, axis.grid};
    const bool falls = axis.step < T(0);  // mirrored where the positions fall, so that they rise
    return {count(axis, base, falls ? -high : low, falls, false), count(axis, base, falls ? -low : high, falls, true)};
  }

  // The first sample that can lie in [low, high].
  template <class T>
  ROIKIT_HD static int64_t first_between(const SampleAxis<T>& axis, T base, T low, T high) {
    const bool falls = axis.step < T(0);
    return few(axis) ? 0 : count(axis, base, falls ? -high : low, falls, false);
  }

 private:
  template <class T>
  ROIKIT_HD static bool few(const SampleAxis<T>& axis) { return axis.grid <= 8 || axis.step == T(0); }

  // How many positions lie before the bound, or at it if that is asked for.
  template <class T>
  ROIKIT_HD static int64_t count(const SampleAxis<T>& axis, T base, T bound, bool falls, bool with) {
    int64_t lo = 0, hi = axis.grid;
    while (lo < hi) {
      const int64_t middle = lo + (hi - lo) / 2;
      const T at = axis.at(base, middle), y = falls ? -at : at;
      if (y < bound || (with && y == bound)) lo = middle + 1;
      else hi = middle;
    }
    return lo;
  }
};

// The pixels that the samples of one bin touch, each once, in ascending order, with their weights summed sample by
// sample and not yet divided by the grid. Pixels of weight 0 are left out.
template <class T>
class TapWalk {
 public:
  ROIKIT_HD TapWalk(const SampleAxis<T>& axis, int64_t bin, int32_t extent)
      : axis_(axis), base_(axis.base(bin)), extent_(extent) {
    const SampleRange range = SampleRange::of(axis, base_, extent);
    k_ = axis.step < T(0) ? range.last - 1 : range.first;
    left_ = range.last - range.first;
  }

  template <class Index>
  ROIKIT_HD bool next(Index& at, T& weight) {
    for (;;) {
      for (; !ahead_ && left_ > 0; --left_, k_ += axis_.step < T(0) ? -1 : 1) {
        const T y = axis_.at(base_, k_);
        if (!Bilinear<T>::inside(y, extent_)) continue;
        const auto sample = Bilinear<T>::at(y, extent_);
        low_ = int32_t(sample.low), low_weight_ = sample.low_weight, high_weight_ = sample.high_weight;
        ahead_ = true;
      }
      // A sample's lower pixel always has weight, so a sum of 0 means that no pixel is open.
      if (ahead_ && (sum_ == T(0) || low_ == at_)) {
        at_ = low_;
        sum_ += low_weight_;
        next_sum_ += high_weight_;  // 0 where there is no pixel at_ + 1
        ahead_ = false;
        continue;
      }
      if (sum_ == T(0)) return false;
      at = at_, weight = sum_;
      ++at_;
      sum_ = next_sum_, next_sum_ = T(0);
      return true;
    }
  }

 private:
  SampleAxis<T> axis_;
  T base_;
  int64_t k_, left_;
  int32_t extent_, at_ = 0;
  T sum_ = 0, next_sum_ = 0;  // of the open pixel at_ and of the one after it
  bool ahead_ = false;        // there is a sample that is not yet added:
  int32_t low_ = 0;
  T low_weight_ = 0, high_weight_ = 0;
};

// Pixels [begin, end) of an axis.
struct AxisSpan {
  int64_t begin = 0, end = 0;
};

// What the samples or the bins of an axis can touch. Neither turn back, so the outermost bound the others.
template <class T>
ROIKIT_HD AxisSpan touched_span(const SampleAxis<T>& axis, int64_t bins, int64_t extent) {
  if (axis.grid <= 0 || bins <= 0) return {};
  T low = axis.integral ? axis.base(0) : axis.at(axis.base(0), 0);
  T high = axis.integral ? axis.base(bins) : axis.at(axis.base(bins - 1), axis.grid - 1);
  if (axis.step < T(0)) {
    const T first = low;
    low = high, high = first;
  }
  if (!(high >= T(-1) && low <= T(extent))) return {};
  const int64_t begin = low > T(0) ? int64_t(low) : 0;
  const int64_t last = high < T(extent) ? (high > T(0) ? int64_t(high) : 0) + 1 : extent;
  return {begin < extent ? begin : extent - 1, last < extent ? last + 1 : extent};
}

// Calls add(pixel, weight) for the two taps of those samples of a bin that can touch the pixels [begin, end), in the
// order of the samples; some of the taps may lie outside. It takes few steps where the span is short, however many
// samples the bin has.
template <class T, class Add>
ROIKIT_HD void add_samples(const SampleAxis<T>& axis, T base, int64_t extent, T begin, T end, Add&& add) {
  for (int64_t k = SampleRange::first_between(axis, base, begin - T(1), end); k < axis.grid; ++k) {
    const T y = axis.at(base, k);
    if (axis.step < T(0) ? y < begin - T(1) : y > end) return;
    if (!Bilinear<T>::inside(y, extent)) continue;
    const auto sample = Bilinear<T>::at(y, extent);
    add(sample.low, sample.low_weight);
    add(sample.high, sample.high_weight);
  }
}

// The pyramid level of a box of these sides: how many thresholds (in double, ascending) its size in float32 reaches.
ROIKIT_HD int level_of_sides(float width, float height, const double* thresholds, int count) {
  const float size = std::sqrt(width * height);
  int level = 0;
  for (int i = 0; i < count; ++i) level += double(size) >= thresholds[i] ? 1 : 0;
  return level;
}

template <class T>
ROIKIT_HD int pyramid_level(const T* corners, const double* thresholds, int count) {
  return level_of_sides(side(float(corners[0]), float(corners[2])), side(float(corners[1]), float(corners[3])),
                        thresholds, count);
}

// One map, or the levels of a pyramid, finest first.
struct RoiAlignLevels {
  std::vector<View> maps;          // (N, C, H_i, W_i) F each, contiguous or channels_last, all of them alike
  std::vector<double> scales;      // map pixels an input pixel
  std::vector<double> thresholds;  // one fewer than maps: see pyramid_level
};

// True when the maps are channels_last (a map that is both counts as contiguous). bins: output or grad; a row of boxes
// has so many columns.
inline bool check_roi_align(const char* op, const RoiAlignLevels& levels, const View& boxes, const View& bins,
                            int64_t columns = 5) {
  require(!levels.maps.empty() && levels.scales.size() == levels.maps.size() &&
              levels.thresholds.size() + 1 == levels.maps.size(),
          op, "one scale a map, and one threshold fewer");
  check_rows(op, "boxes", boxes, columns);
  require(bins.rank == 4 && bins.shape[0] == boxes.shape[0], op, "the bins must be (K, C, PH, PW)");
  bool contiguous = true, channels_last = true;
  for (const View& map : levels.maps) {
    require(map.rank == 4 && map.dtype == bins.dtype && map.shape[0] == levels.maps[0].shape[0] &&
                map.shape[1] == bins.shape[1] && map.shape[2] <= INT32_MAX && map.shape[3] <= INT32_MAX,
            op, "maps must be (N, C, H_i, W_i) of the bins' dtype");
    contiguous = contiguous && map.contiguous();
    channels_last = channels_last && map.channels_last();
  }
  require(contiguous || channels_last, op, "maps must be contiguous or channels_last");
  return !contiguous;
}

// The forward pass, whose output is laid out as the features are.
inline bool check_roi_align_output(const RoiAlignLevels& features, const View& boxes, const View& output) {
  const bool channels_last = check_roi_align("roi_align", features, boxes, output);
  require(channels_last ? output.channels_last() : output.contiguous(),
          "roi_align: output must be laid out as the features are");
  return channels_last;
}

// The backward pass, where grad may have another format than the gradients.
inline bool check_roi_align_grad(const char* op, const RoiAlignLevels& gradients, const View& boxes, const View& grad) {
  check_format(op, "grad", grad);
  return check_roi_align(op, gradients, boxes, grad);
}

// features F: float16, bfloat16, float32, float64; boxes (K, 5) T float32 or float64, contiguous, batch index first;
// output and grad (K, C, PH, PW) F, contiguous or channels_last. Throws std::out_of_range for a batch index that is
// not whole or not in [0, N); on CUDA, which takes at most 16 levels, such a RoI gives 0. Backward fills the maps of
// `gradients`, in the format asked for, with the gradient of the features: each is added up by one thread over the RoIs
// in a fixed order and rounded once (CUDA: where launch.deterministic; else with atomics).
namespace ROIKIT_DEVICE {
void roi_align(const RoiAlignLevels& features, const View& boxes, const View& output, const RoiAlignRule& rule,
               const Launch& launch);
void roi_align_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients, const RoiAlignRule& rule,
                        const Launch& launch);
}  // namespace ROIKIT_DEVICE

namespace cuda {
// launch.workspace of roi_align_backward, in bytes: with atomics a float32 copy of gradients in half, else nothing.
int64_t roi_align_backward_workspace(const View& grad, const std::vector<View>& gradients, bool deterministic);

// roi_align_backward where launch.deterministic. The workspace in bytes grows with the RoIs times the tiles of 16 x 32
// pixels, up to a limit.
void roi_align_backward_gather(const View& grad, const View& boxes, const RoiAlignLevels& gradients,
                               const RoiAlignRule& rule, const Launch& launch);
int64_t roi_align_backward_gather_workspace(const View& grad, const std::vector<View>& gradients);
}  // namespace cuda

}  // namespace roikit
