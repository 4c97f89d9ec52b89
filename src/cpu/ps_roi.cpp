// Position-sensitive pooling on the CPU, forward and backward, walked bin by bin: the bins (ph, pw) of all RoIs read the
// same few planes, which stay in the cache, and up to four of their channels share a RoI's list of pixels. Backward is
// partitioned by output: one thread adds up a plane, over the RoIs in order.
#include "core/ps_roi.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"
#include "cpu/simd.h"
#include "cpu/taps.h"

namespace roikit::cpu {
namespace {

constexpr int kTogether = 4;  // channels that share a list of pixels

// The pixels of every bin of every RoI along one axis. RoIs stand in the order of their images, and the lists of one bin
// one after another, as they are read.
template <class A>
struct AxisLists {
  std::vector<Tap<A>> taps;
  std::vector<int64_t> begin;  // [bin * rois + n], and one more
  std::vector<A> count;        // [bin * rois + n]

  template <bool align, class T, class B>
  AxisLists(TypeTag<T>, std::bool_constant<align>, const B* corners, const std::vector<int64_t>& order, T scale,
            int64_t bins, int64_t extent, int64_t sampling_ratio) {
    const size_t lists = order.size() * size_t(bins);
    begin.reserve(lists + 1), count.reserve(lists), taps.reserve(3 * lists);
    begin.push_back(0);
    for (int64_t bin = 0; bin < bins; ++bin)
      for (const int64_t k : order) {
        PsBin<T, align> walk{T(corners[5 * k]), T(corners[5 * k + 2]), scale, bins, bin, extent, sampling_ratio};
        count.push_back(A(walk.count()));
        for (Tap<A> tap; walk.next(tap.at, tap.weight);) taps.push_back(tap);
        begin.push_back(int64_t(taps.size()));
      }
  }

  // The lists of a bin, beginning with that of the n-th RoI.
  struct Bin {
    const Tap<A>* taps;
    const int64_t* begin;
    const A* count;
  };
  Bin bin(int64_t p, int64_t n, int64_t rois) const {
    return {taps.data(), begin.data() + p * rois + n, count.data() + p * rois + n};
  }
};

// S: stored type, A: accumulate type. Bins: the output, or its gradient. Maps: the input, or its gradient.
template <class S, class A>
struct Job {
  using Accumulate = A;
  static constexpr bool kInPlace = std::is_same_v<S, A>;  // sums need no array of their own
  const AxisLists<A>* y;
  const AxisLists<A>* x;
  const Groups* groups;
  const S* source;
  S* result;
  int64_t channels, rows, columns, height, width;  // channels: of the output

  int64_t bins() const { return rows * columns; }
  int64_t plane() const { return height * width; }
  int64_t rois() const { return int64_t(groups->rows.size()); }
};

// One item: some channels, 1 to kTogether of them, of one bin in one image. Items are counted by image, block of channels,
// row and column of bins.
struct Item {
  int64_t image, first, channels, ph, pw;

  template <class J>
  ROIKIT_INLINE static Item at(const J& job, int64_t image, int64_t blocks, int64_t i) {
    const int64_t pw = i % job.columns, ph = i / job.columns % job.rows, block = i / job.bins() % blocks;
    const int64_t first = job.channels * block / blocks, end = job.channels * (block + 1) / blocks;
    return {image, first, end - first, ph, pw};
  }
};

// The RoIs of one image in bin (ph, pw) of N channels. planes: the first channel's map, the others `next` further each;
// values: the first channel's element of RoI 0, the others `bins` further.
template <int N, class S, class A>
ROIKIT_INLINE void pool_bin(const Job<S, A>& job, const Item& item, const S* planes, int64_t next, S* values) {
  const int64_t from = job.groups->begin[item.image], rois = job.groups->begin[item.image + 1] - from;
  const int64_t bins = job.bins(), stride = job.channels * bins;
  const int64_t* const row = job.groups->rows.data() + from;
  const auto y = job.y->bin(item.ph, from, job.rois()), x = job.x->bin(item.pw, from, job.rois());
  for (int64_t n = 0; n < rois; ++n) {
    A sum[N] = {};
    const Tap<A>* const right = x.taps + x.begin[n + 1];
    for (int64_t t = y.begin[n]; t < y.begin[n + 1]; ++t) {
      A line[N] = {};
      const S* const at = planes + int64_t(y.taps[t].at) * job.width;
      for (const Tap<A>* u = x.taps + x.begin[n]; u < right; ++u)
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) line[c] += u->weight * load(at[u->at + c * next]);
#pragma GCC unroll 4
      for (int c = 0; c < N; ++c) sum[c] += y.taps[t].weight * line[c];
    }
    const A count = y.count[n] * x.count[n];
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) store(values[row[n] * stride + c * bins], count > A(0) ? sum[c] / count : A(0));
  }
}

