// roi_align_rotated on the GPU. A block takes one RoI and a chunk of channels. Its threads take (bin, group of
// channels): a thread finds each sample's pixels and weights once and reads them for all channels of its group, so that
// no table bounds the number of samples. On contiguous maps neighbouring threads have neighbouring bins, on
// channels_last ones neighbouring channels.
//
// Backward does the same with atomics. Backward in order: a warp owns eight channels of a band of rows. Its lanes find
// 32 samples at a time; then, one sample after another, they add to its four pixels in eight channels at once.
#include "core/rotated_align.h"

#include "cuda/fused.cuh"
#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

constexpr int32_t kGroup = 8;   // channels of a thread
constexpr int32_t kChunk = 64;  // channels of a block
constexpr int32_t kBand = 16;   // rows of a map that one warp owns

struct Shape {
  int64_t rois, images, sampling_ratio;
  int32_t channels, rows, columns, height, width;
  bool channels_last, bins_channels_last;
  double scale;

  __device__ int32_t bins() const { return rows * columns; }
  // Steps from one channel and from one pixel or bin to the next.
  __device__ int64_t map_channel() const { return channels_last ? 1 : int64_t(height) * width; }
  __device__ int64_t map_pixel() const { return channels_last ? channels : 1; }
  __device__ int64_t bin_channel() const { return bins_channels_last ? 1 : bins(); }
  __device__ int64_t bin_step() const { return bins_channels_last ? channels : 1; }
  __device__ int64_t image_offset(int64_t i) const { return i * channels * height * width; }
  __device__ int64_t roi_offset(int64_t k) const { return k * channels * bins(); }

  template <class T, class B>
  __device__ RotatedRoi<T> roi(const B* boxes, int64_t k) const {
    return RotatedRoi<T>::of(boxes + 6 * k + 1, T(scale), rows, columns, height, width, sampling_ratio);
  }
};

// Calls fn(pixel, weight) for the pixels of each sample of a bin that counts. Weights are not 0, and not yet divided.
template <class T, class Fn>
__device__ void each_tap(const Shape& s, const RotatedRoi<T>& roi, int32_t row, int32_t column, Fn fn) {
  const SampleRange rows = roi.rows(row), columns = roi.columns(column);
  const T v0 = roi.v.base(row), u0 = roi.u.base(column);
  RotatedSample<T> p;
  for (int64_t k = rows.first; k < rows.last; ++k) {
    const T v = roi.v.at(v0, k);
    for (int64_t j = columns.first; j < columns.last; ++j) {
      if (!roi.sample(v, roi.u.at(u0, j), s.height, s.width, p)) continue;
      const int32_t corner = int32_t(p.y.low) * s.width + int32_t(p.x.low);
#pragma unroll 1
      for (int t = 0; t < 4; ++t) {  // a pixel below or beside that does not exist has weight 0
        const T weight = (t & 2 ? p.y.high_weight : p.y.low_weight) * (t & 1 ? p.x.high_weight : p.x.low_weight);
        if (weight != T(0)) fn(corner + (t & 2 ? s.width : 0) + (t & 1), weight);
      }
    }
  }
}

// A RoI and a chunk of channels in turn: fn(k, image, roi, first channel, channels) with all threads of the block;
// image is -1 where the RoI names none.
template <class T, class B, class Fn>
__device__ void each_chunk(const Shape& s, const B* boxes, Fn fn) {
  __shared__ double shared[(sizeof(RotatedRoi<T>) + sizeof(double) - 1) / sizeof(double)];  // has no constructor to run
  auto& roi = *reinterpret_cast<RotatedRoi<T>*>(shared);
  const int64_t chunks = (s.channels + kChunk - 1) / kChunk;
  for (int64_t item = blockIdx.x; item < s.rois * chunks; item += gridDim.x) {
    const int64_t k = item / chunks;
    const int32_t c0 = int32_t(item - k * chunks) * kChunk;
    if (threadIdx.x == 0) roi = s.roi<T>(boxes, k);
    __syncthreads();
    fn(k, image_of(boxes[6 * k], s.images), roi, c0, s.channels - c0 < kChunk ? s.channels - c0 : kChunk);
    __syncthreads();  // the RoI may be overwritten
  }
}

// The bin and the channels of a thread's item: c = first + i * step for i < kGroup, c < channels.
struct Item {
  int32_t bin, first, step;

  __device__ Item(int32_t item, int32_t bins, int32_t groups, bool channels_last)
      : bin(channels_last ? item / groups : item % bins),
        first(channels_last ? item % groups : item / bins * kGroup),
        step(channels_last ? groups : 1) {}
};

