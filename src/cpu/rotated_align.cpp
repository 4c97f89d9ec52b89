// roi_align_rotated on the CPU. As for roi_align, planes are brought into lanes once per map and block of channels, a map
// being one image at one level; channels_last maps are read as they lie. A bin is one sum over its taps, since the axes
// of a turned box do not separate. Backward is the transpose: one thread adds up a map's block of channels in a tile,
// over the RoIs in order.
#include "core/rotated_align.h"

#include "cpu/lanes.h"
#include "cpu/level_rois.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rotated_align_plan.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// Everything that the walks read. S: stored type, A: accumulate type; bins: output or grad.
template <class S, class A>
struct Job {
  const RotatedAlignPlan<A>* plan;
  LevelMaps<S> maps;
  int64_t channels, bins;
  bool bins_channels_last;
  S* of_bins;

  ROIKIT_INLINE S* map(int64_t i) const { return maps.map(plan->image_of(i), plan->level_of(i)); }
  ROIKIT_INLINE ChannelBlock<S> planes(int64_t i, int64_t first, int lanes) const {
    return maps.planes(plan->image_of(i), plan->level_of(i), first, lanes);
  }
  ROIKIT_INLINE S* roi(int64_t k) const { return of_bins + k * channels * bins; }
};

// All bins of one RoI for B packs of channels; map: S with pixels `pixel` apart; out: bins x B packs. Even and odd taps
// are added up apart, so that one sum need not wait for the other.
template <int Bytes, int B, class S, class A>
ROIKIT_INLINE void sum_bins(const S* map, int64_t pixel, const BinTaps<A>& roi, int64_t bins, A* out) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  const Tap<A>* ROIKIT_RESTRICT taps = roi.taps;
  for (int64_t bin = 0; bin < bins; ++bin, out += B * L) {
    const int64_t end = roi.begin[bin + 1];
    P even[B], odd[B];
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) even[b] = odd[b] = P::zero();
    int64_t t = roi.begin[bin];
    for (; t + 1 < end; t += 2) {
      const S* first = map + taps[t].at * pixel;
      const S* second = map + taps[t + 1].at * pixel;
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) {
        even[b].add_product(taps[t].weight, load_lanes<A, Bytes>(first + b * L));
        odd[b].add_product(taps[t + 1].weight, load_lanes<A, Bytes>(second + b * L));
      }
    }
    if (t < end) {
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b)
        even[b].add_product(taps[t].weight, load_lanes<A, Bytes>(map + taps[t].at * pixel + b * L));
    }
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) {
      even[b].add_product(A(1), odd[b]);
      even[b].store(out + b * L);
    }
  }
}

// Items are (block of channels, one of the maps). tile: the map in lanes; values: the bins of a RoI.
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, const int64_t* maps, int64_t count, int64_t begin, int64_t end,
                                A* tile, A* values, TapScratch<A>* scratch) {
    constexpr int L = lanes_of<A>;
    const int64_t channels = job->channels;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t map = maps[item % count], c0 = item / count * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      job->planes(map, c0, lanes).to_tile(job->plan->spans(map), tile);
      for (const int64_t* k = job->plan->begin(map); k != job->plan->end(map); ++k) {
        sum_bins<Bytes, 1>(static_cast<const A*>(tile), int64_t(L), job->plan->taps(*k, *scratch), job->bins, values);
        bins_from_lanes(static_cast<const A*>(values), channels, job->bins, c0, lanes, job->bins_channels_last,
                        job->roi(*k));
      }
    }
  }
};

// Items are RoIs.
template <int Bytes>
struct Pixels {
  template <int B, class S, class A>
  ROIKIT_INLINE static void block(int64_t c0, const Job<S, A>* job, int64_t k, BinTaps<A> taps, A* values) {
    sum_bins<Bytes, B>(static_cast<const S*>(job->map(job->plan->map(k))) + c0, job->channels, taps, job->bins,
                       values);
    pixels_from_packs<Bytes, B>(static_cast<const A*>(values), job->bins, job->roi(k) + c0, job->channels);
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t begin, int64_t end, A* values, TapScratch<A>* scratch) {
    for (int64_t k = begin; k < end; ++k)
      each_packs<Pixels, A>(job->channels, job, k, job->plan->taps(k, *scratch), values);
  }
};

