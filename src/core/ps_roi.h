// Position-sensitive pooling: bin (ph, pw) of output channel c is a mean over input channel (c * PH + ph) * PW + pw.
//
// So output (K, C / (PH * PW), PH, PW), laid out in rows, has the input's C channels side by side, and element i of RoI
// k is the mean of one bin over plane i of its image. A bin's mean separates by axis:
//
//   value = (sum over rows of Wy * (sum over columns of Wx * f)) / (county * countx), 0 where a count is 0,
//
// rows and columns ascending, without contraction, so that every walk gives the same bits. Gradient: a pixel receives
// Wx * (Wy * (grad / (county * countx))), over the RoIs in order. The weights and counts of an axis:
//
//   align: RoIAlign's samples with aligned = true: merged bilinear weights, count = grid (core/roi_align.h);
//   pool:  start = round(low * scale), size = max(round(high * scale) - start, 1), bin p has the pixels
//          [floor(p * size / P) + start, ceil((p + 1) * size / P) + start), clipped to [0, extent - 1), weight 1 each,
//          count = how many. The clipping leaves out the last row and column of the map, as torchvision does.
//
// Source: Dai et al. 2016, arXiv:1605.06409 (R-FCN), equation 1; the samples of align: He et al. 2017, arXiv:1703.06870,
// section 3; rounding, clipping and the half pixel as torchvision's ps_roi_pool and ps_roi_align have them.
#pragma once

#include <type_traits>

#include "core/roi_align.h"
#include "core/roi_pool.h"

namespace roikit {

struct PsRule {
  bool align = false;
  int64_t sampling_ratio = -1;  // align: samples a bin along each axis; 0 or less: ceil(bin)

  const char* op() const { return align ? "ps_roi_align" : "ps_roi_pool"; }
};

// The type of the geometry: samples are placed in the wider of the accumulate type A and the boxes' type B, pixels are
// counted in B.
template <class A, class B, bool align>
using ps_real_t = std::conditional_t<align, decltype(A() + B()), B>;

// The pixels of one bin along one axis, ascending, with their weights.
template <class T, bool align>
class PsBin;

template <class T>
class PsBin<T, true> {
 public:
  ROIKIT_HD PsBin(T low, T high, T scale, int64_t bins, int64_t bin, int64_t extent, int64_t sampling_ratio)
      : PsBin(SampleAxis<T>::of(low, high, scale, bins, extent, {sampling_ratio, true}), bin, extent) {}

  ROIKIT_HD T count() const { return count_; }

  template <class Weight>
  ROIKIT_HD bool next(int32_t& at, Weight& weight) {
    T w;
    if (!walk_.next(at, w)) return false;
    weight = Weight(w);
    return true;
  }

 private:
  ROIKIT_HD PsBin(const SampleAxis<T>& axis, int64_t bin, int64_t extent)
      : walk_(axis, bin, int32_t(extent)), count_(T(axis.grid)) {}

  TapWalk<T> walk_;
  T count_;
};

template <class T>
class PsBin<T, false> {
 public:
  ROIKIT_HD PsBin(T low, T high, T scale, int64_t bins, int64_t bin, int64_t extent, int64_t) {
    if (!(low - low == T(0) && high - high == T(0))) return;
    const int64_t start = PoolAxis<T>::corner(low * scale), size = PoolAxis<T>::corner(high * scale) - start;
    const PoolAxis<T> axis{start, T(size > 1 ? size : 1) / T(bins)};
    range_ = axis.range(bin, extent > 1 ? extent - 1 : 0);
    count_ = range_.end > range_.begin ? T(range_.end - range_.begin) : T(0);
  }

  ROIKIT_HD T count() const { return count_; }

  template <class Weight>
  ROIKIT_HD bool next(int32_t& at, Weight& weight) {
    if (range_.begin >= range_.end) return false;
    at = range_.begin++;
    weight = Weight(1);
    return true;
  }

 private:
  PixelRange range_;
  T count_ = 0;
};

// maps: input or gradient; bins: output or grad.
inline void check_ps_roi(const char* op, const View& maps, const View& boxes, const View& bins) {
  check_planes(op, maps, boxes, bins);
  require(maps.shape[1] == bins.shape[1] * bins.shape[2] * bins.shape[3], op, "maps must have C * PH * PW channels");
}

// input and gradient (N, C * PH * PW, H, W), output and grad (K, C, PH, PW), F: float16, bfloat16, float32, float64;
// boxes (K, 5) float32 or float64, batch index first; all contiguous. A batch index that names no image: the CPU throws
// std::out_of_range, CUDA gives that RoI 0 and no gradient. Half is added up in float32 and rounded once. CUDA adds up
// the gradient by atomics, in any order, or, where launch.deterministic, in the CPU's order.
namespace ROIKIT_DEVICE {
void ps_roi(const View& input, const View& boxes, double spatial_scale, bool align, int64_t sampling_ratio,
            const View& output, const Launch& launch);
void ps_roi_backward(const View& grad, const View& boxes, double spatial_scale, bool align, int64_t sampling_ratio,
                     const View& gradient, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
int64_t ps_roi_backward_workspace(const View& gradient);  // bytes: a float32 copy of a gradient in half, else nothing
}  // namespace cuda

}  // namespace roikit
