// assemble_masks and assemble_masks_rle on the CPU.
//
// A mask's cells are computed in its box alone: a row of them in lanes, to which the prototypes are added one after
// another, eight in registers at a time. The frame of zeros around them is then resampled as cpu/resample.h says.
#include "core/mask_assembly.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "cpu/resample.h"

namespace roikit::cpu {
namespace {

constexpr int kAtOnce = 8;  // prototypes that a pass over a row adds

template <class T> struct CellJob {
  const T* prototypes;  // at the first cell of the box
  int64_t plane, pitch, prototype_count;
  const T* coefficients;
  int64_t rows, columns;
  T* row;  // scratch of `columns` values
  T* to;   // of the first cell, in the frame
  int64_t down, across;  // steps in the frame
};

struct AssembleCells {
  template <class T> ROIKIT_INLINE static void run(const CellJob<T> job) {
    T* ROIKIT_RESTRICT row = job.row;
    for (int64_t y = 0; y < job.rows; ++y) {
      const T* const from = job.prototypes + y * job.pitch;
      for (int64_t x = 0; x < job.columns; ++x) row[x] = T(0);
      int64_t k = 0;
      for (; k + kAtOnce <= job.prototype_count; k += kAtOnce) {
        const T* ROIKIT_RESTRICT p = from + k * job.plane;
        const T* const c = job.coefficients + k;
        for (int64_t x = 0; x < job.columns; ++x) {
          T z = row[x];
          for (int j = 0; j < kAtOnce; ++j) z = z + p[j * job.plane + x] * c[j];
          row[x] = z;
        }
      }
      for (; k < job.prototype_count; ++k) {
        const T* ROIKIT_RESTRICT p = from + k * job.plane;
        const T c = job.coefficients[k];
        for (int64_t x = 0; x < job.columns; ++x) row[x] = row[x] + p[x] * c;
      }
      for (int64_t x = 0; x < job.columns; ++x) row[x] = sigmoid_of(row[x]);
      T* const to = job.to + y * job.down;
      for (int64_t x = 0; x < job.columns; ++x) to[x * job.across] = row[x];
    }
  }
};

// Where each mask lies, and its cells.
template <class T> class Assembly {
 public:
  Assembly(const View& prototypes, const View& coefficients, const View& boxes, double extent_y, double extent_x,
           int64_t height, int64_t width, Simd simd)
      : prototypes_(prototypes.as<T>()), coefficients_(coefficients.as<T>()), count_(prototypes.shape[0]),
        rows_(prototypes.shape[1]), columns_(prototypes.shape[2]), simd_(simd), placed(boxes.shape[0]) {
    if (rows_ == 0 || columns_ == 0 || height == 0 || width == 0) return;
    for (int64_t i = 0; i < boxes.shape[0]; ++i) {
      const T* b = boxes.as<T>() + 4 * i;
      // A box with a coordinate that is not finite has no mask, whichever axis it is of.
      const bool finite = std::isfinite(b[0]) && std::isfinite(b[1]) && std::isfinite(b[2]) && std::isfinite(b[3]);
      if (!finite) continue;
      placed[i].x = AssemblyAxis<T>::of(b[0], b[2], T(extent_x), columns_, width);
      placed[i].y = AssemblyAxis<T>::of(b[1], b[3], T(extent_y), rows_, height);
    }
  }

  // The cells of mask i, framed by zeros, in rows or, transposed, in columns of `stride` values.
  void frame(int64_t i, int64_t stride, bool transposed, std::vector<T>& framed, std::vector<T>& row) const {
    const AssembledMask<T>& p = placed[i];
    framed.assign(((transposed ? p.x : p.y).count() + kFrame) * stride, T(0));
    row.resize(p.x.count());
    const CellJob<T> job{prototypes_ + p.y.first * columns_ + p.x.first, rows_ * columns_, columns_, count_,
                         coefficients_ + i * count_, p.y.count(), p.x.count(), row.data(), framed.data() + stride + 1,
                         transposed ? 1 : stride, transposed ? stride : 1};
    vary<AssembleCells>(simd_, job);
  }

  // Work of the masks before each, for sharing it out: cells times prototypes, and `pixels` of each column.
  std::vector<int64_t> work(int64_t pixels) const {
    std::vector<int64_t> before(placed.size() + 1, 0);
    for (size_t i = 0; i < placed.size(); ++i) {
      const AssembledMask<T>& p = placed[i];
      before[i + 1] = before[i] + 1;
      if (!p.empty())
        before[i + 1] += p.x.count() * p.y.count() * (count_ + 16) / 8 + p.columns() * (pixels > 0 ? pixels : p.rows());
    }
    return before;
  }

 private:
  const T* prototypes_;
  const T* coefficients_;
  int64_t count_, rows_, columns_;
  Simd simd_;

 public:
  std::vector<AssembledMask<T>> placed;
};

constexpr int64_t kWork = 200000;  // a thread's share, at least

// Calls fn(mask) for the masks whose work begins in [begin, end).
template <class Fn> void each_mask(const std::vector<int64_t>& before, int64_t begin, int64_t end, const Fn& fn) {
  const int64_t n = int64_t(before.size()) - 1;
  int64_t i = std::lower_bound(before.begin(), before.end(), begin) - before.begin();
  for (; i < n && before[i] < end; ++i) fn(i);
}

template <class T, class Out>
void assemble_into(const Assembly<T>& assembly, T threshold, Out* out, int64_t height, int64_t width,
                   const Launch& launch) {
  const auto before = assembly.work(0);
  parallel_for(before.back(), kWork, launch, [&](int64_t begin, int64_t end) {
    std::vector<T> framed, row, pair;
    Taps<T> x, y;
    each_mask(before, begin, end, [&](int64_t i) {
      const AssembledMask<T>& p = assembly.placed[i];
      if (p.empty()) return;
      const int64_t stride = p.x.count() + kFrame, columns = p.columns();
      assembly.frame(i, stride, false, framed, row);
      pair.resize(2 * columns);
      x.fill(p.x, p.x.begin, p.x.end);
      y.fill(p.y, p.y.begin, p.y.end);
      Out* to = out + (i * height + p.y.begin) * width + p.x.begin;
      vary<PasteRows>(launch.simd, (const T*)framed.data(), stride, x.ptr(), columns, y.ptr(), p.rows(), pair.data(),
                      threshold, to, width);
    });
  });
}

}  // namespace

void assemble_masks(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                    double extent_x, double threshold, const View& out, const Launch& launch) {
  check_assemble_masks(prototypes, coefficients, boxes, out);
  visit<float, double>(prototypes.dtype, "assemble_masks", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t height = out.shape[1], width = out.shape[2];
    const Assembly<T> assembly(prototypes, coefficients, boxes, extent_y, extent_x, height, width, launch.simd);
    if (out.dtype == DType::b8)
      assemble_into<T>(assembly, above<T>(threshold), static_cast<uint8_t*>(out.data), height, width, launch);
    else
      assemble_into<T>(assembly, T(0), out.as<T>(), height, width, launch);
  });
}

