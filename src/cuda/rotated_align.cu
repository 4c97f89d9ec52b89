// roi_align_rotated on the GPU. A block takes one RoI and a chunk of channels. Its threads take (bin, group of
// channels): a thread finds each sample's pixels and weights once and reads them for all channels of its group, so that
// no table bounds the number of samples. On contiguous maps neighbouring threads have neighbouring bins, on
// channels_last ones neighbouring channels.
//
// Backward does the same with atomics. Backward in order: a warp owns eight channels of a band of rows. Its lanes find
// 32 samples at a time; then, one sample after another, they add to its four pixels in eight channels at once.
#include "core/rotated_align.h"

#include "cuda/fused.cuh"
#include "cuda/roi_align.cuh"
#include "cuda/round.cuh"

namespace roikit::cuda {
namespace {

constexpr int32_t kGroup = 8;   // channels of a thread
constexpr int32_t kChunk = 64;  // channels of a block
constexpr int32_t kBand = 16;   // rows of a map that one warp owns

struct Shape {
  AlignLevels levels;
  int64_t rois, sampling_ratio;
  int32_t channels, rows, columns;
  bool channels_last, bins_channels_last;

  __device__ int32_t bins() const { return rows * columns; }
  // Steps from one channel and from one pixel or bin to the next.
  __device__ int64_t map_channel(int32_t level) const {
    return channels_last ? 1 : int64_t(levels.height[level]) * levels.width[level];
  }
  __device__ int64_t map_pixel() const { return channels_last ? channels : 1; }
  __device__ int64_t bin_channel() const { return bins_channels_last ? 1 : bins(); }
  __device__ int64_t bin_step() const { return bins_channels_last ? channels : 1; }
  __device__ int64_t roi_offset(int64_t k) const { return k * channels * bins(); }

  template <class M>
  __device__ M* image(int32_t level, int64_t i) const {
    return static_cast<M*>(levels.map[level]) + i * channels * levels.height[level] * levels.width[level];
  }

  template <class B>
  __device__ int32_t level_of(const B* boxes, int64_t k) const {
    return rotated_level(boxes + 6 * k + 1, levels.threshold, levels.count - 1);
  }

  template <class T, class B>
  __device__ RotatedRoi<T> roi(const B* boxes, int64_t k, int32_t level) const {
    return RotatedRoi<T>::of(boxes + 6 * k + 1, T(levels.scale[level]), rows, columns, levels.height[level],
                             levels.width[level], sampling_ratio);
  }
};

// A RoI and where it lies: a level, and an image, -1 where it names none.
template <class T>
struct PlacedRoi {
  RotatedRoi<T> roi;
  int64_t image;
  int32_t level, height, width;

