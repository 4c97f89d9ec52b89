// mask_targets_rotated on the CPU: RoIs are shared among threads.
//
// The part of the mask under the box is brought into bits, one line a row of a bitmap or a column of runs. Sums are of
// whole numbers, so that a bin all of whose pixels are inside the object, or outside, is known without a sample; the
// bits of its lines, which tables combine by powers of two, say so. The samples of the others run in lanes, all bins of
// a row that lie beside each other at once.
#include "core/mask_rotated.h"

#include <algorithm>
#include <vector>

#include "cpu/mask_bits.h"
#include "cpu/masks.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kPadding = 16;                // samples beyond the last, so that lanes need no end
constexpr int64_t kMostPixels = int64_t(1) << 24;  // of one patch, unless a single bin has more
constexpr int kRows = 15;                       // rows of samples that 32 bits add up
constexpr int64_t kBlock = 4;                   // bins a side that are looked at at once

// What samples add to a position on one axis of the map, rows of samples or columns of them, and where the bins' begin.
template <class T>
struct Shares {
  std::vector<T> of;
  std::vector<T> first, last;  // of the first and the last sample of each bin

  void clear() { of.clear(), first.clear(), last.clear(); }
  void end_bin(int64_t begin) {
    const bool some = begin < int64_t(of.size());
    first.push_back(some ? of[begin] : T(0)), last.push_back(some ? of.back() : T(0));
  }
  // Of the bins [begin, end), all of which have samples; they grow or fall from first to last.
  T low(int64_t begin, int64_t end) const { return std::min(first[begin], last[end - 1]); }
  T high(int64_t begin, int64_t end) const { return std::max(first[begin], last[end - 1]); }
};

// The positions of samples along one axis of the map: (a + b) + c for a row's share a and a column's share b.
template <class T>
struct Positions {
  Shares<T> a, b;
  T c = 0;
  int64_t extent = 0;

  // The outermost positions in rows [p0, p1) and columns [q0, q1) of bins; rounding keeps the order.
  T low(int64_t p0, int64_t p1, int64_t q0, int64_t q1) const { return (a.low(p0, p1) + b.low(q0, q1)) + c; }
  T high(int64_t p0, int64_t p1, int64_t q0, int64_t q1) const { return (a.high(p0, p1) + b.high(q0, q1)) + c; }
};

// The pixels that samples between two positions touch; empty where none of them counts.
template <class T>
Extent touched(T low, T high, int64_t extent) {
  if (high < T(-1) || low > T(extent)) return {0, -1};
  const T end = T(extent);
  const int64_t first = int64_t(std::min(std::max(low, T(0)), end)), last = int64_t(std::min(std::max(high, T(0)), end));
  return {std::min(first, extent - 1), std::min(last + 1, extent - 1)};
}

// What the samples of a patch are read with.
template <class T>
struct SampleJob {
  const T *line_a, *line_b, *bit_a, *bit_b;
  T line_c, bit_c;
  int64_t line_extent, bit_extent;
  Extent lines, bits;
  int64_t stride;
  const uint32_t* words;
};

