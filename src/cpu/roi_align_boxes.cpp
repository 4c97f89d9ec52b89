// The gradient of RoIAlign's integral rule with respect to the boxes, on the CPU. As the forward pass, planes are brought
// into lanes once per image and block of channels, and all RoIs of the image read that tile. A row's horizontal sums are
// made three times over, with the weights and with what these change by when either corner moves. What a block of
// channels gives to a RoI is kept apart and added up in the order of the blocks: threads change no bit.
#include "core/roi_align_integral.h"

#include "cpu/lanes.h"
#include "cpu/parallel.h"
#include "cpu/roi_align_plan.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// The slopes of all RoIs' taps, at the places that the plan has given the taps.
template <class A>
std::vector<CornerSlope<A>> slopes_of(const RoiAlignPlan<A>& plan, const View& boxes, const View& map, const View& bins,
                                      double spatial_scale, const RoiAlignRule& rule) {
  std::vector<CornerSlope<A>> slopes(plan.size());
  visit<float, double>(boxes.dtype, "roi_align_boxes_backward", [&](auto tag) {
    using B = typename decltype(tag)::type;
    using T = decltype(A() + B());
    for (int64_t k = 0; k < boxes.shape[0]; ++k) {
      const RoiTaps<A> roi = plan.taps(k);
      for (const bool down : {true, false}) {
        const B* const box = boxes.as<B>() + 5 * k;
        const int64_t count = bins.shape[down ? 2 : 3], extent = map.shape[down ? 2 : 3];
        const T scale = T(spatial_scale);
        const auto axis = SampleAxis<T>::of(T(box[down ? 2 : 1]), T(box[down ? 4 : 3]), scale, count, extent, rule);
        const int64_t* const begin = down ? roi.y : roi.x;
        for (int64_t bin = 0; bin < count; ++bin) {
          const auto edges = IntegralBin<T>::of(axis, bin);
          for (int64_t t = begin[bin]; t < begin[bin + 1]; ++t) {
            const int64_t pixel = roi.taps[t].at;
            const auto slope = edges.slope(pixel, edges.weight(pixel), bin, count, scale);
            slopes[t] = {A(slope.low), A(slope.high)};
          }
        }
      }
    }
  });
  return slopes;
}

template <class S, class A>
struct Job {
  const RoiAlignPlan<A>* plan;
  const CornerSlope<A>* slopes;
  const S* input;
  const S* grad;
  bool channels_last, grad_last;
  int64_t channels, height, width, rows, columns;
  A* parts;  // [block][RoI][x1, y1, x2, y2]
};

// One RoI: map in lanes, the gradients of its bins in lanes; slots: 2 x columns x 3 packs.
template <int Bytes, class A>
ROIKIT_INLINE void corners_of_roi(const A* map, int64_t row, const A* grad, const RoiTaps<A>& roi,
                                  const CornerSlope<A>* slopes, int64_t rows, int64_t columns, A* slots, A* to) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  const Tap<A>* ROIKIT_RESTRICT taps = roi.taps;
  P x1 = P::zero(), y1 = P::zero(), x2 = P::zero(), y2 = P::zero();
  int64_t held[2] = {-1, -1};
  for (int64_t ph = 0; ph < rows; ++ph, grad += columns * L) {
    for (int64_t t = roi.y[ph]; t < roi.y[ph + 1]; ++t) {
      const int64_t y = taps[t].at;
      A* const sums = slots + (y & 1) * columns * 3 * L;
      if (held[y & 1] != y) {
        held[y & 1] = y;
        const A* const line = map + y * row;
        for (int64_t pw = 0; pw < columns; ++pw) {
          P mean = P::zero(), low = P::zero(), high = P::zero();
          for (int64_t u = roi.x[pw]; u < roi.x[pw + 1]; ++u) {
            const P pixel = P::load(line + int64_t(taps[u].at) * L);
            mean.add_product(taps[u].weight, pixel);
            low.add_product(slopes[u].low, pixel);
            high.add_product(slopes[u].high, pixel);
          }
          mean.store(sums + 3 * pw * L), low.store(sums + (3 * pw + 1) * L), high.store(sums + (3 * pw + 2) * L);
        }
      }
      P mean = P::zero(), low = P::zero(), high = P::zero();
      for (int64_t pw = 0; pw < columns; ++pw) {
        const P g = P::load(grad + pw * L);
        mean.add_product(g, P::load(sums + 3 * pw * L));
        low.add_product(g, P::load(sums + (3 * pw + 1) * L));
        high.add_product(g, P::load(sums + (3 * pw + 2) * L));
      }
      x1.add_product(taps[t].weight, low);
      x2.add_product(taps[t].weight, high);
      y1.add_product(slopes[t].low, mean);
      y2.add_product(slopes[t].high, mean);
    }
  }
  const P all[4] = {x1, y1, x2, y2};
  for (int i = 0; i < 4; ++i) {
    alignas(kLaneBytes) A lane[L];
    all[i].store(lane);
    A sum = 0;
    for (int l = 0; l < L; ++l) sum += lane[l];
    to[i] = sum;
  }
}

