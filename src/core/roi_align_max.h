// RoIAlign with the largest sample of a bin in place of their mean: the row "max" of Mask R-CNN's ablation.
//
// The samples are those of roi_align.h, one by one. In the accumulate type, no contraction, a the weights of the
// columns, b of the rows, a sample inside the map is
//
//   (f[y0, x0] * a0 + f[y0, x1] * a1) * b0 + (f[y1, x0] * a0 + f[y1, x1] * a1) * b1
//
// and one outside is 0. They are met in the order of rows, then columns, and win by being strictly greater than the
// best so far, which starts at -infinity. argmax is i * n + j for sample (i, j) of those inside, n of them in a row; -1
// where the winner lies outside, and where there is none: no sample, or all of them NaN or -infinity. The bin is then
// 0. Output and argmax are exact.
//
// The samples inside are whole rows and columns of the grid, since positions never turn back; so whether one outside
// wins is told by where the first of them stands.
//
// Source: He et al. 2017, arXiv:1703.06870, section 3 and the ablation of RoIAlign.
#pragma once

#include <limits>

#include "core/roi_align.h"

namespace roikit {

// One sample along an axis: two pixels, and their weights in the accumulate type.
template <class A>
struct AxisSample {
  int32_t low = 0, high = 0;
  A low_weight = 0, high_weight = 0;

  template <class T>
  ROIKIT_HD static AxisSample at(T y, int64_t extent) {
    const auto taps = Bilinear<T>::at(y, extent);
    return {int32_t(taps.low), int32_t(taps.high), A(taps.low_weight), A(taps.high_weight)};
  }
};

// The samples of a bin along an axis that lie inside the map, `count` from the `first` on.
struct InnerSamples {
  int64_t first = 0, count = 0;
  bool before = false, after = false;  // whether there are others before them, and after

  template <class T>
  ROIKIT_HD static InnerSamples of(const SampleAxis<T>& axis, T base, int64_t extent) {
    const SampleRange range = SampleRange::of(axis, base, extent);
    int64_t first = range.first, last = range.last;
    while (first < last && !Bilinear<T>::inside(axis.at(base, first), extent)) ++first;
    while (first < last && !Bilinear<T>::inside(axis.at(base, last - 1), extent)) --last;
    return {first, last - first, first > 0, last < axis.grid};
  }
};

// Where the first of a bin's samples outside the map stands among those inside.
enum class Outside : int { never = 0, first = 1, after_a_row = 2, last = 3 };

ROIKIT_HD Outside first_outside(bool rows_before, bool rows_after, bool columns_before, bool columns_after) {
  if (rows_before || columns_before) return Outside::first;
  if (columns_after) return Outside::after_a_row;
  return rows_after ? Outside::last : Outside::never;
}

// A bin as one thread works it.
template <class T>
struct MaxBin {
  SampleAxis<T> y, x;
  T y_base, x_base;
  InnerSamples rows, columns;

  ROIKIT_HD MaxBin(const SampleAxis<T>& y, const SampleAxis<T>& x, int64_t ph, int64_t pw, int64_t height,
                   int64_t width)
      : y(y), x(x), y_base(y.base(ph)), x_base(x.base(pw)),
        rows(InnerSamples::of(y, y_base, height)),
        columns(InnerSamples::of(x, x_base, width)) {}

  template <class A>
  ROIKIT_HD AxisSample<A> row(int64_t i, int64_t height) const {
    return AxisSample<A>::at(y.at(y_base, rows.first + i), height);
  }
  template <class A>
  ROIKIT_HD AxisSample<A> column(int64_t j, int64_t width) const {
    return AxisSample<A>::at(x.at(x_base, columns.first + j), width);
  }

  // Of a map with pixels `pixel` and rows `row` apart.
  template <class F, class A = accumulate_t<F>>
  ROIKIT_HD static A value(const F* map, int64_t row, int64_t pixel, const AxisSample<A>& b, const AxisSample<A>& a) {
    const F* const top = map + b.low * row;
    const F* const bottom = map + b.high * row;
    return (load(top[a.low * pixel]) * a.low_weight + load(top[a.high * pixel]) * a.high_weight) * b.low_weight +
           (load(bottom[a.low * pixel]) * a.low_weight + load(bottom[a.high * pixel]) * a.high_weight) * b.high_weight;
  }

