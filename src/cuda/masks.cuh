// Masks as the kernels of targets read them, columns of which are asked for from some row down.
#pragma once

#include "core/mask_target.h"
#include "cuda/launch.cuh"

namespace roikit::cuda {

struct Bitmaps {
  const uint8_t* data;
  int64_t masks, step, row, high, wide;

  __device__ int64_t height(int64_t) const { return high; }
  __device__ int64_t width(int64_t) const { return wide; }

  struct Column {
    const uint8_t* top;
    int64_t row;
    __device__ bool at(int64_t y) { return top[y * row] != 0; }
  };
  __device__ Column column(int64_t mask, int64_t x, int64_t) const { return {data + mask * step + x, row}; }
};

// Where each run ends, counted through all masks; in each mask the second, the fourth, ... are inside.
struct RunEnds {
  const int64_t *ends, *offsets, *sizes;
  int64_t masks;

  __device__ int64_t height(int64_t mask) const { return sizes[2 * mask]; }
  __device__ int64_t width(int64_t mask) const { return sizes[2 * mask + 1]; }

  struct Column {
    const int64_t* ends;
    int64_t first, last, top, k;  // the mask's runs, the position of row 0, the run of the last row asked for
    __device__ bool at(int64_t y) {  // y never falls
      while (k < last && ends[k] <= top + y) ++k;
      return k < last && ((k - first) & 1);
    }
  };
  // From row y on.
  __device__ Column column(int64_t mask, int64_t x, int64_t y) const {
    const int64_t first = offsets[mask], last = offsets[mask + 1];
    const int64_t top = (first > 0 ? ends[first - 1] : 0) + x * sizes[2 * mask];
    int64_t lo = first, hi = last;
    while (lo < hi) {
      const int64_t middle = lo + (hi - lo) / 2;
      ends[middle] <= top + y ? lo = middle + 1 : hi = middle;
    }
    return {ends, first, last, top, lo};
  }
};

inline Bitmaps bitmaps_of(const char* op, const View& masks) {
  check_bitmaps(op, masks);
  return {static_cast<const uint8_t*>(masks.data), masks.shape[0], masks.stride[0], masks.stride[1], masks.shape[1],
          masks.shape[2]};
}

inline RunEnds run_ends_of(const char* op, const View& ends, const View& offsets, const View& sizes) {
  check_runs(op, ends, offsets, sizes);
  return {ends.as<int64_t>(), offsets.as<int64_t>(), sizes.as<int64_t>(), sizes.shape[0]};
}

}  // namespace roikit::cuda
