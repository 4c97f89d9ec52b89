// RoIAlign with the largest sample on the CPU, with channels in vector lanes: a block of planes lies in a tile that one
// thread owns, and all the image's RoIs read it, or add to it in order. Lanes never meet, so neither threads nor SIMD
// level change a bit.
#include "core/roi_align_max.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/roi_align_max_plan.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// A bin's argmax in a lane. float64's is a float64: comparing 64-bit integers is emulated at the baseline level.
template <class A> using Place = std::conditional_t<std::is_same_v<A, float>, int32_t, A>;
template <class A, int Bytes>
using Places = std::conditional_t<std::is_same_v<A, float>, typename Register<A, Bytes>::indices,
                                  typename Register<A, Bytes>::values>;

// maps: the features, or their gradients; bins: the output, or its gradient.
template <class S, class A>
struct Job {
  const MaxPlan<A>* plan;
  LevelMaps<S> maps;
  S* bins;
  int32_t* argmax;  // null where it is not wanted
  bool given, bins_last;

  int64_t blocks() const { return (maps.channels + lanes_of<A> - 1) / lanes_of<A>; }  // of an image
};

// Scratch of a thread. tile: the largest map in lanes; slots: see Lines; values and places: the bins of a RoI in lanes.
template <class A>
struct Scratch {
  A* tile;
  A* slots;
  A* values;
  Place<A>* places;

  template <class J>
  ROIKIT_INLINE void places_from(const J& job, int64_t k, int64_t first, int lanes) const {
    constexpr int L = lanes_of<A>;
    const int64_t bins = job.plan->bins();
    const int32_t* const from = job.argmax + k * job.maps.channels * bins;
    if constexpr (std::is_same_v<Place<A>, int32_t>) {
      lanes_from_bins(from, job.maps.channels, bins, first, lanes, job.bins_last, places);
    } else {
      const int64_t plane = job.bins_last ? 1 : bins, bin = job.bins_last ? job.maps.channels : 1;
      for (int64_t i = 0; i < bins; ++i)
        for (int l = 0; l < L; ++l) places[i * L + l] = l < lanes ? Place<A>(from[i * bin + (first + l) * plane]) : 0;
    }
  }

  template <class J>
  ROIKIT_INLINE void places_to(const J& job, int64_t k, int64_t first, int lanes) const {
    constexpr int L = lanes_of<A>;
    const int64_t bins = job.plan->bins();
    int32_t* const to = job.argmax + k * job.maps.channels * bins;
    if constexpr (std::is_same_v<Place<A>, int32_t>) {
      bins_from_lanes(static_cast<const int32_t*>(places), job.maps.channels, bins, first, lanes, job.bins_last, to);
    } else {
      const int64_t plane = job.bins_last ? 1 : bins, bin = job.bins_last ? job.maps.channels : 1;
      for (int64_t i = 0; i < bins; ++i)
        for (int l = 0; l < lanes; ++l) to[i * bin + (first + l) * plane] = int32_t(places[i * L + l]);
    }
  }
};

// The horizontal sums of rows of a tile at all samples of a RoI's columns, made once a row: those of the last even row
// and of the last odd one are kept, which are the two rows of a sample, or its one. slots: 2 packs a sample.
template <int Bytes, class A>
struct Lines {
  static constexpr int L = lanes_of<A>;
  const A* tile;
  int64_t row;
  const AxisSample<A>* x;
  int64_t count;
  A* slots;
  int64_t held[2] = {-1, -1};

  ROIKIT_INLINE Lines(const A* tile, int64_t width, const RoiSamples<A>& roi, A* slots)
      : tile(tile), row(width * L), x(roi.samples + roi.x[0].first), count(roi.across), slots(slots) {}

  ROIKIT_INLINE const A* at(int64_t y) {
    A* const sums = slots + (y & 1) * count * L;
    if (held[y & 1] == y) return sums;
    held[y & 1] = y;
    const A* const line = tile + y * row;
    for (int64_t i = 0; i < count; ++i) {
      const AxisSample<A> s = x[i];
      const auto a = Pack<A, Bytes>::load(line + s.low * int64_t(L));
      const auto b = Pack<A, Bytes>::load(line + s.high * int64_t(L));
      Pack<A, Bytes> sum;
#pragma GCC unroll 4
      for (int r = 0; r < a.kRegisters; ++r) sum.r[r] = a.r[r] * s.low_weight + b.r[r] * s.high_weight;
      sum.store(sums + i * L);
    }
    return sums;
  }
};

