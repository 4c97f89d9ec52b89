// box_iou on the GPU: one thread a pair, in a grid-stride loop.
#include "core/boxes.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

template <class T>
__global__ void iou_pairs(const T* boxes1, const T* boxes2, int64_t n, int64_t m, T* out) {
  for (int64_t k = first_item(); k < n * m; k += item_stride()) {
    const int64_t i = k / m;
    out[k] = iou(Box<T>::at(boxes1 + 4 * i), Box<T>::at(boxes2 + 4 * (k - i * m)));
  }
}

}  // namespace

void box_iou(const View& boxes1, const View& boxes2, const View& out, const Launch& launch) {
  require(boxes1.rank == 2 && boxes1.shape[1] == 4 && boxes1.contiguous(), "box_iou: boxes1 must be contiguous (N, 4)");
  require(boxes2.rank == 2 && boxes2.shape[1] == 4 && boxes2.contiguous(), "box_iou: boxes2 must be contiguous (M, 4)");
  const int64_t n = boxes1.shape[0], m = boxes2.shape[0];
  require(out.size() == n * m && out.contiguous(), "box_iou: out must be contiguous (N, M)");
  if (n == 0 || m == 0) return;
  const DeviceGuard guard(launch.device, "box_iou");
  visit<float, double>(boxes1.dtype, "box_iou", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("box_iou", launch, iou_pairs<T>, grid_for(n * m), kBlock, boxes1.as<T>(), boxes2.as<T>(), n, m, out.as<T>());
  });
}

}  // namespace roikit::cuda
