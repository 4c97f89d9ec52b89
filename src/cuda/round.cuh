// Sums in float32 that are rounded once to half.
#pragma once

#include <type_traits>
#include <vector>

#include "cuda/rois.cuh"

namespace roikit::cuda {

template <class F, int V>
__global__ void round_each(const float* from, int64_t n, F* to) {
  for (int64_t i = first_item(); i < n / V; i += item_stride()) {
    const auto wide = reinterpret_cast<const Pack<float, V>*>(from)[i];
    Pack<F, V> pack;
#pragma unroll
    for (int v = 0; v < V; ++v) store(pack.v[v], wide.v[v]);
    reinterpret_cast<Pack<F, V>*>(to)[i] = pack;
  }
}

template <class F>
void round_to(const char* op, const float* from, int64_t n, F* to, const Launch& launch) {
  const bool packs = n % 4 == 0 && aligned_to(from, 16) && aligned_to(to, 8);
  run(op, launch, packs ? round_each<F, 4> : round_each<F, 1>, grid_for(packs ? n / 4 : n), kBlock, from, n, to);
}

inline bool is_half(DType dtype) { return dtype == DType::f16 || dtype == DType::bf16; }

// Where a gradient is added up: in itself, or, for half, in a float32 copy in the caller's workspace.
inline int64_t sums_workspace(const View& gradient) {
  Workspace workspace;
  if (is_half(gradient.dtype)) workspace.take<float>(gradient.size());
  return workspace.bytes();
}

// The copies of several gradients, all in half.
inline std::vector<float*> half_sums(Workspace& workspace, const std::vector<View>& gradients) {
  std::vector<float*> sums;
  for (const View& map : gradients) sums.push_back(workspace.take<float>(map.size()));
  return sums;
}

// The sums of one gradient, set to 0. round_to makes the gradient of them where they are a copy.
template <class F> accumulate_t<F>* zeroed_sums(const char* op, const View& gradient, const Launch& launch) {
  using A = accumulate_t<F>;
  A* sums;
  if constexpr (std::is_same_v<F, A>) {
    sums = gradient.as<F>();
  } else {
    Workspace workspace(launch.workspace);
    sums = workspace.take<A>(gradient.size());
    workspace.check(op, launch);
  }
  check(cudaMemsetAsync(sums, 0, gradient.size() * sizeof(A), stream_of(launch)), op);
  return sums;
}

// The gradient of a map on the launch's device: fn(TypeTag<F>, TypeTag<B>, sums) launches what adds to the sums, which
// are 0 and of the accumulate type. Half is rounded once, after that.
template <class Fn>
void add_up(const char* op, const View& gradient, const View& boxes, const Launch& launch, Fn fn) {
  const DeviceGuard guard(launch.device, op);
  with_types(op, gradient, boxes, [&](auto feature, auto box) {
    using F = typename decltype(feature)::type;
    accumulate_t<F>* const sums = zeroed_sums<F>(op, gradient, launch);
    fn(feature, box, sums);
    if constexpr (!std::is_same_v<F, accumulate_t<F>>) round_to(op, sums, gradient.size(), gradient.as<F>(), launch);
  });
}

}  // namespace roikit::cuda
