// box_iou and its relatives on the CPU: rows of boxes1 are shared among threads, boxes2 lies in columns for the lanes.
#include "core/boxes.h"

#include "cpu/columns.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

struct PairRows {
  template <class T, class Measure>
  ROIKIT_INLINE static void run(const T* boxes1, BoxColumns<T> b, const T* angles, int64_t m, int64_t begin, int64_t end,
                                Measure measure, T* out) {
    const T* ROIKIT_RESTRICT x1 = b.x1;
    const T* ROIKIT_RESTRICT y1 = b.y1;
    const T* ROIKIT_RESTRICT x2 = b.x2;
    const T* ROIKIT_RESTRICT y2 = b.y2;
    const T* ROIKIT_RESTRICT area = b.area;
    const T* ROIKIT_RESTRICT angle = angles;
    for (int64_t i = begin; i < end; ++i) {
      const Box<T> a = Box<T>::at(boxes1 + 4 * i);
      T* ROIKIT_RESTRICT row = out + i * m;
      if constexpr (Measure::kAngles) {
        const T mine = diagonal_angle(a);
        for (int64_t j = 0; j < m; ++j) row[j] = measure(a, mine, Box<T>{x1[j], y1[j], x2[j], y2[j], area[j]}, angle[j]);
      } else {
        for (int64_t j = 0; j < m; ++j) row[j] = measure(a, T(0), Box<T>{x1[j], y1[j], x2[j], y2[j], area[j]}, T(0));
      }
    }
  }
};

struct DiagonalAngles {
  template <class T> ROIKIT_INLINE static void run(BoxColumns<T> boxes, int64_t n, T* out) {
    T* ROIKIT_RESTRICT to = out;
    for (int64_t i = 0; i < n; ++i) to[i] = diagonal_angle(boxes[i]);
  }
};

}  // namespace

template <class Measure>
void every_pair(const char* op, const View& boxes1, const View& boxes2, Measure measure, const View& out,
                const Launch& launch) {
  check_pairs(op, boxes1, boxes2, out, 4);
  const int64_t n = boxes1.shape[0], m = boxes2.shape[0];
  if (n == 0 || m == 0) return;
  visit<float, double>(boxes1.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = boxes1.as<T>();
    T* to = out.as<T>();
    const ColumnsOf<T> columns(boxes2.as<T>(), m);
    std::vector<T> angles;
    if (Measure::kAngles) {
      angles.resize(m);
      vary<DiagonalAngles>(launch.simd, columns.view(), m, angles.data());
    }
    const int64_t grain = 1000000 / m + 1;
    will_fill(to, n * m * int64_t(sizeof(T)), launch);
    parallel_for(n, grain, launch, [&](int64_t begin, int64_t end) {
      vary<PairRows>(launch.simd, a, columns.view(), (const T*)angles.data(), m, begin, end, measure, to);
    });
  });
}

template void every_pair(const char*, const View&, const View&, PairIou, const View&, const Launch&);
template void every_pair(const char*, const View&, const View&, PairGeneralizedIou, const View&, const Launch&);
template void every_pair(const char*, const View&, const View&, PairDistanceIou, const View&, const Launch&);
template void every_pair(const char*, const View&, const View&, PairCompleteIou, const View&, const Launch&);

}  // namespace roikit::cpu
