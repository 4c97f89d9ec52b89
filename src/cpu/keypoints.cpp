// encode_keypoints and decode_keypoints on the CPU.
//
// decode: a map is never resized whole. Its rows are resized to the box's columns when a row of the grid wants them,
// four at a time in a ring; and a row of the grid is only computed where it can hold a larger value than the best so far:
//
// - A value is ((h0 * w0 + h1 * w1) + h2 * w2) + h3 * w3 of four resized rows. Rounding never turns an order round, so
//   the same sum over each row's largest value (its smallest where w < 0) is an upper bound, bit for bit.
// - Before a row is resized, its pixels bound it: Keys' weights have negative parts of at most 0.1875 in all. Here a
//   slack far above the rounding of weights and sums is added.
// - Where that does not rule a row of the grid out, its four rows of pixels are mixed, as many values as the map is
//   wide. A value between two of them is at most the larger, and 0.1875 of what that is above the smaller of the two
//   around them. It is the value that columns first would give but for rounding, which the slack covers. Where few places
//   can win, they alone are computed, and no row is resized. Small boxes, where a row costs no more than its bound, and
//   maps whose sums may overflow do without.
// - A bound that is NaN skips nothing; values that are NaN never win, so that they need no bound.
//
// The row of the largest pixel goes first, which makes the best so far good from the start. The position among equal
// values is then decided by the lower row.
#include "core/keypoints.h"

#include <algorithm>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/parallel.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kFrame = 2;  // pixels repeated before the first and, at least, after the last

// A row of the grid's columns, in structures of arrays.
template <class T> struct ColumnTaps {
  int32_t* cell;  // counted in framed rows: the first of the four pixels
  T* weight[4];
};

struct FillColumns {
  template <class T>
  ROIKIT_INLINE static void run(T step, int32_t extent, int64_t n, ColumnTaps<T> to) {
    for (int64_t i = 0; i < n; ++i) {
      const CubicTap<T> tap = CubicTap<T>::of(int32_t(i), step, extent);
      to.cell[i] = tap.cell - 1 + int32_t(kFrame);
      to.weight[0][i] = tap.weight[0];
      to.weight[1][i] = tap.weight[1];
      to.weight[2][i] = tap.weight[2];
      to.weight[3][i] = tap.weight[3];
    }
  }
};

struct FillRows {
  template <class T>
  ROIKIT_INLINE static void run(T step, int32_t extent, int64_t n, CubicTap<T>* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = CubicTap<T>::of(int32_t(i), step, extent);
  }
};

struct ResizeRow {
  template <class T>
  ROIKIT_INLINE static void run(const T* ROIKIT_RESTRICT row, ColumnTaps<T> x, int64_t n, T* ROIKIT_RESTRICT to) {
    for (int64_t i = 0; i < n; ++i) {
      const T* const p = row + x.cell[i];
      to[i] = cubic_mix(p[0], p[1], p[2], p[3], x.weight[0][i], x.weight[1][i], x.weight[2][i], x.weight[3][i]);
    }
  }
};

template <class T> struct Range { T low, high; };

