// What the launchers of the codecs share.
#pragma once

#include "core/box_codec.h"
#include "cuda/launch.cuh"

namespace roikit::cuda {

// Calls fn(given, anchors, boxes, out) on the launch's device, where there are any boxes, of `numbers` numbers each;
// given are boxes or deltas.
template <class Fn>
void each_box(const char* op, const View& given, const View& anchors, const View& out, int64_t numbers,
              const Launch& launch, Fn fn) {
  check_codec(op, given, anchors, out, numbers);
  const int64_t n = given.size() / numbers;
  if (n == 0) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(given.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    fn(given.as<T>(), anchors.as<T>(), n, out.as<T>());
  });
}

}  // namespace roikit::cuda