template <class F, class B>
__global__ void __launch_bounds__(kBlock) pool(const Shape s, const F* input, const B* boxes, F* output) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  each_chunk<T>(s, boxes, [&](int64_t k, int64_t image, const RotatedRoi<T>& roi, int32_t c0, int32_t channels) {
    const int32_t groups = (channels + kGroup - 1) / kGroup;
    const bool empty = image < 0 || roi.empty();
    const F* const map = input + s.image_offset(empty ? 0 : image) + c0 * s.map_channel();
    F* const to = output + s.roi_offset(k) + c0 * s.bin_channel();
    for (int32_t i = int32_t(threadIdx.x); i < groups * s.bins(); i += int32_t(blockDim.x)) {
      const Item item(i, s.bins(), groups, s.channels_last);
      const int64_t step = item.step * s.map_channel();
      const F* const from = map + item.first * s.map_channel();
      A sums[kGroup] = {};
      if (!empty) {
        each_tap(s, roi, item.bin / s.columns, item.bin % s.columns, [&](int64_t pixel, T weight) {
          const F* const at = from + pixel * s.map_pixel();
#pragma unroll
          for (int j = 0; j < kGroup; ++j)
            if (item.first + j * item.step < channels)
              sums[j] = fused(A(weight), load(at[j * step]), sums[j]);
        });
      }
      const A count = empty ? A(1) : A(roi.count());
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        const int32_t c = item.first + j * item.step;
        if (c < channels) store(to[c * s.bin_channel() + item.bin * s.bin_step()], sums[j] / count);
      }
    }
  });
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock, 2)
    spread(const Shape s, const F* grads, const B* boxes, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  each_chunk<T>(s, boxes, [&](int64_t k, int64_t image, const RotatedRoi<T>& roi, int32_t c0, int32_t channels) {
    if (image < 0 || roi.empty()) return;
    const int32_t groups = (channels + kGroup - 1) / kGroup;
    A* const map = sums + s.image_offset(image) + c0 * s.map_channel();
    const F* const from = grads + s.roi_offset(k) + c0 * s.bin_channel();
    for (int32_t i = int32_t(threadIdx.x); i < groups * s.bins(); i += int32_t(blockDim.x)) {
      const Item item(i, s.bins(), groups, s.channels_last);
      const int64_t step = item.step * s.map_channel();
      A* const to = map + item.first * s.map_channel();
      A grad[kGroup];
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        const int32_t c = item.first + j * item.step;
        grad[j] = c < channels ? load(from[c * s.bin_channel() + item.bin * s.bin_step()]) / A(roi.count()) : A(0);
      }
      each_tap(s, roi, item.bin / s.columns, item.bin % s.columns, [&](int64_t pixel, T weight) {
        A* const at = to + pixel * s.map_pixel();
#pragma unroll
        for (int j = 0; j < kGroup; ++j)
          if (item.first + j * item.step < channels) atomicAdd(at + j * step, A(weight) * grad[j]);
      });
    }
  });
}

// Rows [top, bottom) of eight channels of an image.
struct Band {
  int64_t image;
  int32_t top, bottom, first, channels;
};

// Whether a RoI can touch the rows of a band: positions grow or fall with u and v, so the outermost samples bound them.
template <class T>
__device__ bool meets(const Shape& s, const RotatedRoi<T>& roi, const Band& band) {
  if (roi.empty()) return false;
  const T v0 = roi.v.at(roi.v.base(0), 0), v1 = roi.v.at(roi.v.base(s.rows - 1), roi.v.grid - 1);
  const T u0 = roi.u.at(roi.u.base(0), 0), u1 = roi.u.at(roi.u.base(s.columns - 1), roi.u.grid - 1);
  const T ys[] = {roi.y_at(v0, u0), roi.y_at(v0, u1), roi.y_at(v1, u0), roi.y_at(v1, u1)};
  T low = ys[0], high = ys[0];
#pragma unroll
  for (int i = 1; i < 4; ++i) low = ys[i] < low ? ys[i] : low, high = ys[i] > high ? ys[i] : high;
  return high >= T(band.top - 1) && low <= T(band.bottom);  // the last row also gets what lies beyond the map
}

