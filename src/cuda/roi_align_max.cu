// RoIAlign with the largest sample on the GPU. Forward and the fast backward: a thread takes a bin of one channel, its
// neighbours what lies beside it in the bins' array. Backward in order: a warp owns a plane of the gradient and takes
// the RoIs one after another; its lanes find the samples of 32 bins at once, and four of them add these in order.
#include "core/roi_align_max.h"

#include <type_traits>
#include <vector>

#include "cuda/roi_align.cuh"
#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

// A call's arrays and formats.
template <class F, class B>
struct Job {
  const B* boxes;
  F* bins;  // output or grad
  int32_t* argmax;
  int64_t rois, channels, rows, columns;
  bool maps_last, bins_last;
  RoiAlignRule rule;
};

// A RoI on its level.
template <class A, class B>
struct RoiOnMap {
  using T = decltype(A() + B());
  int32_t level;
  int64_t image, height, width;  // image: -1 where the box names none
  SampleAxis<T> y, x;

  template <class F>
  __device__ RoiOnMap(const AlignLevels& levels, const Job<F, B>& job, int64_t k)
      : level(pyramid_level(job.boxes + 5 * k + 1, levels.threshold, levels.count - 1)),
        image(image_of(job.boxes[5 * k], levels.images)),
        height(levels.height[level]),
        width(levels.width[level]) {
    const B* const box = job.boxes + 5 * k;
    const T scale = T(levels.scale[level]);
    y = SampleAxis<T>::of(T(box[2]), T(box[4]), scale, job.rows, height, job.rule);
    x = SampleAxis<T>::of(T(box[1]), T(box[3]), scale, job.columns, width, job.rule);
  }

  __device__ MaxBin<T> bin(int64_t ph, int64_t pw) const { return {y, x, ph, pw, height, width}; }
};

// The plane of a channel, from its image's level on.
template <class P, class J>
__device__ P* plane_of(void* map, const J& job, int64_t image, int64_t channel, int64_t height, int64_t width) {
  const int64_t plane = height * width;
  return static_cast<P*>(map) + image * job.channels * plane + channel * (job.maps_last ? 1 : plane);
}

// Calls fn(element of the bins, RoI, channel, ph, pw).
template <class J, class Fn>
__device__ void each_bin(const J& job, Fn fn) {
  const int64_t bins = job.rows * job.columns;
  for (int64_t n = first_item(); n < job.rois * job.channels * bins; n += item_stride()) {
    const int64_t line = job.bins_last ? job.channels : bins, major = n / line, minor = n - major * line;
    const int64_t k = major / (job.bins_last ? bins : job.channels);
    const int64_t rest = major - k * (job.bins_last ? bins : job.channels);
    const int64_t c = job.bins_last ? minor : rest, bin = job.bins_last ? rest : minor, ph = bin / job.columns;
    fn(n, k, c, ph, bin - ph * job.columns);
  }
}

template <class F, class B, bool given>
__global__ void __launch_bounds__(kBlock)
    largest(const __grid_constant__ AlignLevels levels, const __grid_constant__ Job<F, B> job) {
  using A = accumulate_t<F>;
  each_bin(job, [&](int64_t n, int64_t k, int64_t c, int64_t ph, int64_t pw) {
    const RoiOnMap<A, B> roi(levels, job, k);
    const int64_t pixel = job.maps_last ? job.channels : 1;
    int32_t at = -1;
    A value = 0;
    if (roi.image >= 0) {
      const F* const map = plane_of<F>(levels.map[roi.level], job, roi.image, c, roi.height, roi.width);
      const auto bin = roi.bin(ph, pw);
      if (given) {
        AxisSample<A> down, across;
        if (bin.sample(job.argmax[n], roi.height, roi.width, down, across))
          value = bin.value(map, roi.width * pixel, pixel, down, across);
      } else {
        value = bin.largest(map, roi.height, roi.width, pixel, at);
      }
    }
    store(job.bins[n], value);
    if (!given && job.argmax) job.argmax[n] = at;
  });
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock)
    spread(const __grid_constant__ AlignLevels sums, const __grid_constant__ Job<F, B> job) {
  using A = accumulate_t<F>;
  each_bin(job, [&](int64_t n, int64_t k, int64_t c, int64_t ph, int64_t pw) {
    if (job.argmax[n] < 0) return;
    const RoiOnMap<A, B> roi(sums, job, k);
    AxisSample<A> down, across;
    if (roi.image < 0 || !roi.bin(ph, pw).sample(job.argmax[n], roi.height, roi.width, down, across)) return;
    const int64_t pixel = job.maps_last ? job.channels : 1;
    A* const map = plane_of<A>(sums.map[roi.level], job, roi.image, c, roi.height, roi.width);
    const A grad = load(job.bins[n]);
#pragma unroll
    for (int tap = 0; tap < 4; ++tap) {
      const A weight =
          (tap / 2 ? down.high_weight : down.low_weight) * (tap % 2 ? across.high_weight : across.low_weight);
      const int64_t y = tap / 2 ? down.high : down.low, x = tap % 2 ? across.high : across.low;
      if (weight != A(0)) atomicAdd(map + (y * roi.width + x) * pixel, weight * grad);
    }
  });
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock)
    spread_in_order(const __grid_constant__ AlignLevels sums, const __grid_constant__ Job<F, B> job) {
  using A = accumulate_t<F>;
  const int lane = int(threadIdx.x) % kWarp;
  const int64_t bins = job.rows * job.columns, planes = sums.images * job.channels;
  const int64_t pixel = job.maps_last ? job.channels : 1;
  for (int64_t m = first_item() / kWarp; m < sums.count * planes; m += item_stride() / kWarp) {
    const int32_t level = int32_t(m / planes);
    const int64_t image = (m - level * planes) / job.channels, c = (m - level * planes) - image * job.channels;
    A* const map = plane_of<A>(sums.map[level], job, image, c, sums.height[level], sums.width[level]);
    for (int64_t k = 0; k < job.rois; ++k) {
      const RoiOnMap<A, B> roi(sums, job, k);
      if (roi.image != image || roi.level != level) continue;
      for (int64_t first = 0; first < bins; first += kWarp) {
        const int64_t bin = first + lane, ph = bin / job.columns, element = k * job.channels * bins;
        const int64_t n = element + (job.bins_last ? bin * job.channels + c : c * bins + bin);
        AxisSample<A> down, across;
        const bool won = bin < bins && job.argmax[n] >= 0 &&
                         roi.bin(ph, bin - ph * job.columns).sample(job.argmax[n], roi.height, roi.width, down, across);
        const A grad = won ? load(job.bins[n]) : A(0);
        for (unsigned left = __ballot_sync(kFullWarp, won); left != 0; left &= left - 1) {
          const int j = __ffs(int(left)) - 1;
          const int32_t y0 = __shfl_sync(kFullWarp, down.low, j), y1 = __shfl_sync(kFullWarp, down.high, j);
          const int32_t x0 = __shfl_sync(kFullWarp, across.low, j), x1 = __shfl_sync(kFullWarp, across.high, j);
          const A b0 = __shfl_sync(kFullWarp, down.low_weight, j), b1 = __shfl_sync(kFullWarp, down.high_weight, j);
          const A a0 = __shfl_sync(kFullWarp, across.low_weight, j), a1 = __shfl_sync(kFullWarp, across.high_weight, j);
          const A share = __shfl_sync(kFullWarp, grad, j);
          const A weight = (lane & 2 ? b1 : b0) * (lane & 1 ? a1 : a0);
          const int64_t row = lane & 2 ? y1 : y0, column = lane & 1 ? x1 : x0;
          // A pixel of weight 0 may be another lane's pixel.
          if (lane < 4 && weight != A(0)) map[(row * roi.width + column) * pixel] += weight * share;
          __syncwarp();  // the next bin's lanes see these sums
        }
      }
    }
  }
}

