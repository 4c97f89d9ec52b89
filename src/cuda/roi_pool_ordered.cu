// RoIPool backward on the GPU in the order of RoI, row, column of bins, with the CPU's bits. A warp adds up one channel
// of a tile of pixels in shared memory, over the RoIs with a winner in the tile; the rectangle of a RoI's winners is
// found beforehand, so that the sum holds for any argmax. Its lanes take 32 bins at a time, across the RoIs. Where lanes
// have the same pixel, the first of them adds their gradients one after another.
#include "core/roi_pool.h"

#include "cuda/launch.cuh"
#include "cuda/odometer.cuh"
#include "cuda/roi_pool_backward.cuh"
#include "cuda/roi_tiles.cuh"
#include "cuda/rois.cuh"

namespace roikit::cuda {
namespace {

constexpr int kSide = 32;
constexpr int kPixels = kSide * kSide;
constexpr int kMostThreads = 1024;
constexpr int kAhead = 4;  // bins that a lane loads before it adds the first
constexpr int64_t kAnyTiles = INT64_MAX;
using Grid = TileGrid<kSide, kSide>;

// Channels of a block, a warp each: tiles of 32 KiB.
template <class A> constexpr int kChannels = 32 / int(sizeof(A));
// Blocks that shall fit on a multiprocessor: bounds the registers of a thread to 64, and 80.
template <class A> constexpr int kBlocks = sizeof(A) == 4 ? 4 : 6;

// The rectangle of a RoI's winners, over all channels. One block a RoI; V values of argmax are read at once.
template <class T, int V>
__global__ void find_extents(const PoolGradient p, const int32_t* argmax, const T* boxes, RoiExtent* extents) {
  __shared__ int32_t found[4][kMostThreads / kWarp];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, warps = int(blockDim.x) / kWarp;
  for (int64_t k = blockIdx.x; k < p.rois; k += gridDim.x) {
    const int64_t n = p.channels * p.bins;
    RoiExtent extent{int32_t(image_of(boxes[5 * k], p.images)), INT32_MAX, INT32_MAX, -1, -1};
    for (int64_t i = int64_t(threadIdx.x) * V; i < n; i += int64_t(blockDim.x) * V) {
      const auto pack = *reinterpret_cast<const Pack<int32_t, V>*>(argmax + k * n + i);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const int32_t at = pack.v[v];
        if (at < 0 || at >= p.plane) continue;
        const int32_t y = p.width.quotient(at), x = at - y * p.width.value;
        extent.top = y < extent.top ? y : extent.top;
        extent.left = x < extent.left ? x : extent.left;
        extent.bottom = y > extent.bottom ? y : extent.bottom;
        extent.right = x > extent.right ? x : extent.right;
      }
    }
    const int32_t top = __reduce_min_sync(kFullWarp, extent.top), left = __reduce_min_sync(kFullWarp, extent.left);
    const int32_t bottom = __reduce_max_sync(kFullWarp, extent.bottom);
    const int32_t right = __reduce_max_sync(kFullWarp, extent.right);
    __syncthreads();  // the RoI before may still be read
    if (lane == 0) found[0][warp] = top, found[1][warp] = left, found[2][warp] = bottom, found[3][warp] = right;
    __syncthreads();
    if (threadIdx.x != 0) continue;
    for (int w = 0; w < warps; ++w) {
      extent.top = found[0][w] < extent.top ? found[0][w] : extent.top;
      extent.left = found[1][w] < extent.left ? found[1][w] : extent.left;
      extent.bottom = found[2][w] > extent.bottom ? found[2][w] : extent.bottom;
      extent.right = found[3][w] > extent.right ? found[3][w] : extent.right;
    }
    extents[k] = extent;
  }
}

// Adds each lane's value to sums[pixel], lanes in ascending order; a negative pixel adds nothing. All lanes call it.
template <class A>
__device__ void add_lanes(A* sums, int32_t pixel, A value) {
  const int lane = int(threadIdx.x) % kWarp;
  const unsigned same = __match_any_sync(kFullWarp, pixel);
  const bool adds = pixel >= 0 && lane == __ffs(int(same)) - 1;
  A sum = adds ? sums[pixel] + value : value;
  unsigned rest = adds ? same & ~(1u << lane) : 0;
  while (__any_sync(kFullWarp, rest != 0)) {
    const A other = __shfl_sync(kFullWarp, value, rest ? __ffs(int(rest)) - 1 : lane);
    if (rest) sum += other;
    rest &= rest - 1;
  }
  if (adds) sums[pixel] = sum;
  __syncwarp();
}

template <class F>
__global__ void __launch_bounds__(kChannels<accumulate_t<F>> * kWarp, kBlocks<accumulate_t<F>>)
    add_in_order(const PoolGradient p, const Grid grid, int64_t first, int64_t tiles, const uint32_t* marks,
                             int64_t words, const F* grad, const int32_t* argmax, F* gradient) {
  using A = accumulate_t<F>;
  constexpr int C = kChannels<A>;
  __shared__ A sums[C][kPixels + 4];  // 4 more: the writing of channels_last maps then meets no bank twice
  __shared__ uint16_t list[RoiWindow::kRois];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int64_t groups = (p.channels + C - 1) / C, bins = p.bins > 0 ? p.bins : 1;
  const int64_t roi_step = p.channels * p.bins;
  const int32_t first_roi = int32_t(lane / bins), first_bin = int32_t(lane % bins);
  const int32_t rois_ahead = int32_t(kWarp / bins), bins_ahead = int32_t(kWarp % bins);
  for (int64_t item = blockIdx.x; item < groups * tiles; item += gridDim.x) {
    const int64_t group = item / tiles, channel = group * C + warp;  // tiles that run together share their gradients
    const uint32_t* const words_here = marks + (item - group * tiles) * words;
    const Tile tile = grid.at(first + item - group * tiles);
    for (int i = lane; i < kPixels; i += kWarp) sums[warp][i] = A(0);
    for (int64_t w = 0; w < words; w += RoiWindow::kWords) {
      const RoiWindow window(words_here, words, w);
      if (window.count() == 0) continue;  // the same in all warps
      __syncthreads();                    // the window before may still be read
      if (warp == 0) window.list(list);
      __syncthreads();
      const int64_t n = channel < p.channels ? window.count() * bins : 0;
      int32_t r = first_roi, bin = first_bin;
      for (int64_t s = 0; s < n; s += kAhead * kWarp) {
        int32_t pixel[kAhead];
        A value[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          pixel[a] = -1, value[a] = A(0);
          if (s + a * kWarp + lane < n) {
            const int64_t from = (w * kWarp + list[r]) * roi_step + channel * p.grad_channel + bin * p.grad_bin;
            pixel[a] = argmax[from];
            value[a] = load(grad[from]);
          }
          r += rois_ahead, bin += bins_ahead;
          if (bin >= bins) bin -= int32_t(bins), ++r;
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          const bool won = pixel[a] >= 0 && pixel[a] < p.plane;
          const int32_t at = won ? pixel[a] : 0, y = p.width.quotient(at), x = at - y * p.width.value - tile.left;
          const bool here = won && uint32_t(y - tile.top) < kSide && uint32_t(x) < kSide;
          pixel[a] = here ? (y - tile.top) * kSide + x : -1;
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a)
          if (__any_sync(kFullWarp, pixel[a] >= 0)) add_lanes(sums[warp], pixel[a], value[a]);
      }
    }
    __syncthreads();
    // Neighbouring threads write neighbours in memory: columns of a plane, or channels of a pixel.
    F* const map = gradient + tile.image * p.channels * p.plane;
    for (int i = int(threadIdx.x); i < C * kPixels; i += C * kWarp) {
      const int c = p.pixel == 1 ? i / kPixels : i % C, at = p.pixel == 1 ? i % kPixels : i / C;
      const int32_t y = tile.top + at / kSide, x = tile.left + at % kSide;
      if (group * C + c >= p.channels || y >= p.height || x >= p.width.value) continue;
      store(map[(group * C + c) * p.channel + (int64_t(y) * p.width.value + x) * p.pixel], sums[c][at]);
    }
    __syncthreads();
  }
}

template <int V>
void start_extents(const PoolGradient& p, const int32_t* argmax, const View& boxes, RoiExtent* extents,
                   const Launch& launch) {
  const int64_t wish = ceil_div(p.channels * p.bins, V * kWarp) * kWarp;
  visit<float, double>(boxes.dtype, "roi_pool_backward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("roi_pool_backward", launch, find_extents<T, V>, grid_for(p.rois, 1),
        unsigned(wish < kMostThreads ? wish : kMostThreads), p, argmax, boxes.as<T>(), extents);
  });
}

