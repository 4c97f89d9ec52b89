// sigmoid_focal_loss on the CPU: losses and slopes in one pass over the logits, block after block; where the sum alone
// is wanted, the losses of a block stay in the first cache.
#include "core/focal_loss.h"

#include <vector>

#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// The sum of kFocalBlock values, which are overwritten.
template <class T>
ROIKIT_INLINE T halved(T* values) {
  for (int n = kFocalBlock / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) values[i] += values[i + n];
  return values[0];
}

// The blocks [begin, end); sums: one of each block, or null, where the losses are written.
template <FocalPower power, bool sloped>
struct Blocks {
  template <class T>
  ROIKIT_INLINE static void run(const T* inputs, const T* targets, FocalRule<T> rule, int64_t n, int64_t begin,
                                int64_t end, T* loss, T* slope, double* sums) {
    T block[kFocalBlock];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kFocalBlock;
      const int count = n - first < kFocalBlock ? int(n - first) : kFocalBlock;
      decide(inputs + first, targets + first, rule, count, sums ? block : loss + first, slope + first);
      if (!sums) continue;
      for (int i = count; i < kFocalBlock; ++i) block[i] = T(0);
      sums[b] = double(halved(block));
    }
  }

 private:
  template <class T>
  ROIKIT_INLINE static void decide(const T* inputs, const T* targets, const FocalRule<T>& rule, int count, T* loss,
                                   T* slope) {
    const T* ROIKIT_RESTRICT x = inputs;
    const T* ROIKIT_RESTRICT t = targets;
    T* ROIKIT_RESTRICT l = loss;
    T* ROIKIT_RESTRICT s = slope;
    for (int i = 0; i < count; ++i) {
      const Focal<T> found = focal_of<power, sloped>(x[i], t[i], rule);
      l[i] = found.loss;
      if constexpr (sloped) s[i] = found.slope;
    }
  }
};

// The sum of the blocks' sums, in blocks again.
double total(std::vector<double> sums) {
  double block[kFocalBlock];
  while (sums.size() > 1) {
    size_t kept = 0;
    for (size_t first = 0; first < sums.size(); first += kFocalBlock) {
      for (size_t i = 0; i < kFocalBlock; ++i) block[i] = first + i < sums.size() ? sums[first + i] : 0.0;
      sums[kept++] = halved(block);
    }
    sums.resize(kept);
  }
  return sums.empty() ? 0.0 : sums[0];
}

constexpr int64_t kGrain = 64;  // blocks a thread

}  // namespace

void sigmoid_focal_loss(const View& inputs, const View& targets, double alpha, double gamma, const View& loss,
                        const View& slope, const Launch& launch) {
  check_sigmoid_focal_loss(inputs, targets, loss, slope);
  const int64_t n = inputs.size(), blocks = (n + kFocalBlock - 1) / kFocalBlock;
  const bool summed = loss.rank == 0;
  visit<float, double>(inputs.dtype, "sigmoid_focal_loss", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = inputs.as<T>();
    const T* t = targets.as<T>();
    T* const l = loss.as<T>();
    T* const s = slope.as<T>();
    std::vector<double> sums(summed ? size_t(blocks) : 0);
    double* const each = summed ? sums.data() : nullptr;
    if (!summed) will_fill(l, n * int64_t(sizeof(T)), launch);
    will_fill(s, slope.size() * int64_t(sizeof(T)), launch);
    visit_focal(gamma, slope.size() > 0, [&](auto power, auto sloped) {
      parallel_for(blocks, kGrain, launch, [&](int64_t begin, int64_t end) {
        vary<Blocks<decltype(power)::value, decltype(sloped)::value>>(launch.simd, x, t, FocalRule<T>::of(alpha, gamma),
                                                                      n, begin, end, l, s, each);
      });
    });
    if (summed) *l = T(total(std::move(sums)));
  });
}

}  // namespace roikit::cpu
