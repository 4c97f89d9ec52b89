// opname on the CPU. Forward the boxes are shared among threads, which read the map as it is.
// Backward is partitioned by output: one thread adds up a plane of the gradient, over its boxes in order.
#include "core/opname.h"

#include <algorithm>
#include <vector>

#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"

namespace roikit::cpu {
namespace {

// The samples of every box, rows then columns, and the boxes of every image.
template <class A>
struct Plan {
  int64_t rows, columns;
  std::vector<int64_t> images;
  Groups groups{{}, 0};
  std::vector<OpnameTaps<A>> taps;

  template <class T>
  Plan(const char* op, const View& maps, const T* box, int64_t boxes, T scale, int64_t rows, int64_t columns)
      : rows(rows), columns(columns), images(boxes) {
    taps.reserve(boxes * (rows + columns));
    for (int64_t k = 0; k < boxes; ++k) {
      const T* b = box + 5 * k;
      images[k] = image_of(op, box, k, maps.shape[0]);
      for (int64_t p = 0; p < rows; ++p)
        taps.push_back(OpnameTaps<A>::of(b[2], b[4], scale, rows, p, maps.shape[2]));
      for (int64_t p = 0; p < columns; ++p)
        taps.push_back(OpnameTaps<A>::of(b[1], b[3], scale, columns, p, maps.shape[3]));
    }
    groups = Groups(images, maps.shape[0]);
  }

  const OpnameTaps<A>* y(int64_t k) const { return taps.data() + k * (rows + columns); }
  const OpnameTaps<A>* x(int64_t k) const { return y(k) + rows; }
};

// Calls fn(TypeTag<F>, plan): F is the dtype of the maps.
template <class Fn>
void with_plan(const char* op, const View& maps, const View& boxes, double spatial_scale, const View& bins,
               const Fn& fn) {
  visit<float, double, Half, BFloat16>(maps.dtype, op, [&](auto feature) {
    visit<float, double>(boxes.dtype, op, [&](auto box) {
      using T = typename decltype(box)::type;
      using A = accumulate_t<typename decltype(feature)::type>;
      fn(feature, Plan<A>(op, maps, boxes.as<T>(), boxes.shape[0], T(spatial_scale), bins.shape[2], bins.shape[3]));
    });
  });
}

constexpr int64_t kWork = 1 << 17;  // samples a thread

}  // namespace

void opname(const View& input, const View& boxes, double spatial_scale, const View& output,
            const Launch& launch) {
  check_opname("opname", input, boxes, output);
  const int64_t channels = input.shape[1], width = input.shape[3], plane = input.shape[2] * width;
  with_plan("opname", input, boxes, spatial_scale, output, [&](auto feature, const auto& plan) {
    using F = typename decltype(feature)::type;
    if (output.size() == 0) return;
    const F* const maps = input.as<F>();
    F* const to = output.as<F>();
    const int64_t bins = plan.rows * plan.columns;
    will_fill(to, output.size() * int64_t(sizeof(F)), launch);
    parallel_for(boxes.shape[0], kWork / (channels * bins) + 1, launch, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k)
        for (int64_t c = 0; c < channels; ++c) {
          const F* const from = maps + (plan.images[k] * channels + c) * plane;
          F* const out = to + (k * channels + c) * bins;
          for (int64_t i = 0; i < bins; ++i)
            store(out[i],
                  opname_value(from, width, plan.y(k)[i / plan.columns], plan.x(k)[i % plan.columns]));
        }
    });
  });
}

void opname_backward(const View& grad, const View& boxes, double spatial_scale, const View& gradient,
                     const Launch& launch) {
  check_opname("opname_backward", gradient, boxes, grad);
  const int64_t channels = gradient.shape[1], width = gradient.shape[3], plane = gradient.shape[2] * width;
  with_plan("opname", gradient, boxes, spatial_scale, grad, [&](auto feature, const auto& plan) {
    using F = typename decltype(feature)::type;
    using A = accumulate_t<F>;
    if (gradient.size() == 0) return;
    const F* const from = grad.as<F>();
    F* const to = gradient.as<F>();
    const int64_t bins = plan.rows * plan.columns, planes = gradient.shape[0] * channels;
    const int64_t work = grad.size() / planes + plane / 8 + 1;
    will_fill(to, gradient.size() * int64_t(sizeof(F)), launch);
    parallel_for(planes, kWork / work + 1, launch, [&](int64_t begin, int64_t end) {
      std::vector<A> sums(plane);
      for (int64_t m = begin; m < end; ++m) {
        const int64_t image = m / channels, c = m % channels;
        std::fill(sums.begin(), sums.end(), A(0));
        for (int64_t n = plan.groups.begin[image]; n < plan.groups.begin[image + 1]; ++n) {
          const int64_t k = plan.groups.rows[n];
          for (int64_t i = 0; i < bins; ++i)
            opname_shares(width, plan.y(k)[i / plan.columns], plan.x(k)[i % plan.columns],
                          A(load(from[(k * channels + c) * bins + i])),
                          [&](int64_t at, A share) { sums[at] += share; });
        }
        for (int64_t i = 0; i < plane; ++i) store(to[m * plane + i], sums[i]);
      }
    });
  });
}

}  // namespace roikit::cpu
