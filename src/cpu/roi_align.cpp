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

// Everything that the walks read. S: stored type, A: accumulate type.
template <class S, class A>
struct Job {
  const RoiAlignPlan<A>* plan;
  const RoiAlignLevels* features;
  bool channels_last;
  int64_t channels, rows, columns;
  S* output;

  const S* map(int64_t level, int64_t image) const {
    const View& v = features->maps[level];
    return v.as<S>() + image * v.shape[1] * v.shape[2] * v.shape[3];
  }
};

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
  ROIKIT_INLINE static void run(const Job<S, A>* job, const int64_t* images, int64_t blocks, int64_t begin,
                                int64_t end, A* tile, A* slots, A* out) {
    constexpr int L = lanes_of<A>;
    const auto& plan = *job->plan;
    const int64_t channels = job->channels, bins = job->rows * job->columns;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = images[item / blocks], c0 = item % blocks * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      for (size_t level = 0; level < job->features->maps.size(); ++level) {
        const ColumnSpan* spans = plan.spans(image, level);
        const int64_t height = job->features->maps[level].shape[2], width = job->features->maps[level].shape[3];
        const ChannelBlock<const S> from(job->map(level, image), channels, height, width, c0, lanes,
                                         job->channels_last);
        if (spans) from.to_tile(spans, tile);  // no RoI touches a pixel where there is none
        for (const int64_t* k = plan.begin(image, level); k != plan.end(image, level); ++k) {
          align_roi<Bytes, 1>(static_cast<const A*>(tile), width * L, int64_t(L), plan.taps(*k), job->rows,
                              job->columns, slots, out);
          bins_from_lanes(static_cast<const A*>(out), channels, bins, c0, lanes, job->channels_last,
                          job->output + *k * channels * bins);
        }
      }
    }
  }
};

// Items are RoIs; at least one whole pack of channels, the last one drawn back to end with the channels.
template <int Bytes>
struct Pixels {
  static constexpr int kPacks = 4;

  template <int B, class S, class A>
  ROIKIT_INLINE static void block(const Job<S, A>* job, int64_t k, int64_t c0, A* slots, A* out) {
    constexpr int L = lanes_of<A>;
    const int64_t level = job->plan->level(k), bins = job->rows * job->columns;
    align_roi<Bytes, B>(job->map(level, job->plan->image(k)) + c0, job->features->maps[level].shape[3] * job->channels,
                        job->channels, job->plan->taps(k), job->rows, job->columns, slots, out);
    S* to = job->output + k * job->channels * bins + c0;
    for (int64_t i = 0; i < bins; ++i)
      for (int b = 0; b < B; ++b)
        store_lanes(Pack<A, Bytes>::load(out + (i * B + b) * L), to + i * job->channels + b * L);
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t begin, int64_t end, A* slots, A* out) {
    constexpr int L = lanes_of<A>;
    const int64_t channels = job->channels;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = job->plan->all_rows()[i];
      int64_t c = 0;
      for (; c + kPacks * L <= channels; c += kPacks * L) block<kPacks>(job, k, c, slots, out);
      for (; c < channels; c += L) block<1>(job, k, c + L <= channels ? c : channels - L, slots, out);
    }
  }
};

template <class S>
void forward(const RoiAlignLevels& features, const View& boxes, const View& output, const RoiAlignRule& rule,
             bool channels_last, const Launch& launch) {
  using A = accumulate_t<S>;
  constexpr int64_t L = lanes_of<A>;
  const RoiAlignPlan<A> plan(features, boxes, output, rule);
  const int64_t channels = output.shape[1], rows = output.shape[2], columns = output.shape[3];
  const Job<S, A> job{&plan, &features, channels_last, channels, rows, columns, output.as<S>()};
  will_fill(output.data, output.size() * int64_t(sizeof(S)), launch);
  const int64_t blocks = (channels + L - 1) / L, work = plan.work() + boxes.shape[0] * rows * columns;
  if (channels_last && channels >= L) {
    const int64_t count = boxes.shape[0], grain = 200000 / (work * blocks / count + 1) + 1;
    constexpr int64_t kPacks = Pixels<16>::kPacks;
    parallel_for(count, grain, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> slots(2 * columns * kPacks * L), out(rows * columns * kPacks * L);
      vary_lanes<Pixels>(launch.simd, &job, begin, end, slots.data(), out.data());
    });
    return;
  }
  std::vector<int64_t> images;
  for (int64_t image = 0; image < features.maps[0].shape[0]; ++image)
    if (!plan.empty(image)) images.push_back(image);
  int64_t pixels = 0;
  for (const View& map : features.maps) pixels = std::max(pixels, map.shape[2] * map.shape[3]);
  const int64_t items = int64_t(images.size()) * blocks, grain = 200000 * int64_t(images.size()) / (work + 1) + 1;
  parallel_for(items, grain, launch, [&](int64_t begin, int64_t end) {
    const LaneScratch<A> tile(pixels * L), slots(2 * columns * L), out(rows * columns * L);
    vary_lanes<Tiles>(launch.simd, &job, images.data(), blocks, begin, end, tile.data(), slots.data(), out.data());
  });
}

}  // namespace

void roi_align(const RoiAlignLevels& features, const View& boxes, const View& output, const RoiAlignRule& rule,
               const Launch& launch) {
  const bool channels_last = check_roi_align(features, boxes, output);
  require(output.contiguous() || channels_last, "roi_align: output must be laid out as the features are");
  require(output.channels_last() || !channels_last, "roi_align: output must be laid out as the features are");
  if (output.size() == 0) {
    check_batch_index("roi_align", boxes, features.maps[0].shape[0]);
    return;
  }
  visit<float, double, Half, BFloat16>(output.dtype, "roi_align", [&](auto tag) {
    forward<typename decltype(tag)::type>(features, boxes, output, rule, channels_last, launch);
  });
}

}  // namespace roikit::cpu
