// nms on the CPU. Each kept box strikes out the later boxes in a window around it, a block of lanes at a time; boxes
// that were decided before may be struck too, which changes nothing. Classes are shared among threads.
#include "core/nms.h"

#include <algorithm>

#include "cpu/grid.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "cpu/sort.h"

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

// Indices of the boxes by descending score.
std::vector<uint32_t> score_order(const View& scores) {
  const int64_t n = scores.size();
  std::vector<uint32_t> order(n);
  visit<Half, BFloat16, float, double>(scores.dtype, "nms", [&](auto tag) {
    using S = typename decltype(tag)::type;
    using Key = decltype(descending_key(load(S())));
    const S* s = scores.as<S>();
    std::vector<Keyed<Key>> items(n);
    for (int64_t i = 0; i < n; ++i) items[i] = {descending_key(load(s[i])), uint32_t(i)};
    stable_sort(items);
    for (int64_t i = 0; i < n; ++i) order[i] = items[i].index;
  });
  return order;
}

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

void check(const View& boxes, const View& scores, const View& keep, const View& count) {
  const int64_t n = boxes.shape[0];
  require(boxes.rank == 2 && boxes.shape[1] == 4 && boxes.contiguous(), "nms: boxes must be contiguous (N, 4)");
  require(scores.rank == 1 && scores.shape[0] == n && scores.contiguous(), "nms: scores must be contiguous (N,)");
  require(keep.rank == 1 && keep.contiguous() && count.size() == 1, "nms: keep must be contiguous (K,), count ()");
  if (n > INT32_MAX) throw std::invalid_argument("nms: boxes must be at most 2147483647, got " + std::to_string(n));
}

// The kept boxes in the order of their scores; the rest of keep is -1.
void collect(const std::vector<uint32_t>& order, const std::vector<uint8_t>& kept, const View& keep,
             const View& count) {
  int64_t* const out = keep.as<int64_t>();
  int64_t found = 0;
  for (const uint32_t i : order) {
    if (!kept[i]) continue;
    if (found == keep.shape[0]) break;
    out[found++] = i;
  }
  std::fill(out + found, out + keep.shape[0], int64_t(-1));
  *count.as<int64_t>() = found;
}

}  // namespace

void nms(const View& boxes, const View& scores, double threshold, const View& keep, const View& count,
         const Launch& launch) {
  check(boxes, scores, keep, count);
  const std::vector<uint32_t> order = score_order(scores);
  std::vector<uint8_t> kept(order.size(), 0);
  visit<float, double>(boxes.dtype, "nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    suppress(boxes.as<T>(), order.data(), boxes.shape[0], threshold, keep.shape[0], kept.data(), launch.simd);
  });
  collect(order, kept, keep, count);
}

void batched_nms(const View& boxes, const View& scores, const View& idxs, double threshold, const View& keep,
                 const View& count, const Launch& launch) {
  check(boxes, scores, keep, count);
  const int64_t n = boxes.shape[0];
  require(idxs.rank == 1 && idxs.shape[0] == n && idxs.contiguous(), "batched_nms: idxs must be contiguous (N,)");
  const std::vector<uint32_t> order = score_order(scores);
  const int64_t* classes = idxs.as<int64_t>();
  std::vector<Keyed<uint64_t>> items(n);
  for (int64_t r = 0; r < n; ++r) items[r] = {uint64_t(classes[order[r]]), order[r]};
  stable_sort(items);
  std::vector<uint32_t> grouped(n);
  std::vector<int64_t> first;  // where each class starts in `grouped`
  for (int64_t r = 0; r < n; ++r) {
    grouped[r] = items[r].index;
    if (r == 0 || items[r].key != items[r - 1].key) first.push_back(r);
  }
  std::vector<uint8_t> kept(n, 0);
  visit<float, double>(boxes.dtype, "batched_nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t kGrain = 4096;  // boxes; a thread's chunk has the classes that start in it
    parallel_for(n, kGrain, launch, [&](int64_t begin, int64_t end) {
      size_t c = std::lower_bound(first.begin(), first.end(), begin) - first.begin();
      for (; c < first.size() && first[c] < end; ++c) {
        const int64_t next = c + 1 < first.size() ? first[c + 1] : n;
        suppress(boxes.as<T>(), grouped.data() + first[c], next - first[c], threshold, n, kept.data(), launch.simd);
      }
    });
  });
  collect(order, kept, keep, count);
}

}  // namespace roikit::cpu
