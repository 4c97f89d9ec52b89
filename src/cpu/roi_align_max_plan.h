// What a RoIAlign call with the largest sample knows before it reads a feature: the samples of every RoI one by one,
// beside what level_rois.h knows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/roi_align_max.h"
#include "cpu/level_rois.h"

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
class MaxPlan : public LevelRois {
 public:
  MaxPlan(const RoiAlignLevels& levels, const View& boxes, const View& bins, const RoiAlignRule& rule)
      : LevelRois(levels, bins) {
    bins_.reserve(boxes.shape[0] * (rows_ + columns_));
    place<A>(levels, boxes, rule, [&](int64_t k, const auto& y, const auto& x, int64_t height, int64_t width) {
      append(y, rows_, height);
      append(x, columns_, width);
      touch(k, height);
    });
  }

  RoiSamples<A> roi(int64_t row) const {
    const BinSamples* const y = bins_.data() + row * (rows_ + columns_);
    const BinSamples& last = y[rows_ + columns_ - 1];
    return {samples_.data(), y, y + rows_, last.first + last.count - y[rows_].first};
  }

  int64_t widest() const { return widest_; }  // the samples of the columns of a RoI, at most

 private:
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

  void touch(int64_t k, int64_t height) {
    const RoiSamples<A> roi = this->roi(k);
    const AxisSample<A>* const columns = samples_.data() + roi.x[0].first;
    const AxisSample<A>* const rows = samples_.data() + roi.y[0].first;
    if (roi.across == 0 || rows == columns) return;
    int32_t left = columns->low, right = left;
    for (const AxisSample<A>* s = columns; s < columns + roi.across; ++s)
      left = std::min(left, s->low), right = std::max(right, s->high);
    ColumnSpan* const spans = touched(k, height);
    for (const AxisSample<A>* s = rows; s < columns; ++s)
      spans[s->low].include(left, right), spans[s->high].include(left, right);
    widest_ = std::max(widest_, roi.across);
    work_ += (columns - rows) * (3 * roi.across + columns_);
  }

  int64_t widest_ = 0;
  std::vector<BinSamples> bins_;  // of each row of boxes: rows, then columns
  std::vector<AxisSample<A>> samples_;
};

}  // namespace roikit::cpu
