// RoIAlign forward on the CPU. Planes are brought into lanes once per image and block of channels, in a tile that
// one thread owns, and all RoIs of the image are read from it; channels_last maps are read as they lie.
#include "core/roi_align.h"

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/roi_align_plan.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// One RoI for B packs of channels. map: S with pixels `pixel` and rows `row` apart; slots: 2 x columns x B packs,
// where the horizontal sums of the last two rows are kept, since neighbouring bins share rows; out: bins x B packs.
template <int Bytes, int B, class S, class A>
ROIKIT_INLINE void align_roi(const S* map, int64_t row, int64_t pixel, const RoiTaps<A>& roi, int64_t rows,
                             int64_t columns, A* slots, A* out) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  const Tap<A>* ROIKIT_RESTRICT taps = roi.taps;
  int64_t held[2] = {-1, -1};
  for (int64_t ph = 0; ph < rows; ++ph, out += columns * B * L) {
    if (roi.y[ph] == roi.y[ph + 1]) std::memset(out, 0, size_t(columns) * B * kLaneBytes);
    for (int64_t t = roi.y[ph]; t < roi.y[ph + 1]; ++t) {
      const int64_t y = taps[t].at;
      A* sums = slots + (y & 1) * columns * B * L;
      if (held[y & 1] != y) {
        held[y & 1] = y;
        const S* line = map + y * row;
        for (int64_t pw = 0; pw < columns; ++pw) {
          P sum[B];
#pragma GCC unroll 4
          for (int b = 0; b < B; ++b) sum[b] = P::zero();
          for (int64_t u = roi.x[pw]; u < roi.x[pw + 1]; ++u) {
            const S* at = line + int64_t(taps[u].at) * pixel;
            const A weight = taps[u].weight;
#pragma GCC unroll 4
            for (int b = 0; b < B; ++b) sum[b].add_product(weight, load_lanes<A, Bytes>(at + b * L));
          }
#pragma GCC unroll 4
          for (int b = 0; b < B; ++b) sum[b].store(sums + (pw * B + b) * L);
        }
      }
      const A weight = taps[t].weight;
      const bool first = t == roi.y[ph];
      for (int64_t i = 0; i < columns * B; ++i) {
        P sum = first ? P::zero() : P::load(out + i * L);
        sum.add_product(weight, P::load(sums + i * L));
        sum.store(out + i * L);
      }
    }
  }
}

// Items are (image, block of channels). tile: the largest map in lanes; slots and out: see align_roi.
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const RoiAlignJob<S, A>* job, const int64_t* images, int64_t blocks, int64_t begin,
                                int64_t end, A* tile, A* slots, A* out) {
    constexpr int L = lanes_of<A>;
    const auto& plan = *job->plan;
    const int64_t channels = job->maps.channels, rows = plan.rows(), columns = plan.columns();
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = images[item / blocks], c0 = item % blocks * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      for (size_t level = 0; level < job->maps.count(); ++level) {
        const auto from = job->maps.planes(image, level, c0, lanes);
        const ColumnSpan* spans = plan.spans(image, level);
        if (spans) from.to_tile(spans, tile);  // no RoI touches a pixel where there is none
        for (const int64_t* k = plan.begin(image, level); k != plan.end(image, level); ++k) {
          align_roi<Bytes, 1>(static_cast<const A*>(tile), from.width * L, int64_t(L), plan.taps(*k), rows, columns,
                              slots, out);
          bins_from_lanes(static_cast<const A*>(out), channels, rows * columns, c0, lanes, job->bins_last,
                          job->bins + *k * channels * rows * columns);
        }
      }
    }
  }
};

// Items are RoIs.
template <int Bytes>
struct Pixels {
  template <int B, class S, class A>
  ROIKIT_INLINE static void block(int64_t c0, const RoiAlignJob<S, A>* job, int64_t k, A* slots, A* out) {
    const int64_t channels = job->maps.channels, level = job->plan->level(k), bins = job->plan->bins();
    align_roi<Bytes, B>(static_cast<const S*>(job->maps.map(job->plan->image(k), level)) + c0,
                        job->maps.levels->maps[level].shape[3] * channels, channels, job->plan->taps(k),
                        job->plan->rows(), job->plan->columns(), slots, out);
    pixels_from_packs<Bytes, B>(static_cast<const A*>(out), bins, job->bins + k * channels * bins + c0, channels);
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const RoiAlignJob<S, A>* job, int64_t begin, int64_t end, A* slots, A* out) {
    for (int64_t i = begin; i < end; ++i)
      each_packs<Pixels, A>(job->maps.channels, job, job->plan->all_rows()[i], slots, out);
  }
};

template <class S, class A>
void forward(const RoiAlignJob<S, A>& job, int64_t count, const Launch& launch) {
  constexpr int64_t L = lanes_of<A>;
  const int64_t bins = job.plan->bins(), columns = job.plan->columns(), blocks = job.blocks();
  const int64_t work = job.plan->work() + count * bins;
  if (job.maps.channels_last && job.maps.channels >= L) {
    parallel_for(count, 200000 / (work * blocks / count + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> slots(2 * columns * kPacks * L), out(bins * kPacks * L);
      vary_lanes<Pixels>(launch.simd, &job, begin, end, slots.data(), out.data());
    });
    return;
  }
  const std::vector<int64_t> images = job.plan->busy_images();
  const int64_t pixels = job.maps.largest();
  const int64_t items = int64_t(images.size()) * blocks, grain = 200000 * int64_t(images.size()) / (work + 1) + 1;
  parallel_for(items, grain, launch, [&](int64_t begin, int64_t end) {
    const LaneScratch<A> tile(pixels * L), slots(2 * columns * L), out(bins * L);
    vary_lanes<Tiles>(launch.simd, &job, images.data(), blocks, begin, end, tile.data(), slots.data(), out.data());
  });
}

}  // namespace

void roi_align(const RoiAlignLevels& features, const View& boxes, const View& output, const RoiAlignRule& rule,
               const Launch& launch) {
  const bool channels_last = check_roi_align_output(features, boxes, output);
  if (output.size() == 0) {
    check_batch_index("roi_align", boxes, features.maps[0].shape[0]);
    return;
  }
  with_roi_align_job("roi_align", features, channels_last, boxes, output, rule, [&](const auto& job) {
    will_fill(job.bins, output.size() * int64_t(sizeof(*job.bins)), launch);
    forward(job, boxes.shape[0], launch);
  });
}

}  // namespace roikit::cpu