// Sums over `rows` rows of samples, kRows at most, of `count` columns of them, a multiple of kPadding. Those that are
// not of the patch are put onto it, and their sums are not asked for. Index: int32_t where positions and words can be
// counted in it.
template <class Index>
struct SampleSums {
  template <class T>
  ROIKIT_INLINE static void run(const SampleJob<T> job, int64_t rows, int64_t count, uint32_t* ROIKIT_RESTRICT sums) {
    const T line_end = T(job.line_extent), bit_end = T(job.bit_extent);
    const Index first_line = Index(job.lines.first), first_bit = Index(job.bits.first), stride = Index(job.stride);
    const Index least_line = first_line << kTargetBits, most_line = Index(job.lines.last) << kTargetBits;
    const Index least_bit = first_bit << kTargetBits, most_bit = Index(job.bits.last) << kTargetBits;
    const T* ROIKIT_RESTRICT line_b = job.line_b;
    const T* ROIKIT_RESTRICT bit_b = job.bit_b;
    const uint32_t* ROIKIT_RESTRICT words = job.words;
    for (int64_t i = 0; i < count; ++i) sums[i] = 0;
    for (int64_t k = 0; k < rows; ++k) {
      const T line_a = job.line_a[k], bit_a = job.bit_a[k];
      for (int64_t i = 0; i < count; ++i) {
        const T line = (line_a + line_b[i]) + job.line_c, bit = (bit_a + bit_b[i]) + job.bit_c;
        const bool counts = (line >= T(-1)) & (line <= line_end) & (bit >= T(-1)) & (bit <= bit_end);
        const T line_up = line > T(0) ? line : T(0), bit_up = bit > T(0) ? bit : T(0);
        const T line_held = line_up < line_end ? line_up : line_end, bit_held = bit_up < bit_end ? bit_up : bit_end;
        const Index line_units = Index(line_held * T(kTargetUnit)), bit_units = Index(bit_held * T(kTargetUnit));
        const Index line_most = line_units < most_line ? line_units : most_line;
        const Index bit_most = bit_units < most_bit ? bit_units : most_bit;
        const Index l = line_most > least_line ? line_most : least_line;
        const Index b = bit_most > least_bit ? bit_most : least_bit;
        const Index column = (b >> kTargetBits) - first_bit;
        const uint32_t m = words[((l >> kTargetBits) - first_line) * stride + (column >> 3)] >> uint32_t(column & 7);
        const uint32_t p = uint32_t(l & (kTargetUnit - 1)), q = uint32_t(b & (kTargetUnit - 1));
        const uint32_t value = target_sample(p, q, m & 1, (m >> 1) & 1, (m >> 16) & 1, (m >> 17) & 1);
        sums[i] += counts ? value : 0u;
      }
    }
  }
};

// Scratch of one worker and the target of one RoI.
template <class T>
class RotatedCropper {
 public:
  RotatedCropper(int64_t size, bool binary, Simd simd) : size_(size), binary_(binary), simd_(simd) {}

  template <class Mask>
  void crop(const Mask& mask, const T* box, float* out) {
    const auto roi = RotatedRoi<T>::of(box, T(1), size_, size_, mask.height, mask.width, -1);
    if (roi.empty()) {
      std::fill(out, out + size_ * size_, 0.0f);
      return;
    }
    constexpr bool columns = std::is_same_v<Mask, Runs>;
    place(roi, columns, mask.height, mask.width);
    totals_.assign(size_ * size_, 0);
    patch(mask, 0, size_, 0, size_);
    for (int64_t i = 0; i < size_ * size_; ++i) out[i] = target_value(totals_[i], roi.v.grid, roi.u.grid, binary_);
  }

 private:
  // The samples of all bins that can count, row by row and column by column.
  void place(const RotatedRoi<T>& roi, bool columns, int64_t height, int64_t width) {
    Positions<T>&x = columns ? line_ : bit_, &y = columns ? bit_ : line_;
    for (auto* axis : {&x, &y}) axis->a.clear(), axis->b.clear();
    x.c = roi.x, y.c = roi.y, x.extent = width, y.extent = height;
    rows_.assign(1, 0);
    columns_.assign(1, 0);
    for (int64_t p = 0; p < size_; ++p) {
      const SampleRange range = roi.rows(p);
      for (int64_t k = range.first; k < range.last; ++k) {
        const T v = roi.v.at(roi.v.base(p), k);
        x.a.of.push_back(v * roi.sin);
        y.a.of.push_back(v * roi.cos);
      }
      for (auto* axis : {&x, &y}) axis->a.end_bin(rows_.back());
      rows_.push_back(int64_t(x.a.of.size()));
    }
    for (int64_t q = 0; q < size_; ++q) {
      const SampleRange range = roi.columns(q);
      for (int64_t j = range.first; j < range.last; ++j) {
        const T u = roi.u.at(roi.u.base(q), j);
        x.b.of.push_back(u * roi.cos);
        y.b.of.push_back(-(u * roi.sin));
      }
      for (auto* axis : {&x, &y}) axis->b.end_bin(columns_.back());
      columns_.push_back(int64_t(x.b.of.size()));
    }
    for (auto* axis : {&x, &y}) axis->b.of.resize(axis->b.of.size() + kPadding, T(0));
  }

