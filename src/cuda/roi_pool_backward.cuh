// The shapes and steps in memory of a RoIPool backward pass.
#pragma once

#include "cuda/launch.cuh"

namespace roikit::cuda {

struct PoolGradient {
  int64_t rois, images, channels, bins, height, width, plane;
  int64_t grad_channel, grad_bin;  // steps of grad and argmax; a RoI's are channels * bins apart
  int64_t channel, pixel;          // steps of the gradient; an image's are channels * plane apart
};

}  // namespace roikit::cuda
