// mask_targets on the CPU: boxes are shared among threads. Under a box, 16 columns of the mask at a time become bytes
// (from the bitmap or from its runs) and are averaged in lanes; nothing larger than that strip is ever decoded.
#include "core/mask_target.h"

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/taps.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kLanes = 16;

// Masks as bytes: strip(x, ...) copies columns x to x + kLanes of the rows [top, bottom).
struct Bitmaps {
  const uint8_t* data;
  int64_t count, rows, columns;

  struct Cursor {
    const uint8_t* mask;
    int64_t rows, columns;

    void strip(int64_t x, int64_t top, int64_t bottom, uint8_t* bytes) {
      const int64_t lanes = std::min(kLanes, columns - x);
      for (int64_t y = top; y < bottom; ++y, bytes += kLanes) {
        const uint8_t* row = mask + y * columns + x;
        for (int64_t i = 0; i < lanes; ++i) bytes[i] = row[i] != 0;
        for (int64_t i = lanes; i < kLanes; ++i) bytes[i] = 0;
      }
    }
  };
  Cursor at(int64_t n) const { return {data + n * rows * columns, rows, columns}; }
};

// Masks as runs down the columns. A cursor walks them once, as the strips of a box come from left to right.
struct Runs {
  const uint32_t* counts;
  const int64_t* offsets;
  const int64_t* sizes;
  int64_t count;

  struct Cursor {
    const uint32_t* run;
    const uint32_t* last;
    int64_t rows, columns;
    int64_t begin = 0;    // of the present run, in pixels
    bool inside = false;  // the present run is of ones

    void strip(int64_t x, int64_t top, int64_t bottom, uint8_t* bytes) {
      std::fill(bytes, bytes + (bottom - top) * kLanes, uint8_t(0));
      const int64_t end = std::min(x + kLanes, columns) * rows;
      for (; run != last && begin < end; begin += *run++, inside = !inside) {
        const int64_t stop = begin + *run;
        if (inside) {
          for (int64_t p = std::max(begin, x * rows); p < std::min(stop, end);) {
            const int64_t column = p / rows, next = std::min({stop, end, (column + 1) * rows});
            const int64_t low = std::max(p - column * rows, top), high = std::min(next - column * rows, bottom);
            for (int64_t y = low; y < high; ++y) bytes[(y - top) * kLanes + (column - x)] = 1;
            p = next;
          }
        }
        if (stop > end) break;  // goes on in the next strip
      }
    }
  };
  Cursor at(int64_t n) const {
    return {counts + offsets[n], counts + offsets[n + 1], sizes[2 * n], sizes[2 * n + 1]};
  }
};

// One axis of one box: the bins' taps and the pixels that they span.
template <class T>
struct Axis {
  SampleAxis<T> samples;
  std::vector<Tap<T>> taps;
  std::vector<int64_t> begin;
  int64_t first = 0, last = 0;  // pixels [first, last)

  void set(T low, T high, int64_t bins, int64_t extent, const RoiAlignRule& rule, std::vector<Tap<T>>& scratch) {
    samples = SampleAxis<T>::of(low, high, T(1), bins, extent, rule);
    taps.clear();
    begin.assign(1, 0);
    first = extent;
    last = 0;
    for (int64_t bin = 0; bin < bins && samples.grid > 0; ++bin) {
      scratch.clear();
      merge_samples(samples, samples.base(bin), extent, scratch);
      for (const Tap<T>& tap : scratch) {
        if (tap.weight == T(0)) continue;
        first = std::min<int64_t>(first, tap.at);
        last = std::max<int64_t>(last, tap.at + 1);
        taps.push_back(tap);
      }
      begin.push_back(int64_t(taps.size()));
    }
  }
  bool empty() const { return samples.grid == 0 || first >= last; }
};

// column[p][lane] = sum over y of Wy[p, y] * m[y, lane], for every bin p.
struct Columns {
  template <class T>
  ROIKIT_INLINE static void run(const Tap<T>* taps, const int64_t* begin, int64_t bins, const uint8_t* bytes,
                                int64_t top, T* columns) {
    for (int64_t p = 0; p < bins; ++p) {
      T sum[kLanes] = {};
      for (int64_t t = begin[p]; t < begin[p + 1]; ++t) {
        const uint8_t* ROIKIT_RESTRICT row = bytes + (taps[t].at - top) * kLanes;
        const T weight = taps[t].weight;
        for (int64_t i = 0; i < kLanes; ++i) sum[i] += weight * T(row[i]);
      }
      for (int64_t i = 0; i < kLanes; ++i) columns[p * kLanes + i] = sum[i];
    }
  }
};

