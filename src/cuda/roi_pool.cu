// RoIPool forward on the GPU. One kernel finds the pixels of every RoI's bins; in the next, a block takes one RoI and a
// chunk of channels. The blocks that run together share a chunk, so that its planes stay in the L2 cache.
//
// Planes (contiguous): a group of 1 to 32 lanes, as many as a bin has columns, looks at neighbouring columns of a bin
// and agrees on the first maximum; then every lane writes one of the warp's 32 outputs. channels_last: a thread has a bin
// and up to 16 bytes of channels, and its neighbours the next ones.
#include "core/roi_pool.h"

#include <limits>

#include "cuda/launch.cuh"
#include "cuda/odometer.cuh"
#include "cuda/rois.cuh"

namespace roikit::cuda {
namespace {

constexpr int kAhead = 4;       // pixels that a thread loads before it compares the first
constexpr int64_t kMostLines = INT32_MAX - kWarp;  // so that steps beyond the last line stay whole numbers
constexpr int kOutputs = 1536;  // outputs a block takes at least, where there are as many

// A RoI's rows of bins in pixels, then its columns, and its image; no pixels where the RoI gives 0.
struct Plan {
  PixelRange* ranges;
  int64_t* images;

  static Plan in(Workspace& workspace, int64_t rois, int64_t ranges) {
    PixelRange* const first = workspace.take<PixelRange>(rois * ranges);
    return {first, workspace.take<int64_t>(rois)};
  }
};

struct Pooling {
  Plan plan;
  int64_t rois, images, channels, chunk;  // chunk: channels a block takes
  int32_t rows, columns, height, width;

  __device__ int64_t blocks() const { return (channels + chunk - 1) / chunk * rois; }
  __device__ int64_t bins() const { return int64_t(rows) * columns; }
  __device__ int64_t plane() const { return int64_t(height) * width; }
};

template <class T>
__global__ void find_pixels(const Pooling p, const T* boxes, T scale) {
  const int64_t ranges = int64_t(p.rows) + p.columns;
  for (int64_t n = first_item(); n < p.rois * ranges; n += item_stride()) {
    const int64_t k = n / ranges, bin = n - k * ranges;
    const T* const roi = boxes + 5 * k;
    const int64_t image = finite_corners(roi) ? image_of(roi[0], p.images) : -1;
    if (bin == 0) p.plan.images[k] = image < 0 ? 0 : image;
    p.plan.ranges[n] = image < 0      ? PixelRange{}
                       : bin < p.rows ? PoolAxis<T>::of(roi[2], roi[4], scale, p.rows).range(bin, p.height)
                                      : PoolAxis<T>::of(roi[1], roi[3], scale, p.columns).range(bin - p.rows, p.width);
  }
}

// The RoI and the channels of a block.
struct Work {
  int64_t k, image, first, channels;
  const PixelRange* row;
  const PixelRange* column;

  __device__ static Work of(const Pooling& p, int64_t item) {
    const int64_t chunk = item / p.rois, k = item - chunk * p.rois, first = chunk * p.chunk;
    const PixelRange* const row = p.plan.ranges + k * (int64_t(p.rows) + p.columns);
    return {k, p.plan.images[k], first, p.channels - first < p.chunk ? p.channels - first : p.chunk, row, row + p.rows};
  }
};

// Lanes for a bin: the largest power of two that is at most the bins' mean width.
__device__ int lanes_for(const PixelRange* column, int32_t columns) {
  const int32_t width = (column[columns - 1].end - column[0].begin) / columns;
  int lanes = 1;
  while (2 * lanes <= width && lanes < kWarp) lanes *= 2;
  return lanes;
}

// The first maximum so far, in any order of the pixels. NaN and minus infinity never win.
template <class A>
struct Winner {
  A value = -std::numeric_limits<A>::infinity();
  int32_t at = -1;

  __device__ void meet(A x, int32_t pixel) {
    const bool wins = x > value || (x == value && pixel < at);
    value = wins ? x : value;
    at = wins ? pixel : at;
  }

