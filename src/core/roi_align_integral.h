// RoIAlign without samples (Precise RoI pooling): a bin is the integral of the bilinear surface over it, divided by its
// area. So it has a gradient with respect to the box, everywhere.
//
// The surface is f(y, x) = sum of f[i, j] * hat(y - i) * hat(x - j), hat(u) = max(1 - |u|, 0), over the pixels of the map;
// outside it falls to 0 within a pixel. Per axis, T as in roi_align.h: off = aligned ? 0.5 : 0; start = low * scale - off;
// size = (high * scale - off) - start, without a minimum; the edges of bin p are a = start + p * step and b = start +
// (p + 1) * step, step = size / P. The weight of pixel i is the mean of hat(u - i) over [a, b]:
//
//   u = a - i, v = b - i;   u', v' limited to [-1, 0], u", v" to [0, 1]
//   ((v' - u') * (1 + (u' + v') / 2) + (v" - u") * (1 - (u" + v") / 2)) / (b - a)
//
// and hat(u) where rounding leaves no length. A side that is not above 0, or not finite, makes the RoI 0, and its gradients.
//
// Gradient: with V a bin's mean and L(a) the mean over its edge line at a, dV / da = (V - L(a)) / (b - a) and dV / db =
// (L(b) - V) / (b - a), that is, pixel i's weight w changes by (w - hat(u)) / (b - a) and (hat(v) - w) / (b - a). An edge
// p of P moves by 1 - p / P with the low corner and by p / P with the high one, each times the scale.
//
// Source: Jiang et al. 2018, "Acquisition of localization confidence for accurate object detection", arXiv:1807.11590,
// equations 5 to 7.
#pragma once

#include "core/roi_align.h"

namespace roikit {

template <class T> ROIKIT_HD T limited_to(T x, T low, T high) { return x < low ? low : x > high ? high : x; }

template <class T> ROIKIT_HD T hat(T u) {
  const T height = u < T(0) ? T(1) + u : T(1) - u;
  return height > T(0) ? height : T(0);
}

// What the weight of a pixel in a bin changes by when the box's corners move.
template <class T> struct CornerSlope { T low, high; };

// One bin along an axis.
template <class T>
struct IntegralBin {
  T a, b;

  ROIKIT_HD static IntegralBin of(const SampleAxis<T>& axis, int64_t bin) { return {axis.base(bin), axis.base(bin + 1)}; }

  // The pixels that can have weight: first ... last, none where last < first.
  ROIKIT_HD int64_t first(int64_t extent) const { return a > T(0) ? (a < T(extent) ? int64_t(a) : extent) : 0; }
  ROIKIT_HD int64_t last(int64_t extent) const {
    return b > T(-1) ? (b < T(extent - 1) ? int64_t(std::ceil(b)) : extent - 1) : -1;
  }

  ROIKIT_HD T weight(int64_t pixel) const {
    const T u = a - T(pixel), v = b - T(pixel);
    if (!(b > a)) return hat(u);
    const T u0 = limited_to(u, T(-1), T(0)), v0 = limited_to(v, T(-1), T(0));
    const T u1 = limited_to(u, T(0), T(1)), v1 = limited_to(v, T(0), T(1));
    const T rising = (v0 - u0) * (T(1) + (u0 + v0) * T(0.5)), falling = (v1 - u1) * (T(1) - (u1 + v1) * T(0.5));
    return (rising + falling) / (b - a);
  }

  // With the weight of the pixel at hand. bin: which of `bins` this is.
  ROIKIT_HD CornerSlope<T> slope(int64_t pixel, T weight, int64_t bin, int64_t bins, T scale) const {
    if (!(b > a)) return {T(0), T(0)};
    const T with_a = (weight - hat(a - T(pixel))) / (b - a), with_b = (hat(b - T(pixel)) - weight) / (b - a);
    const T left = T(bin) / T(bins), right = T(bin + 1) / T(bins);
    return {scale * ((T(1) - left) * with_a + (T(1) - right) * with_b), scale * (left * with_a + right * with_b)};
  }
};

// The pixels of one bin in ascending order, with their weights; the counterpart of TapWalk.
template <class T>
class IntegralWalk {
 public:
  ROIKIT_HD IntegralWalk(const SampleAxis<T>& axis, int64_t bin, int32_t extent)
      : bin_(IntegralBin<T>::of(axis, bin)),
        at_(axis.integral ? int32_t(bin_.first(extent)) : 0),
        last_(axis.integral ? int32_t(bin_.last(extent)) : -1) {}

  template <class Index>
  ROIKIT_HD bool next(Index& at, T& weight) {
    while (at_ <= last_) {
      at = at_++;
      weight = bin_.weight(at);
      if (weight != T(0)) return true;
    }
    return false;
  }

 private:
  IntegralBin<T> bin_;
  int32_t at_, last_;
};

// Calls add(pixel, weight) for those pixels of a bin that lie in [begin, end).
template <class T, class Add>
ROIKIT_HD void add_pixels_of_bin(const SampleAxis<T>& axis, int64_t bin, int64_t extent, int64_t begin, int64_t end,
                                 Add&& add) {
  const auto edges = IntegralBin<T>::of(axis, bin);
  int64_t i = edges.first(extent);
  const int64_t last = edges.last(extent) < end - 1 ? edges.last(extent) : end - 1;
  for (i = i < begin ? begin : i; i <= last; ++i) add(i, edges.weight(i));
}

// True when the map is channels_last.
inline bool check_roi_align_boxes(const View& grad, const View& input, const View& boxes, const View& gradient) {
  constexpr const char* kOp = "roi_align_boxes_backward";
  check_rows(kOp, "the gradient", gradient, 5);
  require(gradient.shape[0] == boxes.shape[0] && gradient.dtype == boxes.dtype, kOp,
          "the gradient must be (K, 5) of the boxes' dtype");
  return check_roi_align_grad(kOp, {{input}, {1.0}, {}}, boxes, grad);
}

// grad (K, C, PH, PW) and input (N, C, H, W) F, each contiguous or channels_last; boxes and gradient (K, 5) T: the
// gradient of the integral rule with respect to the boxes, added up in a fixed order, 0 for the batch index.
namespace ROIKIT_DEVICE {
void roi_align_boxes_backward(const View& grad, const View& input, const View& boxes, double spatial_scale,
                              bool aligned, const View& gradient, const Launch& launch);
}  // namespace ROIKIT_DEVICE

}  // namespace roikit
