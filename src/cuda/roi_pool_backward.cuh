// What the two ways of RoIPool's backward pass share: the shapes, and the steps in memory.
#pragma once

#include "core/view.h"
#include "cuda/launch.cuh"
#include "cuda/odometer.cuh"

namespace roikit::cuda {

struct PoolGradient {
  int64_t rois, images, channels, bins, height, plane;
  Divisor width;
  int64_t grad_channel, grad_bin;  // steps of grad and argmax; a RoI's are channels * bins apart
  int64_t channel, pixel;          // steps of the gradient; an image's are channels * plane apart
};

// In the order of RoI, row, column of bins.
int64_t ordered_workspace(const View& argmax, const View& gradient);
void roi_pool_backward_in_order(const PoolGradient& p, const View& grad, const View& argmax, const View& boxes,
                                const View& gradient, const Launch& launch);

}  // namespace roikit::cuda
