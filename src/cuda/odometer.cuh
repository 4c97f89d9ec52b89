// A count in mixed digits, for loops that walk an array of several axes without a division an element.
#pragma once

#include "cuda/launch.cuh"

namespace roikit::cuda {

// The number (a * B + b) * C + c with 0 <= b < B and 0 <= c < C.
struct Odometer {
  int32_t a, b, c;

  __device__ static Odometer of(int64_t n, int32_t B, int32_t C) {
    const int64_t upper = n / C;
    return {int32_t(upper / B), int32_t(upper % B), int32_t(n - upper * C)};
  }

  __device__ void add(const Odometer& d, int32_t B, int32_t C) {
    c += d.c;
    const int32_t from_c = c >= C;
    c -= from_c ? C : 0;
    b += d.b + from_c;
    const int32_t from_b = b >= B;
    b -= from_b ? B : 0;
    a += d.a + from_b;
  }
};

}  // namespace roikit::cuda
