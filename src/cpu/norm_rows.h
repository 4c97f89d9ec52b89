// What forward and backward of group_norm share: sums in kWide lanes of values that lie side by side, sums of each
// channel of pixels, and the walk over images, groups and chunks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "core/group_norm.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

// Loops over values of maps and channels, none of which depends on another; maps may be the same one.
#define ROIKIT_EACH _Pragma("GCC ivdep")

namespace roikit::cpu {

constexpr int kWide = 64;
constexpr int64_t kNormGrain = 100000;  // values a thread

// The sum of kWide values, which are overwritten.
template <class A> ROIKIT_INLINE double halved_wide(A* values) {
  for (int n = kWide / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) values[i] += values[i + n];
  return double(values[0]);
}

// Of each channel of an image what a value is multiplied by and shifted by.
template <class A> struct NormTable {
  std::vector<A> mean, scale;

  NormTable(const NormShape& shape, const A* means, const A* rates, const A* weight)
      : mean(size_t(shape.channels)), scale(size_t(shape.channels)) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      mean[c] = means[c / shape.width()];
      scale[c] = rates[c / shape.width()] * weight[c];
    }
  }
};

inline int64_t norm_grain(int64_t values) { return std::max<int64_t>(kNormGrain / std::max<int64_t>(values, 1), 1); }

}  // namespace roikit::cpu
