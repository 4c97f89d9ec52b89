// Which boxes can overlap a box by more than a threshold: a grid over their centres. Scratch of one call.
//
// iou(a, b) > t needs an overlap of at least t times the larger width (and height): the union is no smaller than the
// larger box. So b's width lies in [t w, w / t], w being a's, and the centres are at most w (1 - t) max(1, 1 / 2t)
// apart; nor are they ever more than half the sum of the widths apart. A box therefore meets only the boxes whose
// centres lie in a window around its own. The computed IoU differs from the true one by at most 12 roundings, less than
// the slack of 1e-6 below; where products of sides may underflow, the second bound alone, which needs none, is used.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/boxes.h"
#include "core/macros.h"

namespace roikit::cpu {

constexpr int64_t kBlock = 16;  // boxes that are tested together: a vector of floats at the widest level

// How far from a box's centre those of its neighbours can be, along one axis.
class Reach {
 public:
  Reach() = default;
  Reach(double threshold, double largest) : largest_(largest) {
    const double t = threshold * (1 - 1e-6);
    factor_ = threshold < 0.01 ? kAnySize : std::max(1 - t, 0.0) * std::max(1.0, 0.5 / t);
  }

  // `tiny`: the area is so small that products of sides lose their relative precision.
  ROIKIT_INLINE double of(double side, double centre, bool tiny) const {
    const double by_size = (tiny ? kAnySize : factor_) * side, by_overlap = 0.5 * side + 0.5 * largest_;
    return (by_size < by_overlap ? by_size : by_overlap) * (1 + 1e-6) + (centre < 0 ? -centre : centre) * 1e-15;
  }

 private:
  static constexpr double kAnySize = std::numeric_limits<double>::max();
  double factor_ = 0, largest_ = 0;
};

// Cells along one axis. The map from positions to cells never decreases, so a window of positions is a range of cells,
// whatever the numbers; centres beyond the ends fall into the outermost cells.
class Cells {
 public:
  Cells() = default;
  Cells(double low, double high, double size, int64_t most) : low_(low) {
    const double wanted = (high - low) / size;
    count_ = wanted < double(most) ? int64_t(wanted) + 1 : most;  // false for NaN and infinity
    const double scale = double(count_) / (high - low);
    scale_ = count_ > 1 && scale < std::numeric_limits<double>::max() ? scale : 0;
  }

  int64_t count() const { return count_; }

  ROIKIT_INLINE int64_t at(double position) const {
    const double cell = (position - low_) * scale_, last = double(count_ - 1);
    const double above = cell > 0 ? cell : 0;
    return int64_t(above < last ? above : last);
  }

 private:
  double low_ = 0, scale_ = 0;
  int64_t count_ = 1;
};

// The centre of [lo, hi) in double: exact for floats but for the last bit.
template <class T> ROIKIT_INLINE double centre_of(T lo, T hi) { return 0.5 * double(lo) + 0.5 * double(hi); }

// One axis of a grid: its cells, and how far a window reaches.
struct Axis {
  Cells cells;
  Reach reach;
};

// n boxes, given in the order of their scores, laid out in columns cell by cell: rows of cells from low to high y, the
// cells of a row from low to high x, the boxes of a cell in the order of their scores. Inert boxes are left out.
template <class T>
class BoxGrid {
 public:
  using Flag = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;  // as wide as T, for the lanes

  BoxGrid(const T* boxes, const uint32_t* order, int64_t n, T threshold) : place_(n) {
    std::vector<int32_t> cell(n, 0);
    const int64_t cells = n > kSmall ? spread(boxes, order, n, threshold, cell.data()) : 1;
    if (n <= kSmall)
      for (int64_t r = 0; r < n; ++r) cell[r] = inert(Box<T>::at(boxes + 4 * int64_t(order[r]))) ? -1 : 0;
    start_.assign(cells + 2, 0);
    for (int64_t r = 0; r < n; ++r) ++start_[cell[r] + 2];  // inert boxes are counted at 1, and again set to 0
    start_[1] = 0;
    for (int64_t c = 2; c < cells + 2; ++c) start_[c] += start_[c - 1];
    stride_ = (start_[cells + 1] + kBlock - 1) / kBlock * kBlock;
    data_.assign(5 * stride_ + kBlock, T(0));
    gone_.assign(stride_ + kBlock, 0);
    T* const column = aligned(data_);
    for (int64_t r = 0; r < n; ++r) {
      place_[r] = cell[r] < 0 ? -1 : start_[cell[r] + 1]++;
      if (cell[r] < 0) continue;
      const Box<T> b = Box<T>::at(boxes + 4 * int64_t(order[r]));
      T* const p = column + place_[r];
      p[0] = b.x1;
      p[stride_] = b.y1;
      p[2 * stride_] = b.x2;
      p[3 * stride_] = b.y2;
      p[4 * stride_] = b.area;
    }
  }