  // Bins without samples at either end are left out.
  static void trim(const std::vector<int64_t>& begins, int64_t& begin, int64_t& end) {
    while (begin < end && begins[begin] == begins[begin + 1]) ++begin;
    while (begin < end && begins[end - 1] == begins[end]) --end;
  }

  // The bins of rows [p0, p1) and columns [q0, q1).
  template <class Mask>
  void patch(const Mask& mask, int64_t p0, int64_t p1, int64_t q0, int64_t q1) {
    trim(rows_, p0, p1);
    trim(columns_, q0, q1);
    if (p0 == p1 || q0 == q1) return;
    const Extent lines = touched(line_.low(p0, p1, q0, q1), line_.high(p0, p1, q0, q1), line_.extent);
    const Extent bits = touched(bit_.low(p0, p1, q0, q1), bit_.high(p0, p1, q0, q1), bit_.extent);
    if (lines.size() == 0 || bits.size() == 0) return;
    if (lines.size() * bits.size() > kMostPixels && (p1 - p0 > 1 || q1 - q0 > 1)) {
      if (p1 - p0 > q1 - q0) {
        patch(mask, p0, p0 + (p1 - p0) / 2, q0, q1);
        patch(mask, p0 + (p1 - p0) / 2, p1, q0, q1);
      } else {
        patch(mask, p0, p1, q0, q0 + (q1 - q0) / 2);
        patch(mask, p0, p1, q0 + (q1 - q0) / 2, q1);
      }
      return;
    }
    patch_.fill(mask, lines, bits, simd_);
    // Where bins have a few samples each, these cost less than a look at the lines.
    open_.assign(size_ * size_, 1);
    if ((rows_[p1] - rows_[p0]) * (columns_[q1] - columns_[q0]) > 4 * (p1 - p0) * (q1 - q0)) {
      patch_.tabulate(lines.size(), simd_);
      for (int64_t p = p0; p < p1; p += kBlock)
        for (int64_t q = q0; q < q1; q += kBlock) decide(p, std::min(p + kBlock, p1), q, std::min(q + kBlock, q1));
    }
    for (int64_t p = p0; p < p1; ++p) {
      if (rows_[p] == rows_[p + 1]) continue;
      int64_t first = q0;  // the bins [first, q) have to be sampled
      for (int64_t q = q0; q <= q1; ++q) {
        if (q < q1 && open_[p * size_ + q]) continue;
        if (columns_[first] < columns_[q]) sample(p, first, q);
        first = q + 1;
      }
    }
  }

  // Finds the totals of the bins of rows [p0, p1) and columns [q0, q1) whose pixels are all alike.
  void decide(int64_t p0, int64_t p1, int64_t q0, int64_t q1) {
    if (decided(p0, p1, q0, q1)) return;
    if (p1 - p0 == 1 && q1 - q0 == 1) return;
    for (int64_t p = p0; p < p1; ++p)
      for (int64_t q = q0; q < q1; ++q) decided(p, p + 1, q, q + 1);
  }

