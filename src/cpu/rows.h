// Planes (C, H * W) and rows (H * W, C) of the accumulate type, and back.
#pragma once

#include "cpu/lanes.h"
#include "cpu/parallel.h"

namespace roikit::cpu {

// to[p * stride + c] = from[c * plane + p].
template <class A, class S>
ROIKIT_INLINE void rows_from_planes(const S* from, int64_t plane, int64_t pixels, int64_t channels, A* to,
                                    int64_t stride) {
  constexpr int L = lanes_of<A>;
  for (int64_t c = 0; c < channels; c += L)
    turn_planes(from + c * plane, plane, pixels, int(channels - c < L ? channels - c : L), to + c, stride);
}

// to[c * plane + p] = from[p * stride + c].
template <class A, class S>
ROIKIT_INLINE void planes_from_rows(const A* from, int64_t stride, int64_t pixels, int64_t channels, S* to,
                                    int64_t plane) {
  constexpr int L = lanes_of<A>;
  for (int64_t c = 0; c < channels; c += L)
    turn_rows(from + c, stride, pixels, int(channels - c < L ? channels - c : L), to + c * plane, plane);
}

// Images of `channels` planes, or channels_last, as rows (image, pixel, channel) of A.
template <class S, class A>
void rows_of(const S* from, bool channels_last, int64_t images, int64_t channels, int64_t pixels, A* to,
             const Launch& launch) {
  constexpr int64_t kPart = 256;
  const int64_t parts = (pixels + kPart - 1) / kPart;
  parallel_for(images * parts, 400000 / (kPart * channels) + 1, launch, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / parts, p = item % parts * kPart, n = pixels - p < kPart ? pixels - p : kPart;
      const S* const map = from + image * pixels * channels;
      A* const rows = to + (image * pixels + p) * channels;
      if (channels_last) {
        for (int64_t i = 0; i < n * channels; ++i) rows[i] = load(map[p * channels + i]);
      } else {
        rows_from_planes(map + p, pixels, n, channels, rows, channels);
      }
    }
  });
}

}  // namespace roikit::cpu