// Its transpose: adds to the planes.
template <int N, class S, class A>
ROIKIT_INLINE void spread_bin(const Job<S, A>& job, const Item& item, const S* values, A* planes, int64_t next) {
  const int64_t from = job.groups->begin[item.image], rois = job.groups->begin[item.image + 1] - from;
  const int64_t bins = job.bins(), stride = job.channels * bins;
  const int64_t* const row = job.groups->rows.data() + from;
  const auto y = job.y->bin(item.ph, from, job.rois()), x = job.x->bin(item.pw, from, job.rois());
  for (int64_t n = 0; n < rois; ++n) {
    const A count = y.count[n] * x.count[n];
    if (!(count > A(0))) continue;
    A grad[N];
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) grad[c] = load(values[row[n] * stride + c * bins]) / count;
    const Tap<A>* const right = x.taps + x.begin[n + 1];
    for (int64_t t = y.begin[n]; t < y.begin[n + 1]; ++t) {
      A line[N];
#pragma GCC unroll 4
      for (int c = 0; c < N; ++c) line[c] = y.taps[t].weight * grad[c];
      A* const at = planes + int64_t(y.taps[t].at) * job.width;
      for (const Tap<A>* u = x.taps + x.begin[n]; u < right; ++u)
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) at[u->at + c * next] += u->weight * line[c];
    }
  }
}

// fn(std::integral_constant<int, N>) for the N of 1 ... kTogether that is asked for.
template <class Fn>
ROIKIT_INLINE void with_channels(int64_t channels, const Fn& fn) {
  static_assert(kTogether == 4);
  if (channels == 4) fn(std::integral_constant<int, 4>());
  else if (channels == 3) fn(std::integral_constant<int, 3>());
  else if (channels == 2) fn(std::integral_constant<int, 2>());
  else fn(std::integral_constant<int, 1>());
}

struct Forward {
  template <class S, class A>
  static void run(const Job<S, A>& job, const int64_t* images, int64_t blocks, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Item item = Item::at(job, images[i / (job.bins() * blocks)], blocks, i);
      const int64_t value = item.first * job.bins() + item.ph * job.columns + item.pw;
      const S* const planes = job.source + (item.image * job.channels * job.bins() + value) * job.plane();
      with_channels(item.channels, [&](auto n) {
        pool_bin<decltype(n)::value>(job, item, planes, job.bins() * job.plane(), job.result + value);
      });
    }
  }
};

struct Backward {
  // sums: kTogether planes, where the gradient is narrower than A.
  template <class S, class A>
  static void run(const Job<S, A>& job, int64_t blocks, int64_t begin, int64_t end, A* sums) {
    const int64_t plane = job.plane();
    for (int64_t i = begin; i < end; ++i) {
      const Item item = Item::at(job, i / (job.bins() * blocks), blocks, i);
      const int64_t value = item.first * job.bins() + item.ph * job.columns + item.pw, next = job.bins() * plane;
      S* const planes = job.result + (item.image * job.channels * job.bins() + value) * plane;
      with_channels(item.channels, [&](auto n) {
        constexpr int N = decltype(n)::value;
        if constexpr (Job<S, A>::kInPlace) {
          for (int c = 0; c < N; ++c) std::memset(planes + c * next, 0, size_t(plane) * sizeof(S));
          spread_bin<N>(job, item, job.source + value, planes, next);
        } else {
          std::memset(sums, 0, size_t(N * plane) * sizeof(A));
          spread_bin<N>(job, item, job.source + value, sums, plane);
          for (int c = 0; c < N; ++c)
            for (int64_t p = 0; p < plane; ++p) store(planes[c * next + p], sums[c * plane + p]);
        }
      });
    }
  }
};

