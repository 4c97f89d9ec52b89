// mask_targets on the CPU: RoIs are shared among threads, masks are read where they lie.
//
// Bitmaps: columns in lanes, four rows a pass. Run lengths: a column's bins are filled from its runs; a run that enters
// a bin from its start takes the sum of the weights so far from a table, so that most bins cost one load. Both leave the
// same `column` buffer (core/mask_target.h) and are finished alike.
#include "core/mask_target.h"

#include <algorithm>
#include <vector>

#include "cpu/masks.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/taps.h"

namespace roikit::cpu {
namespace {

// The pixels first ... first + count - 1 of one bin; weights[at + j] is that of pixel first + j.
struct BinSpan {
  int32_t first = 0, count = 0;
  int64_t at = 0;

  int32_t end() const { return first + count; }
};

// The merged weights of one axis of one RoI: what SampleAxis samples, summed per pixel in the order of the samples.
template <class T>
class MergedAxis {
 public:
  // False when the RoI has no sample on this axis.
  bool build(T low, T high, int64_t bins, int64_t extent, bool aligned) {
    axis_ = SampleAxis<T>::of(low, high, T(1), bins, extent, RoiAlignRule{-1, aligned});
    spans_.assign(bins, BinSpan{});
    weights_.clear();
    begin_ = end_ = 0;
    if (axis_.grid == 0) return false;  // with adaptive sampling, a grid means a step above 0
    for (int64_t bin = 0; bin < bins; ++bin) merge(bin, extent);
    return end_ > begin_;
  }

  const BinSpan* spans() const { return spans_.data(); }
  const T* weights() const { return weights_.data(); }
  int32_t begin() const { return begin_; }  // the touched pixels of all bins
  int32_t end() const { return end_; }
  int64_t grid() const { return axis_.grid; }

 private:
  void merge(int64_t bin, int64_t extent) {
    taps_.clear();
    append_taps(TapWalk<T>(axis_, bin, int32_t(extent)), taps_);
    BinSpan& span = spans_[bin];
    span.at = int64_t(weights_.size());
    if (taps_.empty()) return;
    int32_t first = taps_[0].at, last = first;
    for (const Tap<T>& tap : taps_) {
      first = std::min(first, tap.at);
      last = std::max(last, tap.at);
    }
    span.first = first;
    span.count = last - first + 1;
    weights_.resize(span.at + span.count, T(0));
    for (const Tap<T>& tap : taps_) weights_[span.at + tap.at - first] = tap.weight;
    begin_ = begin_ < end_ ? std::min(begin_, first) : first;
    end_ = std::max(end_, span.end());
  }

  SampleAxis<T> axis_;
  std::vector<BinSpan> spans_;
  std::vector<T> weights_;
  std::vector<Tap<T>> taps_;
  int32_t begin_ = 0, end_ = 0;
};

// column[p][x] of a bitmap; `mask` points at the first touched column of row 0.
struct BitmapColumns {
  template <class T>
  ROIKIT_INLINE static void run(const uint8_t* mask, int64_t row, const BinSpan* spans, const T* weights, int64_t bins,
                                int64_t columns, T* out) {
    for (int64_t p = 0; p < bins; ++p) {
      T* ROIKIT_RESTRICT to = out + p * columns;
      const T* w = weights + spans[p].at;
      const uint8_t* m = mask + spans[p].first * row;
      int32_t j = 0;
      for (int64_t x = 0; x < columns; ++x) to[x] = T(0);
      for (; j + 4 <= spans[p].count; j += 4, m += 4 * row) {
        const uint8_t *m0 = m, *m1 = m + row, *m2 = m1 + row, *m3 = m2 + row;
        const T w0 = w[j], w1 = w[j + 1], w2 = w[j + 2], w3 = w[j + 3];
        for (int64_t x = 0; x < columns; ++x) {
          T v = to[x] + (m0[x] ? w0 : T(0));
          v += m1[x] ? w1 : T(0);
          v += m2[x] ? w2 : T(0);
          to[x] = v + (m3[x] ? w3 : T(0));
        }
      }
      for (; j < spans[p].count; ++j, m += row)
        for (int64_t x = 0; x < columns; ++x) to[x] += m[x] ? w[j] : T(0);
    }
  }
};

// The values of Rows bins p of the cells' rows: several sums at once, each in the order of x.
template <int Rows, class T>
ROIKIT_INLINE void finish_rows(const T* column, int64_t columns, const BinSpan* spans, const T* weights, int64_t bins,
                               int64_t grid_y, int64_t grid_x, bool binary, float* out) {
  for (int64_t q = 0; q < bins; ++q) {
    T total[Rows] = {};
    for (int32_t j = 0; j < spans[q].count; ++j) {
      const T w = weights[spans[q].at + j];
      for (int r = 0; r < Rows; ++r) total[r] += column[r * columns + spans[q].first + j] * w;
    }
    for (int r = 0; r < Rows; ++r) out[r * bins + q] = mask_target_value(total[r], grid_y, grid_x, binary);
  }
}

// `column` is the buffer minus the first touched column, so that pixels index it.
struct FinishCells {
  template <class T>
  ROIKIT_INLINE static void run(const T* column, int64_t columns, const BinSpan* spans, const T* weights, int64_t bins,
                                int64_t grid_y, int64_t grid_x, bool binary, float* out) {
    int64_t p = 0;
    for (; p + 4 <= bins; p += 4)
      finish_rows<4>(column + p * columns, columns, spans, weights, bins, grid_y, grid_x, binary, out + p * bins);
    for (; p < bins; ++p)
      finish_rows<1>(column + p * columns, columns, spans, weights, bins, grid_y, grid_x, binary, out + p * bins);
  }
};

// Scratch of one worker and the target of one RoI.
template <class T>
class Cropper {
 public:
  Cropper(int64_t size, bool binary, Simd simd) : size_(size), binary_(binary), simd_(simd) {}