void assemble_masks_rle(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                        double extent_x, int64_t height, int64_t width, double threshold, std::vector<uint32_t>& counts,
                        const View& offsets, const Launch& launch) {
  check_assembly("assemble_masks_rle", prototypes, coefficients, boxes);
  check_paste_size("assemble_masks_rle", height, width);
  const int64_t n = boxes.shape[0];
  require(offsets.size() == n + 1 && offsets.contiguous(), "assemble_masks_rle: offsets must be contiguous (N + 1)");
  require(threshold >= 0, "assemble_masks_rle: threshold must be at least 0");
  visit<float, double>(prototypes.dtype, "assemble_masks_rle", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Assembly<T> assembly(prototypes, coefficients, boxes, extent_y, extent_x, height, width, launch.simd);
    const auto before = assembly.work(128);
    std::vector<std::vector<uint32_t>> runs(n);
    parallel_for(before.back(), kWork, launch, [&](int64_t begin, int64_t end) {
      RunWriter<T> writer(above<T>(threshold), height, width, launch.simd);
      std::vector<T> framed, row;
      each_mask(before, begin, end, [&](int64_t i) {
        const AssembledMask<T>& p = assembly.placed[i];
        const int64_t stride = RunWriter<T>::stride_of(p.y.count());
        if (!p.empty()) assembly.frame(i, stride, true, framed, row);
        writer.write(framed, stride, p, runs[i]);
      });
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
