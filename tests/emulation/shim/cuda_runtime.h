// The part of the CUDA runtime that src/cuda uses, on the host, so that its kernels run where there is no GPU.
//
// Blocks run one after another. The threads of a block are fibers that take turns: one runs until it ends or waits at a
// barrier or a warp operation. Blocks and threads run in an order that is drawn anew for every launch, so that a
// missing barrier, a race between blocks or a sum that depends on the order shows as a result that changes. A thread
// that leaves while others wait at a barrier, and lanes that wait for each other for ever, are errors that say so.
// What this cannot show: memory ordering between threads that run at once, and speed.
#pragma once

#include "fibers.h"

#define __global__
#define __grid_constant__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

#define CUDART_VERSION 0

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };

inline const char* cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "no error" : "invalid configuration"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 2, cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
  return std::memset(p, value, bytes), cudaSuccess;
}

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), Args... args) {
  const dim3 g = config->gridDim, b = config->blockDim;
  const bool valid = g.x && g.y && g.z && b.x && b.y && b.z && g.x <= 0x7fffffffu && g.y <= 65535 && g.z <= 65535 &&
                     b.x * b.y * b.z <= 1024 && b.z <= 64 && config->dynamicSmemBytes == 0;
  if (!valid) return cudaErrorInvalidConfiguration;
  emulation::run_grid(g, b, [&] { kernel(args...); });
  return cudaSuccess;
}

// Barriers and votes of a block.
inline void __syncthreads() { emulation::block_barrier(emulation::Kind::sync, 0); }
inline int __syncthreads_or(int p) { return emulation::block_barrier(emulation::Kind::any, p) > 0; }
inline int __syncthreads_count(int p) { return int(emulation::block_barrier(emulation::Kind::count, p != 0)); }

// Operations of a warp. Every lane that the mask names must take part, with the same mask.
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::exchange(emulation::Kind::sync, mask, 0); }

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* const all = emulation::exchange(emulation::Kind::ballot, mask, predicate != 0);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) && all[i]) bits |= 1u << i;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

namespace emulation {

template <class T> uint64_t packed(T value) {
  static_assert(sizeof(T) <= 8, "a lane holds at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T> T shuffled(unsigned mask, T value, int source) {
  const uint64_t bits = exchange(Kind::shuffle, mask, packed(value))[source];
  if (!(mask >> source & 1)) fail("a lane shuffled from one that the mask does not name");
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T, class Fn> T reduced(unsigned mask, T value, Fn fn) {
  const uint64_t* const all = exchange(Kind::reduce, mask, packed(value));
  bool first = true;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    T other;
    std::memcpy(&other, &all[i], sizeof(T));
    value = first ? other : fn(value, other);
    first = false;
  }
  return value;
}

}  // namespace emulation

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int lane = emulation::lane();
  return emulation::shuffled(mask, value, lane / width * width + source % width);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const int lane = emulation::lane(), source = lane - int(by);
  return emulation::shuffled(mask, value, source < lane / width * width ? lane : source);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  const int lane = emulation::lane(), source = lane + int(by);
  return emulation::shuffled(mask, value, source >= lane / width * width + width ? lane : source);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32) {
  const int lane = emulation::lane(), source = lane ^ by;
  return emulation::shuffled(mask, value, source >= lane / width * width + width ? lane : source);
}
template <class T> T __reduce_add_sync(unsigned mask, T v) {
  return emulation::reduced(mask, v, [](T a, T b) { return T(a + b); });
}
template <class T> T __reduce_min_sync(unsigned mask, T v) {
  return emulation::reduced(mask, v, [](T a, T b) { return a < b ? a : b; });
}
template <class T> T __reduce_max_sync(unsigned mask, T v) {
  return emulation::reduced(mask, v, [](T a, T b) { return a > b ? a : b; });
}
template <class T> T __reduce_or_sync(unsigned mask, T v) {
  return emulation::reduced(mask, v, [](T a, T b) { return T(a | b); });
}

template <class T> unsigned __match_any_sync(unsigned mask, T value) {
  const uint64_t mine = emulation::packed(value);
  const uint64_t* const all = emulation::exchange(emulation::Kind::match, mask, mine);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) && all[i] == mine) bits |= 1u << i;
  return bits;
}

// Atomics: one thread runs at a time.
template <class T, class Fn> T atomically(T* p, Fn fn) {
  const T old = *p;
  *p = fn(old);
  return old;
}
template <class T> T atomicAdd(T* p, T v) { return atomically(p, [=](T old) { return T(old + v); }); }
template <class T> T atomicMax(T* p, T v) { return atomically(p, [=](T old) { return old > v ? old : v; }); }
template <class T> T atomicMin(T* p, T v) { return atomically(p, [=](T old) { return old < v ? old : v; }); }
template <class T> T atomicOr(T* p, T v) { return atomically(p, [=](T old) { return T(old | v); }); }
template <class T> T atomicAnd(T* p, T v) { return atomically(p, [=](T old) { return T(old & v); }); }
template <class T> T atomicExch(T* p, T v) { return atomically(p, [=](T) { return v; }); }
template <class T> T atomicCAS(T* p, T expected, T v) {
  return atomically(p, [=](T old) { return old == expected ? v : old; });
}

inline void __threadfence() {}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
template <class T> T __ldg(const T* p) { return *p; }