template <class F, class B>
Job<F, B> job_of(const View& boxes, const View& bins, const View& argmax, bool maps_last, const RoiAlignRule& rule) {
  return {boxes.as<B>(), bins.as<F>(), argmax.size() > 0 ? argmax.as<int32_t>() : nullptr,
          bins.shape[0], bins.shape[1], bins.shape[2], bins.shape[3], maps_last, !bins.contiguous(), rule};
}

}  // namespace

void roi_align_max(const RoiAlignLevels& features, const View& boxes, const View& output, const View& argmax,
                   bool given, const RoiAlignRule& rule, const Launch& launch) {
  constexpr const char* kOp = "roi_align";
  const bool channels_last = check_roi_align_max("roi_align", features, boxes, output, argmax, given, rule);
  const AlignLevels levels(features);
  if (output.size() == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  with_types(kOp, output, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    run(kOp, launch, given ? largest<F, B, true> : largest<F, B, false>, grid_for(output.size()), kBlock, levels,
        job_of<F, B>(boxes, output, argmax, channels_last, rule));
  });
}

int64_t roi_align_max_backward_workspace(const std::vector<View>& gradients) {
  Workspace workspace;
  const DType dtype = gradients.empty() ? DType::f32 : gradients[0].dtype;
  if (is_half(dtype)) half_sums(workspace, gradients);
  return workspace.bytes();
}

void roi_align_max_backward(const View& grad, const View& argmax, const View& boxes, const RoiAlignLevels& gradients,
                            const RoiAlignRule& rule, const Launch& launch) {
  constexpr const char* kOp = "roi_align_backward";
  const bool channels_last = check_roi_align_max("roi_align_backward", gradients, boxes, grad, argmax, true, rule);
  AlignLevels sums(gradients);
  const DeviceGuard guard(launch.device, kOp);
  with_types(kOp, grad, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    using A = accumulate_t<F>;
    constexpr bool kHalf = !std::is_same_v<F, A>;
    Workspace workspace(launch.workspace);
    if (kHalf) {
      const std::vector<float*> arrays = half_sums(workspace, gradients.maps);
      workspace.check(kOp, launch);
      for (int32_t i = 0; i < sums.count; ++i) sums.map[i] = arrays[i];
    }
    int64_t pixels = 0;
    for (int32_t i = 0; i < sums.count; ++i) {
      const int64_t size = gradients.maps[i].size();
      if (size > 0) check(cudaMemsetAsync(sums.map[i], 0, size * sizeof(A), stream_of(launch)), kOp);
      pixels += size;
    }
    if (grad.size() > 0 && pixels > 0) {
      const auto job = job_of<F, B>(boxes, grad, argmax, channels_last, rule);
      const int64_t planes = sums.count * sums.images * job.channels;
      if (launch.deterministic)
        run(kOp, launch, spread_in_order<F, B>, grid_for(planes, kBlock / kWarp), kBlock, sums, job);
      else
        run(kOp, launch, spread<F, B>, grid_for(grad.size()), kBlock, sums, job);
    }
    if constexpr (kHalf) {
      for (int32_t i = 0; i < sums.count; ++i) {
        const View& map = gradients.maps[i];
        if (map.size() > 0) round_to(kOp, static_cast<const float*>(sums.map[i]), map.size(), map.as<F>(), launch);
      }
    }
  });
}

}  // namespace roikit::cuda
