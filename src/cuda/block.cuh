// What the threads of a block do together.
#pragma once

#include "cuda/launch.cuh"

namespace roikit::cuda {

template <class T>
struct Scanned {
  T before;  // the sum over the threads before this one
  T total;   // over all threads
};

// A prefix sum over the block's threads, whose number is a multiple of 32. All of them call it.
template <class T>
__device__ Scanned<T> block_scan(T value) {
  __shared__ T sums[kWarp];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, warps = int(blockDim.x) / kWarp;
  T upto = value;
  for (int by = 1; by < kWarp; by *= 2) {
    const T left = __shfl_up_sync(kFullWarp, upto, by);
    if (lane >= by) upto += left;
  }
  __syncthreads();  // a call before this one may still be reading sums
  if (lane == kWarp - 1) sums[warp] = upto;
  __syncthreads();
  T before = 0, total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += sums[w];
    total += sums[w];
  }
  return {before + upto - value, total};
}

}  // namespace roikit::cuda
