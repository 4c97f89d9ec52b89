// A count in mixed digits, and a divisor that is known beforehand: loops over an array of several axes then need no
// division an element. Divisor: Granlund and Montgomery, "Division by invariant integers using multiplication", 1994.
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

// n / value for 0 <= n < 2^31.
struct Divisor {
  int32_t value = 1;
  uint32_t factor = uint32_t(1) << 31;  // 2^(31 + b) / value, rounded up, where 2^b is the first power >= value
  int32_t shift = 31;

  Divisor() = default;
  explicit Divisor(int32_t d) : value(d) {
    while (shift < 62 && (int64_t(1) << (shift - 31)) < d) ++shift;
    factor = uint32_t(((uint64_t(1) << shift) + uint64_t(d) - 1) / uint64_t(d));
  }

  __device__ int32_t quotient(int32_t n) const { return int32_t(uint64_t(uint32_t(n)) * factor >> shift); }
};

// The same where the divisor is not known before the kernel runs: quick to make, exact while n * by < 2^32.
struct SmallDivisor {
  uint32_t by, factor;

  __device__ explicit SmallDivisor(uint32_t by) : by(by), factor(by > 1 ? 0xffffffffu / by + 1 : 0) {}

  __device__ int32_t quotient(int32_t n) const {
    return by == 1 ? n : int32_t((uint64_t(uint32_t(n)) * factor) >> 32);
  }
};

}  // namespace roikit::cuda
