// The gradient of RoIAlign's integral rule with respect to the boxes, on the GPU. A block has a RoI; a thread takes bins of
// single channels in a fixed order, makes the weights of a bin's pixels and what they change by as it goes, and keeps four
// sums. These are added up in a fixed tree: every run has the same bits.
#include "core/roi_align_integral.h"

#include "cuda/rois.cuh"

namespace roikit::cuda {
namespace {

constexpr const char* kOp = "roi_align_boxes_backward";

template <class F>
struct Job {
  const F* input;
  const F* grad;
  int64_t images, channels, height, width, rows, columns, rois;
  bool channels_last, grad_last;
  double scale;
  bool aligned;
};

// In the order x1, y1, x2, y2.
template <class A> struct Corners4 { A v[4] = {}; };

template <class F, class T>
__device__ void add_bin(const Job<F>& job, const SampleAxis<T>& y, const SampleAxis<T>& x, int64_t ph, int64_t pw,
                        const F* map, accumulate_t<F> grad, Corners4<accumulate_t<F>>& sums) {
  using A = accumulate_t<F>;
  const auto down = IntegralBin<T>::of(y, ph), across = IntegralBin<T>::of(x, pw);
  const int64_t left = across.first(job.width), right = across.last(job.width), bottom = down.last(job.height);
  const int64_t pixel = job.channels_last ? job.channels : 1;
  const T scale = T(job.scale);
  if (left > right) return;
  for (int64_t i = down.first(job.height); i <= bottom; ++i) {
    A mean = 0, low = 0, high = 0;
    for (int64_t j = left; j <= right; ++j) {
      const A value = load(map[(i * job.width + j) * pixel]);
      const T weight = across.weight(j);
      const auto slope = across.slope(j, weight, pw, job.columns, scale);
      mean += A(weight) * value, low += A(slope.low) * value, high += A(slope.high) * value;
    }
    const T weight = down.weight(i);
    const auto slope = down.slope(i, weight, ph, job.rows, scale);
    sums.v[0] += grad * (A(weight) * low), sums.v[1] += grad * (A(slope.low) * mean);
    sums.v[2] += grad * (A(weight) * high), sums.v[3] += grad * (A(slope.high) * mean);
  }
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock, 1) corners(Job<F> job, const B* boxes, B* gradient) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  __shared__ A parts[4][kBlock / kWarp];
  const int64_t bins = job.rows * job.columns, plane = job.height * job.width;
  for (int64_t k = blockIdx.x; k < job.rois; k += gridDim.x) {
    const B* const box = boxes + 5 * k;
    const RoiAlignRule rule{-1, job.aligned, true};
    const auto y = SampleAxis<T>::of(T(box[2]), T(box[4]), T(job.scale), job.rows, job.height, rule);
    const auto x = SampleAxis<T>::of(T(box[1]), T(box[3]), T(job.scale), job.columns, job.width, rule);
    const int64_t image = image_of(box[0], job.images);
    Corners4<A> sums;
    const int64_t items = image < 0 || y.grid == 0 || x.grid == 0 ? 0 : job.channels * bins;
    const int64_t line = job.channels_last ? job.channels : bins;  // neighbours read neighbours
    for (int64_t item = threadIdx.x; item < items; item += kBlock) {
      const int64_t major = item / line, minor = item - major * line;
      const int64_t c = job.channels_last ? minor : major, bin = job.channels_last ? major : minor;
      const int64_t ph = bin / job.columns, at = k * job.channels * bins;
      const A grad = load(job.grad[at + (job.grad_last ? bin * job.channels + c : c * bins + bin)]);
      const F* const map = job.input + image * job.channels * plane + c * (job.channels_last ? 1 : plane);
      add_bin(job, y, x, ph, bin - ph * job.columns, map, grad, sums);
    }
    for (int by = kWarp / 2; by > 0; by /= 2)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums.v[i] += __shfl_down_sync(kFullWarp, sums.v[i], by);
    __syncthreads();  // the parts of the RoI before are read
    if (threadIdx.x % kWarp == 0)
#pragma unroll
      for (int i = 0; i < 4; ++i) parts[i][threadIdx.x / kWarp] = sums.v[i];
    __syncthreads();
    if (threadIdx.x < 4) {
      A sum = 0;
      for (int w = 0; w < kBlock / kWarp; ++w) sum += parts[threadIdx.x][w];
      gradient[5 * k + 1 + threadIdx.x] = B(sum);
    }
    if (threadIdx.x == 4) gradient[5 * k] = B(0);
  }
}

}  // namespace

void roi_align_boxes_backward(const View& grad, const View& input, const View& boxes, double spatial_scale,
                              bool aligned, const View& gradient, const Launch& launch) {
  const bool channels_last = check_roi_align_boxes(grad, input, boxes, gradient);
  if (gradient.size() == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(boxes.dtype, kOp, [&](auto box) {
    visit<float, double, Half, BFloat16>(grad.dtype, kOp, [&](auto tag) {
      using F = typename decltype(tag)::type;
      using B = typename decltype(box)::type;
      const Job<F> job{input.as<F>(), grad.as<F>(), input.shape[0], input.shape[1], input.shape[2], input.shape[3],
                       grad.shape[2], grad.shape[3], boxes.shape[0], channels_last, !grad.contiguous(), spatial_scale,
                       aligned};
      run(kOp, launch, corners<F, B>, grid_for(boxes.shape[0], 1), kBlock, job, boxes.as<B>(), gradient.as<B>());
    });
  });
}

}  // namespace roikit::cuda
