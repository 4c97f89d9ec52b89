// The pixels that the samples of one bin touch along an axis, or that have a part of its integral, each once, as a list.
#pragma once

#include <cstdint>
#include <vector>

#include "core/roi_align_integral.h"

namespace roikit::cpu {

// One pixel along an axis with the summed weight of a bin's samples there.
template <class A>
struct Tap {
  int32_t at;
  A weight;
};

// Walk: TapWalk or IntegralWalk.
template <class T, class Walk>
void append_taps(Walk walk, std::vector<Tap<T>>& taps) {
  int32_t at;
  T weight;
  while (walk.next(at, weight)) taps.push_back({at, weight});
}

}  // namespace roikit::cpu
