// opname on the CPU: one pass, lanes over rows, rows shared among threads.
#include "core/opname.h"

#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

struct Rows {
  template <class T>
  ROIKIT_INLINE static void run(const T* boxes, T stride, int64_t begin, int64_t end, T* out) {
    const T* ROIKIT_RESTRICT b = boxes;
    T* ROIKIT_RESTRICT o = out;
    for (int64_t i = begin; i < end; ++i) opname_row(b + 4 * i, stride, o + 2 * i);
  }
};

constexpr int64_t kGrain = 1 << 19;  // boxes a thread

}  // namespace

void opname(const View& boxes, double stride, const View& out, const Launch& launch) {
  check_opname(boxes, out);
  visit<float, double>(boxes.dtype, "opname", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = boxes.as<T>();
    T* to = out.as<T>();
    will_fill(to, out.size() * int64_t(sizeof(T)), launch);
    parallel_for(boxes.shape[0], kGrain, launch, [&](int64_t begin, int64_t end) {
      vary<Rows>(launch.simd, from, T(stride), begin, end, to);
    });
  });
}

}  // namespace roikit::cpu