  template <class Mask>
  void crop(const Mask& mask, const T* box, float* out) {
    // Both are built, as either may find no sample.
    const bool rows = y_.build(box[1], box[3], size_, mask.height, binary_);
    const bool columns = x_.build(box[0], box[2], size_, mask.width, binary_);
    if (!rows || !columns) {
      std::fill(out, out + size_ * size_, 0.0f);
      return;
    }
    columns_ = x_.end() - x_.begin();
    column_.resize(size_ * columns_);
    fill(mask);
    vary<FinishCells>(simd_, (const T*)column_.data() - x_.begin(), columns_, x_.spans(), x_.weights(), size_,
                      y_.grid(), x_.grid(), binary_, out);
  }

 private:
  void fill(const Bitmap& mask) {
    vary<BitmapColumns>(simd_, mask.data + x_.begin(), mask.row, y_.spans(), y_.weights(), size_, columns_,
                        column_.data());
  }

  void fill(const Runs& mask) {
    std::fill(column_.begin(), column_.end(), T(0));
    tabulate();
    const int64_t top = y_.begin(), bottom = y_.end();
    int64_t at = int64_t(x_.begin()) * mask.height + top;
    int64_t k = std::upper_bound(mask.ends, mask.ends + mask.count, at) - mask.ends;  // the run that holds `at`
    for (int64_t x = 0; x < columns_; ++x, at += mask.height) {
      const int64_t end = at + bottom - top;
      while (k < mask.count && mask.ends[k] <= at) ++k;
      for (int64_t begin = at; begin < end && k < mask.count;) {
        const int64_t stop = std::min<int64_t>(mask.ends[k], end);
        if (k % 2 == 1 && begin < stop) add(top + begin - at, top + stop - at, column_.data() + x);
        begin = stop;
        if (begin < end) ++k;
      }
    }
  }

  // Sums of the weights from each bin's first pixel on, and for each row the first bin that ends after it.
  void tabulate() {
    const BinSpan* spans = y_.spans();
    sums_.resize(spans[size_ - 1].at + spans[size_ - 1].count);
    bin_of_.resize(y_.end() - y_.begin());
    int64_t row = y_.begin();
    for (int64_t p = 0; p < size_; ++p) {
      T sum = 0;
      for (int32_t j = 0; j < spans[p].count; ++j) sums_[spans[p].at + j] = sum += y_.weights()[spans[p].at + j];
      for (; spans[p].count > 0 && row < spans[p].end(); ++row) bin_of_[row - y_.begin()] = int32_t(p);
    }
  }

  // Rows [begin, end) of a column are inside the object.
  void add(int64_t begin, int64_t end, T* to) const {
    const BinSpan* spans = y_.spans();
    for (int64_t p = bin_of_[begin - y_.begin()]; p < size_; ++p) {
      const BinSpan& span = spans[p];
      if (span.count == 0) continue;
      if (span.first >= end) break;
      const int64_t last = std::min<int64_t>(end, span.end());
      if (begin <= span.first) {
        to[p * columns_] = sums_[span.at + last - span.first - 1];
      } else {
        T sum = to[p * columns_];
        for (int64_t y = begin; y < last; ++y) sum += y_.weights()[span.at + y - span.first];
        to[p * columns_] = sum;
      }
    }
  }

  int64_t size_;
  bool binary_;
  Simd simd_;
  MergedAxis<T> x_, y_;
  int64_t columns_ = 0;
  std::vector<T> column_, sums_;
  std::vector<int32_t> bin_of_;
};

// Masks: Bitmaps or RunMasks.
template <class Masks>
void targets(const Masks& masks, const View& boxes, const View& matched, bool binary, const View& out,
             const Launch& launch) {
  check_mask_targets(boxes, matched, out);
  check_matched("mask_targets", matched, masks.size());
  const int64_t count = boxes.shape[0], size = out.shape[2];
  const int64_t* which = matched.as<int64_t>();
  visit<float, double>(boxes.dtype, "mask_targets", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* corners = boxes.as<T>();
    float* to = out.as<float>();
    parallel_for(count, 10, launch, [&](int64_t begin, int64_t end) {
      Cropper<T> cropper(size, binary, launch.simd);
      for (int64_t r = begin; r < end; ++r) cropper.crop(masks[which[r]], corners + 4 * r, to + r * size * size);
    });
  });
}

}  // namespace

void mask_targets(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                  const Launch& launch) {
  targets(Bitmaps("mask_targets", masks), boxes, matched, binary, out, launch);
}

void mask_targets_of_runs(const View& counts, const View& offsets, const View& sizes, const View& boxes,
                          const View& matched, bool binary, const View& out, const Launch& launch) {
  targets(RunMasks("mask_targets", counts, offsets, sizes), boxes, matched, binary, out, launch);
}

}  // namespace roikit::cpu