  __device__ A shown() const { return at < 0 ? A(0) : value; }
};

// Columns x.begin + first, and every `step` columns from there.
template <class F>
__device__ Winner<accumulate_t<F>> best_of(const F* plane, int32_t width, PixelRange y, PixelRange x, int first,
                                           int step) {
  Winner<accumulate_t<F>> best;
  for (int32_t j = x.begin + first; j < x.end; j += step) {
    for (int32_t i = y.begin; i < y.end; i += kAhead) {
      F values[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a)
        if (a < y.end - i) values[a] = plane[(i + a) * width + j];
#pragma unroll
      for (int a = 0; a < kAhead; ++a)
        if (a < y.end - i) best.meet(load(values[a]), (i + a) * width + j);
    }
  }
  return best;
}

template <class F>
__global__ void pool_planes(const Pooling p, const F* input, F* output, int32_t* argmax) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t item = blockIdx.x; item < p.blocks(); item += gridDim.x) {
    const Work work = Work::of(p, item);
    const int group = lanes_for(work.column, p.columns), within = lane % group;
    const int64_t n = work.channels * p.bins(), to = (work.k * p.channels + work.first) * p.bins();
    const F* const map = input + (work.image * p.channels + work.first) * p.plane();
    // The group finds its own `group` outputs one after another; they stand where its lanes do.
    Odometer at = Odometer::of(threadIdx.x - within, p.rows, p.columns);
    const Odometer next = Odometer::of(1, p.rows, p.columns);
    const Odometer ahead = Odometer::of(blockDim.x - group, p.rows, p.columns);
    for (int64_t first = threadIdx.x - lane; first < n; first += blockDim.x) {
      Winner<accumulate_t<F>> mine;
      for (int g = 0; g < group; ++g) {
        Winner<accumulate_t<F>> best;
        if (first + (lane - within) + g < n)
          best = best_of(map + at.a * p.plane(), p.width, work.row[at.b], work.column[at.c], within, group);
        for (int by = group / 2; by > 0; by /= 2) {
          const auto value = __shfl_xor_sync(kFullWarp, best.value, by);
          best.meet(value, __shfl_xor_sync(kFullWarp, best.at, by));
        }
        if (g == within) mine = best;
        at.add(next, p.rows, p.columns);
      }
      at.add(ahead, p.rows, p.columns);
      if (first + lane < n) {
        store(output[to + first + lane], mine.shown());
        if (argmax) argmax[to + first + lane] = mine.at;
      }
    }
  }
}

// Rows, then columns, of a channels_last map whose pixels are `channels` apart.
template <class F, int V>
__device__ void best_of(const F* map, int64_t channels, int32_t width, PixelRange y, PixelRange x,
                        Winner<accumulate_t<F>>* best) {
  const int64_t pixels = int64_t(y.end > y.begin ? y.end - y.begin : 0) * (x.end > x.begin ? x.end - x.begin : 0);
  int32_t i = y.begin, j = x.begin;
  for (int64_t n = 0; n < pixels; n += kAhead) {
    Pack<F, V> values[kAhead];
    int32_t at[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      at[a] = i * width + j;
      if (n + a < pixels) values[a] = *reinterpret_cast<const Pack<F, V>*>(map + at[a] * channels);
      if (++j == x.end) j = x.begin, ++i;
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
      if (n + a < pixels)
#pragma unroll
        for (int v = 0; v < V; ++v) best[v].meet(load(values[a].v[v]), at[a]);
  }
}

template <class F, int V>
__global__ void pool_pixels(const Pooling p, const F* input, F* output, int32_t* argmax) {
  for (int64_t item = blockIdx.x; item < p.blocks(); item += gridDim.x) {
    const Work work = Work::of(p, item);
    const int32_t packs = int32_t(work.channels / V);
    const F* const map = input + work.image * p.plane() * p.channels + work.first;
    Odometer at = Odometer::of(threadIdx.x, p.columns, packs);
    const Odometer step = Odometer::of(blockDim.x, p.columns, packs);
    for (int64_t n = threadIdx.x; n < p.bins() * packs; n += blockDim.x) {
      Winner<accumulate_t<F>> best[V];
      best_of<F, V>(map + at.c * V, p.channels, p.width, work.row[at.a], work.column[at.b], best);
      Pack<F, V> values;
      Pack<int32_t, V> winners;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        store(values.v[v], best[v].shown());
        winners.v[v] = best[v].at;
      }
      const int64_t bin = work.k * p.bins() + int64_t(at.a) * p.columns + at.b;
      const int64_t to = bin * p.channels + work.first + at.c * V;
      *reinterpret_cast<Pack<F, V>*>(output + to) = values;
      if (argmax) *reinterpret_cast<Pack<int32_t, V>*>(argmax + to) = winners;
      at.add(step, p.columns, packs);
    }
  }
}

