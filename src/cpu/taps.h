// The pixels that the samples of one bin touch along an axis, each once, as a list.
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

template <class T>
void append_taps(const SampleAxis<T>& axis, int64_t bin, int64_t extent, std::vector<Tap<T>>& taps) {
  int32_t at;
  T weight;
  for (TapWalk<T> walk(axis, bin, int32_t(extent)); walk.next(at, weight);) taps.push_back({at, weight});
}

}  // namespace roikit::cpu
