// What the RoIAlign kernels share: the levels as a kernel takes them, where a RoI lies, and its taps in shared memory.
#pragma once

#include "core/roi_align_integral.h"
#include "cuda/fused.cuh"
#include "cuda/odometer.cuh"
#include "cuda/rois.cuh"

namespace roikit::cuda {

// RoiAlignLevels by value.
struct AlignLevels {
  static constexpr int kMost = 16;
  void* map[kMost];
  double scale[kMost], threshold[kMost];
  int32_t height[kMost], width[kMost];
  int32_t count;
  int64_t images;

  explicit AlignLevels(const RoiAlignLevels& levels, const char* op = "roi_align") {
    require(levels.maps.size() <= kMost, op, "the CUDA kernels take at most 16 levels");
    count = int32_t(levels.maps.size());
    images = levels.maps[0].shape[0];
    for (int i = 0; i < kMost; ++i) {
      const bool used = i < count;
      map[i] = used ? levels.maps[i].data : nullptr;
      scale[i] = used ? levels.scales[i] : 0;
      threshold[i] = i + 1 < count ? levels.thresholds[i] : 0;
      height[i] = used ? int32_t(levels.maps[i].shape[2]) : 0;
      width[i] = used ? int32_t(levels.maps[i].shape[3]) : 0;
    }
  }
};

// What a call asks for, and how its blocks share the work: blockIdx.x counts RoIs, blockIdx.y chunks of channels. Blocks
// that run at once are thus at work on the same planes.
struct AlignShape {
  const void* boxes;
  bool wide_boxes;  // float64
  int64_t rois;
  int32_t channels, rows, columns, chunk;
  bool tables = true;  // false: the bins are too many for any RoI's taps to be brought to shared memory
  RoiAlignRule rule;

  AlignShape(const View& boxes, const View& bins, const RoiAlignRule& rule)
      : boxes(boxes.data), wide_boxes(boxes.dtype == DType::f64), rois(boxes.shape[0]), rule(rule) {
    require(boxes.dtype == DType::f64 || boxes.dtype == DType::f32, "roi_align: boxes must be float32 or float64");
    require(bins.shape[1] <= INT32_MAX && bins.shape[2] <= INT32_MAX && bins.shape[3] <= INT32_MAX,
            "roi_align: channels, rows and columns must be below 2^31");
    channels = int32_t(bins.shape[1]), rows = int32_t(bins.shape[2]), columns = int32_t(bins.shape[3]);
    // Large chunks spend less on taps; there should be several times the blocks that a device runs at once.
    chunk = 64;
    while (chunk > 8 && rois * ceil_div(channels, chunk) < 2048) chunk /= 2;
    while (ceil_div(channels, chunk) > 65535) chunk *= 2;
  }

  dim3 grid() const { return dim3(unsigned(rois < INT32_MAX ? rois : INT32_MAX), unsigned(ceil_div(channels, chunk))); }

  // For the RoIs whose taps do not fit: few blocks go through all RoIs, since there may well be none.
  dim3 large_grid() const { return dim3(unsigned(rois < 512 ? rois : 512), grid().y); }
};

// One pixel along an axis, and its weight in a bin, divided by the number of samples.
template <class A>
struct Tap {
  int32_t at;
  A weight;
};

// The taps of one axis of a RoI in shared memory. Every bin has `slots` places.
template <class A>
struct AxisTaps {
  static constexpr int kTaps = 256;
  Tap<A> taps[kTaps];
  int32_t count[kTaps];
  int32_t slots, total, low, high;  // low, high: the outermost pixels of all bins
  int32_t overflow;                 // not 0: the taps of the RoI do not fit

  // Whether the taps of every RoI fit, whatever its size: a sample has two.
  static bool always_fit(const AlignShape& shape) {
    const int64_t bins = shape.rows > shape.columns ? shape.rows : shape.columns, ratio = shape.rule.sampling_ratio;
    return shape.tables && bins <= kTaps && ratio > 0 && ratio <= kTaps / bins / 2;
  }

  // From the bins' size alone: a sample has two taps, and a bin touches at most two pixels more than it spans, or three
  // after rounding, which a map of 2^20 pixels leaves below one pixel.
  template <class T>
  __device__ static bool fits(const SampleAxis<T>& axis, int32_t bins, int32_t extent) {
    if (bins > kTaps) return false;  // not even for a RoI without samples: every bin has a count
    const int32_t slots = kTaps / bins;
    const T span = axis.step < T(0) ? -axis.step : axis.step;
    return (axis.grid <= slots / 2 && !axis.integral) || (extent <= 1 << 20 && span <= T(slots - 4)) || extent <= slots;
  }

  __device__ void clear(int32_t bins) {
    slots = kTaps / bins;
    total = 0, low = INT32_MAX, high = -1, overflow = 0;
  }

  template <class T>
  __device__ void fill(const SampleAxis<T>& axis, bool integral, int32_t bin, int32_t extent) {
    const int32_t begin = bin * slots;
    const int32_t n = integral ? take(IntegralWalk<T>(axis, bin, extent), begin, T(1))
                               : take(TapWalk<T>(axis, bin, extent), begin, T(axis.grid));
    count[bin] = n;
    if (n > 0) {
      atomicAdd(&total, n);
      atomicMin(&low, taps[begin].at);
      atomicMax(&high, taps[begin + n - 1].at);
    }
  }

