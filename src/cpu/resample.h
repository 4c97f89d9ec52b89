// A mask's cells resampled at the pixels of an image, horizontally, then vertically: as images and as runs. What a pixel
// takes of which cells along an axis is a PasteTap.
//
// As images: columns in lanes. The mask's rows are resampled horizontally once each, two at a time in a rolling pair of
// buffers; every image row is then one pass over the pair.
//
// As runs: rows of the mask in lanes. A column of the image is resampled horizontally at the mask's rows only. Between
// two rows on the same side of the threshold no pixel can be on the other, so whole segments are decided at once; the
// others pixel by pixel, with the arithmetic of the images. No image is ever made.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/mask_paste.h"
#include "cpu/simd.h"

namespace roikit::cpu {

constexpr int64_t kFrame = 3;  // one cell before the mask, two after: cell + 1 of the last cell exists

// Cells and weights of a range of pixels.
template <class T> struct Taps {
  std::vector<int32_t> cell;
  std::vector<T> near, far;

  struct Ptr {
    const int32_t* cell;
    const T* near;
    const T* far;
  };
  Ptr ptr() const { return {cell.data(), near.data(), far.data()}; }

  template <class Axis> void fill(const Axis& axis, int64_t begin, int64_t end) {
    cell.resize(end - begin);
    near.resize(end - begin);
    far.resize(end - begin);
    for (int64_t i = begin; i < end; ++i) {
      const PasteTap<T> tap = axis.tap(i);
      cell[i - begin] = tap.cell;
      near[i - begin] = tap.near;
      far[i - begin] = tap.far;
    }
  }
};

template <class T>
ROIKIT_INLINE void resample(const T* ROIKIT_RESTRICT row, typename Taps<T>::Ptr x, int64_t n, T* ROIKIT_RESTRICT to) {
  for (int64_t i = 0; i < n; ++i) to[i] = paste_mix(row[x.cell[i]], x.near[i], row[x.cell[i] + 1], x.far[i]);
}

// Image rows of one mask. `pair` has room for two rows of n values; `out` points at the first pixel.
struct PasteRows {
  template <class T, class Out>
  ROIKIT_INLINE static void run(const T* framed, int64_t stride, typename Taps<T>::Ptr x, int64_t n,
                                typename Taps<T>::Ptr y, int64_t rows, T* pair, T threshold, Out* out, int64_t pitch) {
    T* upper = pair;
    T* lower = pair + n;
    int32_t at = -2;
    for (int64_t r = 0; r < rows; ++r, out += pitch) {
      const int32_t cell = y.cell[r];
      if (cell != at) {
        if (cell == at + 1) {
          T* const swap = upper;
          upper = lower;
          lower = swap;
        } else {
          resample<T>(framed + cell * stride, x, n, upper);
        }
        resample<T>(framed + (cell + 1) * stride, x, n, lower);
        at = cell;
      }
      const T near = y.near[r], far = y.far[r];
      const T* ROIKIT_RESTRICT a = upper;
      const T* ROIKIT_RESTRICT b = lower;
      Out* ROIKIT_RESTRICT to = out;
      if constexpr (std::is_same_v<Out, uint8_t>) {
        for (int64_t i = 0; i < n; ++i) to[i] = paste_mix(a[i], near, b[i], far) >= threshold;
      } else {
        for (int64_t i = 0; i < n; ++i) to[i] = paste_mix(a[i], near, b[i], far);
      }
    }
  }
};

// Consecutive image rows between the same two rows of the mask.
struct Segment {
  int32_t cell, begin, end;  // begin and end are counted from the first covered row
};

// The runs so far: where the present one began, and its value.
struct RunState {
  int64_t last = 0;
  int64_t used = 0;
  uint32_t value = 0;
};

ROIKIT_INLINE void turn(RunState& s, uint32_t* runs, int64_t at, uint32_t value) {
  if (value == s.value) return;
  runs[s.used++] = uint32_t(at - s.last);
  s.last = at;
  s.value = value;
}

template <class T> struct ColumnJob {
  const T* framed;  // transposed: framed[column of the mask][row of the mask]
  int64_t stride;
  typename Taps<T>::Ptr x, y;
  const Segment* segments;
  int64_t segment_count, top, rows, height, left;
  T threshold, above, below;  // above: certainly inside; below: certainly outside
  T* column;                  // scratch of `stride` values
  uint8_t* side;              // scratch of `stride` bytes
};

// Runs of the covered columns [begin, end); `runs` has room for rows + 2 values a column.
struct PasteColumns {
  template <class T>
  ROIKIT_INLINE static void run(const ColumnJob<T> job, int64_t begin, int64_t end, uint32_t* runs, RunState* state) {
    RunState s = *state;
    T* ROIKIT_RESTRICT column = job.column;
    uint8_t* ROIKIT_RESTRICT side = job.side;
    for (int64_t c = begin; c < end; ++c) {
      const T* ROIKIT_RESTRICT near_cells = job.framed + job.x.cell[c] * job.stride;
      const T* ROIKIT_RESTRICT far_cells = near_cells + job.stride;
      const T near = job.x.near[c], far = job.x.far[c];
      for (int64_t r = 0; r < job.stride; ++r) column[r] = paste_mix(near_cells[r], near, far_cells[r], far);
      for (int64_t r = 0; r < job.stride; ++r)
        side[r] = uint8_t((column[r] > job.above ? 1 : 0) | (column[r] < job.below ? 2 : 0));
      const int64_t base = (job.left + c) * job.height;
      if (job.top > 0) turn(s, runs, base, 0);
      const int64_t first = base + job.top;
      for (int64_t k = 0; k < job.segment_count; ++k) {
        const Segment seg = job.segments[k];
        const uint8_t both = side[seg.cell] & side[seg.cell + 1];
        if (both) {
          turn(s, runs, first + seg.begin, both & 1);
          continue;
        }
        const T upper = column[seg.cell], lower = column[seg.cell + 1];
        for (int32_t r = seg.begin; r < seg.end; ++r)
          turn(s, runs, first + r, paste_mix(upper, job.y.near[r], lower, job.y.far[r]) >= job.threshold ? 1 : 0);
      }
      if (job.top + job.rows < job.height) turn(s, runs, first + job.rows, 0);
    }
    *state = s;
  }
};

// Scratch of one worker and the encoder of one mask.
template <class T>
class RunWriter {
 public:
  RunWriter(T threshold, int64_t height, int64_t width, Simd simd)
      : threshold_(threshold), height_(height), width_(width), simd_(simd) {}

