// What a call of roi_align_rotated knows before it reads a feature: the taps of every bin, the RoIs of each map, one
// image at one level of a pyramid, and the part of each map that they touch. Where the taps would take too much memory they are not kept, but found again.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/rotated_align.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"
#include "cpu/spans.h"
#include "cpu/taps.h"

namespace roikit::cpu {

// The taps of one RoI, found anew.
template <class A>
struct TapScratch {
  std::vector<Tap<A>> taps;
  std::vector<int64_t> begin;
  std::vector<int32_t> number;  // all 0 between two bins

  BinTaps<A> view() const { return {taps.data(), begin.data()}; }
};

// Merges the samples of one bin by pixel, in the order in which they first touch it. Its table is as large as the
// rectangle around the bin, so that it stays in the nearest cache.
template <class T>
class BinMerge {
 public:
  BinMerge(const RotatedRoi<T>& roi, int64_t height, int64_t width, std::vector<int32_t>& number)
      : roi_(roi), height_(height), width_(width), number_(number) {}

  // touch(y, first x, last x) is told of each row of each sample.
  template <class Touch>
  void run(int64_t row, int64_t column, const Touch& touch) {
    const SampleRange rows = roi_.rows(row), columns = roi_.columns(column);
    const T v0 = roi_.v.base(row), u0 = roi_.u.base(column);
    merged_.clear();
    if (rows.first >= rows.last || columns.first >= columns.last) return;
    frame(roi_.v.at(v0, rows.first), roi_.v.at(v0, rows.last - 1), roi_.u.at(u0, columns.first),
          roi_.u.at(u0, columns.last - 1));
    if (right_ < left_ || bottom_ < top_) return;
    const size_t cells = size_t(bottom_ - top_ + 1) * size_t(right_ - left_ + 1);
    if (number_.size() < cells) number_.resize(cells, 0);
    RotatedSample<T> s;
    for (int64_t k = rows.first; k < rows.last; ++k) {
      const T v = roi_.v.at(v0, k);
      for (int64_t j = columns.first; j < columns.last; ++j) {
        if (!roi_.sample(v, roi_.u.at(u0, j), height_, width_, s)) continue;
        add_row(s.y.low, s.y.low_weight, s.x);
        touch(s.y.low, s.x.low, s.x.high);
        if (s.y.high_weight == T(0)) continue;
        add_row(s.y.high, s.y.high_weight, s.x);
        touch(s.y.high, s.x.low, s.x.high);
      }
    }
    for (const Merged& m : merged_) number_[m.cell] = 0;
  }

  template <class A>
  void append(T count, std::vector<Tap<A>>& taps) const {
    for (const Merged& m : merged_) taps.push_back({m.at, A(m.weight / count)});
  }

 private:
  struct Merged {
    int32_t at, cell;
    T weight;
  };

  void add_row(int64_t y, T weight, const Bilinear<T>& x) {
    add(y, x.low, weight * x.low_weight);
    if (x.high_weight != T(0)) add(y, x.high, weight * x.high_weight);
  }

  void add(int64_t y, int64_t x, T weight) {
    const int32_t cell = int32_t((y - top_) * (right_ - left_ + 1) + (x - left_));
    int32_t& number = number_[cell];
    if (number == 0) {
      merged_.push_back({int32_t(y * width_ + x), cell, weight});
      number = int32_t(merged_.size());
    } else {
      merged_[number - 1].weight += weight;
    }
  }

  // Positions grow or fall with u and with v, rounding included, so the outermost samples bound the others.
  void frame(T v0, T v1, T u0, T u1) {
    const T xs[] = {roi_.x_at(v0, u0), roi_.x_at(v0, u1), roi_.x_at(v1, u0), roi_.x_at(v1, u1)};
    const T ys[] = {roi_.y_at(v0, u0), roi_.y_at(v0, u1), roi_.y_at(v1, u0), roi_.y_at(v1, u1)};
    pixels(xs, width_, left_, right_);
    pixels(ys, height_, top_, bottom_);
  }

  static void pixels(const T (&at)[4], int64_t extent, int64_t& first, int64_t& last) {
    const T low = *std::min_element(at, at + 4), high = *std::max_element(at, at + 4);
    first = 0, last = -1;
    if (!(high >= T(-1) && low <= T(extent))) return;
    first = Bilinear<T>::at(std::min(low, T(extent)), extent).low;
    last = Bilinear<T>::at(std::min(high, T(extent)), extent).high;
  }

