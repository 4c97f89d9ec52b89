// paste_masks and paste_masks_rle on the CPU.
//
// As images: columns in lanes. The mask's rows are resampled horizontally once each, two at a time in a rolling pair of
// buffers; every image row is then one pass over the pair.
//
// As runs: rows of the mask in lanes. A column of the image is resampled horizontally at the mask's rows only. Between
// two rows on the same side of the threshold no pixel can be on the other, so whole segments are decided at once; the
// others pixel by pixel, with the arithmetic of paste_masks. No image is ever made.
#include "core/mask_paste.h"

#include <algorithm>
#include <limits>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kFrame = 3;  // one cell before the mask, two after: cell + 1 of the last cell exists

template <class T>
std::vector<Placed<T>> place(const T* boxes, int64_t n, int64_t cells, int64_t height, int64_t width, PasteRule rule) {
  std::vector<Placed<T>> placed(n);
  for (int64_t i = 0; i < n; ++i) {
    const T* b = boxes + 4 * i;
    placed[i].x = PasteAxis<T>::of(rule, b[0], b[2], cells, width);
    placed[i].y = PasteAxis<T>::of(rule, b[1], b[3], cells, height);
  }
  return placed;
}

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

  void fill(const PasteAxis<T>& axis, int64_t begin, int64_t end) {
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

// The mask with its frame of zeros, `stride` values a row; transposed where columns are wanted in lanes.
template <class T>
void frame(const T* mask, int64_t cells, int64_t stride, bool transposed, std::vector<T>& to) {
  to.assign((cells + kFrame) * stride, T(0));
  for (int64_t y = 0; y < cells; ++y)
    for (int64_t x = 0; x < cells; ++x)
      to[transposed ? (x + 1) * stride + y + 1 : (y + 1) * stride + x + 1] = mask[y * cells + x];
}

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

template <class T, class Out>
void paste_into(const View& masks, const View& boxes, T threshold, PasteRule rule, Out* out, int64_t height,
                int64_t width, const Launch& launch) {
  const int64_t n = masks.shape[0], cells = masks.shape[1], stride = cells + kFrame;
  const T* from = masks.as<T>();
  const auto placed = place(boxes.as<T>(), n, cells, height, width, rule);
  // Shared out by area, so that one large mask is split and unequal ones are balanced.
  std::vector<int64_t> before(n + 1, 0);
  for (int64_t i = 0; i < n; ++i)
    before[i + 1] = before[i] + (placed[i].empty() ? 0 : placed[i].columns() * placed[i].rows());
  parallel_for(before[n], 200000, launch, [&](int64_t begin, int64_t end) {
    std::vector<T> framed, pair;
    Taps<T> x, y;
    int64_t i = std::upper_bound(before.begin(), before.end(), begin) - before.begin() - 1;
    for (; i < n && before[i] < end; ++i) {
      const Placed<T>& p = placed[i];
      if (p.empty()) continue;
      const int64_t columns = p.columns();
      // A row belongs to the chunk in which its first pixel lies.
      const int64_t first = begin > before[i] ? (begin - before[i] + columns - 1) / columns : 0;
      const int64_t last = std::min(p.rows(), (end - before[i] + columns - 1) / columns);
      if (first >= last) continue;
      frame(from + i * cells * cells, cells, stride, false, framed);
      pair.resize(2 * columns);
      x.fill(p.x, p.x.begin, p.x.end);
      y.fill(p.y, p.y.begin + first, p.y.begin + last);
      Out* to = out + (i * height + p.y.begin + first) * width + p.x.begin;
      vary<PasteRows>(launch.simd, (const T*)framed.data(), stride, x.ptr(), columns, y.ptr(), last - first,
                      pair.data(), threshold, to, width);
    }
  });
}

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
  RunWriter(int64_t cells, T threshold, int64_t height, int64_t width, Simd simd)
      : cells_(cells), stride_((cells + kFrame + 15) / 16 * 16), threshold_(threshold), height_(height), width_(width),
        simd_(simd), column_(stride_), side_(stride_) {}

  void write(const T* mask, const Placed<T>& p, std::vector<uint32_t>& counts) {
    const int64_t total = height_ * width_;
    if (p.empty()) {
      counts.push_back(uint32_t(total));
      return;
    }
    frame(mask, cells_, stride_, true, framed_);
    x_.fill(p.x, p.x.begin, p.x.end);
    y_.fill(p.y, p.y.begin, p.y.end);
    segments_.clear();
    for (int64_t r = 0; r < p.rows(); ++r) {
      if (segments_.empty() || segments_.back().cell != y_.cell[r]) segments_.push_back({y_.cell[r], int32_t(r), 0});
      segments_.back().end = int32_t(r + 1);
    }
    const T margin = rounding_margin();
    const ColumnJob<T> job{framed_.data(), stride_, x_.ptr(), y_.ptr(), segments_.data(), int64_t(segments_.size()),
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
  T rounding_margin() const {
    T largest = 0;
    bool finite = true;
    for (const T v : framed_) {
      finite = finite && std::isfinite(v);
      largest = std::max(largest, std::abs(v));
    }
    if (!finite) return std::numeric_limits<T>::infinity();
    return 8 * std::numeric_limits<T>::epsilon() * (largest + threshold_) + std::numeric_limits<T>::min();
  }

  int64_t cells_, stride_;
  T threshold_;
  int64_t height_, width_;
  Simd simd_;
  std::vector<T> framed_, column_;
  std::vector<uint8_t> side_;
  Taps<T> x_, y_;
  std::vector<Segment> segments_;
  std::vector<uint32_t> runs_;
};

}  // namespace

void paste_masks(const View& masks, const View& boxes, double threshold, PasteRule rule, const View& out,
                 const Launch& launch) {
  check_paste_masks(masks, boxes, out);
  visit<float, double>(masks.dtype, "paste_masks", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t height = out.shape[1], width = out.shape[2];
    if (out.dtype == DType::b8)
      paste_into<T>(masks, boxes, T(threshold), rule, static_cast<uint8_t*>(out.data), height, width, launch);
    else
      paste_into<T>(masks, boxes, T(0), rule, out.as<T>(), height, width, launch);
  });
}

