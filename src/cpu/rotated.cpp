// Rotated overlap and suppression on the CPU. Pairs whose circles (or whose bounding boxes) meet are gathered, a batch
// at a time, so that the arithmetic of the overlap runs on full vectors however few they are.
#include "core/rotated.h"

#include <algorithm>
#include <vector>

#include "cpu/grid.h"
#include "cpu/order.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int kFields = 8;
constexpr int64_t kBatch = 64;  // pairs whose overlap is computed together

// Rotated boxes in columns: scratch of one call.
class RotatedScratch {
 public:
  explicit RotatedScratch(int64_t n) : n_(n), data_(kFields * n) {}

  void put(int64_t i, const Rotated& b) {
    const double fields[kFields] = {b.x, b.y, b.c, b.s, b.hx, b.hy, b.r, b.area};
    for (int f = 0; f < kFields; ++f) data_[f * n_ + i] = fields[f];
  }
  RotatedColumns view() const { return {data_.data(), n_}; }

 private:
  int64_t n_;
  std::vector<double> data_;
};

// Up to kBatch boxes that one box may overlap, and where they come from.
struct Batch {
  double fields[kFields * kBatch];
  double ious[kBatch];
  int32_t from[kBatch];
  int64_t size = 0;

  ROIKIT_INLINE void overlap(const RotatedColumns& boxes, const Rotated& a) {
    for (int64_t f = 0; f < kFields; ++f)
      for (int64_t k = 0; k < size; ++k) fields[f * kBatch + k] = boxes.p[f * boxes.stride + from[k]];
    const RotatedColumns columns = {fields, kBatch};
    const int64_t full = (size + 7) / 8 * 8;  // the lanes beyond size compute what nobody reads
    for (int64_t k = size; k < full; ++k)
      for (int64_t f = 0; f < kFields; ++f) fields[f * kBatch + k] = 0;
    double* ROIKIT_RESTRICT to = ious;
    for (int64_t k = 0; k < full; ++k) to[k] = rotated_iou(a, columns[k]);
  }
};

struct IouRotatedRows {
  template <class T>
  ROIKIT_INLINE static void run(const T* boxes1, RotatedColumns b, int64_t m, int64_t begin, int64_t end, T* out) {
    Batch batch;
    uint8_t meet[kBatch];
    for (int64_t i = begin; i < end; ++i) {
      const Rotated a = Rotated::at(boxes1 + 5 * i);
      T* const row = out + i * m;
      for (int64_t j = 0; j < m; j += kBatch) {
        const int64_t count = m - j < kBatch ? m - j : kBatch;
        for (int64_t k = 0; k < count; ++k) meet[k] = circles_meet(a, b[j + k]);
        batch.size = 0;
        for (int64_t k = 0; k < count; ++k) {
          row[j + k] = T(0);
          batch.from[batch.size] = int32_t(j + k);
          batch.size += meet[k];
        }
        if (batch.size == 0) continue;
        batch.overlap(b, a);
        for (int64_t k = 0; k < batch.size; ++k) row[batch.from[k]] = T(batch.ious[k]);
      }
    }
  }
};

// The upright box around a rotated one, a little larger, so that rounding cannot make it too small; all 0 for a box
// that overlaps nothing.
struct Bounds {
  double corners[4];

  explicit Bounds(const Rotated& b) : corners{0, 0, 0, 0} {
    if (!(b.area > 0.0)) return;
    const double slack = (b.r + absolute(b.x) + absolute(b.y)) * 1e-14;
    const double rx = absolute(b.c) * b.hx + absolute(b.s) * b.hy + slack;
    const double ry = absolute(b.s) * b.hx + absolute(b.c) * b.hy + slack;
    corners[0] = b.x - rx, corners[1] = b.y - ry, corners[2] = b.x + rx, corners[3] = b.y + ry;
  }
};

struct SuppressRotated {
  // Sets kept[box] for the boxes of `order`, a class in the order of its scores.
  template <class T, class Walk>
  ROIKIT_INLINE static void run(Walk walk, RotatedColumns boxes, const uint32_t* order, int64_t n, T threshold,
                                uint8_t* kept) {
    const int64_t columns = walk.x.cells.count();
    // A pair whose areas differ by more has no IoU above the threshold; the slack covers every rounding.
    const double ratio = threshold > T(0) ? double(threshold) * (1 - 1e-6) : 0.0;
    Batch batch;
    uint8_t meet[kBlock];
    for (int64_t r = 0; r < n; ++r) {
      const int64_t place = walk.place[r];
      if (place < 0) {
        kept[order[r]] = 1;
        continue;
      }
      if (walk.gone[place]) continue;
      kept[order[r]] = 1;
      walk.gone[place] = -1;  // decided: it need not be struck
      const Rotated a = boxes[place];
      const Box<double> around = walk.boxes[place];
      const double cx = centre_of(around.x1, around.x2), cy = centre_of(around.y1, around.y2);
      const double dx = walk.x.reach.of(around.x2 - around.x1, cx, true);
      const double dy = walk.y.reach.of(around.y2 - around.y1, cy, true);
      const int64_t left = walk.x.cells.at(cx - dx), right = walk.x.cells.at(cx + dx) + 1;
      const int64_t last = walk.y.cells.at(cy + dy);
      const double least = ratio * a.area, most = a.area / ratio;  // infinite where the threshold is 0
      batch.size = 0;
      for (int64_t row = walk.y.cells.at(cy - dy); row <= last; ++row) {
        const int32_t* const start = walk.start + row * columns;
        for (int64_t j = start[left] / kBlock * kBlock; j < start[right]; j += kBlock) {
          const double* const area = boxes.p + 7 * boxes.stride + j;
          for (int64_t k = 0; k < kBlock; ++k)
            meet[k] = (walk.gone[j + k] == 0) & reach(around, walk.boxes[j + k]) & (area[k] >= least) &
                      (area[k] <= most) & circles_meet(a, boxes[j + k]);
          for (int64_t k = 0; k < kBlock; ++k) {
            batch.from[batch.size] = int32_t(j + k);
            batch.size += meet[k];
          }
          if (batch.size > kBatch - kBlock) strike(batch, walk, boxes, a, threshold);
        }
      }
      strike(batch, walk, boxes, a, threshold);
    }
  }

