// RoIAlign backward on the CPU, partitioned by output: one thread adds up an image's block of channels in a tile of
// the accumulate type, over the RoIs in order, and writes it once. So neither threads nor SIMD level change a bit.
#include "core/roi_align.h"

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/roi_align_plan.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// line[x] += sum of taps * sums for one row.
template <int Bytes, class A>
ROIKIT_INLINE void spread_row(const A* sums, const RoiTaps<A>& roi, int64_t columns, A* line) {
  for (int64_t pw = 0; pw < columns; ++pw)
    add_to_taps<Bytes>(roi.taps, roi.x[pw], roi.x[pw + 1], Pack<A, Bytes>::load(sums + pw * lanes_of<A>), line);
}

// The transpose of the forward pass: vertical sums of a row's bins are gathered in one of two slots, and spread
// along the row when the slot is needed for another.
template <int Bytes, class A>
ROIKIT_INLINE void spread_roi(const A* grad, const RoiTaps<A>& roi, int64_t rows, int64_t columns, int64_t row,
                              A* slots, A* tile) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  int64_t held[2] = {-1, -1};
  for (int64_t ph = 0; ph < rows; ++ph, grad += columns * L) {
    for (int64_t t = roi.y[ph]; t < roi.y[ph + 1]; ++t) {
      const int64_t y = roi.taps[t].at;
      const A weight = roi.taps[t].weight;
      A* sums = slots + (y & 1) * columns * L;
      const bool fresh = held[y & 1] != y;
      if (fresh) {
        if (held[y & 1] >= 0) spread_row<Bytes>(static_cast<const A*>(sums), roi, columns, tile + held[y & 1] * row);
        held[y & 1] = y;
      }
      for (int64_t i = 0; i < columns; ++i) {
        P sum = fresh ? P::zero() : P::load(sums + i * L);
        sum.add_product(weight, P::load(grad + i * L));
        sum.store(sums + i * L);
      }
    }
  }
  for (int slot = 0; slot < 2; ++slot)
    if (held[slot] >= 0)
      spread_row<Bytes>(static_cast<const A*>(slots + slot * columns * L), roi, columns, tile + held[slot] * row);
}

// Items are (image, block of channels). tile: the largest map in lanes; slots: 2 x columns; bins: rows x columns.
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const RoiAlignJob<S, A>* job, int64_t blocks, int64_t begin, int64_t end, A* tile,
                                A* slots, A* bins) {
    constexpr int L = lanes_of<A>;
    const auto& plan = *job->plan;
    const int64_t channels = job->maps.channels, count = plan.bins();
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / blocks, c0 = item % blocks * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      for (size_t level = 0; level < job->maps.count(); ++level) {
        const auto to = job->maps.planes(image, level, c0, lanes);
        const ColumnSpan* spans = plan.spans(image, level);
        if (!spans) {
          to.clear(0, to.plane());
          continue;
        }
        clear_tile(spans, to.height, to.width, tile);
        for (const int64_t* k = plan.begin(image, level); k != plan.end(image, level); ++k) {
          lanes_from_bins(static_cast<const S*>(job->bins) + *k * channels * count, channels, count, c0, lanes,
                          job->bins_last, bins);
          spread_roi<Bytes>(static_cast<const A*>(bins), plan.taps(*k), plan.rows(), plan.columns(), to.width * L,
                            slots, tile);
        }
        to.from_tile(spans, static_cast<const A*>(tile));
      }
    }
  }
};

}  // namespace

void roi_align_backward(const View& grad, const View& boxes, const RoiAlignLevels& gradients, const RoiAlignRule& rule,
                        const Launch& launch) {
  const bool channels_last = check_roi_align_grad("roi_align_backward", gradients, boxes, grad);
  with_roi_align_job("roi_align_backward", gradients, channels_last, boxes, grad, rule, [&](const auto& job) {
    using A = typename std::decay_t<decltype(job)>::Accumulate;
    constexpr int64_t L = lanes_of<A>;
    for (const View& map : gradients.maps) will_fill(map.data, map.size() * int64_t(sizeof(*job.bins)), launch);
    const int64_t images = gradients.maps[0].shape[0], bins = job.plan->bins(), all = job.maps.pixels();
    const int64_t work = (2 * job.plan->work() + grad.shape[0] * bins) / std::max<int64_t>(images, 1) + all;
    parallel_for(images * job.blocks(), 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> tile(job.maps.largest() * L), slots(2 * job.plan->columns() * L), values(bins * L);
      vary_lanes<Tiles>(launch.simd, &job, job.blocks(), begin, end, tile.data(), slots.data(), values.data());
    });
  });
}

}  // namespace roikit::cpu
