// RoIAlign backward on the GPU with atomics. A block takes one RoI and a chunk of channels, brings the RoI's taps and
// the gradients of its bins to shared memory, and adds up every pixel that the RoI touches over the bins that touch it:
// one atomic operation a pixel and channel, neighbours in memory from neighbouring threads. The order in which RoIs
// reach a pixel varies; roi_align_gather.cu has the way without atomics.
//
// float16 and bfloat16: the sums are in a float32 copy of the gradient in the caller's scratch and are rounded once.
#include "core/roi_align.h"

#include "cuda/block.cuh"
#include "cuda/roi_align.cuh"
#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

constexpr int kGradBytes = 12 * 1024;  // of the bins' gradients at once
constexpr int kPlanes = 4;             // channels of a pixel that a thread adds up at once: contiguous maps,
constexpr int kLanes = 2;              // and channels_last

template <class A> constexpr int32_t kGrads = kGradBytes / int(sizeof(A));

// The pixels of an axis that a RoI touches, and the bins that touch each: those of pixel i are bins[begin[i]] ...
// bins[begin[i + 1] - 1], with their weights. Where the outermost pixels lie no further apart than there are taps, every
// pixel between them is listed once; else the taps as they come, each with its one bin.
template <class A>
struct TouchedPixels {
  static constexpr int32_t kTaps = AxisTaps<A>::kTaps;
  static_assert(kTaps <= kBlock, "a thread has at most one pixel, one bin");
  int32_t pixel[kTaps], begin[kTaps + 1];
  Tap<A> bins[kTaps];

  // With all threads of the block. Returns how many pixels there are.
  __device__ int32_t list(const AxisTaps<A>& taps, int32_t n_bins) {
    const int32_t width = taps.high - taps.low + 1, i = int32_t(threadIdx.x);
    if (width > taps.total) {
      const int32_t own = i < n_bins ? taps.count[i] : 0, first = block_scan(own).before;
      for (int32_t t = 0; t < own; ++t) {
        const Tap<A> tap = taps.taps[i * taps.slots + t];
        pixel[first + t] = tap.at;
        begin[first + t] = first + t;
        bins[first + t] = {i, tap.weight};
      }
      if (i == 0) begin[taps.total] = taps.total;
      __syncthreads();
      return taps.total;
    }
    const int32_t at = taps.low + i;
    int32_t own = 0;
    if (i < width) each_bin(taps, n_bins, at, [&](int32_t, A) { ++own; });
    int32_t next = block_scan(own).before;
    if (i < width) {
      pixel[i] = at;
      begin[i] = next;
      each_bin(taps, n_bins, at, [&](int32_t bin, A weight) { bins[next++] = {bin, weight}; });
      if (i == width - 1) begin[width] = next;
    }
    __syncthreads();
    return width;
  }

 private:
  template <class Fn>
  __device__ static void each_bin(const AxisTaps<A>& taps, int32_t n_bins, int32_t at, Fn fn) {
    for (int32_t p = 0; p < n_bins; ++p) {
      const int32_t n = taps.count[p];
      const Tap<A>* const tap = taps.taps + p * taps.slots;
      if (n == 0 || at < tap[0].at || at > tap[n - 1].at) continue;
      for (int32_t t = 0; t < n && tap[t].at <= at; ++t)
        if (tap[t].at == at) fn(p, tap[t].weight);
    }
  }
};

// What a block adds: gradients of bins in shared memory, at channel * by_channel + bin * by_bin.
template <class A>
struct BinGrads {
  const A* grads;
  int32_t by_channel, by_bin;

  // sums[u] = the pixel's gradient in channel c + u * step, while that is below channels.
  template <int U>
  __device__ void at_pixel(const TouchedPixels<A>& y, const TouchedPixels<A>& x, int32_t i, int32_t j, int32_t columns,
                           int32_t c, int32_t step, int32_t channels, A (&sums)[U]) const {
    for (int32_t e = y.begin[i]; e < y.begin[i + 1]; ++e) {
      const Tap<A> down = y.bins[e];
      for (int32_t f = x.begin[j]; f < x.begin[j + 1]; ++f) {
        const Tap<A> across = x.bins[f];
        const A weight = down.weight * across.weight;
        const A* const from = grads + (down.at * columns + across.at) * by_bin + c * by_channel;
#pragma unroll
        for (int u = 0; u < U; ++u)
          if (c + u * step < channels) sums[u] = fused(weight, from[u * step * by_channel], sums[u]);
      }
    }
  }
};

