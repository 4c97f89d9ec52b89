// Where and how a kernel runs. One struct for both sides; each reads its part.
// Source: this project's own.
#pragma once

#include <cstdint>

namespace roikit {

enum class Simd : int { base = 0, v3 = 1, v4 = 2 };  // x86-64 levels; other processors have base alone

struct Launch {
  int threads = 1;              // CPU: how many threads may work; the result never depends on it
  Simd simd = Simd::base;       // CPU: the variant to run, at most what the processor has
  int device = 0;               // CUDA: device index
  void* stream = nullptr;       // CUDA: the stream's handle
  void* workspace = nullptr;    // CUDA: scratch on the device, as much as <op>_workspace asks for; not zeroed
  int64_t workspace_bytes = 0;
  bool deterministic = false;   // CUDA: the same bits in every run, also where the atomic way would be faster
};

}  // namespace roikit