  const RotatedRoi<T> roi_;
  int64_t height_, width_, left_ = 0, right_ = -1, top_ = 0, bottom_ = -1;
  std::vector<int32_t>& number_;
  std::vector<Merged> merged_;
};

template <class A>
class RotatedAlignPlan {
 public:
  RotatedAlignPlan(const RoiAlignLevels& levels, const View& boxes, const View& bins, int64_t sampling_ratio,
                   const Launch& launch)
      : levels_(levels),
        boxes_(boxes),
        sampling_ratio_(sampling_ratio),
        rows_(bins.shape[2]),
        columns_(bins.shape[3]),
        groups_(maps_of(), maps()),
        span_at_(maps(), -1) {
    for (int64_t map = 0; map < maps(); ++map) {
      if (begin(map) == end(map)) continue;
      span_at_[map] = int64_t(spans_.size());
      spans_.resize(spans_.size() + levels.maps[level_of(map)].shape[2]);
    }
    const int64_t count = boxes.shape[0], stride = rows_ * columns_ + 1;
    taps_.resize(count);
    begins_.resize(count * stride);
    std::atomic<int64_t> total{0};
    std::mutex merging;
    parallel_for(count, 40000 / stride + 1, launch, [&](int64_t first, int64_t last) {
      TapScratch<A> scratch;
      std::vector<ColumnSpan> touched(spans_.size());
      for (int64_t k = first; k < last; ++k) {
        ColumnSpan* const spans = touched.data() + span_at_[map_[k]];
        find(k, scratch, [&](int64_t y, int64_t x0, int64_t x1) { spans[y].include(int32_t(x0), int32_t(x1)); });
        const int64_t found = int64_t(scratch.taps.size());
        if (total.fetch_add(found) + found > kMost) continue;
        taps_[k] = scratch.taps;
        std::copy(scratch.begin.begin(), scratch.begin.end(), begins_.begin() + k * stride);
      }
      const std::lock_guard<std::mutex> lock(merging);
      for (size_t i = 0; i < touched.size(); ++i)
        if (touched[i].begin < touched[i].end) spans_[i].include(touched[i].begin, touched[i].end - 1);
    });
    work_ = total;
    kept_ = work_ <= kMost;
    if (!kept_) taps_ = {};
    for (const ColumnSpan& span : spans_) work_ += span.end - span.begin;
  }

  // Maps are numbered by image, then by level.
  int64_t maps() const { return levels_.maps[0].shape[0] * int64_t(levels_.maps.size()); }
  int64_t image_of(int64_t map) const { return map / int64_t(levels_.maps.size()); }
  size_t level_of(int64_t map) const { return size_t(map) % levels_.maps.size(); }

  // The rows of boxes on a map, in order.
  const int64_t* begin(int64_t map) const { return groups_.rows.data() + groups_.begin[map]; }
  const int64_t* end(int64_t map) const { return groups_.rows.data() + groups_.begin[map + 1]; }
  int64_t map(int64_t k) const { return map_[k]; }

  // Those that have RoIs.
  std::vector<int64_t> busy_maps() const {
    std::vector<int64_t> busy;
    for (int64_t map = 0; map < maps(); ++map)
      if (begin(map) != end(map)) busy.push_back(map);
    return busy;
  }

  BinTaps<A> taps(int64_t k, TapScratch<A>& scratch) const {
    if (kept_) return {taps_[k].data(), begins_.data() + k * (rows_ * columns_ + 1)};
    find(k, scratch, [](int64_t, int64_t, int64_t) {});
    return scratch.view();
  }

  // One span a row of the map; null for one without RoIs.
  const ColumnSpan* spans(int64_t map) const { return span_at_[map] < 0 ? nullptr : spans_.data() + span_at_[map]; }

  // Loads of 64 bytes for all RoIs and touched pixels: what one block of channels costs, about 1 ns each.
  int64_t work() const { return work_; }

 private:
  static constexpr int64_t kMost = (int64_t(64) << 20) / int64_t(sizeof(Tap<A>));  // taps that are kept

  std::vector<int64_t>& maps_of() {
    constexpr const char* kOp = "roi_align_rotated";
    map_.resize(boxes_.shape[0]);
    visit<float, double>(boxes_.dtype, kOp, [&](auto tag) {
      using B = typename decltype(tag)::type;
      const B* const boxes = boxes_.as<B>();
      for (int64_t k = 0; k < boxes_.shape[0]; ++k) {
        const int64_t image = cpu::image_of(kOp, boxes, k, levels_.maps[0].shape[0], 6);
        const int level = rotated_level(boxes + 6 * k + 1, levels_.thresholds.data(), int(levels_.thresholds.size()));
        map_[k] = image * int64_t(levels_.maps.size()) + level;
      }
    });
    return map_;
  }

  template <class Touch>
  void find(int64_t k, TapScratch<A>& scratch, const Touch& touch) const {
    visit<float, double>(boxes_.dtype, "roi_align_rotated", [&](auto tag) {
      using B = typename decltype(tag)::type;
      using T = decltype(A() + B());
      const size_t level = level_of(map_[k]);
      const int64_t height = levels_.maps[level].shape[2], width = levels_.maps[level].shape[3];
      const auto roi = RotatedRoi<T>::of(boxes_.as<B>() + 6 * k + 1, T(levels_.scales[level]), rows_, columns_, height,
                                         width, sampling_ratio_);
      scratch.taps.clear();
      scratch.begin.assign(1, 0);
      BinMerge<T> bin(roi, height, width, scratch.number);
      for (int64_t row = 0; row < rows_; ++row) {
        for (int64_t column = 0; column < columns_; ++column) {
          if (!roi.empty()) {
            bin.run(row, column, touch);
            bin.append(roi.count(), scratch.taps);
          }
          scratch.begin.push_back(int64_t(scratch.taps.size()));
        }
      }
    });
  }

  RoiAlignLevels levels_;
  View boxes_;
  int64_t sampling_ratio_, rows_, columns_, work_ = 0;
  std::vector<int64_t> map_;  // of each row of boxes
  Groups groups_;
  bool kept_ = true;
  std::vector<std::vector<Tap<A>>> taps_;  // of each row of boxes
  std::vector<int64_t> begins_;                 // rows * columns + 1 a row of boxes
  std::vector<int64_t> span_at_;
  std::vector<ColumnSpan> spans_;
};

}  // namespace roikit::cpu