// One RoI, with all lanes of a warp.
template <class T, class F, class A>
__device__ void add_roi(const Shape& s, const RotatedRoi<T>& roi, const Band& band, const F* grads, A* sums) {
  const int lane = int(threadIdx.x) % kWarp;
  const int32_t channel = lane / 4;
  const bool mine = channel < band.channels;
  const F* const from = grads + (band.first + (mine ? channel : 0)) * s.bin_channel();
  A* const map = sums + (band.first + channel) * s.map_channel();
  for (int32_t bin = 0; bin < s.bins(); ++bin) {
    const int32_t row = bin / s.columns, column = bin - row * s.columns;
    const SampleRange rows = roi.rows(row), columns = roi.columns(column);
    const T v0 = roi.v.base(row), u0 = roi.u.base(column);
    const A grad = load(from[bin * s.bin_step()]) / A(roi.count());
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const T v = roi.v.at(v0, k);
      for (int64_t j = columns.first; j < columns.last; j += kWarp) {
        RotatedSample<T> p = {{0, 0, T(0), T(0)}, {0, 0, T(0), T(0)}};
        const bool counts = j + lane < columns.last && roi.sample(v, roi.u.at(u0, j + lane), s.height, s.width, p);
        const bool here = counts && p.y.low < band.bottom && p.y.high >= band.top;
        for (unsigned left = __ballot_sync(kFullWarp, here); left != 0; left &= left - 1) {
          const int of = __ffs(int(left)) - 1;
          const int32_t y_low = __shfl_sync(kFullWarp, int32_t(p.y.low), of);
          const int32_t x_low = __shfl_sync(kFullWarp, int32_t(p.x.low), of);
          const T down = __shfl_sync(kFullWarp, p.y.low_weight, of);
          const T below = __shfl_sync(kFullWarp, p.y.high_weight, of);
          const T across = __shfl_sync(kFullWarp, p.x.low_weight, of);
          const T beside = __shfl_sync(kFullWarp, p.x.high_weight, of);
          // Where a pixel above or beside does not exist its weight is 0.
          const T weight = (lane & 2 ? below : down) * (lane & 1 ? beside : across);
          const int32_t y = y_low + (lane & 2 ? 1 : 0), x = x_low + (lane & 1);
          if (mine && weight != T(0) && y >= band.top && y < band.bottom) {
            A& to = map[(int64_t(y) * s.width + x) * s.map_pixel()];
            to = fused(A(weight), grad, to);
          }
          __syncwarp();  // the next sample's lanes see these sums
        }
      }
    }
  }
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock) spread_in_order(const Shape s, const F* grads, const B* boxes,
                                                          accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  const int lane = int(threadIdx.x) % kWarp;
  const int64_t groups = (s.channels + kGroup - 1) / kGroup, bands = (s.height + kBand - 1) / kBand;
  for (int64_t n = first_item() / kWarp; n < s.images * groups * bands; n += item_stride() / kWarp) {
    const int64_t plane = n / bands, image = plane / groups;
    const int32_t top = int32_t(n - plane * bands) * kBand, first = int32_t(plane - image * groups) * kGroup;
    const Band band = {image, top, s.height - top < kBand ? s.height : top + kBand, first,
                       s.channels - first < kGroup ? s.channels - first : kGroup};
    for (int64_t start = 0; start < s.rois; start += kWarp) {
      const int64_t k = start + lane;
      const bool here = k < s.rois && image_of(boxes[6 * k], s.images) == image && meets(s, s.roi<T>(boxes, k), band);
      for (unsigned rois = __ballot_sync(kFullWarp, here); rois != 0; rois &= rois - 1) {
        const int64_t one = start + __ffs(int(rois)) - 1;
        add_roi(s, s.roi<T>(boxes, one), band, grads + s.roi_offset(one), sums + s.image_offset(image));
      }
    }
  }
}

Shape shape_of(const char* op, const View& map, const View& bins, double scale, int64_t sampling_ratio) {
  require(map.shape[1] <= INT32_MAX / kGroup && bins.shape[2] * bins.shape[3] <= INT32_MAX / kChunk, op,
          "the CUDA kernels take less than 2^28 channels and 2^25 bins");
  return {bins.shape[0], map.shape[0], sampling_ratio, int32_t(map.shape[1]), int32_t(bins.shape[2]),
          int32_t(bins.shape[3]), int32_t(map.shape[2]), int32_t(map.shape[3]), !map.contiguous(), !bins.contiguous(),
          scale};
}

}  // namespace

void roi_align_rotated(const View& input, const View& boxes, double spatial_scale, int64_t sampling_ratio,
                       const View& output, const Launch& launch) {
  constexpr const char* kOp = "roi_align_rotated";
  check_rotated_align(kOp, input, boxes, output);
  if (output.size() == 0) return;
  const Shape shape = shape_of(kOp, input, output, spatial_scale, sampling_ratio);
  const DeviceGuard guard(launch.device, kOp);
  with_types(kOp, input, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    run(kOp, launch, pool<F, B>, grid_for(shape.rois * ceil_div(shape.channels, kChunk), 1), kBlock, shape,
        input.as<F>(), boxes.as<B>(), output.as<F>());
  });
}

int64_t roi_align_rotated_backward_workspace(const View& gradient) { return sums_workspace(gradient); }

void roi_align_rotated_backward(const View& grad, const View& boxes, double spatial_scale, int64_t sampling_ratio,
                                const View& gradient, const Launch& launch) {
  constexpr const char* kOp = "roi_align_rotated_backward";
  check_rotated_align(kOp, gradient, boxes, grad);
  if (gradient.size() == 0) return;
  const Shape shape = shape_of(kOp, gradient, grad, spatial_scale, sampling_ratio);
  const int64_t owners = shape.images * ceil_div(shape.channels, kGroup) * ceil_div(shape.height, kBand);
  add_up(kOp, gradient, boxes, launch, [&](auto feature, auto box, auto* sums) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    if (grad.size() == 0) return;
    if (launch.deterministic)
      run(kOp, launch, spread_in_order<F, B>, grid_for(owners, kBlock / kWarp), kBlock, shape, grad.as<F>(),
          boxes.as<B>(), sums);
    else
      run(kOp, launch, spread<F, B>, grid_for(shape.rois * ceil_div(shape.channels, kChunk), 1), kBlock, shape,
          grad.as<F>(), boxes.as<B>(), sums);
  });
}

}  // namespace roikit::cuda
