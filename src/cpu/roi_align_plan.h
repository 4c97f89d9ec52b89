// What a RoIAlign call knows before it reads a feature: the merged taps of every RoI, beside what level_rois.h knows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "core/roi_align.h"
#include "cpu/level_rois.h"
#include "cpu/taps.h"

namespace roikit::cpu {

template <class A>
class RoiAlignPlan : public LevelRois {
 public:
  RoiAlignPlan(const RoiAlignLevels& levels, const View& boxes, const View& bins, const RoiAlignRule& rule)
      : LevelRois(levels, bins) {
    begins_.reserve(boxes.shape[0] * (rows_ + columns_ + 2));
    taps_.reserve(boxes.shape[0] * (rows_ + columns_) * 3);
    place<A>(levels, boxes, rule, [&](int64_t k, const auto& y, const auto& x, int64_t height, int64_t width) {
      const int64_t first = size();
      append(y, rows_, height);
      const int64_t middle = size();
      append(x, columns_, width);
      touch(k, height, first, middle);
    });
  }

  RoiTaps<A> taps(int64_t row) const {
    const int64_t* y = begins_.data() + row * (rows_ + columns_ + 2);
    return {taps_.data(), y, y + rows_ + 1};
  }
  int64_t size() const { return int64_t(taps_.size()); }  // taps of all RoIs

 private:
  template <class T>
  void append(const SampleAxis<T>& axis, int64_t bins, int64_t extent) {
    auto& merged = std::get<std::vector<Tap<T>>>(merged_);
    begins_.push_back(size());
    for (int64_t bin = 0; bin < bins; ++bin) {
      merged.clear();
      if (axis.integral)
        append_taps(IntegralWalk<T>(axis, bin, int32_t(extent)), merged);
      else
        append_taps(TapWalk<T>(axis, bin, int32_t(extent)), merged);
      for (const Tap<T>& tap : merged) taps_.push_back({tap.at, A(tap.weight / T(axis.grid))});
      begins_.push_back(size());
    }
  }

  void touch(int64_t k, int64_t height, int64_t first, int64_t middle) {
    const int64_t last = size();
    if (first == middle || middle == last) return;
    int32_t left = taps_[middle].at, right = left;
    for (int64_t t = middle; t < last; ++t) {
      left = std::min(left, taps_[t].at);
      right = std::max(right, taps_[t].at);
    }
    ColumnSpan* const spans = touched(k, height);
    for (int64_t t = first; t < middle; ++t) spans[taps_[t].at].include(left, right);
    work_ += (middle - first) * (last - middle + columns_);
  }

  std::vector<int64_t> begins_;  // rows + 1 and columns + 1 entries a row of boxes
  std::vector<Tap<A>> taps_;
  std::tuple<std::vector<Tap<float>>, std::vector<Tap<double>>> merged_;  // scratch: a bin's
};

// Everything that the walks read. maps: the features, or their gradients; bins: the output, or its gradient.
template <class S, class A>
struct RoiAlignJob {
  using Accumulate = A;
  const RoiAlignPlan<A>* plan;
  LevelMaps<S> maps;
  S* bins;
  bool bins_last;

  int64_t blocks() const { return (maps.channels + lanes_of<A> - 1) / lanes_of<A>; }  // of an image
};

// fn(job), in the dtype of the maps.
template <class Fn>
void with_roi_align_job(const char* op, const RoiAlignLevels& maps, bool channels_last, const View& boxes,
                        const View& bins, const RoiAlignRule& rule, const Fn& fn) {
  visit<float, double, Half, BFloat16>(bins.dtype, op, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const RoiAlignPlan<A> plan(maps, boxes, bins, rule);
    fn(RoiAlignJob<S, A>{&plan, {&maps, channels_last, bins.shape[1]}, bins.as<S>(), !bins.contiguous()});
  });
}

}  // namespace roikit::cpu
