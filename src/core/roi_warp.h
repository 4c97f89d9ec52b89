// RoIWarp: bilinear samples inside a box rounded to whole pixels, two a bin along each axis, and the largest or the mean
// of a bin. Output and argmax are exact.
//
// Per axis, T the boxes' type, P bins, extent H: start = round(low * scale), size = max(round(high * scale) - start + 1,
// 1), as RoIPool rounds; cell i of 2 P is at T(start) + T(i) * (T(size) / T(2 P)). Outside [-1, H], or where a corner is
// not finite, its value is 0; inside it has RoIAlign's two pixels and weights. A value, in the accumulate type, no
// contraction, a the weights of the columns, b of the rows:
//
//   (f[y0, x0] * a0 + f[y0, x1] * a1) * b0 + (f[y1, x0] * a0 + f[y1, x1] * a1) * b1
//
// max: rows, then columns, strictly greater than the best so far, from -infinity; argmax is its place 0 ... 3 in the bin,
// or -1 where all are NaN, and the result 0. mean: (((v0 + v1) + v2) + v3) * 0.25.
//
// Source: Dai et al. 2016, arXiv:1512.04412, section 3.2 (a warp to a fixed target, then max pooling); He et al. 2017,
// arXiv:1703.06870, section 3, by which RoIWarp quantises the RoI as RoIPool does.
#pragma once

#include <limits>

#include "core/roi_align.h"
#include "core/roi_pool.h"

namespace roikit {

enum class WarpReduce : int { max = 0, mean = 1, given = 2 };  // given: the value at the place that argmax names

// One cell along an axis.
template <class A>
struct WarpCell {
  int32_t pixel[2] = {0, 0};
  A weight[2] = {A(0), A(0)};
  bool inside = false;

  template <class T>
  ROIKIT_HD static WarpCell of(T low, T high, T scale, int64_t bins, int64_t cell, int64_t extent) {
    WarpCell result;
    if (!(low - low == T(0) && high - high == T(0)) || extent <= 0) return result;
    const int64_t start = PoolAxis<T>::corner(low * scale), size = PoolAxis<T>::corner(high * scale) - start + 1;
    const T y = T(start) + T(cell) * (T(size > 1 ? size : 1) / T(2 * bins));
    if (!Bilinear<T>::inside(y, extent)) return result;
    const auto taps = Bilinear<T>::at(y, extent);
    result.pixel[0] = int32_t(taps.low), result.pixel[1] = int32_t(taps.high);
    result.weight[0] = A(taps.low_weight), result.weight[1] = A(taps.high_weight);
    result.inside = true;
    return result;
  }
};

template <class F>
ROIKIT_HD accumulate_t<F> warp_value(const F* plane, int64_t width, const WarpCell<accumulate_t<F>>& y,
                                     const WarpCell<accumulate_t<F>>& x) {
  using A = accumulate_t<F>;
  if (!(y.inside && x.inside)) return A(0);
  const F* const top = plane + y.pixel[0] * width;
  const F* const bottom = plane + y.pixel[1] * width;
  return (load(top[x.pixel[0]]) * x.weight[0] + load(top[x.pixel[1]]) * x.weight[1]) * y.weight[0] +
         (load(bottom[x.pixel[0]]) * x.weight[0] + load(bottom[x.pixel[1]]) * x.weight[1]) * y.weight[1];
}

// The value of a bin with cells y[0], y[1] and x[0], x[1]. at: the argmax, written for max, read for given.
template <class F>
ROIKIT_HD accumulate_t<F> warp_bin(const F* plane, int64_t width, const WarpCell<accumulate_t<F>>* y,
                                   const WarpCell<accumulate_t<F>>* x, WarpReduce reduce, int8_t& at) {
  using A = accumulate_t<F>;
  if (reduce == WarpReduce::given) {
    A value = 0;
    for (int i = 0; i < 4; ++i)  // and not y[at / 2]: the cells stay in registers
      if (at == i) value = warp_value(plane, width, y[i / 2], x[i % 2]);
    return value;
  }
  A best = -std::numeric_limits<A>::infinity(), sum = 0;
  at = -1;
  for (int i = 0; i < 4; ++i) {
    const A value = warp_value(plane, width, y[i / 2], x[i % 2]);
    sum = i == 0 ? value : sum + value;
    if (value > best) best = value, at = int8_t(i);
  }
  if (reduce == WarpReduce::mean) return sum * A(0.25);
  return at < 0 ? A(0) : best;
}

// Calls add(i, j, weight) for the cells (i of y, j of x) of a bin that receive its gradient, with what part of it.
template <class A, class Add>
ROIKIT_HD void warp_winners(const WarpCell<A>* y, const WarpCell<A>* x, bool mean, int8_t at, Add add) {
  for (int i = 0; i < 4; ++i)
    if ((mean || at == i) && y[i / 2].inside && x[i % 2].inside) add(y[i / 2], x[i % 2], mean ? A(0.25) : A(1));
}

// maps: input or gradient; bins: output or grad. Returns whether argmax is there.
inline bool check_roi_warp(const char* op, const View& maps, const View& boxes, const View& bins, const View& argmax) {
  check_planes(op, maps, boxes, bins);
  require(maps.shape[1] == bins.shape[1], op, "maps and bins must have the same channels");
  require(argmax.contiguous() && (argmax.size() == bins.size() || argmax.size() == 0), op,
          "argmax must be contiguous (K, C, PH, PW), or empty for the mean");
  return argmax.size() > 0;
}

inline bool check_roi_warp_output(const View& input, const View& boxes, WarpReduce reduce, const View& output,
                                  const View& argmax) {
  const bool places = check_roi_warp("roi_warp", input, boxes, output, argmax);
  require(places == (reduce != WarpReduce::mean) || output.size() == 0, "roi_warp: argmax is there but for the mean");
  return places;
}

// input and gradient (N, C, H, W), output and grad (K, C, PH, PW), F: float16, bfloat16, float32, float64; argmax int8
// (K, C, PH, PW), or empty for the mean; boxes (K, 5) float32 or float64, batch index first; all contiguous. A batch index
// that names no image: the CPU throws std::out_of_range, CUDA gives 0, argmax -1 and no gradient. The gradient is added up
// in the accumulate type in the order of RoI, row, column, cell (CUDA: where launch.deterministic asks for it, else by
// atomics), rounded once. CUDA's scratch: a float32 copy of a gradient in half.
namespace ROIKIT_DEVICE {
void roi_warp(const View& input, const View& boxes, double spatial_scale, WarpReduce reduce, const View& output,
              const View& argmax, const Launch& launch);
void roi_warp_backward(const View& grad, const View& argmax, const View& boxes, double spatial_scale,
                       const View& gradient, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
int64_t roi_warp_backward_workspace(const View& gradient);
}  // namespace cuda

}  // namespace roikit