 private:
  template <class Walk, class T>
  __device__ int32_t take(Walk walk, int32_t begin, T grid) {
    int32_t n = 0, at;
    T weight;
    for (; n < slots && walk.next(at, weight); ++n) taps[begin + n] = {at, A(weight / grid)};
    return n;
  }
};

// Where a RoI lies, and the part of it that a block works on.
struct AlignPlace {
  int32_t level, height, width;
  int32_t first, channels;  // of this block
  int64_t image;            // -1: none
  bool fits, empty;         // whether its taps fit the tables, and if they do, whether there are none

  template <class B>
  __device__ AlignPlace(const AlignLevels& levels, const AlignShape& shape, const B* box)
      : level(pyramid_level(box + 1, levels.threshold, levels.count - 1)),
        height(levels.height[level]),
        width(levels.width[level]),
        first(int32_t(blockIdx.y) * shape.chunk),
        channels(shape.channels - first < shape.chunk ? shape.channels - first : shape.chunk),
        image(image_of(box[0], levels.images)) {}

  // One axis of the RoI. T: the type of the sample arithmetic.
  template <class T, class B>
  __device__ SampleAxis<T> axis(const AlignLevels& levels, const AlignShape& shape, const B* box, bool down) const {
    return SampleAxis<T>::of(T(box[down ? 2 : 1]), T(box[down ? 4 : 3]), T(levels.scale[level]),
                             down ? shape.rows : shape.columns, down ? height : width, shape.rule);
  }

  __device__ int64_t plane() const { return int64_t(height) * width; }

  // From the first element of the level's maps to the image's first channel of the block.
  template <bool channels_last>
  __device__ int64_t map_offset(const AlignShape& shape) const {
    return (image < 0 ? 0 : image) * shape.channels * plane() + first * (channels_last ? 1 : plane());
  }

  // Likewise in the bins' array, for the k-th RoI.
  template <bool channels_last>
  __device__ int64_t bins_offset(const AlignShape& shape, int64_t k) const {
    const int64_t bins = int64_t(shape.rows) * shape.columns;
    return k * shape.channels * bins + first * (channels_last ? 1 : bins);
  }
};

// Brings a RoI's taps to the tables if they fit, with all threads of the block, a bin to a thread.
template <class T, class A, class B>
__device__ AlignPlace tabulate(const AlignLevels& levels, const AlignShape& shape, const B* box, AxisTaps<A>& rows,
                               AxisTaps<A>& columns) {
  AlignPlace place(levels, shape, box);
  if (threadIdx.x == 0) {
    rows.clear(shape.rows);
    columns.clear(shape.columns);
  }
  __syncthreads();
  for (int32_t i = int32_t(threadIdx.x); place.image >= 0 && i < shape.rows + shape.columns; i += int32_t(blockDim.x)) {
    const bool down = i < shape.rows;
    AxisTaps<A>& taps = down ? rows : columns;
    const int32_t extent = down ? place.height : place.width;
    const SampleAxis<T> axis = place.axis<T>(levels, shape, box, down);
    if (shape.tables && AxisTaps<A>::fits(axis, down ? shape.rows : shape.columns, extent))
      taps.fill(axis, shape.rule.integral, down ? i : i - shape.rows, extent);
    else
      atomicOr(&taps.overflow, 1);
  }
  __syncthreads();
  place.fits = !rows.overflow && !columns.overflow;
  place.empty = rows.total == 0 || columns.total == 0;
  return place;
}

template <class A>
__device__ AlignPlace tabulate(const AlignLevels& levels, const AlignShape& shape, int64_t k, AxisTaps<A>& rows,
                               AxisTaps<A>& columns) {
  if (shape.wide_boxes)
    return tabulate<double>(levels, shape, static_cast<const double*>(shape.boxes) + 5 * k, rows, columns);
  return tabulate<A>(levels, shape, static_cast<const float*>(shape.boxes) + 5 * k, rows, columns);
}

constexpr int kLargeBlock = 128;  // walking two axes at once takes many registers

// A RoI whose taps do not fit the tables of type A is left to kernels that hold both of its axes.
template <class T, class A>
struct LargeRoi : AlignPlace {
  SampleAxis<T> y, x;

  template <class B>
  __device__ LargeRoi(const AlignLevels& levels, const AlignShape& shape, const B* box)
      : AlignPlace(levels, shape, box),
        y(axis<T>(levels, shape, box, true)),
        x(axis<T>(levels, shape, box, false)) {
    fits = image < 0 || (shape.tables && AxisTaps<A>::fits(y, shape.rows, height) &&
                         AxisTaps<A>::fits(x, shape.columns, width));
  }
};

// Calls fn with the k-th RoI as a LargeRoi, in the type of the sample arithmetic.
template <class A, class Fn>
__device__ void as_large(const AlignLevels& levels, const AlignShape& shape, int64_t k, Fn fn) {
  if (shape.wide_boxes) fn(LargeRoi<double, A>(levels, shape, static_cast<const double*>(shape.boxes) + 5 * k));
  else fn(LargeRoi<A, A>(levels, shape, static_cast<const float*>(shape.boxes) + 5 * k));
}

}  // namespace roikit::cuda
