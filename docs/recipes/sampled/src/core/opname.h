// The value of a map at the centre of each bin of a box: one bilinear sample a bin. Values and gradient are exact.
//
// Per axis, T the boxes' type, P bins, extent H: start = low * scale, size = high * scale - start; bin p is sampled at
// y = start + ((T(p) + 0.5) * size) / T(P). Outside of [-1, H] its value is 0; inside it has RoIAlign's two pixels and
// weights, in the accumulate type:
//
//   (f[y0, x0] * a0 + f[y0, x1] * a1) * b0 + (f[y1, x0] * a0 + f[y1, x1] * a1) * b1
//
// Source: this project's own; the bilinear sample is that of He et al. 2017, arXiv:1703.06870, section 3.
#pragma once

#include "core/roi_align.h"

namespace roikit {

// A bin's sample along one axis.
template <class A>
struct OpnameTaps {
  int32_t pixel[2] = {0, 0};
  A weight[2] = {A(0), A(0)};
  bool inside = false;

  template <class T>
  ROIKIT_HD static OpnameTaps of(T low, T high, T scale, int64_t bins, int64_t bin,
                                 int64_t extent) {
    OpnameTaps result;
    const T start = low * scale, size = high * scale - start;
    const T y = start + ((T(bin) + T(0.5)) * size) / T(bins);
    if (extent <= 0 || !Bilinear<T>::inside(y, extent)) return result;  // NaN is outside
    const auto taps = Bilinear<T>::at(y, extent);
    result.pixel[0] = int32_t(taps.low), result.pixel[1] = int32_t(taps.high);
    result.weight[0] = A(taps.low_weight), result.weight[1] = A(taps.high_weight);
    result.inside = true;
    return result;
  }
};

template <class F, class A>
ROIKIT_HD A opname_value(const F* plane, int64_t width, const OpnameTaps<A>& y,
                         const OpnameTaps<A>& x) {
  if (!(y.inside && x.inside)) return A(0);
  const F* const top = plane + y.pixel[0] * width;
  const F* const bottom = plane + y.pixel[1] * width;
  return (load(top[x.pixel[0]]) * x.weight[0] + load(top[x.pixel[1]]) * x.weight[1]) * y.weight[0] +
         (load(bottom[x.pixel[0]]) * x.weight[0] + load(bottom[x.pixel[1]]) * x.weight[1]) * y.weight[1];
}

// Its transpose: calls add(pixel, value) for the pixels of the plane that receive a part of the bin's gradient.
template <class A, class Add>
ROIKIT_HD void opname_shares(int64_t width, const OpnameTaps<A>& y,
                             const OpnameTaps<A>& x, A grad, Add add) {
  if (!(y.inside && x.inside)) return;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      const A weight = y.weight[i] * x.weight[j];
      if (weight != A(0)) add(y.pixel[i] * width + x.pixel[j], weight * grad);
    }
}

// maps: input or gradient; bins: output or grad.
inline void check_opname(const char* op, const View& maps, const View& boxes, const View& bins) {
  check_planes(op, maps, boxes, bins);
  require(maps.shape[1] == bins.shape[1], op, "maps and bins must have the same channels");
}

// input and gradient (N, C, H, W), output and grad (K, C, PH, PW), F: float16, bfloat16, float32, float64; boxes (K, 5)
// float32 or float64, batch index first; all contiguous. A batch index that names no image: the CPU throws
// std::out_of_range, CUDA gives that box 0 and no gradient. The gradient is added up in the accumulate type in the
// order of box, row, column (CUDA: where launch.deterministic asks for it, else by atomics) and rounded once.
namespace ROIKIT_DEVICE {
void opname(const View& input, const View& boxes, double spatial_scale, const View& output,
            const Launch& launch);
void opname_backward(const View& grad, const View& boxes, double spatial_scale, const View& gradient,
                     const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
// Bytes: a float32 copy of a gradient in half, else nothing.
int64_t opname_backward_workspace(const View& gradient);
}  // namespace cuda

}  // namespace roikit