// Items are (image with RoIs, block of channels).
template <int Bytes>
struct Forward {
  // A bin and row of its samples: those from `first` on. lower, upper: the horizontal sums at the bin's first sample.
  template <bool given, class A>
  ROIKIT_INLINE static void meet(const A* lower, const A* upper, A lower_weight, A upper_weight, int64_t count,
                                 int64_t first, bool then_outside, A* value, Place<A>* place) {
    using R = Register<A, Bytes>;
    using Anywhere = const typename R::anywhere;
    constexpr int L = lanes_of<A>;
    for (int l = 0; l < L; l += Bytes / int(sizeof(A))) {
      typename R::values best;
      Places<A, Bytes> at;
      std::memcpy(&best, value + l, Bytes);
      std::memcpy(&at, place + l, Bytes);
      for (int64_t j = 0; j < count; ++j) {
        const typename R::values v = *reinterpret_cast<Anywhere*>(lower + j * L + l) * lower_weight +
                                     *reinterpret_cast<Anywhere*>(upper + j * L + l) * upper_weight;
        if (given) {
          best = at == Place<A>(first + j) ? v : best;
        } else {
          const auto wins = v > best;
          best = wins ? v : best;
          at = wins ? Places<A, Bytes>{} + Place<A>(first + j) : at;
        }
      }
      if (!given && then_outside) {
        const auto wins = typename R::values{} > best;
        best = wins ? typename R::values{} : best;
        at = wins ? Places<A, Bytes>{} - Place<A>(1) : at;
      }
      std::memcpy(value + l, &best, Bytes);
      if (!given) std::memcpy(place + l, &at, Bytes);
    }
  }

  template <bool given, class A>
  ROIKIT_INLINE static void start(Outside outside, A* value, Place<A>* place) {
    const A least = given || outside == Outside::first ? A(0) : -std::numeric_limits<A>::infinity();
    for (int l = 0; l < lanes_of<A>; ++l) value[l] = least;
    if (given) return;
    for (int l = 0; l < lanes_of<A>; ++l) place[l] = -1;
  }

  template <class A>
  ROIKIT_INLINE static void finish(Outside outside, A* value, Place<A>* place) {
    for (int l = 0; l < lanes_of<A>; ++l) place[l] = outside == Outside::last && A(0) > value[l] ? -1 : place[l];
    for (int l = 0; l < lanes_of<A>; ++l) value[l] = place[l] < 0 ? A(0) : value[l];
  }

  template <bool given, class A>
  ROIKIT_INLINE static void pool(const MaxPlan<A>& plan, int64_t k, int64_t width, const Scratch<A>& scratch) {
    constexpr int L = lanes_of<A>;
    const RoiSamples<A> roi = plan.roi(k);
    Lines<Bytes, A> lines(scratch.tile, width, roi, scratch.slots);
    const int64_t columns = plan.columns();
    A* values = scratch.values;
    Place<A>* places = scratch.places;
    for (int64_t ph = 0; ph < plan.rows(); ++ph, values += columns * L, places += columns * L) {
      const BinSamples y = roi.y[ph];
      for (int64_t pw = 0; pw < columns; ++pw)
        start<given>(first_outside(y.before, y.after, roi.x[pw].before, roi.x[pw].after), values + pw * L,
                     places + pw * L);
      for (int64_t i = 0; i < y.count; ++i) {
        const AxisSample<A> down = roi.samples[y.first + i];
        const A* const lower = lines.at(down.low);
        const A* const upper = lines.at(down.high);
        for (int64_t pw = 0; pw < columns; ++pw) {
          const BinSamples x = roi.x[pw];
          const int64_t at = (x.first - roi.x[0].first) * L;
          const bool then = i == 0 && first_outside(y.before, y.after, x.before, x.after) == Outside::after_a_row;
          meet<given>(lower + at, upper + at, down.low_weight, down.high_weight, x.count, i * x.count, then,
                      values + pw * L, places + pw * L);
        }
      }
      for (int64_t pw = 0; !given && pw < columns; ++pw)
        finish(first_outside(y.before, y.after, roi.x[pw].before, roi.x[pw].after), values + pw * L, places + pw * L);
    }
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, const int64_t* images, int64_t blocks, int64_t begin,
                                int64_t end, Scratch<A> scratch) {
    const MaxPlan<A>& plan = *job->plan;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = images[item / blocks], first = item % blocks * lanes_of<A>;
      const int lanes = int(std::min<int64_t>(job->maps.channels - first, lanes_of<A>));
      for (size_t level = 0; level < job->maps.count(); ++level) {
        const auto from = job->maps.planes(image, level, first, lanes);
        const ColumnSpan* const spans = plan.spans(image, level);
        if (spans) from.to_tile(spans, scratch.tile);
        for (const int64_t* k = plan.begin(image, level); k != plan.end(image, level); ++k) {
          if (job->given) {
            scratch.places_from(*job, *k, first, lanes);
            pool<true>(plan, *k, from.width, scratch);
          } else {
            pool<false>(plan, *k, from.width, scratch);
            if (job->argmax) scratch.places_to(*job, *k, first, lanes);
          }
          bins_from_lanes(static_cast<const A*>(scratch.values), job->maps.channels, plan.bins(), first, lanes,
                          job->bins_last, job->bins + *k * job->maps.channels * plan.bins());
        }
      }
    }
  }
};

