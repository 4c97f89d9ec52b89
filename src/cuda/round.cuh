// Sums in float32 that are rounded once to half.
#pragma once

#include <string>
#include <type_traits>

#include "cuda/launch.cuh"

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

// Where a gradient is added up: in itself, or, for half, in a float32 copy in the caller's workspace.
inline int64_t sums_workspace(const View& gradient) {
  Workspace workspace;
  if (gradient.dtype == DType::f16 || gradient.dtype == DType::bf16) workspace.take<float>(gradient.size());
  return workspace.bytes();
}

// These sums, set to 0. round_to makes the gradient of them where they are a copy.
template <class F> accumulate_t<F>* zeroed_sums(const char* op, const View& gradient, const Launch& launch) {
  using A = accumulate_t<F>;
  A* sums;
  if constexpr (std::is_same_v<F, A>) {
    sums = gradient.as<F>();
  } else {
    const std::string text = std::string(op) + ": the workspace is too small";
    require(sums_workspace(gradient) <= launch.workspace_bytes, text.c_str());
    sums = Workspace(launch.workspace).take<A>(gradient.size());
  }
  check(cudaMemsetAsync(sums, 0, gradient.size() * sizeof(A), stream_of(launch)), op);
  return sums;
}

}  // namespace roikit::cuda