void paste_masks_rle(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                     PasteRule rule, std::vector<uint32_t>& counts, const View& offsets, const Launch& launch) {
  check_paste("paste_masks_rle", masks, boxes);
  check_paste_size("paste_masks_rle", height, width);
  const int64_t n = masks.shape[0], cells = masks.shape[1];
  require(offsets.size() == n + 1 && offsets.contiguous(), "paste_masks_rle: offsets must be contiguous (N + 1)");
  visit<float, double>(masks.dtype, "paste_masks_rle", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T limit = T(threshold);
    require(limit > T(0), "paste_masks_rle: threshold must be above 0");
    const T* from = masks.as<T>();
    const auto placed = place(boxes.as<T>(), n, cells, height, width, rule);
    std::vector<int64_t> before(n + 1, 0);  // columns of the masks before, and one for each mask
    for (int64_t i = 0; i < n; ++i) before[i + 1] = before[i] + 1 + (placed[i].empty() ? 0 : placed[i].columns());
    std::vector<std::vector<uint32_t>> runs(n);
    parallel_for(before[n], 2000, launch, [&](int64_t begin, int64_t end) {
      RunWriter<T> writer(cells, limit, height, width, launch.simd);
      int64_t i = std::lower_bound(before.begin(), before.end(), begin) - before.begin();
      for (; i < n && before[i] < end; ++i) writer.write(from + i * cells * cells, placed[i], runs[i]);
    });
    int64_t* at = offsets.as<int64_t>();
    at[0] = 0;
    for (int64_t i = 0; i < n; ++i) at[i + 1] = at[i] + int64_t(runs[i].size());
    counts.clear();
    counts.reserve(at[n]);
    for (const auto& r : runs) counts.insert(counts.end(), r.begin(), r.end());
  });
}

}  // namespace roikit::cpu
