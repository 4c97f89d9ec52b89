// mask_targets on the CPU: RoIs are shared among threads, masks are read where they lie.
//
// Bitmaps: columns in lanes, four rows a pass, which leave the rows of `column` (core/mask_target.h). Run lengths: a
// column's bins lie side by side; those that a run covers are copied from a table in one piece, and one that it enters
// from its start is the sum of the weights so far, from another. So bins are in lanes when the columns are added up.
#include "core/mask_target.h"

#include <algorithm>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/masks.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

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
    if (axis_.grid <= kKeptSamples && extent <= kFineExtent) {
      // In every bin the samples stand alike, at most a pixel apart.
      from_base_.resize(axis_.grid);
      for (int64_t k = 0; k < axis_.grid; ++k) from_base_[k] = axis_.at(T(0), k);
      weights_.assign(bins * (axis_.grid + kSlack), T(0));
      int64_t used = 0;
      for (int64_t bin = 0; bin < bins; ++bin) used += merge_kept(bin, extent, used);
      weights_.resize(used);
    } else {
      for (int64_t bin = 0; bin < bins; ++bin) merge(bin, extent);
    }
    return end_ > begin_;
  }

  const BinSpan* spans() const { return spans_.data(); }
  const T* weights() const { return weights_.data(); }
  int32_t begin() const { return begin_; }  // the touched pixels of all bins
  int32_t end() const { return end_; }
  int64_t grid() const { return axis_.grid; }

 private:
  static constexpr int64_t kKeptSamples = 1024;
  static constexpr int64_t kFineExtent = 1 << 22;  // up to here float32 knows half pixels
  static constexpr int64_t kSlack = 4;             // pixels of a bin besides one a sample: its ends, and rounding

  // The order of the sums is TapWalk's: a pixel gets its samples from below before those from above.
  int64_t merge_kept(int64_t bin, int64_t extent, int64_t at) {
    BinSpan& span = spans_[bin];
    span.at = at;
    T* const w = weights_.data() + at;
    const T base = axis_.base(bin);
    int64_t first = -1, end = 0;
    for (int64_t k = 0; k < axis_.grid; ++k) {
      const T y = base + from_base_[k];
      if (!Bilinear<T>::inside(y, extent)) continue;
      const auto sample = Bilinear<T>::at(y, extent);
      if (first < 0) first = sample.low;
      w[sample.low - first] += sample.low_weight;
      w[sample.low - first + 1] += sample.high_weight;
      end = sample.low + (sample.high_weight > T(0) ? 2 : 1);
    }
    if (first < 0) return 0;
    span.first = int32_t(first);
    span.count = int32_t(end - first);
    touch(span);
    return span.count;
  }

  void merge(int64_t bin, int64_t extent) {
    BinSpan& span = spans_[bin];
    span.at = int64_t(weights_.size());
    TapWalk<T> walk(axis_, bin, int32_t(extent));
    int32_t at;
    for (T weight; walk.next(at, weight);) {  // ascending
      if (span.count == 0) span.first = at;
      span.count = at - span.first + 1;
      weights_.resize(span.at + span.count, T(0));
      weights_.back() = weight;
    }
    if (span.count > 0) touch(span);
  }

  void touch(const BinSpan& span) {
    begin_ = begin_ < end_ ? std::min(begin_, span.first) : span.first;
    end_ = std::max(end_, span.end());
  }

  SampleAxis<T> axis_;
  std::vector<BinSpan> spans_;
  std::vector<T> weights_;
  std::vector<T> from_base_;
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

// The same of columns whose bins lie side by side, `stride` apart: a whole number of packs. values: stride * bins.
template <int Bytes>
struct FinishTurned {
  template <class T>
  ROIKIT_INLINE static void run(const T* column, int64_t stride, const BinSpan* spans, const T* weights, int64_t bins,
                                int64_t grid_y, int64_t grid_x, bool binary, float* values, float* out) {
    constexpr int L = lanes_of<T>, kTwo = 2;
    for (int64_t q = 0; q < bins; ++q) {
      const T* const from = column + spans[q].first * stride;
      const T* const w = weights + spans[q].at;
      for (int64_t p = 0; p < stride; p += kTwo * L) {
        alignas(kLaneBytes) T total[kTwo * L];
        Pack<T, Bytes> low = Pack<T, Bytes>::zero(), high = low;
        for (int32_t j = 0; j < spans[q].count; ++j) {
          low.add_product(w[j], Pack<T, Bytes>::load(from + j * stride + p));
          high.add_product(w[j], Pack<T, Bytes>::load(from + j * stride + p + L));
        }
        low.store(total);
        high.store(total + L);
        for (int l = 0; l < kTwo * L; ++l)
          values[q * stride + p + l] = mask_target_value(total[l], grid_y, grid_x, binary);
      }
    }
    transpose(values, stride, bins, bins, out, bins);
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
    finish(mask, out);
  }

