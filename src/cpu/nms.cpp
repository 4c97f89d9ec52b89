// nms on the CPU. Each kept box strikes out the later boxes in a window around it, a block of lanes at a time; boxes
// that were decided before may be struck too, which changes nothing. Classes are shared among threads.
#include "core/nms.h"

#include "cpu/grid.h"
#include "cpu/order.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

struct Suppress {
  template <class T, class Walk>
  ROIKIT_INLINE static void strike(const Walk& walk, int64_t begin, int64_t end, const Box<T>& a, T threshold) {
    for (int64_t j = begin / kBlock * kBlock; j < end; j += kBlock) {
      const T* ROIKIT_RESTRICT x1 = walk.boxes.x1 + j;
      const T* ROIKIT_RESTRICT y1 = walk.boxes.y1 + j;
      const T* ROIKIT_RESTRICT x2 = walk.boxes.x2 + j;
      const T* ROIKIT_RESTRICT y2 = walk.boxes.y2 + j;
      const T* ROIKIT_RESTRICT area = walk.boxes.area + j;
      auto* ROIKIT_RESTRICT gone = walk.gone + j;
      for (int64_t k = 0; k < kBlock; ++k)
        gone[k] |= suppresses(a, Box<T>{x1[k], y1[k], x2[k], y2[k], area[k]}, threshold) ? -1 : 0;
    }
  }

  // Sets kept[box] for at most `limit` boxes of `order`, a class in the order of its scores.
  template <class T, class Walk>
  ROIKIT_INLINE static void run(Walk walk, const uint32_t* order, int64_t n, T threshold, T tiny, int64_t limit,
                                uint8_t* kept) {
    const int64_t columns = walk.x.cells.count(), rows = walk.y.cells.count();
    for (int64_t r = 0; r < n && limit > 0; ++r) {
      const int64_t place = walk.place[r];
      if (place >= 0 && walk.gone[place]) continue;
      kept[order[r]] = 1;
      --limit;
      if (place < 0) continue;
      const Box<T> a = walk.boxes[place];
      if (columns * rows == 1) {  // places are ranks, and the boxes before this one are decided
        strike(walk, place, walk.start[1], a, threshold);
        continue;
      }
      const double cx = centre_of(a.x1, a.x2), cy = centre_of(a.y1, a.y2);
      const double dx = walk.x.reach.of(double(side(a.x1, a.x2)), cx, a.area < tiny);
      const double dy = walk.y.reach.of(double(side(a.y1, a.y2)), cy, a.area < tiny);
      const int64_t left = walk.x.cells.at(cx - dx), right = walk.x.cells.at(cx + dx) + 1;
      const int64_t last = walk.y.cells.at(cy + dy);
      for (int64_t row = walk.y.cells.at(cy - dy); row <= last; ++row) {
        const int32_t* start = walk.start + row * columns;
        strike(walk, start[left], start[right], a, threshold);
      }
    }
  }
};

// One class: `order` are its boxes.
template <class T>
void suppress(const T* boxes, const uint32_t* order, int64_t n, double threshold, int64_t limit, uint8_t* kept,
              Simd simd) {
  const T t = T(threshold);
  const int64_t most = t < T(0) ? 1 : limit;  // below 0 the first box suppresses all others, whatever they are
  if (n > 0 && most > 0 && (t < T(0) || t >= T(1))) {  // no IoU exceeds 1
    for (int64_t r = 0; r < n && r < most; ++r) kept[order[r]] = 1;
    return;
  }
  const T tiny = sizeof(T) == 4 ? T(1e-30) : T(1e-290);  // below, threshold * area may be subnormal
  BoxGrid<T> grid(boxes, order, n, t);
  vary<Suppress>(simd, grid.walk(), order, n, t, tiny, limit, kept);
}

void suppress(const char* op, const View& boxes, const View& scores, const View* idxs, double threshold, int64_t limit,
              const View& keep, const View& count, const Launch& launch) {
  check_keep(op, boxes, 4, "scores", scores, keep, count);
  keep_chosen(op, boxes, scores, idxs, keep, count, launch,
              [&](auto tag, const uint32_t* members, int64_t n, uint8_t* kept) {
    suppress(boxes.as<typename decltype(tag)::type>(), members, n, threshold, limit, kept, launch.simd);
  });
}

}  // namespace

void nms(const View& boxes, const View& scores, double threshold, const View& keep, const View& count,
         const Launch& launch) {
  suppress("nms", boxes, scores, nullptr, threshold, keep.shape[0], keep, count, launch);
}

void batched_nms(const View& boxes, const View& scores, const View& idxs, double threshold, const View& keep,
                 const View& count, const Launch& launch) {
  suppress("batched_nms", boxes, scores, &idxs, threshold, boxes.shape[0], keep, count, launch);
}

}  // namespace roikit::cpu
