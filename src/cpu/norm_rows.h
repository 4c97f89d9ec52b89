// What forward and backward of group_norm share: sums in lanes of values that lie side by side, and tables of channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "core/group_norm.h"
#include "cpu/lanes.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

// Loops over values of maps and channels, none of which depends on another; maps may be the same one.
#define ROIKIT_EACH _Pragma("GCC ivdep")

namespace roikit::cpu {

constexpr int kRows = 4;                // pixels that share what is read of a table
constexpr int64_t kNormGrain = 100000;  // values a thread

// Two packs, so that additions need not wait for each other.
template <class A> constexpr int wide_of = 2 * lanes_of<A>;

template <class A, int Bytes> struct Wide {
  using P = Pack<A, Bytes>;
  P p[2] = {P::zero(), P::zero()};

  template <class S> ROIKIT_INLINE static Wide load(const S* from) {
    Wide w;
#pragma GCC unroll 4
    for (int b = 0; b < 2; ++b) w.p[b] = load_lanes<A, Bytes>(from + b * lanes_of<A>);
    return w;
  }

  template <class S> ROIKIT_INLINE void store(S* to) const {
#pragma GCC unroll 4
    for (int b = 0; b < 2; ++b) store_lanes(p[b], to + b * lanes_of<A>);
  }

  ROIKIT_INLINE A total() const {
    constexpr int L = lanes_of<A>;
    alignas(kLaneBytes) A values[2 * L];
    store(values);
    for (int n = L; n > 0; n /= 2)
      for (int i = 0; i < n; ++i) values[i] += values[i + n];
    return values[0];
  }
};

// Of each channel of an image what a value is multiplied by and shifted by.
template <class A> struct NormTable {
  std::vector<A> mean, scale;

  NormTable(const NormShape& shape, const A* means, const A* rates, const A* weight)
      : mean(size_t(shape.channels)), scale(size_t(shape.channels)) {
    for (int64_t g = 0; g < shape.groups; ++g)
      for (int64_t c = g * shape.width(); c < (g + 1) * shape.width(); ++c) {
        mean[c] = means[g];
        scale[c] = rates[g] * weight[c];
      }
  }
};

// Not v4: planes of 196 values, say, begin anywhere in a cache line, of which every access of 64 bytes then touches
// two; the backward of such planes took half as long again, and nothing was faster.
inline Simd norm_level(const Launch& launch) { return launch.simd == Simd::v4 ? Simd::v3 : launch.simd; }

inline int64_t norm_grain(int64_t values) { return std::max<int64_t>(kNormGrain / std::max<int64_t>(values, 1), 1); }

}  // namespace roikit::cpu
