// The pixels that the samples of one bin touch, or that have a part of its integral, each once, as a list.
#pragma once

#include <cstdint>
#include <vector>

#include "core/roi_align_integral.h"

namespace roikit::cpu {

// One pixel, along an axis or of a map, with the summed weight of a bin's samples there.
template <class A>
struct Tap {
  int32_t at;
  A weight;
};

// Taps of one RoI: bin i of the first axis has taps[y[i]] ... taps[y[i + 1] - 1], of the second likewise with x.
template <class A>
struct RoiTaps {
  const Tap<A>* taps;
  const int64_t* y;
  const int64_t* x;
};

// The same where axes do not separate, at pixels y * width + x: bin i has taps[begin[i]] ... taps[begin[i + 1] - 1].
template <class A>
struct BinTaps {
  const Tap<A>* taps;
  const int64_t* begin;
};

// Walk: TapWalk or IntegralWalk.
template <class T, class Walk>
void append_taps(Walk walk, std::vector<Tap<T>>& taps) {
  int32_t at;
  T weight;
  while (walk.next(at, weight)) taps.push_back({at, weight});
}

}  // namespace roikit::cpu
