// RoIWarp on the CPU, with channels in vector lanes: a block of planes lies in a tile that one thread owns, and all the
// image's RoIs read it, or add to it in order. Lanes never meet, so neither threads nor SIMD level change a bit.
#include "core/roi_warp.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"
#include "cpu/simd.h"
#include "cpu/spans.h"

namespace roikit::cpu {
namespace {

// The cells of every RoI, rows then columns; of every image its RoIs, and the pixels that they touch.
template <class A>
struct Plan {
  int64_t rows, columns, height;
  Groups groups{{}, 0};
  std::vector<WarpCell<A>> cells;
  std::vector<ColumnSpan> touched;  // of each row of each image

  Plan(const View& maps, const View& boxes, double spatial_scale, int64_t rows, int64_t columns)
      : rows(rows), columns(columns), height(maps.shape[2]), touched(maps.shape[0] * maps.shape[2]) {
    visit<float, double>(boxes.dtype, "roi_warp", [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* box = boxes.as<T>();
      const T scale = T(spatial_scale);
      std::vector<int64_t> images(boxes.shape[0]);
      cells.reserve(boxes.shape[0] * 2 * (rows + columns));
      for (int64_t k = 0; k < boxes.shape[0]; ++k, box += 5) {
        images[k] = image_of("roi_warp", boxes.as<T>(), k, maps.shape[0]);
        for (int64_t i = 0; i < 2 * rows; ++i)
          cells.push_back(WarpCell<A>::of(box[2], box[4], scale, rows, i, height));
        for (int64_t i = 0; i < 2 * columns; ++i)
          cells.push_back(WarpCell<A>::of(box[1], box[3], scale, columns, i, maps.shape[3]));
        touch(k, images[k]);
      }
      groups = Groups(images, maps.shape[0]);
    });
  }

  const WarpCell<A>* y(int64_t k) const { return cells.data() + k * 2 * (rows + columns); }
  const WarpCell<A>* x(int64_t k) const { return y(k) + 2 * rows; }
  const ColumnSpan* spans(int64_t image) const { return touched.data() + image * height; }
  bool empty(int64_t image) const { return groups.begin[image] == groups.begin[image + 1]; }

  // Blocks worth a thread of their own, where the RoIs are those of so many images: a cell takes about 4 ns.
  int64_t grain(int64_t images, int64_t plane) const {
    return 200000 / (int64_t(groups.rows.size()) * rows * columns * 16 / images + plane + 1) + 1;
  }

 private:
  void touch(int64_t k, int64_t image) {
    int32_t left = std::numeric_limits<int32_t>::max(), right = -1;
    for (const WarpCell<A>* cell = x(k); cell < x(k) + 2 * columns; ++cell)
      if (cell->inside) left = std::min(left, cell->pixel[0]), right = std::max(right, cell->pixel[1]);
    if (right < 0) return;
    for (const WarpCell<A>* cell = y(k); cell < y(k) + 2 * rows; ++cell)
      for (int i = 0; cell->inside && i < 2; ++i) touched[image * height + cell->pixel[i]].include(left, right);
  }
};

// Maps: the input, or its gradient. Bins: the output, or its gradient.
template <class S, class A>
struct Job {
  using Accumulate = A;
  const Plan<A>* plan;
  S* maps;
  S* bins;
  int8_t* argmax;  // null for the mean
  WarpReduce reduce;
  int64_t channels, height, width;

  // The channels of an item: image, first channel and how many.
  struct Block {
    int64_t image, first;
    int lanes;
  };
  ROIKIT_INLINE Block block(int64_t image, int64_t block) const {
    const int64_t first = block * lanes_of<A>;
    return {image, first, int(std::min<int64_t>(channels - first, lanes_of<A>))};
  }
  ROIKIT_INLINE ChannelBlock<S> planes(const Block& b) const {
    return {maps + b.image * channels * height * width, channels, height, width, b.first, b.lanes, false};
  }
  int64_t blocks() const { return (channels + lanes_of<A> - 1) / lanes_of<A>; }  // of an image
  ROIKIT_INLINE int64_t count() const { return plan->rows * plan->columns; }
};

// Scratch of a thread. tile: a map in lanes; slots: see Lines; values and places: the bins of a RoI, in lanes; turned:
// the places plane by plane. A place is kept as a value of type A: all levels have comparisons of these.
template <class A>
struct Scratch {
  A* tile;
  A* slots;
  A* values;
  A* places;
  A* turned;