  template <class B>
  __device__ static PlacedRoi of(const Shape& s, const B* boxes, int64_t k) {
    const int32_t level = s.level_of(boxes, k);
    return {s.roi<T>(boxes, k, level), image_of(boxes[6 * k], s.levels.images), level, s.levels.height[level],
            s.levels.width[level]};
  }
};

// Calls fn(pixel, weight) for the pixels of each sample of a bin that counts. Weights are not 0, and not yet divided.
template <class T, class Fn>
__device__ void each_tap(const PlacedRoi<T>& placed, int32_t row, int32_t column, Fn fn) {
  const RotatedRoi<T>& roi = placed.roi;
  const SampleRange rows = roi.rows(row), columns = roi.columns(column);
  const T v0 = roi.v.base(row), u0 = roi.u.base(column);
  RotatedSample<T> p;
  for (int64_t k = rows.first; k < rows.last; ++k) {
    const T v = roi.v.at(v0, k);
    for (int64_t j = columns.first; j < columns.last; ++j) {
      if (!roi.sample(v, roi.u.at(u0, j), placed.height, placed.width, p)) continue;
      const int32_t corner = int32_t(p.y.low) * placed.width + int32_t(p.x.low);
#pragma unroll 1
      for (int t = 0; t < 4; ++t) {  // a pixel below or beside that does not exist has weight 0
        const T weight = (t & 2 ? p.y.high_weight : p.y.low_weight) * (t & 1 ? p.x.high_weight : p.x.low_weight);
        if (weight != T(0)) fn(corner + (t & 2 ? placed.width : 0) + (t & 1), weight);
      }
    }
  }
}

// A RoI and a chunk of channels in turn: fn(k, placed, first channel, channels) with all threads of the block.
template <class T, class B, class Fn>
__device__ void each_chunk(const Shape& s, const B* boxes, Fn fn) {
  __shared__ double shared[(sizeof(PlacedRoi<T>) + sizeof(double) - 1) / sizeof(double)];  // has no constructor to run
  auto& placed = *reinterpret_cast<PlacedRoi<T>*>(shared);
  const int64_t chunks = (s.channels + kChunk - 1) / kChunk;
  for (int64_t item = blockIdx.x; item < s.rois * chunks; item += gridDim.x) {
    const int64_t k = item / chunks;
    const int32_t c0 = int32_t(item - k * chunks) * kChunk;
    if (threadIdx.x == 0) placed = PlacedRoi<T>::of(s, boxes, k);
    __syncthreads();
    fn(k, placed, c0, s.channels - c0 < kChunk ? s.channels - c0 : kChunk);
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
__global__ void __launch_bounds__(kBlock) pool(const __grid_constant__ Shape s, const B* boxes, F* output) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  each_chunk<T>(s, boxes, [&](int64_t k, const PlacedRoi<T>& placed, int32_t c0, int32_t channels) {
    const int32_t groups = (channels + kGroup - 1) / kGroup;
    const bool empty = placed.image < 0 || placed.roi.empty();
    const int64_t map_channel = s.map_channel(placed.level);
    const F* const map = s.image<const F>(placed.level, empty ? 0 : placed.image) + c0 * map_channel;
    F* const to = output + s.roi_offset(k) + c0 * s.bin_channel();
    for (int32_t i = int32_t(threadIdx.x); i < groups * s.bins(); i += int32_t(blockDim.x)) {
      const Item item(i, s.bins(), groups, s.channels_last);
      const int64_t step = item.step * map_channel;
      const F* const from = map + item.first * map_channel;
      A sums[kGroup] = {};
      if (!empty) {
        each_tap(placed, item.bin / s.columns, item.bin % s.columns, [&](int64_t pixel, T weight) {
          const F* const at = from + pixel * s.map_pixel();
#pragma unroll
          for (int j = 0; j < kGroup; ++j)
            if (item.first + j * item.step < channels)
              sums[j] = fused(A(weight), load(at[j * step]), sums[j]);
        });
      }
      const A count = empty ? A(1) : A(placed.roi.count());
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        const int32_t c = item.first + j * item.step;
        if (c < channels) store(to[c * s.bin_channel() + item.bin * s.bin_step()], sums[j] / count);
      }
    }
  });
}

// The maps of the levels are sums, here and below.
template <class F, class B>
__global__ void __launch_bounds__(kBlock, 2) spread(const __grid_constant__ Shape s, const F* grads, const B* boxes) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  each_chunk<T>(s, boxes, [&](int64_t k, const PlacedRoi<T>& placed, int32_t c0, int32_t channels) {
    if (placed.image < 0 || placed.roi.empty()) return;
    const int32_t groups = (channels + kGroup - 1) / kGroup;
    const int64_t map_channel = s.map_channel(placed.level);
    A* const map = s.image<A>(placed.level, placed.image) + c0 * map_channel;
    const F* const from = grads + s.roi_offset(k) + c0 * s.bin_channel();
    for (int32_t i = int32_t(threadIdx.x); i < groups * s.bins(); i += int32_t(blockDim.x)) {
      const Item item(i, s.bins(), groups, s.channels_last);
      const int64_t step = item.step * map_channel;
      A* const to = map + item.first * map_channel;
      A grad[kGroup];
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        const int32_t c = item.first + j * item.step;
        grad[j] = c < channels ? load(from[c * s.bin_channel() + item.bin * s.bin_step()]) / A(placed.roi.count()) : A(0);
      }
      each_tap(placed, item.bin / s.columns, item.bin % s.columns, [&](int64_t pixel, T weight) {
        A* const at = to + pixel * s.map_pixel();
#pragma unroll
        for (int j = 0; j < kGroup; ++j)
          if (item.first + j * item.step < channels) atomicAdd(at + j * step, A(weight) * grad[j]);
      });
    }
  });
}

