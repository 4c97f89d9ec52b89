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

}  // namespace roikit::cuda
