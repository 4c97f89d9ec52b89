// opname on the GPU: a thread takes one box, in a grid-stride loop; bound by reading and writing.
#include "core/opname.h"

#include "cuda/boxes.cuh"

namespace roikit::cuda {
namespace {

template <class T> __global__ void rows(const T* boxes, T stride, int64_t n, bool wide, T* out) {
  for (int64_t i = first_item(); i < n; i += item_stride())
    opname_row(read_corners(boxes + 4 * i, wide).v, stride, out + 2 * i);
}

}  // namespace

void opname(const View& boxes, double stride, const View& out, const Launch& launch) {
  check_opname(boxes, out);
  const int64_t n = boxes.shape[0];
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "opname");
  visit<float, double>(boxes.dtype, "opname", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = boxes.as<T>();
    run("opname", launch, rows<T>, grid_for(n), kBlock, from, T(stride), n, wide_boxes(from),
        out.as<T>());
  });
}

}  // namespace roikit::cuda