  // Whether the pixels of all these bins are alike.
  bool decided(int64_t p0, int64_t p1, int64_t q0, int64_t q1) {
    const T l0 = line_.low(p0, p1, q0, q1), l1 = line_.high(p0, p1, q0, q1);
    const T b0 = bit_.low(p0, p1, q0, q1), b1 = bit_.high(p0, p1, q0, q1);
    int kind = 0;
    {
      const Extent lines = touched(l0, l1, line_.extent), bits = touched(b0, b1, bit_.extent);
      if (lines.size() > 0 && bits.size() > 0) kind = patch_.kind(lines, bits);
      // Samples beyond the map do not count.
      const bool all = (l0 >= T(-1)) & (l1 <= T(line_.extent)) & (b0 >= T(-1)) & (b1 <= T(bit_.extent));
      if (kind == 2 || (kind == 1 && !all)) return false;
    }
    for (int64_t p = p0; p < p1; ++p)
      for (int64_t q = q0; q < q1; ++q) {
        const int64_t samples = (rows_[p + 1] - rows_[p]) * (columns_[q + 1] - columns_[q]);
        if (kind == 1) totals_[p * size_ + q] = uint64_t(samples) << (2 * kTargetBits);
        open_[p * size_ + q] = 0;
      }
    return true;
  }

  void sample(int64_t p, int64_t q0, int64_t q1) {
    const int64_t j0 = columns_[q0], j1 = columns_[q1], count = (j1 - j0 + kPadding - 1) / kPadding * kPadding;
    sums_.resize(count);
    const bool narrow = std::max(line_.extent, bit_.extent) < int64_t(1) << (31 - kTargetBits) &&
                        patch_.lines().size() * patch_.stride() < INT32_MAX;
    for (int64_t k = rows_[p]; k < rows_[p + 1]; k += kRows) {
      const SampleJob<T> job{line_.a.of.data() + k, line_.b.of.data() + j0, bit_.a.of.data() + k, bit_.b.of.data() + j0,
                             line_.c,            bit_.c,              line_.extent,      bit_.extent,
                             patch_.lines(),     patch_.bits(),       patch_.stride(),   patch_.words()};
      const int64_t rows = std::min<int64_t>(rows_[p + 1] - k, kRows);
      if (narrow) vary<SampleSums<int32_t>>(simd_, job, rows, count, sums_.data());
      else vary<SampleSums<int64_t>>(simd_, job, rows, count, sums_.data());
      for (int64_t q = q0; q < q1; ++q) {
        uint64_t total = 0;
        for (int64_t j = columns_[q]; j < columns_[q + 1]; ++j) total += sums_[j - j0];
        totals_[p * size_ + q] += total;
      }
    }
  }

  int64_t size_;
  bool binary_;
  Simd simd_;
  Positions<T> line_, bit_;
  std::vector<int64_t> rows_, columns_;  // where the samples of each bin begin
  std::vector<uint64_t> totals_;
  std::vector<uint8_t> open_;  // the bins that have to be sampled
  std::vector<uint32_t> sums_;
  Patch patch_;
};

template <class Masks>
void targets(const Masks& masks, const View& boxes, const View& matched, bool binary, const View& out,
             const Launch& launch) {
  constexpr const char* kOp = "mask_targets_rotated";
  check_mask_targets_rotated(boxes, matched, out);
  check_matched(kOp, matched, masks.size());
  const int64_t count = boxes.shape[0], size = out.shape[2];
  const int64_t* which = matched.as<int64_t>();
  visit<float, double>(boxes.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* box = boxes.as<T>();
    float* to = out.as<float>();
    parallel_for(count, 10, launch, [&](int64_t begin, int64_t end) {
      RotatedCropper<T> cropper(size, binary, launch.simd);
      for (int64_t r = begin; r < end; ++r) cropper.crop(masks[which[r]], box + 5 * r, to + r * size * size);
    });
  });
}

}  // namespace

void mask_targets_rotated(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                          const Launch& launch) {
  targets(Bitmaps("mask_targets_rotated", masks), boxes, matched, binary, out, launch);
}

void mask_targets_rotated_of_runs(const View& counts, const View& offsets, const View& sizes, const View& boxes,
                                  const View& matched, bool binary, const View& out, const Launch& launch) {
  targets(RunMasks("mask_targets_rotated", counts, offsets, sizes), boxes, matched, binary, out, launch);
}

}  // namespace roikit::cpu