// Items are (image, block of channels). Of a bin with few samples each adds to all channels, 0 where it did not win,
// which changes no sum, as none is ever -0; of a bin with many, the one that won adds, channel by channel. The lanes
// beyond the channels have any places, and gradients of 0.
template <int Bytes>
struct Backward {
  static constexpr int64_t kFew = 16;

  template <class A>
  ROIKIT_INLINE static void add_to_all(const AxisSample<A>& down, const AxisSample<A>& across, const A* grad,
                                       const Place<A>* place, Place<A> at, int64_t width, A* tile) {
    using R = Register<A, Bytes>;
    using Anywhere = typename R::anywhere;
    constexpr int L = lanes_of<A>;
    const A b[2] = {down.low_weight, down.high_weight}, a[2] = {across.low_weight, across.high_weight};
    const int64_t y[2] = {down.low, down.high}, x[2] = {across.low, across.high};
    for (int tap = 0; tap < 4; ++tap) {
      const A weight = b[tap / 2] * a[tap % 2];
      if (weight == A(0)) continue;  // no reason to add 0 times infinity
      A* const to = tile + (y[tap / 2] * width + x[tap % 2]) * L;
#pragma GCC unroll 4
      for (int l = 0; l < L; l += Bytes / int(sizeof(A))) {
        typename R::values share;
        Places<A, Bytes> won;
        std::memcpy(&share, grad + l, Bytes);
        std::memcpy(&won, place + l, Bytes);
        share = won == at ? share : typename R::values{};
        *reinterpret_cast<Anywhere*>(to + l) += weight * share;
      }
    }
  }

  template <class A>
  ROIKIT_INLINE static void add_to_one(const AxisSample<A>& down, const AxisSample<A>& across, A grad, int64_t width,
                                       A* lane) {
    constexpr int L = lanes_of<A>;
    const A b[2] = {down.low_weight, down.high_weight}, a[2] = {across.low_weight, across.high_weight};
    const int64_t y[2] = {down.low, down.high}, x[2] = {across.low, across.high};
    for (int tap = 0; tap < 4; ++tap) {
      const A weight = b[tap / 2] * a[tap % 2];
      if (weight != A(0)) lane[(y[tap / 2] * width + x[tap % 2]) * L] += weight * grad;
    }
  }

  template <class A>
  ROIKIT_INLINE static void spread(const MaxPlan<A>& plan, int64_t k, int64_t width, int lanes,
                                   const Scratch<A>& scratch) {
    constexpr int L = lanes_of<A>;
    const RoiSamples<A> roi = plan.roi(k);
    const A* grads = scratch.values;
    const Place<A>* places = scratch.places;
    for (int64_t bin = 0; bin < plan.bins(); ++bin, grads += L, places += L) {
      const BinSamples y = roi.y[bin / plan.columns()], x = roi.x[bin % plan.columns()];
      const AxisSample<A>* const down = roi.samples + y.first;
      const AxisSample<A>* const across = roi.samples + x.first;
      if (y.count * x.count <= kFew) {
        for (int64_t i = 0; i < y.count; ++i)
          for (int64_t j = 0; j < x.count; ++j)
            add_to_all<A>(down[i], across[j], grads, places, Place<A>(i * x.count + j), width, scratch.tile);
        continue;
      }
      for (int l = 0; l < lanes; ++l) {
        const int64_t at = int64_t(places[l]), i = at / x.count;
        if (at >= 0 && i < y.count) add_to_one(down[i], across[at - i * x.count], grads[l], width, scratch.tile + l);
      }
    }
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t blocks, int64_t begin, int64_t end, Scratch<A> scratch) {
    const MaxPlan<A>& plan = *job->plan;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / blocks, first = item % blocks * lanes_of<A>;
      const int lanes = int(std::min<int64_t>(job->maps.channels - first, lanes_of<A>));
      for (size_t level = 0; level < job->maps.count(); ++level) {
        const auto to = job->maps.planes(image, level, first, lanes);
        const ColumnSpan* const spans = plan.spans(image, level);
        if (!spans) {
          to.clear(0, to.plane());
          continue;
        }
        clear_tile(spans, to.height, to.width, scratch.tile);
        for (const int64_t* k = plan.begin(image, level); k != plan.end(image, level); ++k) {
          lanes_from_bins(static_cast<const S*>(job->bins + *k * job->maps.channels * plan.bins()), job->maps.channels,
                          plan.bins(), first, lanes, job->bins_last, scratch.values);
          scratch.places_from(*job, *k, first, lanes);
          spread(plan, *k, to.width, lanes, scratch);
        }
        to.from_tile(spans, static_cast<const A*>(scratch.tile));
      }
    }
  }
};

