// encode_keypoints and decode_keypoints on the GPU.
//
// encode: one thread a point. decode: a block has the map of one keypoint. Its threads share strips of rows by columns of
// the grid: a thread goes down a strip in one column and keeps the last four resized values, so that a row of the map is
// resized once a strip; the rows' weights are made once for the block. Every thread has the best of its own and the lower
// position of equals, and so has the block.
#include "core/keypoints.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kRows = 256;   // rows whose weights a block holds at a time
constexpr int kStrip = 32;   // rows that a thread goes down

template <class T>
__global__ void encode(const T* points, const T* boxes, int64_t each, int64_t n, int64_t size, int64_t* target,
                       bool* valid) {
  for (int64_t i = first_item(); i < n; i += item_stride())
    target[i] = keypoint_target(points + 3 * i, boxes + 4 * (i / each), size, valid[i]);
}

template <class T> struct Best {
  T value;
  int32_t at;

  __device__ void take(T v, int32_t i) {
    if (v > value || (v == value && i < at)) value = v, at = i;
  }
};

template <class T>
__device__ Best<T> best_of_block(Best<T> mine) {
  __shared__ T values[kBlock / kWarp];
  __shared__ int32_t places[kBlock / kWarp];
  for (int by = kWarp / 2; by > 0; by /= 2) {
    const T value = __shfl_down_sync(kFullWarp, mine.value, by);
    mine.take(value, __shfl_down_sync(kFullWarp, mine.at, by));
  }
  const int warp = int(threadIdx.x) / kWarp;
  __syncthreads();  // the keypoint before this one may still be read
  if (threadIdx.x % kWarp == 0) values[warp] = mine.value, places[warp] = mine.at;
  __syncthreads();
  for (int w = 0; w < kBlock / kWarp; ++w) mine.take(values[w], places[w]);
  return mine;  // thread 0 has it; others may have a better one of their own lanes
}

// The column x of row y of the map, resized.
template <class T>
__device__ T across(const T* map, int32_t y, const CubicTap<T>& x, int32_t height, int32_t width) {
  return cubic_of_row(map + int64_t(limited_pixel(y, height)) * width, x, width);
}

template <class T>
__device__ T value_at(const T* map, const CubicTap<T>& y, const CubicTap<T>& x, int32_t height, int32_t width) {
  return cubic_mix(across(map, y.cell - 1, x, height, width), across(map, y.cell, x, height, width),
                   across(map, y.cell + 1, x, height, width), across(map, y.cell + 2, x, height, width), y.weight);
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    decode(const T* maps, const T* boxes, int64_t each, int64_t n, int32_t height, int32_t width, T* xy, T* scores) {
  __shared__ CubicTap<T> taps[kRows];
  for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
    const T* const box = boxes + 4 * (i / each);
    const auto x = KeypointAxis<T>::of(box[0], box[2]), y = KeypointAxis<T>::of(box[1], box[3]);
    if (x.cells == 0 || y.cells == 0) {
      if (threadIdx.x < 2) xy[2 * i + threadIdx.x] = T(0);
      if (threadIdx.x == 0) scores[i] = T(0);
      continue;
    }
    const T* const map = maps + i * height * width;
    const T step_x = T(width) / T(x.cells), step_y = T(height) / T(y.cells);
    Best<T> best = {-std::numeric_limits<T>::infinity(), 0};
    for (int32_t first = 0; first < y.cells; first += kRows) {
      const int32_t rows = y.cells - first < kRows ? y.cells - first : kRows;
      __syncthreads();
      if (int(threadIdx.x) < rows) taps[threadIdx.x] = CubicTap<T>::of(first + int32_t(threadIdx.x), step_y, height);
      __syncthreads();
      const int32_t items = int32_t(ceil_div(rows, kStrip)) * x.cells;
      for (int32_t item = int32_t(threadIdx.x); item < items; item += kBlock) {
        const int32_t strip = item / x.cells, column = item - strip * x.cells;
        const CubicTap<T> tap = CubicTap<T>::of(column, step_x, width);
        const int32_t end = rows < (strip + 1) * kStrip ? rows : (strip + 1) * kStrip;
        int32_t at = taps[strip * kStrip].cell - 5;  // the last row that was resized: before the four
        T h0 = T(0), h1 = T(0), h2 = T(0), h3 = T(0);
        for (int32_t r = strip * kStrip; r < end; ++r) {
          const int32_t cell = taps[r].cell;
          if (cell - 2 > at) at = cell - 2;  // rows that no cell reads, where the map is larger than the grid
          while (at < cell + 2) {
            ++at;
            h0 = h1, h1 = h2, h2 = h3, h3 = across(map, at, tap, height, width);
          }
          best.take(cubic_mix(h0, h1, h2, h3, taps[r].weight), (first + r) * x.cells + column);
        }
      }
    }
    best = best_of_block(best);
    if (threadIdx.x == 0) {
      const int32_t row = best.at / x.cells, column = best.at - row * x.cells;
      xy[2 * i] = x.place(column);
      xy[2 * i + 1] = y.place(row);
      scores[i] = value_at(map, CubicTap<T>::of(row, step_y, height), CubicTap<T>::of(column, step_x, width), height,
                           width);
    }
  }
}

}  // namespace

void encode_keypoints(const View& keypoints, const View& boxes, int64_t size, const View& target, const View& valid,
                      const Launch& launch) {
  check_encode_keypoints(keypoints, boxes, size, target, valid);
  if (target.size() == 0) return;
  const DeviceGuard guard(launch.device, "encode_keypoints");
  visit<float, double>(boxes.dtype, "encode_keypoints", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("encode_keypoints", launch, encode<T>, grid_for(target.size()), kBlock, keypoints.as<T>(), boxes.as<T>(),
        keypoints.shape[1], target.size(), size, target.as<int64_t>(), valid.as<bool>());
  });
}

void decode_keypoints(const View& maps, const View& boxes, const View& xy, const View& scores, const Launch& launch) {
  check_decode_keypoints(maps, boxes, xy, scores);
  if (scores.size() == 0) return;
  const DeviceGuard guard(launch.device, "decode_keypoints");
  visit<float, double>(boxes.dtype, "decode_keypoints", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("decode_keypoints", launch, decode<T>, grid_for(scores.size(), 1), kBlock, maps.as<T>(), boxes.as<T>(),
        maps.shape[1], scores.size(), int32_t(maps.shape[2]), int32_t(maps.shape[3]), xy.as<T>(), scores.as<T>());
  });
}

}  // namespace roikit::cuda