// Items are (image, block of channels).
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t blocks, int64_t begin, int64_t end, A* tile, A* slots,
                                A* bins) {
    constexpr int L = lanes_of<A>;
    const auto& plan = *job->plan;
    const int64_t channels = job->channels, plane = job->height * job->width, count = job->rows * job->columns;
    const int64_t rois = int64_t(plan.all_rows().size());
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / blocks, block = item % blocks, c0 = block * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      const ColumnSpan* const spans = plan.spans(image, 0);
      const ChannelBlock<const S> from(job->input + image * channels * plane, channels, job->height, job->width, c0,
                                       lanes, job->channels_last);
      if (spans) from.to_tile(spans, tile);
      for (const int64_t* k = plan.begin(image, 0); k != plan.end(image, 0); ++k) {
        const RoiTaps<A> roi = plan.taps(*k);
        if (roi.y[0] == roi.y[job->rows] || roi.x[0] == roi.x[job->columns]) continue;
        lanes_from_bins(job->grad + *k * channels * count, channels, count, c0, lanes, job->grad_last, bins);
        corners_of_roi<Bytes>(static_cast<const A*>(tile), job->width * L, static_cast<const A*>(bins), roi, job->slopes,
                              job->rows, job->columns, slots, job->parts + (block * rois + *k) * 4);
      }
    }
  }
};

template <class S>
void backward(const View& grad, const View& input, const View& boxes, double spatial_scale, bool aligned,
              bool channels_last, const View& gradient, const Launch& launch) {
  using A = accumulate_t<S>;
  constexpr int64_t L = lanes_of<A>;
  const RoiAlignRule rule{-1, aligned, true};
  const RoiAlignPlan<A> plan({{input}, {spatial_scale}, {}}, boxes, grad, rule);
  const auto slopes = slopes_of<A>(plan, boxes, input, grad, spatial_scale, rule);
  const int64_t rois = boxes.shape[0], images = input.shape[0], channels = input.shape[1];
  const int64_t rows = grad.shape[2], columns = grad.shape[3], blocks = (channels + L - 1) / L;
  std::vector<A> parts(blocks * rois * 4, A(0));
  const Job<S, A> job{&plan, slopes.data(), input.as<S>(), grad.as<S>(), channels_last, !grad.contiguous(), channels,
                      input.shape[2], input.shape[3], rows, columns, parts.data()};
  const int64_t pixels = input.shape[2] * input.shape[3];
  const int64_t work = (3 * plan.work() + rois * rows * columns) / std::max<int64_t>(images, 1);
  parallel_for(images * blocks, 200000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
    const LaneScratch<A> tile(pixels * L), slots(2 * columns * 3 * L), bins(rows * columns * L);
    vary_lanes<Tiles>(launch.simd, &job, blocks, begin, end, tile.data(), slots.data(), bins.data());
  });
  visit<float, double>(boxes.dtype, "roi_align_boxes_backward", [&](auto tag) {
    using B = typename decltype(tag)::type;
    B* const to = gradient.as<B>();
    for (int64_t k = 0; k < rois; ++k) {
      A sum[4] = {};
      for (int64_t block = 0; block < blocks; ++block)
        for (int i = 0; i < 4; ++i) sum[i] += parts[(block * rois + k) * 4 + i];
      to[5 * k] = B(0);
      for (int i = 0; i < 4; ++i) to[5 * k + 1 + i] = B(sum[i]);
    }
  });
}

}  // namespace

void roi_align_boxes_backward(const View& grad, const View& input, const View& boxes, double spatial_scale,
                              bool aligned, const View& gradient, const Launch& launch) {
  const bool channels_last = check_roi_align_boxes(grad, input, boxes, gradient);
  visit<float, double, Half, BFloat16>(grad.dtype, "roi_align_boxes_backward", [&](auto tag) {
    backward<typename decltype(tag)::type>(grad, input, boxes, spatial_scale, aligned, channels_last, gradient, launch);
  });
}

}  // namespace roikit::cpu