  template <class J>
  ROIKIT_INLINE void places_from(const J& job, const int8_t* argmax, int lanes) const {
    const int64_t bins = job.count();
    for (int64_t i = 0; i < bins * lanes; ++i) turned[i] = A(argmax[i]);
    transpose(turned, bins, int64_t(lanes), bins, places, int64_t(lanes_of<A>));
  }

  template <class J>
  ROIKIT_INLINE void places_to(const J& job, int8_t* argmax, int lanes) const {
    const int64_t bins = job.count();
    transpose(places, int64_t(lanes_of<A>), bins, int64_t(lanes), turned, bins);
    for (int64_t i = 0; i < bins * lanes; ++i) argmax[i] = int8_t(turned[i]);
  }
};

// The horizontal sums of rows of a tile at all cells of a RoI, made once a row, since neighbouring cells share rows.
// slots: five times as many packs as cells. Four hold the rows that came last, one of which gives way to a new row. A
// bin's rows are among them: they come in order down the map, and each cell has two neighbours, so that after a bin's
// first row at most three are new. The fifth slot is 0, for cells outside.
template <int Bytes, class A>
struct Lines {
  static constexpr int L = lanes_of<A>;
  const A* tile;
  int64_t row;
  const WarpCell<A>* x;
  int64_t cells;
  A* slots;
  int64_t held[4] = {-1, -1, -1, -1}, next = 0;

  ROIKIT_INLINE Lines(const A* tile, int64_t width, const WarpCell<A>* x, int64_t cells, A* slots)
      : tile(tile), row(width * L), x(x), cells(cells), slots(slots) {
    std::memset(slots + 4 * cells * L, 0, size_t(cells) * kLaneBytes);
  }

  ROIKIT_INLINE const A* zero() const { return slots + 4 * cells * L; }

