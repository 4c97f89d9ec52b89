// What the plans of RoIAlign share: the RoIs of each map, one image at one level of a pyramid, and the part of each map
// that they touch. Built once, read by all threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/roi_align.h"
#include "cpu/rois.h"
#include "cpu/spans.h"

namespace roikit::cpu {

class LevelRois {
 public:
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
  const std::vector<int64_t>& all_rows() const { return groups_.rows; }
  int64_t image(int64_t row) const { return place_[row] / levels_; }
  int64_t level(int64_t row) const { return place_[row] % levels_; }

  // The images that have RoIs.
  std::vector<int64_t> busy_images() const {
    std::vector<int64_t> images;
    for (int64_t image = 0; image < images_; ++image)
      if (!empty(image)) images.push_back(image);
    return images;
  }

  // One span a row of the map; null for a map that no RoI touches.
  const ColumnSpan* spans(int64_t image, int64_t level) const {
    const int64_t at = span_at_[image * levels_ + level];
    return at < 0 ? nullptr : spans_.data() + at;
  }

  // Loads of 64 bytes for all RoIs and touched pixels: what one block of channels costs, about 1 ns each.
  int64_t work() const { return work_; }

 protected:
  LevelRois(const RoiAlignLevels& levels, const View& bins)
      : images_(levels.maps[0].shape[0]),
        levels_(int64_t(levels.maps.size())),
        rows_(bins.shape[2]),
        columns_(bins.shape[3]),
        groups_({}, 0),
        span_at_(images_ * levels_, -1) {}

  // Calls add(k, y, x, height, width) for each RoI in turn: its axes, and the size of its map. A: the accumulate type.
  template <class A, class Add>
  void place(const RoiAlignLevels& levels, const View& boxes, const RoiAlignRule& rule, const Add& add) {
    const int thresholds = int(levels.thresholds.size());
    place_.resize(boxes.shape[0]);
    visit<float, double>(boxes.dtype, "roi_align", [&](auto tag) {
      using B = typename decltype(tag)::type;
      using T = decltype(A() + B());
      const B* box = boxes.as<B>();
      for (int64_t k = 0; k < boxes.shape[0]; ++k, box += 5) {
        const int64_t image = image_of("roi_align", boxes.as<B>(), k, images_);
        const int64_t level = pyramid_level(box + 1, levels.thresholds.data(), thresholds);
        const int64_t height = levels.maps[level].shape[2], width = levels.maps[level].shape[3];
        const T scale = T(levels.scales[level]);
        place_[k] = image * levels_ + level;
        add(k, SampleAxis<T>::of(T(box[2]), T(box[4]), scale, rows_, height, rule),
            SampleAxis<T>::of(T(box[1]), T(box[3]), scale, columns_, width, rule), height, width);
      }
    });
    groups_ = Groups(place_, images_ * levels_);
    for (const ColumnSpan& span : spans_) work_ += span.end - span.begin;
  }

  // The spans of RoI k's map, which it touches, one a row.
  ColumnSpan* touched(int64_t k, int64_t height) {
    int64_t& at = span_at_[place_[k]];
    if (at < 0) {
      at = int64_t(spans_.size());
      spans_.resize(spans_.size() + height);
    }
    return spans_.data() + at;
  }

  int64_t images_, levels_, rows_, columns_, work_ = 0;

 private:
  Groups groups_;
  std::vector<int64_t> place_;  // image * levels + level of each row of boxes
  std::vector<int64_t> span_at_;
  std::vector<ColumnSpan> spans_;
};

// The maps of the levels, features or their gradients. S: stored type.
template <class S>
struct LevelMaps {
  const RoiAlignLevels* levels;
  bool channels_last;
  int64_t channels;

  ROIKIT_INLINE size_t count() const { return levels->maps.size(); }
  ROIKIT_INLINE S* map(int64_t image, size_t level) const {
    const View& v = levels->maps[level];
    return v.as<S>() + image * channels * v.shape[2] * v.shape[3];
  }
  ROIKIT_INLINE ChannelBlock<S> planes(int64_t image, size_t level, int64_t first, int lanes) const {
    const View& v = levels->maps[level];
    return {map(image, level), channels, v.shape[2], v.shape[3], first, lanes, channels_last};
  }

  // Pixels of the largest level, and of all.
  int64_t largest() const {
    int64_t most = 0;
    for (const View& v : levels->maps) most = std::max(most, v.shape[2] * v.shape[3]);
    return most;
  }
  int64_t pixels() const {
    int64_t sum = 0;
    for (const View& v : levels->maps) sum += v.shape[2] * v.shape[3];
    return sum;
  }
};

}  // namespace roikit::cpu