// The smallest and the largest of n values, a multiple of the lanes, that are not NaN.
template <int Bytes> struct RangeOf {
  template <class T>
  ROIKIT_INLINE static void run(const T* from, int64_t n, Range<T>* range) {
    using R = Register<T, Bytes>;
    constexpr int kStep = Bytes / int(sizeof(T));
    constexpr T kEnd = std::numeric_limits<T>::infinity();
    typename R::values low = typename R::values{} + kEnd, high = typename R::values{} - kEnd;
    for (int64_t i = 0; i < n; i += kStep) {
      const auto v = *reinterpret_cast<const typename R::anywhere*>(from + i);
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    *range = {kEnd, -kEnd};
    for (int l = 0; l < kStep; ++l) {
      range->low = low[l] < range->low ? low[l] : range->low;
      range->high = high[l] > range->high ? high[l] : range->high;
    }
  }
};

template <class T> struct FourRows {
  const T* row[4];
  T weight[4];
};

// What no value of a row of the grid exceeds but by rounding, of its four framed rows of n pixels: of the columns
// between each two pixels, and of all. mixed has room for n + 3 values.
template <int Bytes> struct BoundOfPixels {
  template <class T>
  ROIKIT_INLINE static void run(FourRows<T> from, int64_t n, T* mixed, T* bounds, T* bound) {
    using R = Register<T, Bytes>;
    using Values = typename R::values;
    using Anywhere = typename R::anywhere;
    constexpr int kStep = Bytes / int(sizeof(T));
    constexpr T kEnd = std::numeric_limits<T>::infinity();
    for (int64_t i = 0; i < n; i += kStep) {
      const Values a = *reinterpret_cast<const Anywhere*>(from.row[0] + i) * from.weight[0];
      const Values b = *reinterpret_cast<const Anywhere*>(from.row[1] + i) * from.weight[1];
      const Values c = *reinterpret_cast<const Anywhere*>(from.row[2] + i) * from.weight[2];
      const Values d = *reinterpret_cast<const Anywhere*>(from.row[3] + i) * from.weight[3];
      *reinterpret_cast<Anywhere*>(mixed + i) = ((a + b) + c) + d;
    }
    for (int j = 0; j < 3; ++j) mixed[n + j] = mixed[n - 1];
    Values high = Values{} - kEnd;
    for (int64_t i = 0; i < n; i += kStep) {
      const Values before = *reinterpret_cast<const Anywhere*>(mixed + i);
      const Values left = *reinterpret_cast<const Anywhere*>(mixed + i + 1);
      const Values right = *reinterpret_cast<const Anywhere*>(mixed + i + 2);
      const Values after = *reinterpret_cast<const Anywhere*>(mixed + i + 3);
      const Values most = left > right ? left : right;
      Values above = most - (before < after ? before : after);
      above = above > Values{} ? above : Values{};
      const Values v = most + above * T(0.1875);
      *reinterpret_cast<Anywhere*>(bounds + i) = v;
      high = v > high ? v : high;
    }
    T best = -kEnd;
    for (int l = 0; l < kStep; ++l) best = high[l] > best ? high[l] : best;
    *bound = best;
  }
};

// The largest value of one row of the grid; -infinity where all are NaN.
template <int Bytes> struct LargestOfRow {
  template <class T>
  ROIKIT_INLINE static void run(FourRows<T> from, int64_t n, T* largest) {
    using R = Register<T, Bytes>;
    using Values = typename R::values;
    using Anywhere = typename R::anywhere;
    constexpr int kStep = Bytes / int(sizeof(T));
    constexpr T kEnd = std::numeric_limits<T>::infinity();
    Values high = Values{} - kEnd;
    for (int64_t i = 0; i < n; i += kStep) {
      const Values a = *reinterpret_cast<const Anywhere*>(from.row[0] + i) * from.weight[0];
      const Values b = *reinterpret_cast<const Anywhere*>(from.row[1] + i) * from.weight[1];
      const Values c = *reinterpret_cast<const Anywhere*>(from.row[2] + i) * from.weight[2];
      const Values d = *reinterpret_cast<const Anywhere*>(from.row[3] + i) * from.weight[3];
      const Values v = ((a + b) + c) + d;
      high = v > high ? v : high;
    }
    T best = -kEnd;
    for (int l = 0; l < kStep; ++l) best = high[l] > best ? high[l] : best;
    *largest = best;
  }
};

// What a row resized from pixels of this range can hold.
template <class T> Range<T> widened(Range<T> pixels) {
  const T size = std::abs(pixels.low) + std::abs(pixels.high);
  const T margin = T(0.1875) * (pixels.high - pixels.low) + size / T(1 << 14) + std::numeric_limits<T>::min();
  return {pixels.low - margin, pixels.high + margin};
}

// Finds the largest values of maps of one size, box by box. The scratch of one thread.
template <class T> class Decoder {
 public:
  Decoder(int32_t height, int32_t width, Simd simd)
      : height_(height), width_(width), stride_(whole_lanes(width + 2 * kFrame)), simd_(simd) {
    framed_.resize(height * stride_);
    mixed_.resize(stride_ + 3);
    bounds_.resize(stride_);
    starts_.resize(width + 2);
    candidates_.resize(width + 2);
    ranges_.resize(height);
  }

  void set_box(const KeypointAxis<T>& x, const KeypointAxis<T>& y) {
    columns_ = x.cells, rows_ = y.cells;
    // Whole registers: the columns beyond the last repeat it, which changes neither a maximum nor its first place.
    padded_ = whole_lanes(columns_);
    cells_.resize(padded_);
    weights_.resize(4 * padded_);
    ring_.resize(4 * padded_);
    row_taps_.resize(rows_);
    vary<FillColumns>(simd_, T(width_) / T(columns_), width_, int64_t(columns_), taps());
    for (int32_t cell = 0, i = 0; cell < width_ + 2; ++cell) {
      while (i < columns_ && cells_[i] < cell) ++i;
      starts_[cell] = i;
    }
    for (int64_t i = columns_; i < padded_; ++i) {
      cells_[i] = cells_[columns_ - 1];
      for (int j = 0; j < 4; ++j) taps().weight[j][i] = taps().weight[j][columns_ - 1];
    }
    vary<FillRows>(simd_, T(height_) / T(rows_), height_, int64_t(rows_), row_taps_.data());
  }

  // The value at the position, whose row and column are given back.
  T largest(const T* map, int32_t& at_row, int32_t& at_column) {
    const int32_t peak = frame(map);
    for (int32_t& y : in_ring_) y = -1;
    best_ = -std::numeric_limits<T>::infinity();
    at_row_ = at_column_ = 0;
    const int32_t first = int32_t(std::min<int64_t>((2 * int64_t(peak) + 1) * rows_ / (2 * height_), rows_ - 1));
    look_at(first);
    for (int32_t r = 0; r < rows_; ++r)
      if (r != first) look_at(r);
    at_row = at_row_, at_column = at_column_;
    // Where nothing exceeds -infinity, the value at position 0 may also be NaN.
    return best_ > -std::numeric_limits<T>::infinity() ? best_ : value(resized_rows(0), 0);
  }

 private:
  static int64_t whole_lanes(int64_t n) { return (n + lanes_of<T> - 1) / lanes_of<T> * lanes_of<T>; }

  ColumnTaps<T> taps() {
    T* const w = weights_.data();
    return {cells_.data(), {w, w + padded_, w + 2 * padded_, w + 3 * padded_}};
  }

  // Copies the map's rows with their ends repeated, and bounds each. Returns the row of the largest pixel.
  int32_t frame(const T* map) {
    int32_t peak = 0;
    T lowest = std::numeric_limits<T>::infinity(), highest = -lowest;
    for (int32_t y = 0; y < height_; ++y) {
      const T* const from = map + int64_t(y) * width_;
      T* const to = framed_.data() + y * stride_;
      std::fill(to, to + kFrame, from[0]);
      std::copy(from, from + width_, to + kFrame);
      std::fill(to + kFrame + width_, to + stride_, from[width_ - 1]);
      Range<T> range;
      vary_lanes<RangeOf>(simd_, (const T*)to, stride_, &range);
      if (range.high > highest) highest = range.high, peak = y;
      if (range.low < lowest) lowest = range.low;
      ranges_[y] = widened(range);
    }
    const T size = std::abs(lowest) + std::abs(highest);
    const bool bounded = columns_ >= 2 * width_ && size < std::numeric_limits<T>::max() / 16;
    slack_ = bounded ? size / T(1 << 14) + std::numeric_limits<T>::min() : std::numeric_limits<T>::infinity();
    return peak;
  }

  void pixels_of(int32_t r, int32_t (&y)[4]) const {
    for (int j = 0; j < 4; ++j) y[j] = limited_pixel(row_taps_[r].cell - 1 + j, height_);
  }

  // No value of the row can win.
  bool out_of_reach(int32_t r) const {
    int32_t y[4];
    pixels_of(r, y);
    const T* const w = row_taps_[r].weight;
    T most[4];
    for (int j = 0; j < 4; ++j) most[j] = w[j] < T(0) ? ranges_[y[j]].low : ranges_[y[j]].high;
    return loses(cubic_mix(most[0], most[1], most[2], most[3], w), r);
  }

  // Whether the row's pixels leave nothing to be computed: no value can win, or the few that could have been looked at.
  bool settled_by_pixels(int32_t r) {
    if (!(slack_ < std::numeric_limits<T>::infinity())) return false;
    int32_t y[4];
    pixels_of(r, y);
    FourRows<T> rows;
    for (int j = 0; j < 4; ++j) {
      rows.row[j] = framed_.data() + y[j] * stride_;
      rows.weight[j] = row_taps_[r].weight[j];
    }
    T bound;
    vary_lanes<BoundOfPixels>(simd_, rows, stride_, mixed_.data(), bounds_.data(), &bound);
    if (loses(bound + slack_, r)) return true;
    int32_t left = columns_ / 8 + 8;  // a column alone costs several times what it costs in a row
    int32_t found = 0;
    for (int32_t cell = 0; cell <= width_; ++cell) {
      candidates_[found] = cell;
      found += !loses(bounds_[cell] + slack_, r);
    }
    for (int32_t c = 0; c < found && left >= 0; ++c) left -= starts_[candidates_[c] + 1] - starts_[candidates_[c]];
    if (left < 0) return false;
    for (int32_t c = 0; c < found; ++c)
      for (int32_t i = starts_[candidates_[c]]; i < starts_[candidates_[c] + 1]; ++i) look_at_column(rows, r, i);
    return true;
  }

  // rows: framed ones, of pixels.
  void look_at_column(const FourRows<T>& rows, int32_t r, int32_t i) {
    const ColumnTaps<T> x = taps();
    const T w[4] = {x.weight[0][i], x.weight[1][i], x.weight[2][i], x.weight[3][i]};
    T mixed[4];
    for (int j = 0; j < 4; ++j) {
      const T* const p = rows.row[j] + x.cell[i];
      mixed[j] = cubic_mix(p[0], p[1], p[2], p[3], w);
    }
    const T v = cubic_mix(mixed[0], mixed[1], mixed[2], mixed[3], rows.weight);
    if (v > best_ || (v == best_ && r < at_row_)) best_ = v, at_row_ = r, at_column_ = i;
  }

  bool loses(T bound, int32_t r) const { return (bound < best_) | ((bound == best_) & (r >= at_row_)); }

  // The four rows that a row of the grid reads, resized; those that have been are found in the ring. The four are
  // neighbours, or the first or last row repeated, so that no two of them want one place.
  FourRows<T> resized_rows(int32_t r) {
    int32_t y[4];
    pixels_of(r, y);
    FourRows<T> rows;
    for (int j = 0; j < 4; ++j) {
      T* const to = ring_.data() + (y[j] & 3) * padded_;
      if (in_ring_[y[j] & 3] != y[j]) {
        vary<ResizeRow>(simd_, (const T*)framed_.data() + y[j] * stride_, taps(), padded_, to);
        vary_lanes<RangeOf>(simd_, (const T*)to, padded_, &ranges_[y[j]]);
        in_ring_[y[j] & 3] = y[j];
      }
      rows.row[j] = to;
      rows.weight[j] = row_taps_[r].weight[j];
    }
    return rows;
  }

  static T value(const FourRows<T>& rows, int64_t i) {
    return cubic_mix(rows.row[0][i], rows.row[1][i], rows.row[2][i], rows.row[3][i], rows.weight);
  }

  void look_at(int32_t r) {
    if (out_of_reach(r) || settled_by_pixels(r)) return;
    const FourRows<T> rows = resized_rows(r);
    if (out_of_reach(r)) return;  // by the bounds of the rows as they are
    T high;
    vary_lanes<LargestOfRow>(simd_, rows, padded_, &high);
    if (!(high > best_ || (high == best_ && r < at_row_))) return;
    int32_t i = 0;
    while (!(value(rows, i) == high)) ++i;
    best_ = value(rows, i), at_row_ = r, at_column_ = i;  // and not high: 0 may have the other sign
  }

  const int32_t height_, width_;
  const int64_t stride_;
  const Simd simd_;
  int32_t rows_ = 0, columns_ = 0, at_row_ = 0, at_column_ = 0;
  int64_t padded_ = 0;
  T best_ = 0, slack_ = 0;
  std::vector<T> framed_, mixed_, bounds_, weights_, ring_;
  std::vector<int32_t> candidates_, cells_, starts_;  // starts_: of each cell, the first column there or after
  std::vector<CubicTap<T>> row_taps_;
  std::vector<Range<T>> ranges_;
  int32_t in_ring_[4];
};

}  // namespace