  ROIKIT_INLINE const A* at(int64_t y) {
    for (int slot = 0; slot < 4; ++slot)
      if (held[slot] == y) return slots + slot * cells * L;
    const int64_t slot = next++ % 4;
    held[slot] = y;
    A* const sums = slots + slot * cells * L;
    const A* const line = tile + y * row;
    for (int64_t i = 0; i < cells; ++i) {
      const WarpCell<A>& cell = x[i];
      const A* const left = line + cell.pixel[0] * int64_t(L);
      const A* const right = line + cell.pixel[1] * int64_t(L);
      Pack<A, Bytes> sum = Pack<A, Bytes>::zero();
      if (cell.inside) {
        const auto a = Pack<A, Bytes>::load(left), b = Pack<A, Bytes>::load(right);
#pragma GCC unroll 4
        for (int r = 0; r < a.kRegisters; ++r) sum.r[r] = a.r[r] * cell.weight[0] + b.r[r] * cell.weight[1];
      }
      sum.store(sums + i * L);
    }
    return sums;
  }
};

// A row of bins from the horizontal sums of the upper and lower row of pixels of its two rows of cells.
template <WarpReduce reduce, int Bytes, class A>
ROIKIT_INLINE void reduce_row(const A* const (&lines)[2][2], const WarpCell<A>* y, int64_t columns, A* values,
                              A* places) {
  using Values = typename Register<A, Bytes>::values;
  using Anywhere = const typename Register<A, Bytes>::anywhere;
  constexpr int L = lanes_of<A>, kStep = Bytes / int(sizeof(A));
  const A weight[2][2] = {{y[0].weight[0], y[0].weight[1]}, {y[1].weight[0], y[1].weight[1]}};
  const A* const line[2][2] = {{lines[0][0], lines[0][1]}, {lines[1][0], lines[1][1]}};
  for (int64_t at = 0; at < columns * L; at += kStep) {
    const int64_t left = at + at / L * L;
    Values best{}, place{};
    if (reduce == WarpReduce::max) best -= std::numeric_limits<A>::infinity(), place -= A(1);
    if (reduce == WarpReduce::given) std::memcpy(&place, places + at, Bytes);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Values upper = *reinterpret_cast<Anywhere*>(line[i / 2][0] + left + i % 2 * L);
      const Values lower = *reinterpret_cast<Anywhere*>(line[i / 2][1] + left + i % 2 * L);
      const Values value = upper * weight[i / 2][0] + lower * weight[i / 2][1];
      if (reduce == WarpReduce::mean) {
        best = i == 0 ? value : best + value;
      } else if (reduce == WarpReduce::given) {
        best = place == A(i) ? value : best;
      } else {
        const auto wins = value > best;
        best = wins ? value : best;
        place = wins ? Values{} + A(i) : place;
      }
    }
    if (reduce == WarpReduce::mean) best *= A(0.25);
    if (reduce == WarpReduce::max) {
      best = place < Values{} ? Values{} : best;
      std::memcpy(places + at, &place, Bytes);
    }
    std::memcpy(values + at, &best, Bytes);
  }
}

// Items are (image with RoIs, block of channels).
template <int Bytes>
struct Forward {
  template <WarpReduce reduce, class A>
  ROIKIT_INLINE static void warp(const Plan<A>& plan, int64_t k, int64_t width, const Scratch<A>& scratch) {
    Lines<Bytes, A> sums(scratch.tile, width, plan.x(k), 2 * plan.columns, scratch.slots);
    const WarpCell<A>* y = plan.y(k);
    for (int64_t at = 0; at < plan.rows * plan.columns; at += plan.columns, y += 2) {
      const A* lines[2][2];
      for (int i = 0; i < 4; ++i)
        lines[i / 2][i % 2] = y[i / 2].inside ? sums.at(y[i / 2].pixel[i % 2]) : sums.zero();
      reduce_row<reduce, Bytes>(lines, y, plan.columns, scratch.values + at * lanes_of<A>,
                                scratch.places + at * lanes_of<A>);
    }
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, const int64_t* images, int64_t blocks, int64_t begin,
                                int64_t end, Scratch<A> scratch) {
    const Plan<A>& plan = *job->plan;
    for (int64_t item = begin; item < end; ++item) {
      const auto block = job->block(images[item / blocks], item % blocks);
      job->planes(block).to_tile(plan.spans(block.image), scratch.tile);
      for (int64_t n = plan.groups.begin[block.image]; n < plan.groups.begin[block.image + 1]; ++n) {
        const int64_t k = plan.groups.rows[n], to = (k * job->channels + block.first) * job->count();
        if (job->reduce == WarpReduce::mean) {
          warp<WarpReduce::mean>(plan, k, job->width, scratch);
        } else if (job->reduce == WarpReduce::given) {
          scratch.places_from(*job, job->argmax + to, block.lanes);
          warp<WarpReduce::given>(plan, k, job->width, scratch);
        } else {
          warp<WarpReduce::max>(plan, k, job->width, scratch);
          scratch.places_to(*job, job->argmax + to, block.lanes);
        }
        planes_from_lanes(static_cast<const A*>(scratch.values), job->count(), block.lanes, job->bins + to,
                          job->count());
      }
    }
  }
};

// Items are (image, block of channels). What a lane does not receive is 0, which changes no sum: none is ever -0. Lanes
// beyond the channels have any places, and gradients of 0.
template <int Bytes>
struct Backward {
  template <bool mean, class A>
  ROIKIT_INLINE static void spread(const Plan<A>& plan, int64_t k, int64_t width, const Scratch<A>& scratch) {
    using Values = typename Register<A, Bytes>::values;
    using Anywhere = typename Register<A, Bytes>::anywhere;
    constexpr int L = lanes_of<A>, kStep = Bytes / int(sizeof(A));
    const A* grads = scratch.values;
    const A* places = scratch.places;
    for (int64_t bin = 0; bin < plan.rows * plan.columns; ++bin, grads += L, places += L) {
      const WarpCell<A>* const y = plan.y(k) + 2 * (bin / plan.columns);
      const WarpCell<A>* const x = plan.x(k) + 2 * (bin % plan.columns);
      for (int i = 0; i < 4; ++i) {
        const WarpCell<A> down = y[i / 2], across = x[i % 2];  // copies: the sums below might alias them
        if (!(down.inside && across.inside)) continue;
        A* sums[4];
        A weight[4];
        for (int tap = 0; tap < 4; ++tap) {
          sums[tap] = scratch.tile + (down.pixel[tap / 2] * width + across.pixel[tap % 2]) * L;
          weight[tap] = down.weight[tap / 2] * across.weight[tap % 2];
        }
        for (int l = 0; l < L; l += kStep) {
          Values share, place;
          std::memcpy(&share, grads + l, Bytes);
          if (!mean) std::memcpy(&place, places + l, Bytes);
          share = mean ? share * A(0.25) : place == A(i) ? share : Values{};
#pragma GCC unroll 4
          for (int tap = 0; tap < 4; ++tap) *reinterpret_cast<Anywhere*>(sums[tap] + l) += weight[tap] * share;
        }
      }
    }
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t blocks, int64_t begin, int64_t end, Scratch<A> scratch) {
    const Plan<A>& plan = *job->plan;
    for (int64_t item = begin; item < end; ++item) {
      const auto block = job->block(item / blocks, item % blocks);
      const ColumnSpan* const spans = plan.spans(block.image);
      clear_tile(spans, job->height, job->width, scratch.tile);
      for (int64_t n = plan.groups.begin[block.image]; n < plan.groups.begin[block.image + 1]; ++n) {
        const int64_t k = plan.groups.rows[n], from = (k * job->channels + block.first) * job->count();
        lanes_from_planes(job->bins + from, job->count(), job->count(), block.lanes, scratch.values);
        if (job->reduce == WarpReduce::mean) {
          spread<true>(plan, k, job->width, scratch);
        } else {
          scratch.places_from(*job, job->argmax + from, block.lanes);
          spread<false>(plan, k, job->width, scratch);
        }
      }
      job->planes(block).from_tile(spans, static_cast<const A*>(scratch.tile));
    }
  }
};

// fn(scratch), a thread's own.
template <class J, class Fn>
void with_scratch(const J& job, const Fn& fn) {
  using A = typename J::Accumulate;
  constexpr int64_t L = lanes_of<A>;
  const LaneScratch<A> tile(job.height * job.width * L), slots(10 * job.plan->columns * L), values(job.count() * L);
  const LaneScratch<A> places(job.count() * L), turned(job.count() * L);
  fn(Scratch<A>{tile.data(), slots.data(), values.data(), places.data(), turned.data()});
}

// fn(job), in the dtype of the maps.
template <class Fn>
void with_job(const View& maps, const View& boxes, double spatial_scale, const View& bins, const View& argmax,
              WarpReduce reduce, const Fn& fn) {
  visit<float, double, Half, BFloat16>(maps.dtype, "roi_warp", [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const Plan<A> plan(maps, boxes, spatial_scale, bins.shape[2], bins.shape[3]);
    fn(Job<S, A>{&plan, maps.as<S>(), bins.as<S>(), reduce == WarpReduce::mean ? nullptr : argmax.as<int8_t>(), reduce,
                 maps.shape[1], maps.shape[2], maps.shape[3]});
  });
}

}  // namespace

