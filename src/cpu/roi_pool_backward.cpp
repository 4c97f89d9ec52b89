// RoIPool backward on the CPU, partitioned by output: one thread adds up an image's block of channels, over the RoIs in
// order: planes where they are written, channels_last in a tile.
#include "core/roi_pool.h"

#include <algorithm>
#include <type_traits>

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

template <class S>
struct Job {
  const Groups* rois;
  const S* grad;
  const int32_t* argmax;
  S* gradient;
  bool grad_channels_last, channels_last;
  int64_t channels, plane, bins;
};

// Items are (image, block of channels). tile: a map in lanes; grads and winners: bins x lanes.
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S>* job, int64_t blocks, int64_t begin, int64_t end, A* tile, A* grads,
                                int32_t* winners) {
    constexpr int L = lanes_of<A>;
    const int64_t channels = job->channels, plane = job->plane, bins = job->bins;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / blocks, c0 = item % blocks * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      std::memset(tile, 0, size_t(plane) * kLaneBytes);
      for (int64_t n = job->rois->begin[image]; n < job->rois->begin[image + 1]; ++n) {
        const int64_t k = job->rois->rows[n];
        if (job->grad_channels_last) {
          const int64_t from = k * channels * bins + c0;
          lanes_from_pixels(job->grad + from, channels, bins, lanes, grads);
          for (int64_t i = 0; i < bins; ++i)
            std::memcpy(winners + i * L, job->argmax + from + i * channels, size_t(lanes) * sizeof(int32_t));
        } else {
          const int64_t from = (k * channels + c0) * bins;
          lanes_from_planes(job->grad + from, bins, bins, lanes, grads);
          transpose(job->argmax + from, bins, int64_t(lanes), bins, winners, int64_t(L));
        }
        for (int64_t i = 0; i < bins; ++i)
          for (int l = 0; l < lanes; ++l) {
            const int64_t at = winners[i * L + l];
            if (at >= 0 && at < plane) tile[at * L + l] += grads[i * L + l];
          }
      }
      S* to = job->gradient + image * channels * plane + c0 * (job->channels_last ? 1 : plane);
      if (job->channels_last)
        pixels_from_lanes(tile, plane, lanes, to, channels);
      else
        planes_from_lanes(tile, plane, lanes, to, plane);
    }
  }
};

// Items are (image, block of channels) of planes. No tile: channels have their winners at different pixels, so lanes
// gain nothing from lying side by side, and a plane or a few stay in the second-level cache where sixteen do not.
// sums: a block of planes, used where the result is narrower than what adds it up.
struct Planes {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S>* job, int64_t block, int64_t blocks, int64_t begin, int64_t end, A* sums) {
    const int64_t channels = job->channels, plane = job->plane, bins = job->bins;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / blocks, c0 = item % blocks * block;
      const int64_t here = channels - c0 < block ? channels - c0 : block;
      S* to = job->gradient + (image * channels + c0) * plane;
      A* at = sums;
      if constexpr (std::is_same_v<S, A>) at = to;
      std::memset(at, 0, size_t(here * plane) * sizeof(A));
      const int64_t* rows = job->rois->rows.data();
      const int64_t first = job->rois->begin[image], last = job->rois->begin[image + 1];
      for (int64_t n = first; n < last; ++n) {
        const S* grad = job->grad + (rows[n] * channels + c0) * bins;
        const int32_t* winner = job->argmax + (rows[n] * channels + c0) * bins;
        if (n + kAhead < last) {  // RoIs lie too far apart for the processor to foresee
          const int64_t next = (rows[n + kAhead] * channels + c0) * bins;
          for (int64_t i = 0; i < here * bins; i += 16) {
            __builtin_prefetch(job->grad + next + i);
            __builtin_prefetch(job->argmax + next + i);
          }
        }
        A* sum = at;
        for (int64_t c = 0; c < here; ++c, sum += plane, grad += bins, winner += bins)
          for (int64_t i = 0; i < bins; ++i)
            if (winner[i] >= 0 && winner[i] < plane) sum[winner[i]] += load(grad[i]);
      }
      if constexpr (!std::is_same_v<S, A>)
        for (int64_t i = 0; i < here * plane; ++i) store(to[i], at[i]);
    }
  }

  static constexpr int64_t kAhead = 2;
  static constexpr int64_t kBlockBytes = int64_t(512) << 10;  // about half of a second-level cache
};

template <class S>
void backward(const View& grad, const View& argmax, const Groups& rois, const View& gradient, const Launch& launch) {
  using A = accumulate_t<S>;
  constexpr int64_t L = lanes_of<A>;
  const int64_t channels = gradient.shape[1], plane = gradient.shape[2] * gradient.shape[3];
  const int64_t bins = grad.shape[2] * grad.shape[3], blocks = (channels + L - 1) / L;
  const Job<S> job{&rois, grad.as<S>(), argmax.as<int32_t>(), gradient.as<S>(), !grad.contiguous(),
                   !gradient.contiguous(), channels, plane, bins};
  will_fill(gradient.data, gradient.size() * int64_t(sizeof(S)), launch);
  if (!job.grad_channels_last && !job.channels_last) {
    const int64_t bytes = std::max<int64_t>(plane, 1) * int64_t(sizeof(A));
    const int64_t block = std::clamp<int64_t>(Planes::kBlockBytes / bytes, 1, L);
    const int64_t blocks = (channels + block - 1) / block;
    const int64_t work = block * (plane / 16 + grad.shape[0] * bins / std::max<int64_t>(gradient.shape[0], 1));
    parallel_for(gradient.shape[0] * blocks, 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> sums(std::is_same_v<S, A> ? 0 : block * plane);
      vary<Planes>(launch.simd, &job, block, blocks, begin, end, sums.data());
    });
    return;
  }
  const int64_t work = plane + 16 * grad.shape[0] * bins / std::max<int64_t>(gradient.shape[0], 1);
  parallel_for(gradient.shape[0] * blocks, 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
    const LaneScratch<A> tile(plane * L), grads(bins * L);
    const LaneScratch<int32_t> winners(bins * L);
    vary_lanes<Tiles>(launch.simd, &job, blocks, begin, end, tile.data(), grads.data(), winners.data());
  });
}

}  // namespace

void roi_pool_backward(const View& grad, const View& argmax, const View& boxes, const View& gradient,
                       const Launch& launch) {
  check_roi_pool_backward(grad, argmax, boxes, gradient);
  std::vector<int64_t> images(boxes.shape[0]);
  visit<float, double>(boxes.dtype, "roi_pool_backward", [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t k = 0; k < boxes.shape[0]; ++k)
      images[k] = image_of("roi_pool_backward", boxes.as<T>(), k, gradient.shape[0]);
  });
  const Groups rois(images, gradient.shape[0]);
  visit<float, double, Half, BFloat16>(grad.dtype, "roi_pool_backward", [&](auto tag) {
    backward<typename decltype(tag)::type>(grad, argmax, rois, gradient, launch);
  });
}

}  // namespace roikit::cpu
