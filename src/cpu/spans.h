// The part of a map that RoIs touch, a span of columns in each row, and its way into a tile of lanes and back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/lanes.h"

namespace roikit::cpu {

// Touched columns of one row of a map, [begin, end).
struct ColumnSpan {
  int32_t begin = 0, end = 0;

  void include(int32_t first, int32_t last) {
    begin = begin < end ? std::min(begin, first) : first;
    end = std::max(end, last + 1);
  }
};

// `lanes` channels of a map (C, H, W) from its first one's `data` on; stored as H, W, C where channels_last.
template <class S>
struct ChannelBlock {
  S* data;
  int64_t channels, height, width;
  int lanes;
  bool channels_last;

  ROIKIT_INLINE ChannelBlock(S* image, int64_t channels, int64_t height, int64_t width, int64_t first, int lanes,
                             bool channels_last)
      : data(image + first * (channels_last ? 1 : height * width)),
        channels(channels), height(height), width(width), lanes(lanes), channels_last(channels_last) {}

  ROIKIT_INLINE int64_t plane() const { return height * width; }
  ROIKIT_INLINE S* at(int64_t pixel) const { return data + pixel * (channels_last ? channels : 1); }

  // The spans, one a row, into a tile of the map's size in lanes.
  template <class A>
  ROIKIT_INLINE void to_tile(const ColumnSpan* spans, A* tile) const {
    constexpr int L = lanes_of<A>;
    for (int64_t y = 0; y < height; ++y) {
      const int64_t n = spans[y].end - spans[y].begin, pixel = y * width + spans[y].begin;
      if (n <= 0) continue;
      if (channels_last) lanes_from_pixels(at(pixel), channels, n, lanes, tile + pixel * L);
      else lanes_from_planes(at(pixel), plane(), n, lanes, tile + pixel * L);
    }
  }

  // The spans from a tile; 0 beyond them.
  template <class A>
  ROIKIT_INLINE void from_tile(const ColumnSpan* spans, const A* tile) const {
    for (int64_t y = 0; y < height; ++y) {
      const int64_t row = y * width, left = spans[y].begin, right = spans[y].end;
      const A* from = tile + (row + left) * lanes_of<A>;
      clear(row, left);
      if (channels_last) pixels_from_lanes(from, right - left, lanes, at(row + left), channels);
      else planes_from_lanes(from, right - left, lanes, at(row + left), plane());
      clear(row + right, width - right);
    }
  }

  ROIKIT_INLINE void clear(int64_t pixel, int64_t pixels) const {
    if (channels_last) {
      for (int64_t p = 0; p < pixels; ++p) std::memset(at(pixel + p), 0, size_t(lanes) * sizeof(S));
    } else {
      for (int l = 0; l < lanes; ++l) std::memset(at(pixel) + l * plane(), 0, size_t(pixels) * sizeof(S));
    }
  }
};

template <class A>
ROIKIT_INLINE void clear_tile(const ColumnSpan* spans, int64_t height, int64_t width, A* tile) {
  for (int64_t y = 0; y < height; ++y)
    std::memset(tile + (y * width + spans[y].begin) * lanes_of<A>, 0,
                size_t(spans[y].end - spans[y].begin) * kLaneBytes);
}

// The bins of a RoI, a channel block of (C, PH, PW) or of (PH, PW, C), into lanes and back.
template <class A, class S>
ROIKIT_INLINE void lanes_from_bins(const S* roi, int64_t channels, int64_t bins, int64_t first, int lanes,
                                   bool channels_last, A* to) {
  if (channels_last) lanes_from_pixels(roi + first, channels, bins, lanes, to);
  else lanes_from_planes(roi + first * bins, bins, bins, lanes, to);
}

template <class A, class S>
ROIKIT_INLINE void bins_from_lanes(const A* from, int64_t channels, int64_t bins, int64_t first, int lanes,
                                   bool channels_last, S* roi) {
  if (channels_last) pixels_from_lanes(from, bins, lanes, roi + first, channels);
  else planes_from_lanes(from, bins, lanes, roi + first * bins, bins);
}

}  // namespace roikit::cpu