Grid tiles_of(const View& gradient) {
  Grid grid;
  grid.add(gradient);
  return grid;
}

}  // namespace

int64_t ordered_workspace(const View& argmax, const View& gradient) {
  Workspace workspace;
  TileMarks(workspace, tiles_of(gradient), argmax.shape[0], kAnyTiles);
  return workspace.bytes();
}

void roi_pool_backward_in_order(const PoolGradient& p, const View& grad, const View& argmax, const View& boxes,
                                const View& gradient, const Launch& launch) {
  const char* const op = "roi_pool_backward";
  const DeviceGuard guard(launch.device, op);
  const Grid grid = tiles_of(gradient);
  Workspace workspace(launch.workspace);
  const TileMarks marks(workspace, grid, p.bins > 0 ? p.rois : 0, kAnyTiles);
  workspace.check(op, launch);
  if (marks.rois > 0) {
    const int32_t* const winners = argmax.as<int32_t>();
    const bool packs = p.channels * p.bins % 4 == 0 && aligned_to(winners, 16);
    (packs ? start_extents<4> : start_extents<1>)(p, winners, boxes, marks.extents, launch);
  }
  visit<float, double, Half, BFloat16>(grad.dtype, op, [&](auto tag) {
    using F = typename decltype(tag)::type;
    constexpr int C = kChannels<accumulate_t<F>>;
    marks.each_pass(op, launch, grid, [&](int64_t first, int64_t tiles) {
      run(op, launch, add_in_order<F>, grid_for(ceil_div(p.channels, C) * tiles, 1), C * kWarp, p, grid, first, tiles,
          marks.marks, marks.words, grad.as<F>(), argmax.as<int32_t>(), gradient.as<F>());
    });
  });
}

}  // namespace roikit::cuda