// Adds to contiguous planes: threads take pixels side by side, kPlanes channels each.
template <class A>
__device__ void add_planes(const BinGrads<A>& bins, const TouchedPixels<A>& y, const TouchedPixels<A>& x, int32_t rows,
                           int32_t columns, int32_t pooled_columns, int32_t channels, int64_t plane, int64_t width,
                           A* map) {
  const int32_t pixels = rows * columns, groups = (channels + kPlanes - 1) / kPlanes;
  const int32_t at_once = pixels < kBlock ? groups : 1;  // keeps the dividends small
  const SmallDivisor by_pixel{uint32_t(pixels)}, by_column{uint32_t(columns)};
  for (int32_t g0 = 0; g0 < groups; g0 += at_once) {
    for (int32_t unit = int32_t(threadIdx.x); unit < at_once * pixels; unit += int32_t(blockDim.x)) {
      const int32_t group = at_once > 1 ? by_pixel.quotient(unit) : 0, pixel = unit - group * pixels;
      const int32_t i = by_column.quotient(pixel), j = pixel - i * columns, c = (g0 + group) * kPlanes;
      A sums[kPlanes] = {};
      bins.at_pixel(y, x, i, j, pooled_columns, c, 1, channels, sums);
      A* const to = map + c * plane + (y.pixel[i] * width + x.pixel[j]);
#pragma unroll
      for (int u = 0; u < kPlanes; ++u)
        if (c + u < channels) atomicAdd(to + u * plane, sums[u]);
    }
  }
}

// Adds to channels_last maps: threads take channels side by side.
template <class A>
__device__ void add_pixels(const BinGrads<A>& bins, const TouchedPixels<A>& y, const TouchedPixels<A>& x, int32_t rows,
                           int32_t columns, int32_t pooled_columns, int32_t channels, int32_t all_channels,
                           int64_t width, A* map) {
  const int32_t lanes = (channels + kLanes - 1) / kLanes;
  const SmallDivisor by_lane{uint32_t(lanes)}, by_column{uint32_t(columns)};
  for (int32_t unit = int32_t(threadIdx.x); unit < rows * columns * lanes; unit += int32_t(blockDim.x)) {
    const int32_t pixel = by_lane.quotient(unit), c = unit - pixel * lanes;
    const int32_t i = by_column.quotient(pixel), j = pixel - i * columns;
    A sums[kLanes] = {};
    bins.at_pixel(y, x, i, j, pooled_columns, c, lanes, channels, sums);
    A* const to = map + (y.pixel[i] * width + x.pixel[j]) * all_channels + c;
#pragma unroll
    for (int u = 0; u < kLanes; ++u)
      if (c + u * lanes < channels) atomicAdd(to + u * lanes, sums[u]);
  }
}

// The k-th RoI's part of grad: its first channel of the block, and strides.
template <class F>
struct GradPart {
  const F* from;
  int64_t by_channel, by_bin;

  __device__ GradPart(const AlignShape& shape, const AlignPlace& place, const F* grad, bool channels_last, int64_t k)
      : from(grad + (channels_last ? place.bins_offset<true>(shape, k) : place.bins_offset<false>(shape, k))),
        by_channel(channels_last ? 1 : int64_t(shape.rows) * shape.columns),
        by_bin(channels_last ? shape.channels : 1) {}
};