// Rows [top, bottom) of eight channels of an image at one level.
struct Band {
  int64_t image;
  int32_t level, top, bottom, first, channels;

  // The n-th of all levels' bands.
  __device__ static Band of(const Shape& s, int64_t n) {
    const int64_t groups = (s.channels + kGroup - 1) / kGroup;
    int32_t level = 0;
    for (;; ++level) {
      const int64_t bands = (s.levels.height[level] + kBand - 1) / kBand, all = s.levels.images * groups * bands;
      if (n >= all) {
        n -= all;
        continue;
      }
      const int64_t plane = n / bands, image = plane / groups;
      const int32_t top = int32_t(n - plane * bands) * kBand, first = int32_t(plane - image * groups) * kGroup;
      const int32_t height = s.levels.height[level];
      return {image, level, top, height - top < kBand ? height : top + kBand, first,
              s.channels - first < kGroup ? s.channels - first : kGroup};
    }
  }
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
  const int32_t height = s.levels.height[band.level], width = s.levels.width[band.level];
  A* const map = sums + (band.first + channel) * s.map_channel(band.level);
  for (int32_t bin = 0; bin < s.bins(); ++bin) {
    const int32_t row = bin / s.columns, column = bin - row * s.columns;
    const SampleRange rows = roi.rows(row), columns = roi.columns(column);
    const T v0 = roi.v.base(row), u0 = roi.u.base(column);
    const A grad = load(from[bin * s.bin_step()]) / A(roi.count());
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const T v = roi.v.at(v0, k);
      for (int64_t j = columns.first; j < columns.last; j += kWarp) {
        RotatedSample<T> p = {{0, 0, T(0), T(0)}, {0, 0, T(0), T(0)}};
        const bool counts = j + lane < columns.last && roi.sample(v, roi.u.at(u0, j + lane), height, width, p);
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
            A& to = map[(int64_t(y) * width + x) * s.map_pixel()];
            to = fused(A(weight), grad, to);
          }
          __syncwarp();  // the next sample's lanes see these sums
        }
      }
    }
  }
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock) spread_in_order(const __grid_constant__ Shape s, const F* grads,
                                                          const B* boxes, int64_t bands) {
  using A = accumulate_t<F>;
  using T = decltype(A() + B());
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t n = first_item() / kWarp; n < bands; n += item_stride() / kWarp) {
    const Band band = Band::of(s, n);
    for (int64_t start = 0; start < s.rois; start += kWarp) {
      const int64_t k = start + lane;
      const bool here = k < s.rois && image_of(boxes[6 * k], s.levels.images) == band.image &&
                        s.level_of(boxes, k) == band.level && meets(s, s.roi<T>(boxes, k, band.level), band);
      for (unsigned rois = __ballot_sync(kFullWarp, here); rois != 0; rois &= rois - 1) {
        const int64_t one = start + __ffs(int(rois)) - 1;
        add_roi(s, s.roi<T>(boxes, one, band.level), band, grads + s.roi_offset(one),
                s.image<A>(band.level, band.image));
      }
    }
  }
}

