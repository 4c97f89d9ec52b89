// A failed call of the CUDA runtime as an exception that names the op.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace roikit::cuda {

// Becomes roikit.errors.CudaError in Python (bind/cuda_module.cpp).
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* op) {
  if (status != cudaSuccess) throw CudaError(std::string(op) + ": " + cudaGetErrorString(status));
}

}  // namespace roikit::cuda