template <class F, bool channels_last>
__global__ void __launch_bounds__(kBlock, channels_last || sizeof(F) == 8 ? 3 : 4)
    spread(const __grid_constant__ AlignLevels sums, const __grid_constant__ AlignShape shape, const F* grad,
           bool grad_last) {
  using A = accumulate_t<F>;
  __shared__ AxisTaps<A> rows, columns;
  __shared__ TouchedPixels<A> y, x;
  __shared__ A tile[kGrads<A>];
  const int32_t bins = shape.rows * shape.columns;  // at most kGrads where a RoI fits
  for (int64_t k = blockIdx.x; k < shape.rois; k += gridDim.x) {
    const AlignPlace place = tabulate(sums, shape, k, rows, columns);
    if (!place.fits || place.empty) {
      __syncthreads();  // the tables are free for the next RoI
      continue;
    }
    const int32_t down = y.list(rows, shape.rows), across = x.list(columns, shape.columns);
    const GradPart<F> part(shape, place, grad, grad_last, k);
    int32_t at_once = kGrads<A> / bins;
    const int32_t passes = (place.channels + at_once - 1) / at_once, even = (place.channels + passes - 1) / passes;
    at_once = at_once < (even + 3) / 4 * 4 ? at_once : (even + 3) / 4 * 4;
    const int64_t plane = place.plane();
    A* const map = static_cast<A*>(sums.map[place.level]) + place.map_offset<channels_last>(shape);
    for (int32_t c0 = 0; c0 < place.channels; c0 += at_once) {
      const int32_t n = place.channels - c0 < at_once ? place.channels - c0 : at_once;
      const BinGrads<A> grads{tile, channels_last ? 1 : bins, channels_last ? n : 1};
      const SmallDivisor by_line{uint32_t(grad_last ? n : bins)};
      for (int32_t i = int32_t(threadIdx.x); i < n * bins; i += int32_t(blockDim.x)) {
        const int32_t line = by_line.quotient(i), rest = i - line * int32_t(by_line.by);
        const int32_t c = grad_last ? rest : line, bin = grad_last ? line : rest;
        tile[c * grads.by_channel + bin * grads.by_bin] =
            load(part.from[(c0 + c) * part.by_channel + bin * part.by_bin]);
      }
      __syncthreads();
      if constexpr (channels_last)
        add_pixels(grads, y, x, down, across, shape.columns, n, shape.channels, place.width, map + c0);
      else
        add_planes(grads, y, x, down, across, shape.columns, n, plane, place.width, map + c0 * plane);
      __syncthreads();  // the tile is free for the next channels, the tables for the next RoI
    }
  }
}

// The RoIs that spread leaves out: bin by bin, tap by tap.
template <class F, bool channels_last, class Walk, class T>
__device__ void walk_bins(const AlignShape& shape, const LargeRoi<T, accumulate_t<F>>& roi, const GradPart<F>& part,
                          accumulate_t<F>* map) {
  using A = accumulate_t<F>;
  const int64_t pixel = channels_last ? shape.channels : 1, plane = channels_last ? 1 : roi.plane(), row = roi.width;
  const int64_t bins = int64_t(shape.rows) * shape.columns, line = channels_last ? roi.channels : bins;
  for (int64_t i = threadIdx.x; i < bins * roi.channels; i += blockDim.x) {
    const int64_t major = i / line, minor = i - major * line, c = channels_last ? minor : major;
    const int64_t bin = channels_last ? major : minor, ph = bin / shape.columns;
    const A grad = load(part.from[c * part.by_channel + bin * part.by_bin]);
    const Walk all_rows(roi.y, ph, roi.height);
    int32_t x, y;
    T across, down;
    for (Walk columns(roi.x, bin - ph * shape.columns, roi.width); columns.next(x, across);) {
      const A share = A(across / T(roi.x.grid)) * grad;
      for (Walk rows = all_rows; rows.next(y, down);)
        atomicAdd(map + c * plane + (y * row + x) * pixel, A(down / T(roi.y.grid)) * share);
    }
  }
}

template <class F, bool channels_last>
__global__ void __launch_bounds__(kLargeBlock)
    spread_large(const __grid_constant__ AlignLevels sums, const __grid_constant__ AlignShape shape, const F* grad,
                 bool grad_last) {
  using A = accumulate_t<F>;
  for (int64_t k = blockIdx.x; k < shape.rois; k += gridDim.x) {
    as_large<A>(sums, shape, k, [&](const auto& roi) {
      if (roi.fits) return;
      A* const map = static_cast<A*>(sums.map[roi.level]) + roi.template map_offset<channels_last>(shape);
      using T = decltype(roi.y.step);
      const GradPart<F> part(shape, roi, grad, grad_last, k);
      if (shape.rule.integral)
        walk_bins<F, channels_last, IntegralWalk<T>>(shape, roi, part, map);
      else
        walk_bins<F, channels_last, TapWalk<T>>(shape, roi, part, map);
    });
  }
}