// Items are (block of channels, map), of all maps.
template <int Bytes>
struct Spread {
  template <class A>
  ROIKIT_INLINE static void roi(const A* values, const BinTaps<A>& roi, int64_t bins, A* tile) {
    for (int64_t bin = 0; bin < bins; ++bin)
      add_to_taps<Bytes>(roi.taps, roi.begin[bin], roi.begin[bin + 1],
                         Pack<A, Bytes>::load(values + bin * lanes_of<A>), tile);
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t begin, int64_t end, A* tile, A* values,
                                TapScratch<A>* scratch) {
    constexpr int L = lanes_of<A>;
    const int64_t channels = job->channels, maps = job->plan->maps();
    for (int64_t item = begin; item < end; ++item) {
      const int64_t map = item % maps, c0 = item / maps * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      const ChannelBlock<S> to = job->planes(map, c0, lanes);
      const ColumnSpan* spans = job->plan->spans(map);
      if (!spans) {
        to.clear(0, to.plane());
        continue;
      }
      clear_tile(spans, to.height, to.width, tile);
      for (const int64_t* k = job->plan->begin(map); k != job->plan->end(map); ++k) {
        lanes_from_bins(static_cast<const S*>(job->roi(*k)), channels, job->bins, c0, lanes, job->bins_channels_last,
                        values);
        roi(static_cast<const A*>(values), job->plan->taps(*k, *scratch), job->bins, tile);
      }
      to.from_tile(spans, static_cast<const A*>(tile));
    }
  }
};

// fn(job), in the dtype of the maps.
template <class Fn>
void with_job(const char* op, const RoiAlignLevels& levels, const View& boxes, const View& bins,
              int64_t sampling_ratio, const Launch& launch, const Fn& fn) {
  const bool channels_last = check_rotated_align(op, levels, boxes, bins);
  visit<float, double, Half, BFloat16>(bins.dtype, op, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const RotatedAlignPlan<A> plan(levels, boxes, bins, sampling_ratio, launch);
    fn(Job<S, A>{&plan, {&levels, channels_last, bins.shape[1]}, bins.shape[1], bins.shape[2] * bins.shape[3],
                 !bins.contiguous(), bins.as<S>()});
  });
}

template <class S, class A>
void forward(const Job<S, A>& job, int64_t count, const Launch& launch) {
  constexpr int64_t L = lanes_of<A>;
  const int64_t blocks = (job.channels + L - 1) / L, work = job.plan->work() + count * job.bins;
  if (job.maps.channels_last && job.bins_channels_last && job.channels >= L) {
    parallel_for(count, 200000 / (work * blocks / count + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> values(job.bins * kPacks * L);
      TapScratch<A> scratch;
      vary_lanes<Pixels>(launch.simd, &job, begin, end, values.data(), &scratch);
    });
    return;
  }
  const std::vector<int64_t> maps = job.plan->busy_maps();
  const int64_t busy = int64_t(maps.size());
  parallel_for(busy * blocks, 200000 * busy / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
    const LaneScratch<A> tile(job.maps.largest() * L), values(job.bins * L);
    TapScratch<A> scratch;
    vary_lanes<Tiles>(launch.simd, &job, maps.data(), busy, begin, end, tile.data(), values.data(), &scratch);
  });
}

template <class S, class A>
void backward(const Job<S, A>& job, int64_t count, const Launch& launch) {
  constexpr int64_t L = lanes_of<A>;
  const int64_t maps = job.plan->maps(), blocks = (job.channels + L - 1) / L;
  const int64_t work = (2 * job.plan->work() + count * job.bins) / std::max<int64_t>(maps, 1) + job.maps.largest();
  parallel_for(maps * blocks, 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
    const LaneScratch<A> tile(job.maps.largest() * L), values(job.bins * L);
    TapScratch<A> scratch;
    vary_lanes<Spread>(launch.simd, &job, begin, end, tile.data(), values.data(), &scratch);
  });
}

}  // namespace

void roi_align_rotated(const RoiAlignLevels& features, const View& boxes, int64_t sampling_ratio, const View& output,
                       const Launch& launch) {
  constexpr const char* kOp = "roi_align_rotated";
  if (output.size() == 0) {
    check_rotated_align(kOp, features, boxes, output);
    check_batch_index(kOp, boxes, features.maps[0].shape[0]);
    return;
  }
  with_job(kOp, features, boxes, output, sampling_ratio, launch, [&](const auto& job) {
    will_fill(output.data, output.size() * int64_t(sizeof(*job.of_bins)), launch);
    forward(job, boxes.shape[0], launch);
  });
}

void roi_align_rotated_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients,
                                int64_t sampling_ratio, const Launch& launch) {
  with_job("roi_align_rotated_backward", gradients, boxes, grad, sampling_ratio, launch, [&](const auto& job) {
    for (const View& map : gradients.maps) will_fill(map.data, map.size() * int64_t(sizeof(*job.of_bins)), launch);
    backward(job, grad.shape[0], launch);
  });
}

}  // namespace roikit::cpu
