// Position-sensitive pooling on the GPU. Output element i of RoI k reads plane i of its image alone. Forward and the fast
// backward: a block takes one plane and as many RoIs as it has threads, so that the plane is read from the first-level
// cache. Backward in order: a warp owns a plane of the gradient and adds the RoIs to it one after another, its lanes side
// by side in a row; no two lanes have one pixel.
#include "core/ps_roi.h"

#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

struct Shape {
  int64_t rois, images, sampling_ratio;
  int32_t channels, rows, columns, height, width;  // channels: of the input, so elements of a RoI

  __device__ int64_t plane() const { return int64_t(height) * width; }
};

// Bin i of a RoI, in type T.
template <class T, bool align>
struct Place {
  PsBin<T, align> y, x;

  template <class B>
  __device__ Place(const Shape& s, const B* roi, T scale, int32_t i)
      : y(T(roi[2]), T(roi[4]), scale, s.rows, i / s.columns % s.rows, s.height, s.sampling_ratio),
        x(T(roi[1]), T(roi[3]), scale, s.columns, i % s.columns, s.width, s.sampling_ratio) {}

  template <class A> __device__ A count() const { return A(y.count()) * A(x.count()); }
};

// Calls fn(k, i) for a block's RoIs of every plane i. Threads that have no RoI are left out.
template <class Fn>
__device__ void each_bin(const Shape& s, Fn fn) {
  const int64_t chunks = (s.rois + blockDim.x - 1) / blockDim.x;
  for (int64_t item = blockIdx.x; item < s.channels * chunks; item += gridDim.x) {
    const int64_t i = item / chunks, k = (item - i * chunks) * blockDim.x + threadIdx.x;
    if (k < s.rois) fn(k, int32_t(i));
  }
}

template <class F, class B, bool align>
__global__ void pool(const Shape s, const F* input, const B* boxes, double spatial_scale, F* output) {
  using A = accumulate_t<F>;
  using T = ps_real_t<A, B, align>;
  each_bin(s, [&](int64_t k, int32_t i) {
    const B* const roi = boxes + 5 * k;
    const int64_t image = image_of(roi[0], s.images);
    A value = 0;
    if (image >= 0) {
      Place<T, align> place(s, roi, T(spatial_scale), i);
      const F* const map = input + (image * s.channels + i) * s.plane();
      A sum = 0, down, across;
      for (int32_t y, x; place.y.next(y, down);) {
        A line = 0;
        for (auto columns = place.x; columns.next(x, across);) line += across * load(map[int64_t(y) * s.width + x]);
        sum += down * line;
      }
      const A count = place.template count<A>();
      value = count > A(0) ? sum / count : A(0);
    }
    store(output[k * s.channels + i], value);
  });
}

template <class F, class B, bool align>
__global__ void spread(const Shape s, const F* grads, const B* boxes, double spatial_scale, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  using T = ps_real_t<A, B, align>;
  each_bin(s, [&](int64_t k, int32_t i) {
    const B* const roi = boxes + 5 * k;
    const int64_t image = image_of(roi[0], s.images);
    if (image < 0) return;
    Place<T, align> place(s, roi, T(spatial_scale), i);
    const A count = place.template count<A>();
    if (!(count > A(0))) return;
    const A grad = load(grads[k * s.channels + i]) / count;
    A* const map = sums + (image * s.channels + i) * s.plane();
    A down, across;
    for (int32_t y, x; place.y.next(y, down);)
      for (auto columns = place.x; columns.next(x, across);)
        atomicAdd(map + int64_t(y) * s.width + x, across * (down * grad));
  });
}

// One RoI, with all lanes of a warp.
template <class F, class B, bool align>
__device__ void add_roi(const Shape& s, const F* grads, const B* boxes, double spatial_scale, int64_t k, int32_t i,
                        accumulate_t<F>* map) {
  using A = accumulate_t<F>;
  using T = ps_real_t<A, B, align>;
  Place<T, align> place(s, boxes + 5 * k, T(spatial_scale), i);
  const A count = place.template count<A>();
  if (!(count > A(0))) return;
  const A grad = load(grads[k * s.channels + i]) / count;
  const int lane = int(threadIdx.x) % kWarp;
  for (bool more = true; more;) {
    int32_t own = -1, x, y;
    A weight = 0, across, down;
    for (int l = 0; more && l < kWarp; ++l) {
      more = place.x.next(x, across);
      if (more && l == lane) own = x, weight = across;
    }
    if (own < 0) continue;
    for (auto rows = place.y; rows.next(y, down);) map[int64_t(y) * s.width + own] += weight * (down * grad);
  }
}

