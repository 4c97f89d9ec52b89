// sigmoid_focal_loss on the GPU: a thread takes two logits of a block of kFocalBlock, and a block of threads adds up
// its losses as the CPU does; the blocks' sums are added up by as many kernels as there are levels. Bound by reading
// and writing.
#include "core/focal_loss.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

static_assert(kFocalBlock == 2 * kBlock, "a thread takes two values of a block");

// The sum of kFocalBlock values of a block of threads, two of each; thread 0 has it.
template <class T> __device__ T halved(T first, T second) {
  __shared__ T part[kBlock];
  const int i = int(threadIdx.x);
  __syncthreads();  // a call before this one may still be reading
  part[i] = first + second;
  for (int n = kBlock / 2; n > 0; n /= 2) {
    __syncthreads();
    if (i < n) part[i] += part[i + n];
  }
  return part[0];
}

template <FocalPower power, bool sloped, class T>
__global__ void losses(const T* inputs, const T* targets, FocalRule<T> rule, int64_t n, T* loss, T* slope,
                       double* sums) {
  for (int64_t b = blockIdx.x; b * kFocalBlock < n; b += gridDim.x) {
    T mine[2];
    for (int k = 0; k < 2; ++k) {
      const int64_t i = b * kFocalBlock + k * kBlock + threadIdx.x;
      mine[k] = T(0);
      if (i >= n) continue;
      const Focal<T> found = focal_of<power, sloped>(inputs[i], targets[i], rule);
      mine[k] = found.loss;
      if (!sums) loss[i] = found.loss;
      if (sloped) slope[i] = found.slope;
    }
    if (!sums) continue;
    const T sum = halved(mine[0], mine[1]);
    if (threadIdx.x == 0) sums[b] = double(sum);
  }
}

// The sums of blocks of n sums; the last level writes the loss instead.
template <class T> __global__ void sums_of(const double* from, int64_t n, double* to, T* loss) {
  for (int64_t b = blockIdx.x; b * kFocalBlock < n; b += gridDim.x) {
    const int64_t i = b * kFocalBlock + threadIdx.x, j = i + kBlock;
    const double sum = halved(i < n ? from[i] : 0.0, j < n ? from[j] : 0.0);
    if (threadIdx.x != 0) continue;
    if (loss) *loss = T(sum);
    else to[b] = sum;
  }
}

template <class T> __global__ void nothing(T* loss) { *loss = T(0); }

// Two arrays of sums, of which each level reads one and writes the other.
struct Sums {
  double *first, *second;

  static Sums in(Workspace& space, int64_t n) {
    const int64_t blocks = ceil_div(n, kFocalBlock);
    double* const first = space.take<double>(blocks);
    return {first, space.take<double>(ceil_div(blocks, kFocalBlock))};
  }
};

}  // namespace

int64_t sigmoid_focal_loss_workspace(int64_t n) {
  Workspace space;
  Sums::in(space, n);
  return space.bytes();
}

void sigmoid_focal_loss(const View& inputs, const View& targets, double alpha, double gamma, const View& loss,
                        const View& slope, const Launch& launch) {
  const char* const op = "sigmoid_focal_loss";
  check_sigmoid_focal_loss(inputs, targets, loss, slope);
  const int64_t n = inputs.size();
  const bool summed = loss.rank == 0;
  if (n == 0 && !summed) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(inputs.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* const l = loss.as<T>();
    if (n == 0) {
      run(op, launch, nothing<T>, 1, 1, l);
      return;
    }
    Sums sums = {nullptr, nullptr};
    if (summed) {
      Workspace space(launch.workspace);
      sums = Sums::in(space, n);
      space.check(op, launch);
    }
    visit_focal(gamma, slope.size() > 0, [&](auto power, auto sloped) {
      run(op, launch, losses<decltype(power)::value, decltype(sloped)::value, T>, grid_for(n, kFocalBlock), kBlock,
          inputs.as<T>(), targets.as<T>(), FocalRule<T>::of(alpha, gamma), n, l, slope.as<T>(), sums.first);
    });
    if (!summed) return;
    int64_t left = ceil_div(n, kFocalBlock);
    for (bool last = false; !last;) {
      last = left <= kFocalBlock;
      run(op, launch, sums_of<T>, grid_for(left, kFocalBlock), kBlock, sums.first, left, sums.second,
          last ? l : nullptr);
      left = ceil_div(left, kFocalBlock);
      const Sums before = sums;
      sums = {before.second, before.first};
    }
  });
}

}  // namespace roikit::cuda
