// What a RoIAlign call with the largest sample knows before it reads a feature: the samples of every RoI one by one,
// the RoIs of each map, and the part of each map that they touch. Built once, read by all threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/roi_align_max.h"
#include "cpu/rois.h"
#include "cpu/spans.h"

namespace roikit::cpu {

// One bin along an axis: its samples inside the map are `count` of those of the RoI, from the `first` on.
struct BinSamples {
  int64_t first = 0, count = 0;
  bool before = false, after = false;  // as in InnerSamples
};

// One RoI. The samples of its columns begin at x[0].first and are `across` in all.
template <class A>
struct RoiSamples {
  const AxisSample<A>* samples;
  const BinSamples* y;
  const BinSamples* x;
  int64_t across;
};

template <class A>
class MaxPlan {
 public:
  MaxPlan(const RoiAlignLevels& levels, const View& boxes, const View& bins, const RoiAlignRule& rule)
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

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t bins() const { return rows_ * columns_; }

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

  RoiSamples<A> roi(int64_t row) const {
    const BinSamples* const y = bins_.data() + row * (rows_ + columns_);
    const BinSamples& last = y[rows_ + columns_ - 1];
    return {samples_.data(), y, y + rows_, last.first + last.count - y[rows_].first};
  }

  // One span a row of the map; null for a map that no sample touches.
  const ColumnSpan* spans(int64_t image, int64_t level) const {
    const int64_t at = span_at_[image * levels_ + level];
    return at < 0 ? nullptr : spans_.data() + at;
  }

  int64_t widest() const { return widest_; }  // the samples of the columns of a RoI, at most
  int64_t work() const { return work_; }      // for a block of channels, in about 1 ns

 private:
  template <class T, class B>
  void build(const RoiAlignLevels& levels, const B* boxes, int64_t count, const RoiAlignRule& rule) {
    const int thresholds = int(levels.thresholds.size());
    std::vector<int64_t> place(count);
    bins_.reserve(count * (rows_ + columns_));
    span_at_.assign(images_ * levels_, -1);
    for (int64_t k = 0; k < count; ++k) {
      const B* const box = boxes + 5 * k;
      const int64_t image = image_of("roi_align", boxes, k, images_);
      const int64_t level = pyramid_level(box + 1, levels.thresholds.data(), thresholds);
      const View& map = levels.maps[level];
      const T scale = T(levels.scales[level]);
      place[k] = image * levels_ + level;
      append(SampleAxis<T>::of(T(box[2]), T(box[4]), scale, rows_, map.shape[2], rule), rows_, map.shape[2]);
      append(SampleAxis<T>::of(T(box[1]), T(box[3]), scale, columns_, map.shape[3], rule), columns_, map.shape[3]);
      touch(k, place[k], map.shape[2]);
    }
    groups_ = Groups(place, images_ * levels_);
    for (const ColumnSpan& span : spans_) work_ += span.end - span.begin;
  }

  template <class T>
  void append(const SampleAxis<T>& axis, int64_t bins, int64_t extent) {
    for (int64_t bin = 0; bin < bins; ++bin) {
      const T base = axis.base(bin);
      const auto inner = InnerSamples::of(axis, base, extent);
      bins_.push_back({int64_t(samples_.size()), inner.count, inner.before, inner.after});
      for (int64_t k = inner.first; k < inner.first + inner.count; ++k)
        samples_.push_back(AxisSample<A>::at(axis.at(base, k), extent));
    }
  }

  void touch(int64_t k, int64_t map, int64_t height) {
    const RoiSamples<A> roi = this->roi(k);
    const AxisSample<A>* const columns = samples_.data() + roi.x[0].first;
    const AxisSample<A>* const rows = samples_.data() + roi.y[0].first;
    if (roi.across == 0 || rows == columns) return;
    int32_t left = columns->low, right = left;
    for (const AxisSample<A>* s = columns; s < columns + roi.across; ++s)
      left = std::min(left, s->low), right = std::max(right, s->high);
    if (span_at_[map] < 0) {
      span_at_[map] = int64_t(spans_.size());
      spans_.resize(spans_.size() + height);
    }
    ColumnSpan* const spans = spans_.data() + span_at_[map];
    for (const AxisSample<A>* s = rows; s < columns; ++s)
      spans[s->low].include(left, right), spans[s->high].include(left, right);
    widest_ = std::max(widest_, roi.across);
    work_ += (columns - rows) * (3 * roi.across + columns_);
  }

  int64_t images_, levels_, rows_, columns_, widest_ = 0, work_ = 0;
  Groups groups_;
  std::vector<BinSamples> bins_;  // of each row of boxes: rows, then columns
  std::vector<AxisSample<A>> samples_;
  std::vector<int64_t> span_at_;
  std::vector<ColumnSpan> spans_;
};

}  // namespace roikit::cpu
