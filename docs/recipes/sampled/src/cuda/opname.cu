// opname on the GPU. Forward and the fast backward: a thread takes one bin of one channel.
// Backward in order: a thread owns a plane of the gradient and takes the boxes' bins one after another.
#include "core/opname.h"

#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

struct Shape {
  int64_t rois, images, channels, rows, columns, height, width;

  Shape(const View& maps, const View& bins)
      : rois(bins.shape[0]), images(maps.shape[0]), channels(maps.shape[1]), rows(bins.shape[2]),
        columns(bins.shape[3]), height(maps.shape[2]), width(maps.shape[3]) {}

  __device__ int64_t plane() const { return height * width; }
  __device__ int64_t bins() const { return rows * columns; }
};

// The samples of bin i of a box.
template <class A, class B>
struct Taps {
  OpnameTaps<A> y, x;

  __device__ Taps(const Shape& s, const B* roi, B scale, int64_t i)
      : y(OpnameTaps<A>::of(roi[2], roi[4], scale, s.rows, i / s.columns, s.height)),
        x(OpnameTaps<A>::of(roi[1], roi[3], scale, s.columns, i % s.columns, s.width)) {}
};

// Calls fn(element of the bins, box, its image or -1, channel, bin).
template <class B, class Fn>
__device__ void each_bin(const Shape& s, const B* boxes, Fn fn) {
  for (int64_t n = first_item(); n < s.rois * s.channels * s.bins(); n += item_stride()) {
    const int64_t map = n / s.bins(), k = map / s.channels;
    fn(n, boxes + 5 * k, image_of(boxes[5 * k], s.images), map - k * s.channels, n - map * s.bins());
  }
}

template <class F, class B>
__global__ void sample(const Shape s, const F* input, const B* boxes, double spatial_scale, F* output) {
  using A = accumulate_t<F>;
  each_bin(s, boxes, [&](int64_t n, const B* roi, int64_t image, int64_t c, int64_t bin) {
    A value = 0;
    if (image >= 0) {
      const Taps<A, B> taps(s, roi, B(spatial_scale), bin);
      value = opname_value(input + (image * s.channels + c) * s.plane(), s.width, taps.y, taps.x);
    }
    store(output[n], value);
  });
}

template <class F, class B>
__global__ void spread(const Shape s, const F* grad, const B* boxes, double spatial_scale, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  each_bin(s, boxes, [&](int64_t n, const B* roi, int64_t image, int64_t c, int64_t bin) {
    if (image < 0) return;
    const Taps<A, B> taps(s, roi, B(spatial_scale), bin);
    A* const map = sums + (image * s.channels + c) * s.plane();
    opname_shares(s.width, taps.y, taps.x, A(load(grad[n])),
                  [&](int64_t at, A share) { atomicAdd(map + at, share); });
  });
}

template <class F, class B>
__global__ void spread_in_order(const Shape s, const F* grad, const B* boxes, double spatial_scale,
                                accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  for (int64_t m = first_item(); m < s.images * s.channels; m += item_stride()) {
    const int64_t image = m / s.channels, c = m - image * s.channels;
    A* const map = sums + m * s.plane();
    for (int64_t k = 0; k < s.rois; ++k) {
      const B* const roi = boxes + 5 * k;
      if (image_of(roi[0], s.images) != image) continue;
      for (int64_t bin = 0; bin < s.bins(); ++bin) {
        const Taps<A, B> taps(s, roi, B(spatial_scale), bin);
        opname_shares(s.width, taps.y, taps.x, A(load(grad[(k * s.channels + c) * s.bins() + bin])),
                      [&](int64_t at, A share) { map[at] += share; });
      }
    }
  }
}

}  // namespace

void opname(const View& input, const View& boxes, double spatial_scale, const View& output,
            const Launch& launch) {
  check_opname("opname", input, boxes, output);
  if (output.size() == 0) return;
  const DeviceGuard guard(launch.device, "opname");
  with_types("opname", input, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    run("opname", launch, sample<F, B>, grid_for(output.size()), kBlock, Shape(input, output),
        input.as<F>(), boxes.as<B>(), spatial_scale, output.as<F>());
  });
}

int64_t opname_backward_workspace(const View& gradient) {
  return sums_workspace(gradient);
}

void opname_backward(const View& grad, const View& boxes, double spatial_scale, const View& gradient,
                     const Launch& launch) {
  constexpr const char* kOp = "opname_backward";
  check_opname(kOp, gradient, boxes, grad);
  if (gradient.size() == 0) return;
  const Shape shape(gradient, grad);
  add_up(kOp, gradient, boxes, launch, [&](auto feature, auto box, auto* sums) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    if (grad.size() == 0) return;
    if (launch.deterministic)
      run(kOp, launch, spread_in_order<F, B>, grid_for(shape.images * shape.channels), kBlock,
          shape, grad.as<F>(), boxes.as<B>(), spatial_scale, sums);
    else
      run(kOp, launch, spread<F, B>, grid_for(grad.size()), kBlock, shape, grad.as<F>(), boxes.as<B>(),
          spatial_scale, sums);
  });
}

}  // namespace roikit::cuda
