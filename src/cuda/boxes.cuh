// Boxes in the device's memory, read and written 16 bytes at a time where the address allows it.
#pragma once

#include "core/boxes.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {

// Blocks of kBlock threads that fill a large device (132 multiprocessors) and leave each thread a few boxes of a long row.
constexpr int64_t kFill = 2112;

// Whether every box from p on may be moved in units of 16 bytes.
template <class T> bool wide_boxes(const T* p) { return aligned_to(p, 16); }

template <class T> struct Corners { T v[4]; };  // or any four numbers that lie together

template <class T>
__device__ Corners<T> read_corners(const T* p, bool wide) {
  constexpr int kUnit = 16 / int(sizeof(T));
  if (!wide) return {{p[0], p[1], p[2], p[3]}};
  Corners<T> c;
#pragma unroll
  for (int k = 0; k < 4; k += kUnit) {
    const Pack<T, kUnit> unit = *reinterpret_cast<const Pack<T, kUnit>*>(p + k);
#pragma unroll
    for (int j = 0; j < kUnit; ++j) c.v[k + j] = unit.v[j];
  }
  return c;
}

template <class T>
__device__ void write_corners(T* p, const Corners<T>& c, bool wide) {
  constexpr int kUnit = 16 / int(sizeof(T));
  if (!wide) {
#pragma unroll
    for (int k = 0; k < 4; ++k) p[k] = c.v[k];
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k += kUnit) {
    Pack<T, kUnit> unit;
#pragma unroll
    for (int j = 0; j < kUnit; ++j) unit.v[j] = c.v[k + j];
    *reinterpret_cast<Pack<T, kUnit>*>(p + k) = unit;
  }
}

template <class T>
__device__ Box<T> read_box(const T* p, bool wide) {
  return Box<T>::at(read_corners(p, wide).v);
}

}  // namespace roikit::cuda