template <class F, class B, bool align>
__global__ void spread_in_order(const Shape s, const F* grads, const B* boxes, double spatial_scale,
                                accumulate_t<F>* sums) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t n = first_item() / kWarp; n < s.images * s.channels; n += item_stride() / kWarp) {
    const int64_t image = n / s.channels;
    for (int64_t first = 0; first < s.rois; first += kWarp) {
      const int64_t mine = first + lane;
      const bool here = mine < s.rois && image_of(boxes[5 * mine], s.images) == image;
      for (unsigned rois = __ballot_sync(kFullWarp, here); rois != 0; rois &= rois - 1) {
        add_roi<F, B, align>(s, grads, boxes, spatial_scale, first + __ffs(int(rois)) - 1,
                             int32_t(n - image * s.channels), sums + n * s.plane());
        __syncwarp();  // the next RoI's lanes see these sums
      }
    }
  }
}

Shape shape_of(const View& maps, const View& bins, const PsRule& rule) {
  require(maps.shape[1] <= INT32_MAX, rule.op(), "input must have fewer than 2^31 channels");
  return {bins.shape[0], maps.shape[0], rule.sampling_ratio, int32_t(maps.shape[1]), int32_t(bins.shape[2]),
          int32_t(bins.shape[3]), int32_t(maps.shape[2]), int32_t(maps.shape[3])};
}

// Calls fn(whether to align as a type).
template <class Fn>
void with_rule(const PsRule& rule, Fn fn) {
  if (rule.align) fn(std::true_type());
  else fn(std::false_type());
}

// Threads of a block for each_bin.
unsigned threads_for(int64_t rois) { return rois < kBlock ? unsigned(ceil_div(rois, kWarp) * kWarp) : kBlock; }

}  // namespace

void ps_roi(const View& input, const View& boxes, double spatial_scale, bool align, int64_t sampling_ratio,
            const View& output, const Launch& launch) {
  const PsRule rule{align, sampling_ratio};
  check_ps_roi(rule.op(), input, boxes, output);
  if (output.size() == 0) return;
  const Shape shape = shape_of(input, output, rule);
  const unsigned threads = threads_for(shape.rois);
  const DeviceGuard guard(launch.device, rule.op());
  with_types(rule.op(), input, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    with_rule(rule, [&](auto aligned) {
      run(rule.op(), launch, pool<F, B, decltype(aligned)::value>,
          grid_for(shape.channels * ceil_div(shape.rois, threads), 1), threads, shape, input.as<F>(), boxes.as<B>(),
          spatial_scale, output.as<F>());
    });
  });
}

int64_t ps_roi_backward_workspace(const View& gradient) { return sums_workspace(gradient); }

void ps_roi_backward(const View& grad, const View& boxes, double spatial_scale, bool align, int64_t sampling_ratio,
                     const View& gradient, const Launch& launch) {
  const PsRule rule{align, sampling_ratio};
  check_ps_roi(rule.op(), gradient, boxes, grad);
  if (gradient.size() == 0) return;
  const Shape shape = shape_of(gradient, grad, rule);
  const unsigned threads = threads_for(shape.rois);
  add_up(rule.op(), gradient, boxes, launch, [&](auto feature, auto box, auto* sums) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    if (shape.rois == 0) return;
    with_rule(rule, [&](auto aligned) {
      constexpr bool kAlign = decltype(aligned)::value;
      if (launch.deterministic)
        run(rule.op(), launch, spread_in_order<F, B, kAlign>, grid_for(shape.images * shape.channels, kBlock / kWarp),
            kBlock, shape, grad.as<F>(), boxes.as<B>(), spatial_scale, sums);
      else
        run(rule.op(), launch, spread<F, B, kAlign>, grid_for(shape.channels * ceil_div(shape.rois, threads), 1),
            threads, shape, grad.as<F>(), boxes.as<B>(), spatial_scale, sums);
    });
  });
}

}  // namespace roikit::cuda