  // Values of a framed column of so many rows: whole vectors of every level.
  static int64_t stride_of(int64_t rows) { return (rows + kFrame + 15) / 16 * 16; }

  // framed: columns of `stride` values, a mask's rows framed by zeros; not looked at where `p` covers nothing. The axes
  // of `p` say which pixels it covers and where each lies in the frame.
  template <class P>
  void write(const std::vector<T>& framed, int64_t stride, const P& p, std::vector<uint32_t>& counts) {
    const int64_t total = height_ * width_;
    if (p.empty()) {
      counts.push_back(uint32_t(total));
      return;
    }
    column_.resize(stride);
    side_.resize(stride);
    x_.fill(p.x, p.x.begin, p.x.end);
    y_.fill(p.y, p.y.begin, p.y.end);
    segments_.clear();
    for (int64_t r = 0; r < p.rows(); ++r) {
      if (segments_.empty() || segments_.back().cell != y_.cell[r]) segments_.push_back({y_.cell[r], int32_t(r), 0});
      segments_.back().end = int32_t(r + 1);
    }
    const T margin = rounding_margin(framed);
    const ColumnJob<T> job{framed.data(), stride, x_.ptr(), y_.ptr(), segments_.data(), int64_t(segments_.size()),
                           p.y.begin, p.rows(), height_, p.x.begin, threshold_, threshold_ + margin,
                           threshold_ - margin, column_.data(), side_.data()};
    const int64_t room = p.rows() + 2, batch = std::max<int64_t>(1, 16384 / room);
    runs_.resize(std::min(batch, p.columns()) * room);
    RunState state;
    for (int64_t c = 0; c < p.columns(); c += batch) {
      state.used = 0;
      vary<PasteColumns>(simd_, job, c, std::min(c + batch, p.columns()), runs_.data(), &state);
      counts.insert(counts.end(), runs_.begin(), runs_.begin() + state.used);
    }
    if (p.x.end < width_ && state.value) {
      const int64_t at = p.x.end * height_;
      counts.push_back(uint32_t(at - state.last));
      state.last = at;
    }
    counts.push_back(uint32_t(total - state.last));
  }

 private:
  // How far rounding can carry a value out of the interval of its two cells: 3 units of the largest cell; 8 are taken,
  // and the least normal number for what underflows. A cell that is not finite makes nothing certain.
  T rounding_margin(const std::vector<T>& framed) const {
    T largest = 0;
    bool finite = true;
    for (const T v : framed) {
      finite = finite && std::isfinite(v);
      largest = std::max(largest, std::abs(v));
    }
    if (!finite) return std::numeric_limits<T>::infinity();
    return 8 * std::numeric_limits<T>::epsilon() * (largest + threshold_) + std::numeric_limits<T>::min();
  }

  T threshold_;
  int64_t height_, width_;
  Simd simd_;
  std::vector<T> column_;
  std::vector<uint8_t> side_;
  Taps<T> x_, y_;
  std::vector<Segment> segments_;
  std::vector<uint32_t> runs_;
};

}  // namespace roikit::cpu
