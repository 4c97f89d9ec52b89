// opname on the GPU: after the centres lie in the order of the scores, one block takes them one by
// one, and its threads strike out what lies near a kept one. Nothing of it comes to the host.
#include "core/opname.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kThreads = 1024;

// The scratch, of each rank.
template <class T> struct Plan {
  T* x;
  T* y;
  uint8_t* gone;

  static Plan in(Workspace& space, int64_t n) {
    Plan p = {};
    p.x = space.take<T>(n);
    p.y = space.take<T>(n);
    p.gone = space.take<uint8_t>(n);
    return p;
  }
};

template <class T>
__global__ void gather(Plan<T> plan, const T* boxes, const int64_t* by_score, int64_t n, int64_t* keep) {
  for (int64_t r = first_item(); r < n; r += item_stride()) {
    const T* const box = boxes + 4 * by_score[r];
    plan.x[r] = opname_centre(box[0], box[2]);
    plan.y[r] = opname_centre(box[1], box[3]);
    plan.gone[r] = 0;
    keep[r] = -1;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
choose(Plan<T> plan, const int64_t* by_score, int64_t n, T limit, int64_t* keep, int64_t* count) {
  int64_t found = 0;
  for (int64_t r = 0; r < n; ++r) {
    if (plan.gone[r]) continue;  // no thread writes it any more
    if (threadIdx.x == 0) keep[found] = by_score[r];
    ++found;
    const T x = plan.x[r], y = plan.y[r];
    for (int64_t p = r + 1 + threadIdx.x; p < n; p += kThreads)
      if (opname_near(x, y, plan.x[p], plan.y[p], limit)) plan.gone[p] = 1;
    __syncthreads();
  }
  if (threadIdx.x == 0) *count = found;
}

}  // namespace

int64_t opname_workspace(const View& boxes) {
  Workspace space;
  visit<float, double>(boxes.dtype, "opname", [&](auto tag) {
    Plan<typename decltype(tag)::type>::in(space, boxes.shape[0]);
  });
  return space.bytes();
}

void opname_in_order(const View& boxes, const View& by_score, double distance, const View& keep,
                     const View& count, const Launch& launch) {
  check_opname(boxes, "by_score", by_score, keep, count);
  const int64_t n = boxes.shape[0];
  const DeviceGuard guard(launch.device, "opname");
  visit<float, double>(boxes.dtype, "opname", [&](auto tag) {
    using T = typename decltype(tag)::type;
    Workspace space(launch.workspace);
    const Plan<T> plan = Plan<T>::in(space, n);
    space.check("opname", launch);
    const int64_t* order = by_score.as<int64_t>();
    int64_t* kept = keep.as<int64_t>();
    run("opname", launch, gather<T>, grid_for(n), kBlock, plan, boxes.as<T>(), order, n, kept);
    run("opname", launch, choose<T>, 1, kThreads, plan, order, n, T(distance) * T(distance), kept,
        count.as<int64_t>());
  });
}

}  // namespace roikit::cuda
