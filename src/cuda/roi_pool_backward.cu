// RoIPool backward on the GPU, the fast way: every bin adds its gradient to its winner by one atomic addition, in any
// order. A block takes one RoI and a chunk of channels; the blocks that run together share a chunk, so that its planes
// stay in the L2 cache. Half adds up in a float32 map in the workspace, which is rounded once.
#include "core/roi_pool.h"

#include "cuda/odometer.cuh"
#include "cuda/roi_pool_backward.cuh"
#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

constexpr int kAhead = 4;      // bins that a thread loads before it adds the first
constexpr int kBins = 1536;    // bins of channels that a block takes at least, where there are as many

template <class F, class T>
__global__ void add_to_winners(const PoolGradient p, const F* grad, const int32_t* argmax, const T* boxes,
                               accumulate_t<F>* gradient, int64_t chunk) {
  using A = accumulate_t<F>;
  const int64_t blocks = (p.channels + chunk - 1) / chunk * p.rois;
  for (int64_t item = blockIdx.x; item < blocks; item += gridDim.x) {
    const int64_t k = item % p.rois, c0 = item / p.rois * chunk;
    const int64_t image = image_of(boxes[5 * k], p.images);
    if (image < 0) continue;
    const int64_t channels = p.channels - c0 < chunk ? p.channels - c0 : chunk, n = channels * p.bins;
    const int64_t from = k * p.channels * p.bins + c0 * p.grad_channel;
    A* const map = gradient + image * p.channels * p.plane + c0 * p.channel;
    // Neighbouring threads take neighbours in memory: bins of a plane, or channels of a bin.
    const bool planes = p.grad_bin == 1;
    const int32_t inner = int32_t(planes ? p.bins : channels);
    Odometer at = Odometer::of(threadIdx.x, 1, inner);
    const Odometer step = Odometer::of(blockDim.x, 1, inner);
    for (int64_t first = threadIdx.x; first < n; first += kAhead * int64_t(blockDim.x)) {
      A values[kAhead];
      int32_t winners[kAhead], channel[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        winners[a] = -1;
        channel[a] = planes ? at.a : at.c;
        if (first + a * int64_t(blockDim.x) < n) {
          const int64_t i = from + channel[a] * p.grad_channel + (planes ? at.c : at.a) * p.grad_bin;
          winners[a] = argmax[i];
          values[a] = load(grad[i]);
        }
        at.add(step, 1, inner);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a)
        if (winners[a] >= 0 && winners[a] < p.plane)
          atomicAdd(map + channel[a] * p.channel + winners[a] * p.pixel, values[a]);
    }
  }
}

}  // namespace

int64_t roi_pool_backward_workspace(const View& argmax, const View& gradient, bool deterministic) {
  if (deterministic) return gradient.size() > 0 ? ordered_workspace(argmax, gradient) : 0;
  return sums_workspace(gradient);
}

void roi_pool_backward(const View& grad, const View& argmax, const View& boxes, const View& gradient,
                       const Launch& launch) {
  constexpr const char* kOp = "roi_pool_backward";
  check_roi_pool_backward(grad, argmax, boxes, gradient);
  if (gradient.size() == 0) return;
  PoolGradient p;
  p.rois = grad.shape[0], p.images = gradient.shape[0], p.channels = gradient.shape[1];
  p.bins = grad.shape[2] * grad.shape[3];
  p.height = gradient.shape[2], p.plane = p.height * gradient.shape[3];
  const bool planes = grad.contiguous() && argmax.contiguous();
  p.grad_channel = planes ? p.bins : 1, p.grad_bin = planes ? 1 : p.channels;
  p.channel = gradient.contiguous() ? p.plane : 1, p.pixel = gradient.contiguous() ? 1 : p.channels;
  require(p.bins <= INT32_MAX && p.channels <= INT32_MAX && p.plane <= INT32_MAX,
          kOp, "PH * PW, C and H * W must be < 2^31");
  p.width = Divisor(int32_t(gradient.shape[3]));
  if (launch.deterministic) return roi_pool_backward_in_order(p, grad, argmax, boxes, gradient, launch);
  add_up(kOp, gradient, boxes, launch, [&](auto feature, auto box, auto* sums) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    if (p.rois * p.bins == 0) return;
    const int64_t least = ceil_div(kBins, p.bins), lanes = planes || least > kWarp ? least : kWarp;
    const int64_t chunk = lanes < p.channels ? lanes : p.channels;
    run(kOp, launch, add_to_winners<F, B>, grid_for(ceil_div(p.channels, chunk) * p.rois, 1), kBlock, p, grad.as<F>(),
        argmax.as<int32_t>(), boxes.as<B>(), sums, chunk);
  });
}

}  // namespace roikit::cuda