  template <class T, class Walk>
  ROIKIT_INLINE static void strike(Batch& batch, const Walk& walk, const RotatedColumns& boxes, const Rotated& a,
                                   T threshold) {
    batch.overlap(boxes, a);
    for (int64_t k = 0; k < batch.size; ++k)
      if (T(batch.ious[k]) > threshold) walk.gone[batch.from[k]] = -1;
    batch.size = 0;
  }
};

// One class: `order` are its boxes.
template <class T>
void suppress(const T* boxes, const uint32_t* order, int64_t n, double threshold, uint8_t* kept, Simd simd) {
  const T t = T(threshold);
  if (n > 0 && t < T(0)) {  // the first box suppresses all others, whatever they are
    kept[order[0]] = 1;
    return;
  }
  if (t >= T(1)) {  // no IoU exceeds 1
    for (int64_t r = 0; r < n; ++r) kept[order[r]] = 1;
    return;
  }
  std::vector<Rotated> turned(n);
  std::vector<double> around(4 * n);
  std::vector<uint32_t> ranks(n);
  for (int64_t r = 0; r < n; ++r) {
    turned[r] = Rotated::at(boxes + 5 * int64_t(order[r]));
    const Bounds bounds(turned[r]);
    std::copy(bounds.corners, bounds.corners + 4, around.data() + 4 * r);
    ranks[r] = uint32_t(r);
  }
  // What the grid knows of thresholds holds for upright boxes; at 0 it finds all whose upright boxes meet.
  BoxGrid<double> grid(around.data(), ranks.data(), n, 0.0);
  const auto walk = grid.walk();
  RotatedScratch columns((n + 2 * kBlock) / kBlock * kBlock);
  for (int64_t r = 0; r < n; ++r)
    if (walk.place[r] >= 0) columns.put(walk.place[r], turned[r]);
  vary<SuppressRotated>(simd, walk, columns.view(), order, n, t, kept);
}

void suppress(const char* op, const View& boxes, const View& scores, const View* idxs, double threshold,
              const View& keep, const View& count, const Launch& launch) {
  check_keep(op, boxes, 5, "scores", scores, keep, count);
  keep_chosen(op, boxes, scores, idxs, keep, count, launch,
              [&](auto tag, const uint32_t* members, int64_t n, uint8_t* kept) {
    suppress(boxes.as<typename decltype(tag)::type>(), members, n, threshold, kept, launch.simd);
  });
}

}  // namespace

void box_iou_rotated(const View& boxes1, const View& boxes2, const View& out, const Launch& launch) {
  constexpr const char* kOp = "box_iou_rotated";
  check_pairs(kOp, boxes1, boxes2, out, 5);
  const int64_t n = boxes1.shape[0], m = boxes2.shape[0];
  require(m <= INT32_MAX, kOp, "boxes2 must have less than 2^31 rows");
  if (n == 0 || m == 0) return;
  visit<float, double>(boxes1.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const a = boxes1.as<T>();
    const T* const b = boxes2.as<T>();
    T* const to = out.as<T>();
    RotatedScratch columns(m);
    for (int64_t j = 0; j < m; ++j) columns.put(j, Rotated::at(b + 5 * j));
    const int64_t grain = 20000 / m + 1;
    will_fill(to, n * m * int64_t(sizeof(T)), launch);
    parallel_for(n, grain, launch, [&](int64_t begin, int64_t end) {
      vary<IouRotatedRows>(launch.simd, a, columns.view(), m, begin, end, to);
    });
  });
}

void nms_rotated(const View& boxes, const View& scores, double threshold, const View& keep, const View& count,
                 const Launch& launch) {
  suppress("nms_rotated", boxes, scores, nullptr, threshold, keep, count, launch);
}

void batched_nms_rotated(const View& boxes, const View& scores, const View& idxs, double threshold, const View& keep,
                         const View& count, const Launch& launch) {
  suppress("batched_nms_rotated", boxes, scores, &idxs, threshold, keep, count, launch);
}

}  // namespace roikit::cpu
