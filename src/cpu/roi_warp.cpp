// RoIWarp on the CPU, plane by plane: all RoIs of an image read one channel, or add to it in order.
#include "core/roi_warp.h"

#include <cstring>
#include <type_traits>
#include <vector>

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"

namespace roikit::cpu {
namespace {

// The cells of every RoI, rows then columns, and the RoIs of every image.
template <class A>
struct Plan {
  int64_t rows, columns;
  Groups groups{{}, 0};
  std::vector<WarpCell<A>> cells;

  Plan(const char* op, const View& maps, const View& boxes, double spatial_scale, int64_t rows, int64_t columns)
      : rows(rows), columns(columns) {
    visit<float, double>(boxes.dtype, op, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* box = boxes.as<T>();
      const T scale = T(spatial_scale);
      std::vector<int64_t> images(boxes.shape[0]);
      cells.reserve(boxes.shape[0] * 2 * (rows + columns));
      for (int64_t k = 0; k < boxes.shape[0]; ++k, box += 5) {
        images[k] = image_of(op, boxes.as<T>(), k, maps.shape[0]);
        for (int64_t i = 0; i < 2 * rows; ++i)
          cells.push_back(WarpCell<A>::of(box[2], box[4], scale, rows, i, maps.shape[2]));
        for (int64_t i = 0; i < 2 * columns; ++i)
          cells.push_back(WarpCell<A>::of(box[1], box[3], scale, columns, i, maps.shape[3]));
      }
      groups = Groups(images, maps.shape[0]);
    });
  }

  // fn(element of the bins, y cells, x cells) for every bin of the image's RoIs, in order.
  template <class Fn>
  void each_bin(int64_t image, int64_t channel, int64_t channels, Fn fn) const {
    for (int64_t n = groups.begin[image]; n < groups.begin[image + 1]; ++n) {
      const int64_t k = groups.rows[n];
      const WarpCell<A>* const y = cells.data() + k * 2 * (rows + columns);
      int64_t to = (k * channels + channel) * rows * columns;
      for (int64_t ph = 0; ph < rows; ++ph)
        for (int64_t pw = 0; pw < columns; ++pw) fn(to++, y + 2 * ph, y + 2 * (rows + pw));
    }
  }

  // Planes worth a thread of their own.
  int64_t grain(int64_t images, int64_t plane) const {
    return 50000 / (int64_t(cells.size()) * rows / 2 / (images > 0 ? images : 1) + plane / 8 + 1) + 1;
  }
};

}  // namespace

void roi_warp(const View& input, const View& boxes, double spatial_scale, WarpReduce reduce, const View& output,
              const View& argmax, const Launch& launch) {
  const bool places = check_roi_warp(input, boxes, output, argmax);
  require(places == (reduce != WarpReduce::mean) || output.size() == 0, "roi_warp: argmax is there but for the mean");
  check_batch_index("roi_warp", boxes, input.shape[0]);
  if (output.size() == 0) return;
  visit<float, double, Half, BFloat16>(input.dtype, "roi_warp", [&](auto tag) {
    using S = typename decltype(tag)::type;
    const Plan<accumulate_t<S>> plan("roi_warp", input, boxes, spatial_scale, output.shape[2], output.shape[3]);
    const int64_t channels = input.shape[1], width = input.shape[3], plane = input.shape[2] * width;
    const S* const maps = input.as<S>();
    S* const values = output.as<S>();
    int8_t* const winners = places ? argmax.as<int8_t>() : nullptr;
    will_fill(output.data, output.size() * int64_t(sizeof(S)), launch);
    parallel_for(input.shape[0] * channels, plan.grain(input.shape[0], 0), launch, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        plan.each_bin(i / channels, i % channels, channels, [&](int64_t to, const auto* y, const auto* x) {
          int8_t at = reduce == WarpReduce::given ? winners[to] : int8_t(-1);
          store(values[to], warp_bin(maps + i * plane, width, y, x, reduce, at));
          if (reduce == WarpReduce::max) winners[to] = at;
        });
    });
  });
}

void roi_warp_backward(const View& grad, const View& argmax, const View& boxes, double spatial_scale,
                       const View& gradient, const Launch& launch) {
  const bool mean = !check_roi_warp(gradient, boxes, grad, argmax);
  check_batch_index("roi_warp", boxes, gradient.shape[0]);
  if (gradient.size() == 0) return;
  visit<float, double, Half, BFloat16>(grad.dtype, "roi_warp_backward", [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const Plan<A> plan("roi_warp", gradient, boxes, spatial_scale, grad.shape[2], grad.shape[3]);
    const int64_t channels = gradient.shape[1], width = gradient.shape[3], plane = gradient.shape[2] * width;
    const S* const grads = grad.as<S>();
    const int8_t* const winners = mean ? nullptr : argmax.as<int8_t>();
    S* const maps = gradient.as<S>();
    will_fill(gradient.data, gradient.size() * int64_t(sizeof(S)), launch);
    constexpr bool kWide = std::is_same_v<S, A>;
    parallel_for(gradient.shape[0] * channels, plan.grain(gradient.shape[0], plane), launch,
                 [&](int64_t begin, int64_t end) {
      const LaneScratch<A> scratch(kWide ? 0 : plane);
      for (int64_t i = begin; i < end; ++i) {
        S* const map = maps + i * plane;
        A* sums = scratch.data();
        if constexpr (kWide) sums = map;
        std::memset(sums, 0, size_t(plane) * sizeof(A));
        plan.each_bin(i / channels, i % channels, channels, [&](int64_t from, const auto* y, const auto* x) {
          warp_winners(y, x, mean, mean ? int8_t(0) : winners[from], [&](const auto& down, const auto& across, A part) {
            const A share = part * load(grads[from]);
            for (int a = 0; a < 2; ++a)
              for (int b = 0; b < 2; ++b)
                sums[down.pixel[a] * width + across.pixel[b]] += (down.weight[a] * across.weight[b]) * share;
          });
        });
        if constexpr (!kWide)
          for (int64_t p = 0; p < plane; ++p) store(map[p], sums[p]);
      }
    });
  });
}

}  // namespace roikit::cpu
