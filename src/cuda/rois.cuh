// What the RoI kernels share.
#pragma once

#include "cuda/launch.cuh"

namespace roikit::cuda {

// The image that a box's first entry names, or -1 where it names none: not whole, negative, beyond the batch, NaN.
template <class T>
__device__ int64_t image_of(T index, int64_t images) {
  if (!(index >= T(0) && index < T(images))) return -1;
  const int64_t image = int64_t(index);
  return T(image) == index ? image : -1;
}

// Calls fn(TypeTag<F>, TypeTag<B>): the dtypes of the maps and of the boxes.
template <class Fn>
void with_types(const char* op, const View& maps, const View& boxes, Fn fn) {
  visit<float, double, Half, BFloat16>(maps.dtype, op, [&](auto feature) {
    visit<float, double>(boxes.dtype, op, [&](auto box) { fn(feature, box); });
  });
}

}  // namespace roikit::cuda