 private:
  void finish(const Bitmap& mask, float* out) {
    column_.resize(size_ * columns_);
    vary<BitmapColumns>(simd_, mask.data + x_.begin(), mask.row, y_.spans(), y_.weights(), size_, columns_,
                        column_.data());
    vary<FinishCells>(simd_, (const T*)column_.data() - x_.begin(), columns_, x_.spans(), x_.weights(), size_,
                      y_.grid(), x_.grid(), binary_, out);
  }

  void finish(const Runs& mask, float* out) {
    constexpr int64_t kPair = 2 * lanes_of<T>;
    stride_ = (size_ + kPair - 1) / kPair * kPair;
    column_.assign(columns_ * stride_, T(0));
    values_.resize(size_ * stride_);
    tabulate();
    fill(mask);
    vary_lanes<FinishTurned>(simd_, (const T*)column_.data() - x_.begin() * stride_, stride_, x_.spans(), x_.weights(),
                             size_, y_.grid(), x_.grid(), binary_, values_.data(), out);
  }

  void fill(const Runs& mask) {
    const int64_t top = y_.begin(), bottom = y_.end();
    int64_t at = int64_t(x_.begin()) * mask.height + top;
    int64_t k = std::upper_bound(mask.ends, mask.ends + mask.count, at) - mask.ends;  // the run that holds `at`
    for (int64_t x = 0; x < columns_; ++x, at += mask.height) {
      const int64_t end = at + bottom - top;
      while (k < mask.count && mask.ends[k] <= at) ++k;
      for (int64_t begin = at; begin < end && k < mask.count;) {
        const int64_t stop = std::min<int64_t>(mask.ends[k], end);
        if (k % 2 == 1 && begin < stop) add(begin - at, stop - at, column_.data() + x * stride_);
        begin = stop;
        if (begin < end) ++k;
      }
    }
  }

  // Sums of the weights from each bin's first pixel on, and of all its pixels; for each touched row, or the end of all,
  // how many bins end at or before it, and how many begin before it. Neither end of the bins turns back.
  void tabulate() {
    const BinSpan* spans = y_.spans();
    const int64_t top = y_.begin(), rows = y_.end() - top;
    sums_.resize(spans[size_ - 1].at + spans[size_ - 1].count);
    whole_.assign(size_, T(0));
    ended_.assign(rows + 1, 0);
    begun_.assign(rows + 1, 0);
    int64_t ended = 0, begun = 0, p = 0;
    for (; p < size_; ++p) {
      const BinSpan& span = spans[p];
      T sum = 0;
      for (int32_t j = 0; j < span.count; ++j) sums_[span.at + j] = sum += y_.weights()[span.at + j];
      whole_[p] = sum;
      // A bin without a pixel, which stands before or after all others, ends and begins with its neighbour.
      if (span.count == 0) continue;
      for (; ended < span.end() - top; ++ended) ended_[ended] = int32_t(p);
      for (; begun <= span.first - top; ++begun) begun_[begun] = int32_t(p);
    }
    for (; ended <= rows; ++ended) ended_[ended] = int32_t(p);
    for (; begun <= rows; ++begun) begun_[begun] = int32_t(p);
  }

  // Touched rows [begin, end) of a column are inside the object.
  void add(int64_t begin, int64_t end, T* to) const {
    const BinSpan* spans = y_.spans();
    const int64_t entered = begun_[begin], covered = ended_[end], reached = begun_[end];
    const int64_t top = y_.begin();
    for (int64_t p = ended_[begin]; p < entered; ++p) {  // it begins inside of these
      const BinSpan& span = spans[p];
      const int64_t first = begin + top - span.first, last = std::min<int64_t>(end + top, span.end()) - span.first;
      T sum = to[p];
      for (int64_t j = first; j < last; ++j) sum += y_.weights()[span.at + j];
      to[p] = sum;
    }
    for (int64_t p = entered; p < covered; ++p) to[p] = whole_[p];
    for (int64_t p = std::max(entered, covered); p < reached; ++p)  // and ends inside of these
      if (spans[p].count > 0) to[p] = sums_[spans[p].at + end + top - spans[p].first - 1];
  }

  int64_t size_;
  bool binary_;
  Simd simd_;
  MergedAxis<T> x_, y_;
  int64_t columns_ = 0, stride_ = 0;  // stride_: from column to column of runs
  std::vector<T> column_, sums_, whole_;
  std::vector<float> values_;
  std::vector<int32_t> ended_, begun_;
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