  // What a kernel's body needs, without ownership.
  struct Walk {
    BoxColumns<T> boxes;
    Flag* gone;            // by place
    const int32_t* place;  // by rank; -1: inert
    const int32_t* start;  // by cell; one more at the end
    Axis x, y;
  };
  Walk walk() {
    const T* p = aligned(data_);
    return {{p, p + stride_, p + 2 * stride_, p + 3 * stride_, p + 4 * stride_},
            aligned(gone_), place_.data(), start_.data(), x_, y_};
  }

 private:
  static constexpr int64_t kSmall = 256;   // up to here one cell is cheaper than a grid
  static constexpr int64_t kSample = 128;  // boxes whose medians shape the grid

  template <class V> static V* aligned(std::vector<V>& v) {
    const uintptr_t p = reinterpret_cast<uintptr_t>(v.data());
    return reinterpret_cast<V*>((p + 63) / 64 * 64);
  }

  // Shapes the grid and finds each box's cell (-1: inert); returns the number of cells.
  int64_t spread(const T* boxes, const uint32_t* order, int64_t n, T threshold, int32_t* cell) {
    std::vector<double> sample[4];  // centre and side in x, then in y
    double low[2] = {kHuge, kHuge}, high[2] = {-kHuge, -kHuge}, largest[2] = {0, 0};
    const int64_t step = n / kSample;
    int64_t active = 0;
    for (int64_t r = 0; r < n; ++r) {
      const T* p = boxes + 4 * int64_t(order[r]);
      if (inert(Box<T>::at(p))) continue;
      ++active;
      for (int axis = 0; axis < 2; ++axis) {
        const double centre = centre_of(p[axis], p[axis + 2]), length = double(side(p[axis], p[axis + 2]));
        low[axis] = std::min(low[axis], centre);
        high[axis] = std::max(high[axis], centre);
        largest[axis] = std::max(largest[axis], length);
        if (r % step == 0) sample[2 * axis].push_back(centre), sample[2 * axis + 1].push_back(length);
      }
    }
    if (sample[0].empty()) {
      for (int64_t r = 0; r < n; ++r) cell[r] = inert(Box<T>::at(boxes + 4 * int64_t(order[r]))) ? -1 : 0;
      return 1;
    }
    Axis* const axes[2] = {&x_, &y_};
    double window[2], extent[2];
    for (int axis = 0; axis < 2; ++axis) {
      axes[axis]->reach = Reach(double(threshold), largest[axis]);
      window[axis] = 2 * axes[axis]->reach.of(quantile(sample[2 * axis + 1], 0.5), 0, false);
      const double q1 = quantile(sample[2 * axis], 0.1), q9 = quantile(sample[2 * axis], 0.9);
      low[axis] = std::max(low[axis], q1 - 2 * (q9 - q1));  // far strays share the outermost cells
      high[axis] = std::min(high[axis], q9 + 2 * (q9 - q1));
      extent[axis] = high[axis] - low[axis];
    }
    // Rows so low that a typical window holds two blocks of a row, but not more than a window or less than its eighth.
    const double crowd = double(active) / extent[0] / extent[1] * window[0];
    const double height = std::min(std::max(2 * kBlock / crowd, window[1] / 8), window[1]);
    const int64_t most = int64_t(std::sqrt(double(n))) + 8;
    y_.cells = Cells(low[1], high[1], height, most);
    x_.cells = Cells(low[0], high[0], window[0] / 8, 2 * n / y_.cells.count() + 8);
    for (int64_t r = 0; r < n; ++r) {
      const T* p = boxes + 4 * int64_t(order[r]);
      const int64_t row = y_.cells.at(centre_of(p[1], p[3])), column = x_.cells.at(centre_of(p[0], p[2]));
      cell[r] = inert(Box<T>::at(p)) ? -1 : int32_t(row * x_.cells.count() + column);
    }
    return x_.cells.count() * y_.cells.count();
  }

  static double quantile(std::vector<double>& values, double share) {
    const auto nth = values.begin() + int64_t(share * double(values.size() - 1));
    std::nth_element(values.begin(), nth, values.end());
    return *nth;
  }

  static constexpr double kHuge = std::numeric_limits<double>::max();
  std::vector<int32_t> place_, start_;
  std::vector<T> data_;
  std::vector<Flag> gone_;
  int64_t stride_ = 0;
  Axis x_, y_;
};

}  // namespace roikit::cpu