  // The bin's value and its argmax.
  template <class F, class A = accumulate_t<F>>
  ROIKIT_HD A largest(const F* map, int64_t height, int64_t width, int64_t pixel, int32_t& argmax) const {
    const Outside outside = first_outside(rows.before, rows.after, columns.before, columns.after);
    A best = outside == Outside::first ? A(0) : -std::numeric_limits<A>::infinity();
    argmax = -1;
    if (rows.count == 0 || columns.count == 0) return A(0);
    for (int64_t i = 0; i < rows.count; ++i) {
      const auto b = this->template row<A>(i, height);
      for (int64_t j = 0; j < columns.count; ++j) {
        const A v = value(map, width * pixel, pixel, b, this->template column<A>(j, width));
        if (v > best) best = v, argmax = int32_t(i * columns.count + j);
      }
      if (outside == Outside::after_a_row && i == 0 && A(0) > best) best = A(0), argmax = -1;
    }
    if (outside == Outside::last && A(0) > best) argmax = -1;
    return argmax < 0 ? A(0) : best;
  }

  // The rows and columns of the sample that argmax names; false where it names none.
  template <class A>
  ROIKIT_HD bool sample(int32_t argmax, int64_t height, int64_t width, AxisSample<A>& b, AxisSample<A>& a) const {
    if (argmax < 0 || argmax >= rows.count * columns.count) return false;
    const int64_t i = argmax / columns.count;
    b = this->template row<A>(i, height), a = this->template column<A>(argmax - i * columns.count, width);
    return true;
  }
};

// True when the maps are channels_last. bins: output or grad; argmax may have no rows where `wanted` is false. The
// samples of a bin must be fewer than 2^31: of an adaptive grid about two a pixel lie inside the map at most, and by
// rounding four a bin.
inline bool check_roi_align_max(const char* op, const RoiAlignLevels& levels, const View& boxes, const View& bins,
                                const View& argmax, bool wanted, const RoiAlignRule& rule) {
  const bool channels_last = check_roi_align(op, levels, boxes, bins);
  require(!rule.integral, op, "reduce='max' takes samples");
  require(rule.sampling_ratio <= 32768, op, "sampling_ratio must be at most 32768 with reduce='max'");
  for (const View& map : levels.maps) {
    const double down = 2.0 * double(map.shape[2]) + 4.0 * double(bins.shape[2]) + 64;
    const double across = 2.0 * double(map.shape[3]) + 4.0 * double(bins.shape[3]) + 64;
    require(rule.sampling_ratio > 0 || down * across < 2147483648.0, op,
            "a map of this size may have more than 2^31 samples in a bin, too many for reduce='max'");
  }
  require(argmax.rank == 4 && argmax.shape[1] == bins.shape[1] && argmax.shape[2] == bins.shape[2] &&
              argmax.shape[3] == bins.shape[3] && (argmax.shape[0] == bins.shape[0] || argmax.shape[0] == 0),
          op, "argmax must be (K, C, PH, PW), or of no rows where it is not wanted");
  require(!wanted || argmax.size() == bins.size(), op, "argmax must be there");
  require((bins.contiguous() && argmax.contiguous()) || (bins.channels_last() && argmax.channels_last()), op,
          "the bins and argmax must both be contiguous or both channels_last");
  return channels_last;
}

// As roi_align and roi_align_backward; argmax int32 (K, C, PH, PW) in the format of output and grad. given: output is
// the sample that argmax names, in the features at hand, 0 where it names none. Else argmax is written, where it has
// rows. Maps and bins may differ in format. A thread adds up the gradient in the order of RoI, row, column (CUDA: where
// launch.deterministic asks for it, else by atomics). CUDA's scratch: a float32 copy of gradients in half.
namespace ROIKIT_DEVICE {
void roi_align_max(const RoiAlignLevels& features, const View& boxes, const View& output, const View& argmax,
                   bool given, const RoiAlignRule& rule, const Launch& launch);
void roi_align_max_backward(const View& grad, const View& argmax, const View& boxes, const RoiAlignLevels& gradients,
                            const RoiAlignRule& rule, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
int64_t roi_align_max_backward_workspace(const std::vector<View>& gradients);
}  // namespace cuda

}  // namespace roikit
