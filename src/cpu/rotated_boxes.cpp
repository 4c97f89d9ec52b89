// min_area_boxes on the CPU: objects are shared among threads. Of a mask only the first and last pixel of each column can
// be on the hull; bitmaps are walked row by row, columns in lanes, runs one by one.
#include "core/rotated_boxes.h"

#include <algorithm>
#include <vector>

#include "cpu/masks.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// One row of a bitmap.
struct MarkRow {
  ROIKIT_INLINE static void run(const uint8_t* row, int64_t width, int32_t y, int32_t* ROIKIT_RESTRICT first,
                                int32_t* ROIKIT_RESTRICT last) {
    for (int64_t x = 0; x < width; ++x) {
      const bool inside = row[x] != 0;
      first[x] = inside && y < first[x] ? y : first[x];
      last[x] = inside ? y : last[x];
    }
  }
};

// Scratch of one worker.
class BoxMaker {
 public:
  explicit BoxMaker(Simd simd) : simd_(simd) {}

  void of_points(double* out) {
    std::sort(points_.begin(), points_.end(), comes_before);
    of_sorted(out);
  }

  std::vector<HullPoint>& points() { return points_; }

  template <class Mask>
  void of_mask(const Mask& mask, double* out) {
    first_.assign(mask.width, INT32_MAX);
    last_.assign(mask.width, -1);
    mark(mask);
    points_.resize(2 * (mask.width + 1));
    points_.resize(corners_of_columns(first_.data(), last_.data(), mask.width, points_.data()));
    of_sorted(out);
  }

 private:
  void of_sorted(double* out) {
    hull_.resize(2 * points_.size());
    min_area_box(hull_.data(), convex_hull(points_.data(), int64_t(points_.size()), hull_.data()), out);
  }

  void mark(const Bitmap& mask) {
    for (int64_t y = 0; y < mask.height; ++y)
      vary<MarkRow>(simd_, mask.data + y * mask.row, mask.width, int32_t(y), first_.data(), last_.data());
  }

  void mark(const Runs& mask) {
    for (int64_t k = 1; k < mask.count; k += 2) {
      const int64_t begin = mask.ends[k - 1], end = mask.ends[k];
      if (begin == end) continue;
      const int64_t from = begin / mask.height, to = (end - 1) / mask.height;
      for (int64_t x = from; x <= to; ++x) {
        const int64_t top = x == from ? begin - from * mask.height : 0;
        const int64_t bottom = x == to ? end - 1 - to * mask.height : mask.height - 1;
        first_[x] = std::min(first_[x], int32_t(top));
        last_[x] = std::max(last_[x], int32_t(bottom));
      }
    }
  }

  Simd simd_;
  std::vector<HullPoint> points_, hull_;
  std::vector<int32_t> first_, last_;
};

template <class Masks>
void boxes_of(const Masks& masks, const View& out, int64_t grain, const Launch& launch) {
  check_boxes_out(out, masks.size());
  double* const to = out.as<double>();
  parallel_for(masks.size(), grain, launch, [&](int64_t begin, int64_t end) {
    BoxMaker maker(launch.simd);
    for (int64_t i = begin; i < end; ++i) maker.of_mask(masks[i], to + 5 * i);
  });
}

}  // namespace

void min_area_boxes(const View& masks, const View& out, const Launch& launch) {
  const Bitmaps bitmaps("min_area_boxes", masks);
  boxes_of(bitmaps, out, 1 + 2000000 / (masks.shape[1] * masks.shape[2] + 1), launch);
}

void min_area_boxes_of_runs(const View& counts, const View& offsets, const View& sizes, const View& out,
                            const Launch& launch) {
  boxes_of(RunMasks("min_area_boxes", counts, offsets, sizes), out, 10, launch);
}

void min_area_boxes_of_points(const View& points, const View& offsets, const View& out, const Launch& launch) {
  constexpr const char* kOp = "min_area_boxes";
  check_rows(kOp, "points", points, 2);
  require(offsets.size() > 0 && offsets.contiguous(), kOp, "offsets must be contiguous (N + 1)");
  const int64_t n = offsets.size() - 1, *at = offsets.as<int64_t>();
  check_boxes_out(out, n);
  for (int64_t i = 0; i < n; ++i)
    require(at[i] >= 0 && at[i] <= at[i + 1] && at[i + 1] <= points.shape[0], kOp, "offsets must ascend");
  const double* const from = points.as<double>();
  double* const to = out.as<double>();
  parallel_for(n, 100, launch, [&](int64_t begin, int64_t end) {
    BoxMaker maker(launch.simd);
    for (int64_t i = begin; i < end; ++i) {
      maker.points().clear();
      for (int64_t k = at[i]; k < at[i + 1]; ++k) maker.points().push_back({from[2 * k], from[2 * k + 1]});
      maker.of_points(to + 5 * i);
    }
  });
}

}  // namespace roikit::cpu
