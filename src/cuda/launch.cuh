// What every launcher does: the tensors' device, the given stream, and a launch error as an exception. Nothing here
// allocates or synchronises.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/launch.h"

namespace roikit::cuda {

// Becomes roikit.errors.CudaError in Python (bind/cuda_module.cpp).
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* op) {
  if (status != cudaSuccess) throw CudaError(std::string(op) + ": " + cudaGetErrorString(status));
}

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

constexpr int kBlock = 256;

// Blocks for a grid-stride loop over n items: enough to fill any device, few enough for 32-bit grids.
inline unsigned grid_for(int64_t n) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  return unsigned(blocks < 65536 ? (blocks < 1 ? 1 : blocks) : 65536);
}

inline cudaStream_t stream_of(const Launch& launch) { return static_cast<cudaStream_t>(launch.stream); }

}  // namespace roikit::cuda
