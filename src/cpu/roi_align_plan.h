// What a RoIAlign call knows before it reads a feature: the merged taps of every RoI, the RoIs of each map, and the
// part of each map that they touch. Built once, read by all threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/roi_align.h"
#include "cpu/rois.h"
#include "cpu/spans.h"
#include "cpu/taps.h"

namespace roikit::cpu {

// Taps of one RoI: bin i of the first axis has taps[y[i]] ... taps[y[i + 1] - 1], of the second likewise with x.
template <class A>
struct RoiTaps {
  const Tap<A>* taps;
  const int64_t* y;
  const int64_t* x;
};

template <class A>
class RoiAlignPlan {
 public:
  RoiAlignPlan(const RoiAlignLevels& levels, const View& boxes, const View& bins, const RoiAlignRule& rule)
      : images_(levels.maps[0].shape[0]),
        levels_(int64_t(levels.maps.size())),
        rows_(bins.shape[2]),
        columns_(bins.shape[3]),
        groups_({}, 0) {
    visit<float, double>(boxes.dtype, "roi_align", [&](auto tag) {
      using B = typename decltype(tag)::type;
      using T = decltype(A() + B());
      build<T>(levels, boxes.as<B>(), boxes.shape[0], rule);
    });
  }

  // The rows of boxes on a map, in order.
  const int64_t* begin(int64_t image, int64_t level) const {
    return groups_.rows.data() + groups_.begin[image * levels_ + level];
  }
  const int64_t* end(int64_t image, int64_t level) const {
    return groups_.rows.data() + groups_.begin[image * levels_ + level + 1];
  }
  bool empty(int64_t image) const {
    return groups_.begin[image * levels_] == groups_.begin[(image + 1) * levels_];
  }
  const std::vector<int64_t>& all_rows() const { return groups_.rows; }

  RoiTaps<A> taps(int64_t row) const {
    const int64_t* y = begins_.data() + row * (rows_ + columns_ + 2);
    return {taps_.data(), y, y + rows_ + 1};
  }
  int64_t size() const { return int64_t(taps_.size()); }  // taps of all RoIs
  int64_t image(int64_t row) const { return place_[row] / levels_; }
  int64_t level(int64_t row) const { return place_[row] % levels_; }

  // One span a row of the map; null for a map without RoIs.
  const ColumnSpan* spans(int64_t image, int64_t level) const {
    const int64_t at = span_at_[image * levels_ + level];
    return at < 0 ? nullptr : spans_.data() + at;
  }

  // Loads of 64 bytes for all RoIs and touched pixels: what one block of channels costs, about 1 ns each.
  int64_t work() const { return work_; }

 private:
  template <class T, class B>
  void build(const RoiAlignLevels& levels, const B* boxes, int64_t count, const RoiAlignRule& rule) {
    const int thresholds = int(levels.thresholds.size());
    place_.resize(count);
    begins_.reserve(count * (rows_ + columns_ + 2));
    taps_.reserve(count * (rows_ + columns_) * 3);
    span_at_.assign(images_ * levels_, -1);
    std::vector<Tap<T>> scratch;
    for (int64_t k = 0; k < count; ++k) {
      const B* box = boxes + 5 * k;
      const int64_t image = image_of("roi_align", boxes, k, images_);
      const int64_t level = pyramid_level(box + 1, levels.thresholds.data(), thresholds);
      const View& map = levels.maps[level];
      const T scale = T(levels.scales[level]);
      place_[k] = image * levels_ + level;
      const int64_t first = int64_t(taps_.size());
      append(SampleAxis<T>::of(T(box[2]), T(box[4]), scale, rows_, map.shape[2], rule), rows_, map.shape[2], scratch);
      const int64_t middle = int64_t(taps_.size());
      append(SampleAxis<T>::of(T(box[1]), T(box[3]), scale, columns_, map.shape[3], rule), columns_, map.shape[3],
             scratch);
      touch(place_[k], map.shape[2], first, middle);
    }
    groups_ = Groups(place_, images_ * levels_);
    for (const ColumnSpan& span : spans_) work_ += span.end - span.begin;
  }

  template <class T>
  void append(const SampleAxis<T>& axis, int64_t bins, int64_t extent, std::vector<Tap<T>>& merged) {
    begins_.push_back(int64_t(taps_.size()));
    for (int64_t bin = 0; bin < bins; ++bin) {
      merged.clear();
      if (axis.integral)
        append_taps(IntegralWalk<T>(axis, bin, int32_t(extent)), merged);
      else
        append_taps(TapWalk<T>(axis, bin, int32_t(extent)), merged);
      for (const Tap<T>& tap : merged) taps_.push_back({tap.at, A(tap.weight / T(axis.grid))});
      begins_.push_back(int64_t(taps_.size()));
    }
  }

  void touch(int64_t map, int64_t height, int64_t first, int64_t middle) {
    const int64_t last = int64_t(taps_.size());
    if (first == middle || middle == last) return;
    int32_t left = taps_[middle].at, right = left;
    for (int64_t t = middle; t < last; ++t) {
      left = std::min(left, taps_[t].at);
      right = std::max(right, taps_[t].at);
    }
    if (span_at_[map] < 0) {
      span_at_[map] = int64_t(spans_.size());
      spans_.resize(spans_.size() + height);
    }
    ColumnSpan* spans = spans_.data() + span_at_[map];
    for (int64_t t = first; t < middle; ++t) spans[taps_[t].at].include(left, right);
    work_ += (middle - first) * (last - middle + columns_);
  }

  int64_t images_, levels_, rows_, columns_, work_ = 0;
  Groups groups_;
  std::vector<int64_t> place_;   // image * levels + level of each row of boxes
  std::vector<int64_t> begins_;  // rows + 1 and columns + 1 entries each
  std::vector<Tap<A>> taps_;
  std::vector<int64_t> span_at_;
  std::vector<ColumnSpan> spans_;
};

}  // namespace roikit::cpu