// The sums of all levels and the gradients that they are rounded to.
struct RoundLevels {
  const float* sums[AlignLevels::kMost];
  void* gradients[AlignLevels::kMost];
  int64_t size[AlignLevels::kMost];
  int32_t count;
  bool packs;  // 16 bytes of every gradient may be written at once
};

template <class F>
__global__ void __launch_bounds__(kBlock) round_sums(const __grid_constant__ RoundLevels levels) {
  constexpr int kPack = 16 / int(sizeof(F));
  for (int32_t level = 0; level < levels.count; ++level) {
    const float* const from = levels.sums[level];
    F* const to = static_cast<F*>(levels.gradients[level]);
    const int64_t size = levels.size[level], packs = levels.packs ? size / kPack : 0;
    for (int64_t i = first_item(); i < packs; i += item_stride()) {
      const auto read = reinterpret_cast<const Pack<float, kPack>*>(from)[i];
      Pack<F, kPack> rounded;
#pragma unroll
      for (int v = 0; v < kPack; ++v) store(rounded.v[v], read.v[v]);
      reinterpret_cast<Pack<F, kPack>*>(to)[i] = rounded;
    }
    for (int64_t i = packs * kPack + first_item(); i < size; i += item_stride()) store(to[i], from[i]);
  }
}

template <class F>
void launch_spread(const View& grad, const AlignLevels& sums, const AlignShape& shape, bool channels_last,
                   const Launch& launch) {
  const bool grad_last = !grad.contiguous();
  const auto kernel = channels_last ? spread<F, true> : spread<F, false>;
  run("roi_align_backward", launch, kernel, shape.grid(), kBlock, sums, shape, grad.as<F>(), grad_last);
  if (AxisTaps<accumulate_t<F>>::always_fit(shape)) return;
  const auto rest = channels_last ? spread_large<F, true> : spread_large<F, false>;
  run("roi_align_backward", launch, rest, shape.large_grid(), kLargeBlock, sums, shape, grad.as<F>(), grad_last);
}

}  // namespace

int64_t roi_align_backward_workspace(const View& grad, const std::vector<View>& gradients, bool deterministic) {
  if (deterministic) return roi_align_backward_gather_workspace(grad, gradients);
  Workspace workspace;
  if (is_half(grad.dtype)) half_sums(workspace, gradients);
  return workspace.bytes();
}

void roi_align_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients, const RoiAlignRule& rule,
                        const Launch& launch) {
  if (launch.deterministic) return roi_align_backward_gather(grad, boxes, gradients, rule, launch);
  constexpr const char* kOp = "roi_align_backward";
  const bool channels_last = check_roi_align_grad(kOp, gradients, boxes, grad);
  AlignLevels sums(gradients);
  AlignShape shape(boxes, grad, rule);
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double, Half, BFloat16>(grad.dtype, kOp, [&](auto tag) {
    using F = typename decltype(tag)::type;
    using A = accumulate_t<F>;
    constexpr bool kHalf = sizeof(F) < sizeof(A);
    RoundLevels rounding = {};
    rounding.count = kHalf ? sums.count : 0;
    rounding.packs = true;
    if (kHalf) {
      Workspace workspace(launch.workspace);
      const std::vector<float*> arrays = half_sums(workspace, gradients.maps);
      workspace.check(kOp, launch);
      for (int32_t i = 0; i < sums.count; ++i) {
        F* const to = gradients.maps[i].as<F>();
        rounding.sums[i] = arrays[i], rounding.gradients[i] = to, rounding.size[i] = gradients.maps[i].size();
        rounding.packs = rounding.packs && aligned_to(to, 16);
        sums.map[i] = arrays[i];
      }
    }
    int64_t largest = 0;
    for (int32_t i = 0; i < sums.count; ++i) {
      const int64_t size = gradients.maps[i].size();
      if (size > 0) check(cudaMemsetAsync(sums.map[i], 0, size * sizeof(A), stream_of(launch)), kOp);
      largest = size > largest ? size : largest;
    }
    shape.tables = int64_t(shape.rows) * shape.columns <= kGrads<A>;
    if (grad.size() > 0 && largest > 0) launch_spread<F>(grad, sums, shape, channels_last, launch);
    if constexpr (kHalf)
      if (largest > 0) run(kOp, launch, round_sums<F>, grid_for(largest, kBlock * 8), kBlock, rounding);
  });
}

}  // namespace roikit::cuda