Shape shape_of(const char* op, const RoiAlignLevels& levels, bool channels_last, const View& bins,
               int64_t sampling_ratio) {
  require(bins.shape[1] <= INT32_MAX / kGroup && bins.shape[2] * bins.shape[3] <= INT32_MAX / kChunk, op,
          "the CUDA kernels take less than 2^28 channels and 2^25 bins");
  return {AlignLevels(levels, op),  bins.shape[0],          sampling_ratio, int32_t(bins.shape[1]),
          int32_t(bins.shape[2]), int32_t(bins.shape[3]), channels_last,  !bins.contiguous()};
}

// The sums of the gradients are set to 0; in half they are copies in the workspace, which round_to brings back.
template <class F>
void zero_sums(const char* op, const RoiAlignLevels& gradients, AlignLevels& sums, const Launch& launch) {
  using A = accumulate_t<F>;
  if constexpr (!std::is_same_v<F, A>) {
    Workspace workspace(launch.workspace);
    const std::vector<float*> copies = half_sums(workspace, gradients.maps);
    workspace.check(op, launch);
    for (size_t i = 0; i < copies.size(); ++i) sums.map[i] = copies[i];
  }
  for (size_t i = 0; i < gradients.maps.size(); ++i)
    if (const int64_t size = gradients.maps[i].size())
      check(cudaMemsetAsync(sums.map[i], 0, size * sizeof(A), stream_of(launch)), op);
}

}  // namespace

void roi_align_rotated(const RoiAlignLevels& features, const View& boxes, int64_t sampling_ratio, const View& output,
                       const Launch& launch) {
  constexpr const char* kOp = "roi_align_rotated";
  const bool channels_last = check_rotated_align(kOp, features, boxes, output);
  if (output.size() == 0) return;
  const Shape shape = shape_of(kOp, features, channels_last, output, sampling_ratio);
  const DeviceGuard guard(launch.device, kOp);
  with_types(kOp, output, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    run(kOp, launch, pool<F, B>, grid_for(shape.rois * ceil_div(shape.channels, kChunk), 1), kBlock, shape,
        boxes.as<B>(), output.as<F>());
  });
}

int64_t roi_align_rotated_backward_workspace(const std::vector<View>& gradients) {
  Workspace workspace;
  if (is_half(gradients.at(0).dtype)) half_sums(workspace, gradients);
  return workspace.bytes();
}

void roi_align_rotated_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients,
                                int64_t sampling_ratio, const Launch& launch) {
  constexpr const char* kOp = "roi_align_rotated_backward";
  const bool channels_last = check_rotated_align(kOp, gradients, boxes, grad);
  Shape shape = shape_of(kOp, gradients, channels_last, grad, sampling_ratio);
  int64_t bands = 0;
  for (const View& map : gradients.maps)
    bands += map.shape[0] * ceil_div(shape.channels, kGroup) * ceil_div(map.shape[2], kBand);
  const DeviceGuard guard(launch.device, kOp);
  with_types(kOp, grad, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    using B = typename decltype(box)::type;
    zero_sums<F>(kOp, gradients, shape.levels, launch);
    if (grad.size() > 0 && launch.deterministic)
      run(kOp, launch, spread_in_order<F, B>, grid_for(bands, kBlock / kWarp), kBlock, shape, grad.as<F>(),
          boxes.as<B>(), bands);
    else if (grad.size() > 0)
      run(kOp, launch, spread<F, B>, grid_for(shape.rois * ceil_div(shape.channels, kChunk), 1), kBlock, shape,
          grad.as<F>(), boxes.as<B>());
    if constexpr (!std::is_same_v<F, accumulate_t<F>>)
      for (size_t i = 0; i < gradients.maps.size(); ++i)
        if (const int64_t size = gradients.maps[i].size())
          round_to(kOp, static_cast<const float*>(shape.levels.map[i]), size, gradients.maps[i].as<F>(), launch);
  });
}

}  // namespace roikit::cuda
