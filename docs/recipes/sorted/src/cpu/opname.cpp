// opname on the CPU. Each kept box strikes out the later ones near it, lanes over boxes in the order
// of their scores. A choice hangs on those before, so that one thread does it all.
#include "core/opname.h"

#include <vector>

#include "cpu/order.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

struct Choose {
  // xs, ys, gone: of each rank; a rank that is gone has a 1, of the lanes' own type.
  template <class T>
  ROIKIT_INLINE static void run(const T* xs, const T* ys, const uint32_t* order, int64_t n, T limit, T* gone,
                                uint8_t* kept) {
    const T* ROIKIT_RESTRICT x = xs;
    const T* ROIKIT_RESTRICT y = ys;
    T* ROIKIT_RESTRICT out = gone;
    for (int64_t r = 0; r < n; ++r) {
      if (out[r] != T(0)) continue;
      kept[order[r]] = 1;
      const T kept_x = x[r], kept_y = y[r];
      for (int64_t p = r + 1; p < n; ++p)
        out[p] = opname_near(kept_x, kept_y, x[p], y[p], limit) ? T(1) : out[p];
    }
  }
};

}  // namespace

void opname(const View& boxes, const View& scores, double distance, const View& keep, const View& count,
            const Launch& launch) {
  check_opname(boxes, "scores", scores, keep, count);
  keep_chosen("opname", boxes, scores, nullptr, keep, count, launch,
              [&](auto tag, const uint32_t* order, int64_t n, uint8_t* kept) {
    using T = typename decltype(tag)::type;
    const T* b = boxes.as<T>();
    std::vector<T> x(n), y(n), gone(n, T(0));
    for (int64_t r = 0; r < n; ++r) {
      const T* box = b + 4 * int64_t(order[r]);
      x[r] = opname_centre(box[0], box[2]);
      y[r] = opname_centre(box[1], box[3]);
    }
    vary<Choose>(launch.simd, static_cast<const T*>(x.data()), static_cast<const T*>(y.data()), order, n,
                 T(distance) * T(distance), gone.data(), kept);
  });
}

}  // namespace roikit::cpu
