// What every launcher does: the tensors' device, the given stream, the caller's scratch, and a launch error as an
// exception. Nothing here allocates or synchronises.
//
// Kernels are started by run() and not by <<<>>>, and shared memory is always static, so that a host compiler can read
// the same files (tests/emulation).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/checks.h"
#include "core/launch.h"
#include "core/view.h"
#include "cuda/error.h"

namespace roikit::cuda {

class DeviceGuard {
 public:
  DeviceGuard(int device, const char* op) : device_(device) {
    check(cudaGetDevice(&before_), op);
    if (device_ != before_) check(cudaSetDevice(device_), op);
  }
  ~DeviceGuard() {
    if (device_ != before_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  int device_ = 0;
};

inline cudaStream_t stream_of(const Launch& launch) { return static_cast<cudaStream_t>(launch.stream); }

template <class... Params, class... Args>
void run(const char* op, const Launch& launch, void (*kernel)(Params...), dim3 grid, dim3 block, Args... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream_of(launch);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), op);
}

constexpr int kBlock = 256;
constexpr int kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

constexpr int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

// Blocks for a grid-stride loop over n items: enough to fill any device, few enough for 32-bit grids.
inline unsigned grid_for(int64_t n, int64_t per_block = kBlock) {
  const int64_t blocks = ceil_div(n, per_block);
  return unsigned(blocks < 65536 ? (blocks < 1 ? 1 : blocks) : 65536);
}

// This thread's first item and the stride of a grid-stride loop in one dimension.
__device__ inline int64_t first_item() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t item_stride() { return int64_t(gridDim.x) * blockDim.x; }

// N elements that are read or written at once; the address must be a multiple of their size.
template <class T, int N> struct alignas(sizeof(T) * N) Pack { T v[N]; };

template <class T> bool aligned_to(const T* p, int64_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// Cuts the caller's scratch into arrays. Without a base it only counts, so that a launcher and its <op>_workspace
// function share the code that lays the arrays out.
class Workspace {
 public:
  explicit Workspace(void* base = nullptr) : base_(static_cast<char*>(base)) {}

  template <class T> T* take(int64_t n) {
    T* const p = base_ ? reinterpret_cast<T*>(base_ + bytes_) : nullptr;
    bytes_ += ceil_div(n * int64_t(sizeof(T)), kAlign) * kAlign;
    return p;
  }

  int64_t bytes() const { return bytes_; }

  // What was taken must lie in the caller's scratch.
  void check(const char* op, const Launch& launch) const {
    require(bytes_ <= launch.workspace_bytes, op, "the workspace is too small");
  }

 private:
  static constexpr int64_t kAlign = 256;
  char* base_;
  int64_t bytes_ = 0;
};

}  // namespace roikit::cuda