void roi_warp(const View& input, const View& boxes, double spatial_scale, WarpReduce reduce, const View& output,
              const View& argmax, const Launch& launch) {
  check_roi_warp_output(input, boxes, reduce, output, argmax);
  check_batch_index("roi_warp", boxes, input.shape[0]);
  if (output.size() == 0) return;
  with_job(input, boxes, spatial_scale, output, argmax, reduce, [&](const auto& job) {
    will_fill(job.bins, output.size() * int64_t(sizeof(*job.bins)), launch);
    if (reduce == WarpReduce::max) will_fill(job.argmax, argmax.size(), launch);
    std::vector<int64_t> images;
    for (int64_t image = 0; image < input.shape[0]; ++image)
      if (!job.plan->empty(image)) images.push_back(image);
    const int64_t count = int64_t(images.size()), grain = job.plan->grain(count, 0);
    parallel_for(count * job.blocks(), grain, launch, [&](int64_t begin, int64_t end) {
      with_scratch(job, [&](const auto& scratch) {
        vary_lanes<Forward>(launch.simd, &job, images.data(), job.blocks(), begin, end, scratch);
      });
    });
  });
}

void roi_warp_backward(const View& grad, const View& argmax, const View& boxes, double spatial_scale,
                       const View& gradient, const Launch& launch) {
  const bool mean = !check_roi_warp("roi_warp_backward", gradient, boxes, grad, argmax);
  check_batch_index("roi_warp", boxes, gradient.shape[0]);
  if (gradient.size() == 0) return;
  with_job(gradient, boxes, spatial_scale, grad, argmax, mean ? WarpReduce::mean : WarpReduce::given,
           [&](const auto& job) {
    will_fill(job.maps, gradient.size() * int64_t(sizeof(*job.maps)), launch);
    const int64_t count = gradient.shape[0], grain = job.plan->grain(count, job.height * job.width);
    parallel_for(count * job.blocks(), grain, launch, [&](int64_t begin, int64_t end) {
      with_scratch(job, [&](const auto& scratch) {
        vary_lanes<Backward>(launch.simd, &job, job.blocks(), begin, end, scratch);
      });
    });
  });
}

}  // namespace roikit::cpu