void encode_keypoints(const View& keypoints, const View& boxes, int64_t size, const View& target, const View& valid,
                      const Launch& launch) {
  check_encode_keypoints(keypoints, boxes, size, target, valid);
  constexpr int64_t kGrain = 50000;  // points
  visit<float, double>(boxes.dtype, "encode_keypoints", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const points = keypoints.as<T>();
    const T* const corners = boxes.as<T>();
    int64_t* const cells = target.as<int64_t>();
    bool* const flags = valid.as<bool>();
    const int64_t each = keypoints.shape[1];
    parallel_for(target.size(), kGrain, launch, [&](int64_t begin, int64_t end) {
      int64_t n = begin / each, k = begin % each;
      for (int64_t i = begin; i < end; ++i) {
        cells[i] = keypoint_target(points + 3 * i, corners + 4 * n, size, flags[i]);
        if (++k == each) ++n, k = 0;
      }
    });
  });
}

void decode_keypoints(const View& maps, const View& boxes, const View& xy, const View& scores, const Launch& launch) {
  check_decode_keypoints(maps, boxes, xy, scores);
  constexpr int64_t kGrain = 32;  // maps
  const int64_t each = maps.shape[1], height = maps.shape[2], width = maps.shape[3];
  visit<float, double>(boxes.dtype, "decode_keypoints", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const from = maps.as<T>();
    const T* const corners = boxes.as<T>();
    T* const places = xy.as<T>();
    T* const values = scores.as<T>();
    parallel_for(scores.size(), kGrain, launch, [&](int64_t begin, int64_t end) {
      Decoder<T> decoder{int32_t(height), int32_t(width), launch.simd};
      for (int64_t n = begin / each; n * each < end; ++n) {
        const T* const box = corners + 4 * n;
        const auto x = KeypointAxis<T>::of(box[0], box[2]), y = KeypointAxis<T>::of(box[1], box[3]);
        const bool finite = x.cells && y.cells;
        if (finite) decoder.set_box(x, y);
        for (int64_t i = std::max(begin, n * each); i < std::min(end, (n + 1) * each); ++i) {
          int32_t row = 0, column = 0;
          values[i] = finite ? decoder.largest(from + i * height * width, row, column) : T(0);
          places[2 * i] = finite ? x.place(column) : T(0);
          places[2 * i + 1] = finite ? y.place(row) : T(0);
        }
      }
    });
  });
}

}  // namespace roikit::cpu
