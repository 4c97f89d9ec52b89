// Sums in float32 that are rounded once to half.
#pragma once

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

}  // namespace roikit::cuda