// Calls fn(job, loads), loads being those of one channel of all bins. maps and bins: one of them is the source, the
// other the result.
template <class Fn>
void with_job(const PsRule& rule, const View& maps, const View& boxes, const View& bins, double spatial_scale,
              const View& source, const View& result, const Launch& launch, const Fn& fn) {
  std::vector<int64_t> images(boxes.shape[0]);
  const auto in_types = [&](auto stored, auto of_boxes, auto align) {
    using S = typename decltype(stored)::type;
    using A = accumulate_t<S>;
    using B = typename decltype(of_boxes)::type;
    using T = ps_real_t<A, B, decltype(align)::value>;
    const B* const box = boxes.as<B>();
    for (int64_t k = 0; k < boxes.shape[0]; ++k) images[k] = image_of(rule.op(), box, k, maps.shape[0]);
    const Groups groups(images, maps.shape[0]);
    const AxisLists<A> y(TypeTag<T>(), align, box + 2, groups.rows, T(spatial_scale), bins.shape[2], maps.shape[2],
                         rule.sampling_ratio);
    const AxisLists<A> x(TypeTag<T>(), align, box + 1, groups.rows, T(spatial_scale), bins.shape[3], maps.shape[3],
                         rule.sampling_ratio);
    const Job<S, A> job{&y, &x, &groups, source.as<S>(), result.as<S>(), bins.shape[1], bins.shape[2], bins.shape[3],
                        maps.shape[2], maps.shape[3]};
    const int64_t rois = std::max<int64_t>(boxes.shape[0], 1);
    fn(job, int64_t(y.taps.size()) * (int64_t(x.taps.size()) / rois + 1) + 8 * rois * job.bins());
  };
  visit<float, double, Half, BFloat16>(maps.dtype, rule.op(), [&](auto stored) {
    will_fill(result.data, result.size() * int64_t(sizeof(typename decltype(stored)::type)), launch);
    visit<float, double>(boxes.dtype, rule.op(), [&](auto of_boxes) {
      if (rule.align) in_types(stored, of_boxes, std::true_type());
      else in_types(stored, of_boxes, std::false_type());
    });
  });
}

int64_t blocks_of(int64_t channels) { return (channels + kTogether - 1) / kTogether; }

}  // namespace

void ps_roi(const View& input, const View& boxes, double spatial_scale, bool align, int64_t sampling_ratio,
            const View& output, const Launch& launch) {
  const PsRule rule{align, sampling_ratio};
  check_ps_roi(rule.op(), input, boxes, output);
  check_batch_index(rule.op(), boxes, input.shape[0]);
  if (output.size() == 0) return;
  with_job(rule, input, boxes, output, spatial_scale, input, output, launch, [&](const auto& job, int64_t loads) {
    std::vector<int64_t> images;
    for (int64_t i = 0; i < input.shape[0]; ++i)
      if (job.groups->begin[i] < job.groups->begin[i + 1]) images.push_back(i);
    const int64_t blocks = blocks_of(job.channels), items = int64_t(images.size()) * blocks * job.bins();
    parallel_for(items, 200000 / (loads * job.channels / items + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      Forward::run(job, images.data(), blocks, begin, end);
    });
  });
}

void ps_roi_backward(const View& grad, const View& boxes, double spatial_scale, bool align, int64_t sampling_ratio,
                     const View& gradient, const Launch& launch) {
  const PsRule rule{align, sampling_ratio};
  check_ps_roi(rule.op(), gradient, boxes, grad);
  check_batch_index(rule.op(), boxes, gradient.shape[0]);
  if (gradient.size() == 0) return;
  with_job(rule, gradient, boxes, grad, spatial_scale, grad, gradient, launch, [&](const auto& job, int64_t loads) {
    using J = std::decay_t<decltype(job)>;
    using A = typename J::Accumulate;
    const int64_t blocks = blocks_of(job.channels), items = gradient.shape[0] * blocks * job.bins();
    const int64_t work = 2 * loads * job.channels / items + job.plane() / 2;
    parallel_for(items, 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> sums(J::kInPlace ? 0 : kTogether * job.plane());
      Backward::run(job, blocks, begin, end, sums.data());
    });
  });
}

}  // namespace roikit::cpu