// fn(scratch), a thread's own.
template <class S, class A, class Fn>
void with_scratch(const Job<S, A>& job, const Fn& fn) {
  constexpr int64_t L = lanes_of<A>;
  const int64_t pixels = job.maps.largest();
  const LaneScratch<A> tile(pixels * L), slots(2 * job.plan->widest() * L), values(job.plan->bins() * L);
  const LaneScratch<Place<A>> places(job.plan->bins() * L);
  fn(Scratch<A>{tile.data(), slots.data(), values.data(), places.data()});
}

// fn(job), in the dtype of the maps.
template <class Fn>
void with_job(const char* op, const RoiAlignLevels& maps, bool channels_last, const View& boxes, const View& bins,
              const View& argmax, bool given, const RoiAlignRule& rule, const Fn& fn) {
  visit<float, double, Half, BFloat16>(bins.dtype, op, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const MaxPlan<A> plan(maps, boxes, bins, rule);
    fn(Job<S, A>{&plan, {&maps, channels_last, bins.shape[1]}, bins.as<S>(),
                 argmax.size() > 0 ? argmax.as<int32_t>() : nullptr, given, !bins.contiguous()});
  });
}

}  // namespace

void roi_align_max(const RoiAlignLevels& features, const View& boxes, const View& output, const View& argmax,
                   bool given, const RoiAlignRule& rule, const Launch& launch) {
  const bool channels_last = check_roi_align_max("roi_align", features, boxes, output, argmax, given, rule);
  check_batch_index("roi_align", boxes, features.maps[0].shape[0]);
  if (output.size() == 0) return;
  with_job("roi_align", features, channels_last, boxes, output, argmax, given, rule, [&](const auto& job) {
    will_fill(job.bins, output.size() * int64_t(sizeof(*job.bins)), launch);
    if (job.argmax && !given) will_fill(job.argmax, argmax.size() * int64_t(sizeof(int32_t)), launch);
    const std::vector<int64_t> busy = job.plan->busy_images();
    const int64_t items = int64_t(busy.size()) * job.blocks();
    const int64_t work = (job.plan->work() + boxes.shape[0] * job.plan->bins()) / int64_t(busy.size());
    parallel_for(items, 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      with_scratch(job, [&](const auto& scratch) {
        vary_lanes<Forward>(launch.simd, &job, busy.data(), job.blocks(), begin, end, scratch);
      });
    });
  });
}

void roi_align_max_backward(const View& grad, const View& argmax, const View& boxes, const RoiAlignLevels& gradients,
                            const RoiAlignRule& rule, const Launch& launch) {
  constexpr const char* kOp = "roi_align_backward";
  const bool channels_last = check_roi_align_max(kOp, gradients, boxes, grad, argmax, true, rule);
  const int64_t images = gradients.maps[0].shape[0];
  check_batch_index("roi_align", boxes, images);
  with_job(kOp, gradients, channels_last, boxes, grad, argmax, true, rule, [&](const auto& job) {
    for (const View& map : gradients.maps) will_fill(map.data, map.size() * int64_t(sizeof(*job.bins)), launch);
    const int64_t work = 2 * job.plan->work() + grad.shape[0] * job.plan->bins() + images * job.maps.pixels();
    const int64_t grain = 200000 / (work / std::max<int64_t>(images, 1) + 1) + 1;
    parallel_for(images * job.blocks(), grain, launch, [&](int64_t begin, int64_t end) {
      with_scratch(job, [&](const auto& scratch) {
        vary_lanes<Backward>(launch.simd, &job, job.blocks(), begin, end, scratch);
      });
    });
  });
}

}  // namespace roikit::cpu
