// The pixels that the samples of one bin touch along an axis, each once.
#pragma once

#include <cstdint>
#include <vector>

#include "core/roi_align.h"

namespace roikit::cpu {

// One pixel along an axis with the summed weight of a bin's samples there.
template <class A>
struct Tap {
  int32_t at;
  A weight;
};

// Adds the samples of one bin in ascending order of position, so that equal pixels are neighbours.
template <class T>
void merge_samples(const SampleAxis<T>& axis, T base, int64_t extent, std::vector<Tap<T>>& merged) {
  int64_t first = 0, last = axis.grid;
  if (axis.grid > 8) {  // a huge grid has few samples inside the map: positions are monotonic in k
    const auto partition = [&](auto before) {
      int64_t lo = 0, hi = axis.grid;
      while (lo < hi) {
        const int64_t middle = lo + (hi - lo) / 2;
        before(axis.at(base, middle)) ? lo = middle + 1 : hi = middle;
      }
      return lo;
    };
    if (axis.step > T(0)) {
      first = partition([](T y) { return y < T(-1); });
      last = partition([extent](T y) { return y <= T(extent); });
    } else if (axis.step < T(0)) {
      first = partition([extent](T y) { return y > T(extent); });
      last = partition([](T y) { return y >= T(-1); });
    }
  }
  const auto add = [&](int64_t at, T weight) {
    const size_t n = merged.size();
    for (size_t back = 1; back <= 2 && back <= n; ++back)
      if (merged[n - back].at == at) {
        merged[n - back].weight += weight;
        return;
      }
    merged.push_back({int32_t(at), weight});
  };
  for (int64_t i = first; i < last; ++i) {
    const T y = axis.at(base, axis.step < T(0) ? last - 1 - (i - first) : i);
    if (!Bilinear<T>::inside(y, extent)) continue;
    const auto sample = Bilinear<T>::at(y, extent);
    add(sample.low, sample.low_weight);
    if (sample.high != sample.low) add(sample.high, sample.high_weight);
  }
}

}  // namespace roikit::cpu