template <class F, int V>
void start_pixels(Pooling p, const F* input, F* output, int32_t* argmax, const Launch& launch) {
  const int64_t packs = p.channels / V, least = ceil_div(kOutputs, int64_t(p.rows) * p.columns);
  const int64_t chunks = ceil_div(packs, least > kWarp ? least : kWarp);
  p.chunk = ceil_div(packs, chunks) * V;
  run("roi_pool", launch, pool_pixels<F, V>, grid_for(ceil_div(p.channels, p.chunk) * p.rois, 1), kBlock, p, input,
      output, argmax);
}

template <class F>
void start(Pooling p, const F* input, F* output, int32_t* argmax, bool channels_last, const Launch& launch) {
  if (channels_last) {
    constexpr int V = 16 / sizeof(F);
    if (p.channels % V == 0 && aligned_to(input, 16) && aligned_to(output, 16) && aligned_to(argmax, 4 * V))
      start_pixels<F, V>(p, input, output, argmax, launch);
    else
      start_pixels<F, 1>(p, input, output, argmax, launch);
    return;
  }
  const int64_t least = ceil_div(kOutputs, int64_t(p.rows) * p.columns);
  p.chunk = least < p.channels ? least : p.channels;
  run("roi_pool", launch, pool_planes<F>, grid_for(ceil_div(p.channels, p.chunk) * p.rois, 1), kBlock, p, input, output,
      argmax);
}

}  // namespace

int64_t roi_pool_workspace(int64_t rois, int64_t rows, int64_t columns) {
  Workspace workspace;
  Plan::in(workspace, rois, rows + columns);
  return workspace.bytes();
}

void roi_pool(const View& input, const View& boxes, double spatial_scale, const View& output, const View& argmax,
              const Launch& launch) {
  const bool channels_last = check_roi_pool(input, boxes, output, argmax);
  const int64_t plane = input.shape[2] * input.shape[3];
  require(plane == 0 || (input.shape[2] < kMostLines && input.shape[3] < kMostLines),
          "roi_pool: input must have H and W < 2^31 - 32");
  require(output.shape[1] <= INT32_MAX && output.shape[2] <= INT32_MAX - output.shape[3],
          "roi_pool: output must have C < 2^31 and PH + PW < 2^31");
  if (output.size() == 0) return;
  Workspace workspace(launch.workspace);
  const bool empty = plane == 0;  // a side may then be beyond 32 bits
  const Pooling pooling{Plan::in(workspace, boxes.shape[0], output.shape[2] + output.shape[3]),
                        boxes.shape[0],
                        input.shape[0],
                        input.shape[1],
                        0,
                        int32_t(output.shape[2]),
                        int32_t(output.shape[3]),
                        empty ? 0 : int32_t(input.shape[2]),
                        empty ? 0 : int32_t(input.shape[3])};
  workspace.check("roi_pool", launch);
  const DeviceGuard guard(launch.device, "roi_pool");
  visit<float, double>(boxes.dtype, "roi_pool", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("roi_pool", launch, find_pixels<T>, grid_for(pooling.rois * (output.shape[2] + output.shape[3])), kBlock,
        pooling, boxes.as<T>(), T(spatial_scale));
  });
  visit<float, double, Half, BFloat16>(input.dtype, "roi_pool", [&](auto tag) {
    using F = typename decltype(tag)::type;
    start(pooling, input.as<F>(), output.as<F>(), argmax.size() ? argmax.as<int32_t>() : nullptr,
          channels_last, launch);
  });
}

}  // namespace roikit::cuda
