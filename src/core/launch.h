// Where and how a kernel runs. One struct for both sides; each reads its part.
// Source: this project's own.
#pragma once

#include <cstdint>

namespace roikit {

enum class Simd : int { base = 0, v3 = 1, v4 = 2 };  // x86-64 levels; other processors have base alone

// Runs work(data) on up to `threads` threads, the calling one among them, and returns when all are done. The form is
// that of GOMP_parallel, which every OpenMP runtime of GCC and of LLVM exports on Linux.
using Team = void (*)(void (*work)(void*), void* data, unsigned threads, unsigned flags);

struct Launch {
  int threads = 1;              // CPU: how many threads may work; the result never depends on it
  Team team = nullptr;          // CPU: threads that wait already; without them the kernel starts its own
  Simd simd = Simd::base;       // CPU: the variant to run, at most what the processor has
  bool huge_pages = false;      // CPU: ask for huge pages under large results
  int device = 0;               // CUDA: device index
  void* stream = nullptr;       // CUDA: the stream's handle
  void* workspace = nullptr;    // CUDA: scratch on the device, as much as <op>_workspace asks for; not zeroed
  int64_t workspace_bytes = 0;
  bool deterministic = false;   // CUDA: the same bits in every run, also where the atomic way would be faster
};

}  // namespace roikit