template <class T, class Masks>
void crop(const Masks& masks, const T* box, int64_t matched, int64_t size, bool binary, Simd simd, float* out) {
  thread_local std::vector<Tap<T>> scratch;
  Axis<T> y, x;
  const RoiAlignRule rule{-1, binary};
  auto mask = masks.at(matched);
  y.set(box[1], box[3], size, mask.rows, rule, scratch);
  x.set(box[0], box[2], size, mask.columns, rule, scratch);
  // A coordinate that is not finite on either axis leaves nothing of the box.
  if (y.empty() || x.empty()) {
    std::fill(out, out + size * size, 0.0f);
    return;
  }
  std::vector<uint8_t> bytes((y.last - y.first) * kLanes);
  std::vector<T> columns(size * kLanes), total(size * size, T(0));
  // Bins in the order of their first tap, so that total gets its columns from left to right.
  std::vector<int64_t> at(x.begin.begin(), x.begin.end() - 1);
  for (int64_t left = x.first; left < x.last; left += kLanes) {
    mask.strip(left, y.first, y.last, bytes.data());
    vary<Columns>(simd, static_cast<const Tap<T>*>(y.taps.data()), static_cast<const int64_t*>(y.begin.data()), size,
                  static_cast<const uint8_t*>(bytes.data()), y.first, columns.data());
    for (int64_t q = 0; q < size; ++q) {
      for (; at[q] < x.begin[q + 1] && x.taps[at[q]].at < left + kLanes; ++at[q]) {
        const Tap<T>& tap = x.taps[at[q]];
        const T* column = columns.data() + (tap.at - left);
        for (int64_t p = 0; p < size; ++p) total[p * size + q] += column[p * kLanes] * tap.weight;
      }
    }
  }
  for (int64_t i = 0; i < size * size; ++i)
    out[i] = mask_target_value(total[i], y.samples.grid, x.samples.grid, binary);
}

template <class Masks>
void crop_all(const Masks& masks, const View& boxes, const View& matched, bool binary, const View& out,
              const Launch& launch) {
  const int64_t rois = boxes.shape[0], size = out.shape[1];
  require(boxes.rank == 2 && boxes.shape[1] == 4 && boxes.contiguous(), "mask_targets: boxes must be contiguous (R, 4)");
  require(matched.size() == rois && matched.contiguous(), "mask_targets: matched must be contiguous (R,)");
  require(out.rank == 3 && out.shape[0] == rois && out.shape[2] == size && out.contiguous(),
          "mask_targets: out must be contiguous (R, S, S)");
  const int64_t* index = matched.as<int64_t>();
  for (int64_t r = 0; r < rois; ++r)
    if (index[r] < 0 || index[r] >= masks.count)
      throw std::out_of_range("mask_targets: matched must lie in [0, " + std::to_string(masks.count) + "), got " +
                              std::to_string(index[r]));
  float* to = out.as<float>();
  visit<float, double>(boxes.dtype, "mask_targets", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* box = boxes.as<T>();
    parallel_for(rois, 4, launch.threads, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        crop<T>(masks, box + 4 * r, index[r], size, binary, launch.simd, to + r * size * size);
    });
  });
}

}  // namespace

void mask_targets(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                  const Launch& launch) {
  require(masks.rank == 3 && masks.contiguous() && (masks.dtype == DType::u8 || masks.dtype == DType::b8),
          "mask_targets: masks must be contiguous (N, H, W) bytes");
  const Bitmaps bitmaps{static_cast<const uint8_t*>(masks.data), masks.shape[0], masks.shape[1], masks.shape[2]};
  crop_all(bitmaps, boxes, matched, binary, out, launch);
}

void mask_targets_of_runs(const View& counts, const View& offsets, const View& sizes, const View& boxes,
                          const View& matched, bool binary, const View& out, const Launch& launch) {
  const int64_t n = sizes.shape[0];
  require(counts.contiguous() && offsets.contiguous() && offsets.size() == n + 1 && sizes.contiguous() &&
              sizes.size() == 2 * n,
          "mask_targets: runs are counts, N + 1 offsets and N sizes");
  const Runs runs{counts.as<uint32_t>(), offsets.as<int64_t>(), sizes.as<int64_t>(), n};
  crop_all(runs, boxes, matched, binary, out, launch);
}

}  // namespace roikit::cpu
