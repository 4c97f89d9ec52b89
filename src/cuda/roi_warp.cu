// RoIWarp on the GPU. Forward and the fast backward: a thread takes one bin of one channel, its neighbours the bins beside
// it. Backward in order: a warp owns a plane of the gradient and takes the RoIs' bins one after another; four lanes have
// the four pixels of a cell.
#include "core/roi_warp.h"

#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

struct Shape {
  int64_t rois, images, channels;
  int32_t rows, columns, height, width;

  __device__ int64_t plane() const { return int64_t(height) * width; }
  __device__ int64_t bins() const { return int64_t(rows) * columns; }
};

// The four cells of bin (ph, pw) of a RoI.
template <class A, class B>
struct Cells {
  WarpCell<A> y[2], x[2];

  __device__ Cells(const Shape& s, const B* roi, B scale, int32_t ph, int32_t pw) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      y[i] = WarpCell<A>::of(roi[2], roi[4], scale, s.rows, 2 * int64_t(ph) + i, s.height);
      x[i] = WarpCell<A>::of(roi[1], roi[3], scale, s.columns, 2 * int64_t(pw) + i, s.width);
    }
  }
};

// Calls fn(element of the bins, RoI's box, its image or -1, channel, ph, pw).
template <class B, class Fn>
__device__ void each_bin(const Shape& s, const B* boxes, Fn fn) {
  for (int64_t n = first_item(); n < s.rois * s.channels * s.bins(); n += item_stride()) {
    const int64_t line = n / s.columns, map = line / s.rows, k = map / s.channels;
    const B* const roi = boxes + 5 * k;
    fn(n, roi, image_of(roi[0], s.images), map - k * s.channels, int32_t(line - map * s.rows),
       int32_t(n - line * s.columns));
  }
}

template <class F, class B>
__global__ void warp(const Shape s, const F* input, const B* boxes, double spatial_scale, WarpReduce reduce, F* output,
                     int8_t* argmax) {
  using A = accumulate_t<F>;
  each_bin(s, boxes, [&](int64_t n, const B* roi, int64_t image, int64_t c, int32_t ph, int32_t pw) {
    int8_t at = image >= 0 && reduce == WarpReduce::given ? argmax[n] : int8_t(-1);
    A value = 0;
    if (image >= 0) {
      const Cells<A, B> cells(s, roi, B(spatial_scale), ph, pw);
      value = warp_bin(input + (image * s.channels + c) * s.plane(), s.width, cells.y, cells.x, reduce, at);
    }
    store(output[n], value);
    if (reduce == WarpReduce::max) argmax[n] = at;
  });
}

template <class F, class B>
__global__ void spread(const Shape s, const F* grad, const int8_t* argmax, const B* boxes, double spatial_scale,
                       accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  each_bin(s, boxes, [&](int64_t n, const B* roi, int64_t image, int64_t c, int32_t ph, int32_t pw) {
    if (image < 0) return;
    const Cells<A, B> cells(s, roi, B(spatial_scale), ph, pw);
    A* const map = sums + (image * s.channels + c) * s.plane();
    warp_winners(cells.y, cells.x, !argmax, argmax ? argmax[n] : int8_t(0),
                 [&](const WarpCell<A>& y, const WarpCell<A>& x, A part) {
      const A share = part * load(grad[n]);
      for (int a = 0; a < 2; ++a)
        for (int b = 0; b < 2; ++b)
          if (y.weight[a] * x.weight[b] != A(0))
            atomicAdd(map + int64_t(y.pixel[a]) * s.width + x.pixel[b], (y.weight[a] * x.weight[b]) * share);
    });
  });
}

template <class F, class B>
__global__ void spread_in_order(const Shape s, const F* grad, const int8_t* argmax, const B* boxes,
                                double spatial_scale, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  const int lane = int(threadIdx.x) % kWarp, a = lane / 2 % 2, b = lane % 2;
  for (int64_t m = first_item() / kWarp; m < s.images * s.channels; m += item_stride() / kWarp) {
    const int64_t image = m / s.channels, c = m - image * s.channels;
    A* const map = sums + m * s.plane();
    for (int64_t k = 0; k < s.rois; ++k) {
      const B* const roi = boxes + 5 * k;
      if (image_of(roi[0], s.images) != image) continue;
      for (int64_t bin = 0; bin < s.bins(); ++bin) {
        const int64_t n = (k * s.channels + c) * s.bins() + bin;
        const Cells<A, B> cells(s, roi, B(spatial_scale), int32_t(bin / s.columns), int32_t(bin % s.columns));
        warp_winners(cells.y, cells.x, !argmax, argmax ? argmax[n] : int8_t(0),
                     [&](const WarpCell<A>& y, const WarpCell<A>& x, A part) {
          const A share = part * load(grad[n]);
          const A weight = (a ? y.weight[1] : y.weight[0]) * (b ? x.weight[1] : x.weight[0]);
          const int64_t row = a ? y.pixel[1] : y.pixel[0], column = b ? x.pixel[1] : x.pixel[0];
          // Pixels of weight 0 may be another lane's pixels.
          if (lane < 4 && weight != A(0)) map[row * s.width + column] += weight * share;
          __syncwarp();  // the next cell's lanes see these sums
        });
      }
    }
  }
}

Shape shape_of(const char* op, const View& maps, const View& bins) {
  require(bins.shape[2] <= INT32_MAX / 2 && bins.shape[3] <= INT32_MAX / 2, op, "PH and PW must be < 2^30");
  return {bins.shape[0], maps.shape[0], maps.shape[1], int32_t(bins.shape[2]), int32_t(bins.shape[3]),
          int32_t(maps.shape[2]), int32_t(maps.shape[3])};
}

}  // namespace

void roi_warp(const View& input, const View& boxes, double spatial_scale, WarpReduce reduce, const View& output,
              const View& argmax, const Launch& launch) {
  constexpr const char* kOp = "roi_warp";
  const bool places = check_roi_warp_output(input, boxes, reduce, output, argmax);
  if (output.size() == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  with_types(kOp, input, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    run(kOp, launch, warp<F, B>, grid_for(output.size()), kBlock, shape_of(kOp, input, output), input.as<F>(),
        boxes.as<B>(), spatial_scale, reduce, output.as<F>(), places ? argmax.as<int8_t>() : nullptr);
  });
}

int64_t roi_warp_backward_workspace(const View& gradient) { return sums_workspace(gradient); }

void roi_warp_backward(const View& grad, const View& argmax, const View& boxes, double spatial_scale,
                       const View& gradient, const Launch& launch) {
  constexpr const char* kOp = "roi_warp_backward";
  const bool places = check_roi_warp(kOp, gradient, boxes, grad, argmax);
  if (gradient.size() == 0) return;
  const Shape shape = shape_of(kOp, gradient, grad);
  add_up(kOp, gradient, boxes, launch, [&](auto feature, auto box, auto* sums) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    if (grad.size() == 0) return;
    const int8_t* const winners = places ? argmax.as<int8_t>() : nullptr;
    if (launch.deterministic)
      run(kOp, launch, spread_in_order<F, B>, grid_for(shape.images * shape.channels, kBlock / kWarp), kBlock, shape,
          grad.as<F>(), winners, boxes.as<B>(), spatial_scale, sums);
    else
      run(kOp, launch, spread<F, B>, grid_for(grad.size()), kBlock, shape, grad.as<F>(), winners, boxes.as<B>(),
          spatial_scale, sums);
  });
}

}  // namespace roikit::cuda
