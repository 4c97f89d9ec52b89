// box_iou on the CPU: rows of boxes1 are shared among threads, boxes2 lies in columns for the lanes.
#include "core/boxes.h"

#include "cpu/columns.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

struct IouRows {
  template <class T>
  ROIKIT_INLINE static void run(const T* boxes1, BoxColumns<T> b, int64_t m, int64_t begin, int64_t end, T* out) {
    const T* ROIKIT_RESTRICT x1 = b.x1;
    const T* ROIKIT_RESTRICT y1 = b.y1;
    const T* ROIKIT_RESTRICT x2 = b.x2;
    const T* ROIKIT_RESTRICT y2 = b.y2;
    const T* ROIKIT_RESTRICT area = b.area;
    for (int64_t i = begin; i < end; ++i) {
      const Box<T> a = Box<T>::at(boxes1 + 4 * i);
      T* ROIKIT_RESTRICT row = out + i * m;
      for (int64_t j = 0; j < m; ++j) row[j] = iou(a, Box<T>{x1[j], y1[j], x2[j], y2[j], area[j]});
    }
  }
};

}  // namespace

void box_iou(const View& boxes1, const View& boxes2, const View& out, const Launch& launch) {
  require(boxes1.rank == 2 && boxes1.shape[1] == 4 && boxes1.contiguous(), "box_iou: boxes1 must be contiguous (N, 4)");
  require(boxes2.rank == 2 && boxes2.shape[1] == 4 && boxes2.contiguous(), "box_iou: boxes2 must be contiguous (M, 4)");
  const int64_t n = boxes1.shape[0], m = boxes2.shape[0];
  require(out.size() == n * m && out.contiguous(), "box_iou: out must be contiguous (N, M)");
  if (n == 0 || m == 0) return;
  visit<float, double>(boxes1.dtype, "box_iou", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = boxes1.as<T>();
    T* to = out.as<T>();
    const ColumnsOf<T> columns(boxes2.as<T>(), m);
    const int64_t grain = 1000000 / m + 1;
    will_fill(to, n * m * int64_t(sizeof(T)), launch);
    parallel_for(n, grain, launch, [&](int64_t begin, int64_t end) {
      vary<IouRows>(launch.simd, a, columns.view(), m, begin, end, to);
    });
  });
}

}  // namespace roikit::cpu
