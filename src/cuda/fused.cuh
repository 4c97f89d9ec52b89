// a * b + c, rounded once: for sums that are not exact by contract.
#pragma once

#include "cuda/launch.cuh"

namespace roikit::cuda {

__device__ inline float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

}  // namespace roikit::cuda
