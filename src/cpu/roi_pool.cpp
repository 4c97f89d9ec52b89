// RoIPool forward on the CPU, walked as RoIAlign is: planes come into a tile of vector lanes once per image and block of
// channels, channels_last maps are read as they lie. Half is widened, which changes no comparison and no winner.
#include "core/roi_pool.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "cpu/lanes.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/rois.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

// The bins of every RoI in pixels, and the RoIs of every image.
class Plan {
 public:
  Plan(const View& input, const View& boxes, double spatial_scale, int64_t rows, int64_t columns)
      : bins_(rows + columns), groups_({}, 0) {
    visit<float, double>(boxes.dtype, "roi_pool", [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* box = boxes.as<T>();
      images_.resize(boxes.shape[0]);
      ranges_.resize(boxes.shape[0] * bins_);
      for (int64_t k = 0; k < boxes.shape[0]; ++k, box += 5) {
        images_[k] = image_of("roi_pool", boxes.as<T>(), k, input.shape[0]);
        if (!finite_corners(box)) continue;
        const auto y = PoolAxis<T>::of(box[2], box[4], T(spatial_scale), rows);
        const auto x = PoolAxis<T>::of(box[1], box[3], T(spatial_scale), columns);
        PixelRange* range = ranges_.data() + k * bins_;
        int64_t height = 0, width = 0;
        for (int64_t p = 0; p < rows; ++p, ++range) {
          *range = y.range(p, input.shape[2]);
          height += range->end - range->begin;
        }
        for (int64_t p = 0; p < columns; ++p, ++range) {
          *range = x.range(p, input.shape[3]);
          width += range->end - range->begin;
        }
        work_ += height * width;
      }
    });
    groups_ = Groups(images_, input.shape[0]);
  }

  const int64_t* begin(int64_t image) const { return groups_.rows.data() + groups_.begin[image]; }
  const int64_t* end(int64_t image) const { return groups_.rows.data() + groups_.begin[image + 1]; }
  const PixelRange* ranges(int64_t k) const { return ranges_.data() + k * bins_; }  // rows, then columns
  int64_t image(int64_t k) const { return images_[k]; }
  const std::vector<int64_t>& all_rows() const { return groups_.rows; }
  int64_t work() const { return work_; }  // pixels that all bins look at

 private:
  int64_t bins_, work_ = 0;
  Groups groups_;
  std::vector<int64_t> images_;
  std::vector<PixelRange> ranges_;
};

template <class S, class A>
struct Job {
  const Plan* plan;
  const S* input;
  S* output;
  int32_t* argmax;  // null where it is not wanted
  bool channels_last;
  int64_t channels, height, width, rows, columns;
};

// The best so far in each lane, and its pixel.
template <class A, int Bytes>
struct Best {
  using R = Register<A, Bytes>;
  using I = typename R::indices;
  using Index = std::remove_reference_t<decltype(std::declval<I>()[0])>;
  static constexpr int kRegisters = kLaneBytes / Bytes;
  Pack<A, Bytes> value;
  I at[kRegisters];

  ROIKIT_INLINE static Best none() {
    Best best;
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) {
      best.value.r[i] = typename R::values{} - std::numeric_limits<A>::infinity();
      best.at[i] = I{} - Index(1);
    }
    return best;
  }

  ROIKIT_INLINE void meet(const Pack<A, Bytes>& x, Index pixel) {
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) {
      const I wins = x.r[i] > value.r[i];
      value.r[i] = wins ? x.r[i] : value.r[i];
      at[i] = wins ? I{} + pixel : at[i];
    }
  }

  ROIKIT_INLINE void meet(const Best& x) {
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) {
      const I wins = x.value.r[i] > value.r[i];
      value.r[i] = wins ? x.value.r[i] : value.r[i];
      at[i] = wins ? x.at[i] : at[i];
    }
  }

  ROIKIT_INLINE void store(A* values, int32_t* pixels) const {
    alignas(kLaneBytes) Index wide[lanes_of<A>];
    Pack<A, Bytes> shown;
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) {
      shown.r[i] = at[i] < I{} ? typename R::values{} : value.r[i];
      std::memcpy(wide + i * (Bytes / int(sizeof(A))), &at[i], Bytes);
    }
    shown.store(values);
    for (int l = 0; l < lanes_of<A>; ++l) pixels[l] = int32_t(wide[l]);
  }
};

// One RoI for B packs of channels: map with pixels `pixel` apart; values and pixels: bins x B packs.
template <int Bytes, int B, class S, class A>
ROIKIT_INLINE void pool_roi(const S* map, int64_t width, int64_t pixel, const PixelRange* ranges, int64_t rows,
                            int64_t columns, A* values, int32_t* pixels) {
  using Bin = Best<A, Bytes>;
  constexpr int L = lanes_of<A>;
  for (int64_t ph = 0; ph < rows; ++ph) {
    const PixelRange y = ranges[ph];
    for (int64_t pw = 0; pw < columns; ++pw, values += B * L, pixels += B * L) {
      const PixelRange x = ranges[rows + pw];
      Bin best[B];
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) best[b] = Bin::none();
      for (int64_t i = y.begin; i < y.end; ++i) {
        // The best of a row by itself: the rows' comparisons do not wait for one another.
        Bin row[B];
#pragma GCC unroll 4
        for (int b = 0; b < B; ++b) row[b] = Bin::none();
        for (int64_t j = x.begin; j < x.end; ++j) {
          const S* at = map + (i * width + j) * pixel;
#pragma GCC unroll 4
          for (int b = 0; b < B; ++b)
            row[b].meet(load_lanes<A, Bytes>(at + b * L), typename Bin::Index(i * width + j));
        }
#pragma GCC unroll 4
        for (int b = 0; b < B; ++b) best[b].meet(row[b]);
      }
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) best[b].store(values + b * L, pixels + b * L);
    }
  }
}

// Items are (image, block of channels). tile: a map in lanes; values and pixels: bins x lanes.
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, const int64_t* images, int64_t blocks, int64_t begin,
                                int64_t end, A* tile, A* values, int32_t* pixels) {
    constexpr int L = lanes_of<A>;
    const int64_t channels = job->channels, width = job->width, plane = job->height * width;
    const int64_t bins = job->rows * job->columns;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = images[item / blocks], c0 = item % blocks * L;
      const int lanes = int(channels - c0 < L ? channels - c0 : L);
      const S* map = job->input + image * channels * plane;
      if (job->channels_last)
        lanes_from_pixels(map + c0, channels, plane, lanes, tile);
      else
        lanes_from_planes(map + c0 * plane, plane, plane, lanes, tile);
      for (const int64_t* k = job->plan->begin(image); k != job->plan->end(image); ++k) {
        pool_roi<Bytes, 1>(static_cast<const A*>(tile), width, int64_t(L), job->plan->ranges(*k), job->rows,
                           job->columns, values, pixels);
        const int64_t to = *k * channels * bins + c0 * (job->channels_last ? 1 : bins);
        if (job->channels_last) {
          pixels_from_lanes(values, bins, lanes, job->output + to, channels);
          for (int64_t i = 0; job->argmax && i < bins; ++i)
            std::copy(pixels + i * L, pixels + i * L + lanes, job->argmax + to + i * channels);
        } else {
          planes_from_lanes(values, bins, lanes, job->output + to, bins);
          if (job->argmax) planes_from_rows(pixels, int64_t(L), bins, lanes, job->argmax + to, bins);
        }
      }
    }
  }
};

// Items are RoIs.
template <int Bytes>
struct Pixels {
  template <int B, class S, class A>
  ROIKIT_INLINE static void block(int64_t c0, const Job<S, A>* job, int64_t k, A* values, int32_t* pixels) {
    constexpr int L = lanes_of<A>;
    const int64_t channels = job->channels, bins = job->rows * job->columns, to = k * channels * bins + c0;
    pool_roi<Bytes, B>(job->input + job->plan->image(k) * channels * job->height * job->width + c0, job->width,
                       channels, job->plan->ranges(k), job->rows, job->columns, values, pixels);
    pixels_from_packs<Bytes, B>(static_cast<const A*>(values), bins, job->output + to, channels);
    for (int64_t i = 0; job->argmax && i < bins; ++i)
      std::memcpy(job->argmax + to + i * channels, pixels + i * B * L, B * L * sizeof(int32_t));
  }

  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t begin, int64_t end, A* values, int32_t* pixels) {
    for (int64_t n = begin; n < end; ++n)
      each_packs<Pixels, A>(job->channels, job, job->plan->all_rows()[n], values, pixels);
  }
};

template <class S>
void forward(const View& input, const View& boxes, double spatial_scale, const View& output, const View& argmax,
             bool channels_last, const Launch& launch) {
  using A = accumulate_t<S>;
  constexpr int64_t L = lanes_of<A>;
  const int64_t channels = output.shape[1], rows = output.shape[2], columns = output.shape[3], count = output.shape[0];
  const int64_t plane = input.shape[2] * input.shape[3], blocks = (channels + L - 1) / L;
  const Plan plan(input, boxes, spatial_scale, rows, columns);
  const Job<S, A> job{&plan, input.as<S>(), output.as<S>(), argmax.size() ? argmax.as<int32_t>() : nullptr,
                      channels_last, channels, input.shape[2], input.shape[3], rows, columns};
  will_fill(output.data, output.size() * int64_t(sizeof(S)), launch);
  will_fill(argmax.data, argmax.size() * int64_t(sizeof(int32_t)), launch);
  const int64_t work = plan.work() + count * rows * columns;
  if (channels_last && channels >= L) {
    parallel_for(count, 200000 / (work * blocks / count + 1) + 1, launch, [&](int64_t begin, int64_t end) {
        const LaneScratch<A> values(rows * columns * kPacks * L);
      const LaneScratch<int32_t> pixels(rows * columns * kPacks * L);
      vary_lanes<Pixels>(launch.simd, &job, begin, end, values.data(), pixels.data());
    });
    return;
  }
  std::vector<int64_t> images;
  for (int64_t image = 0; image < input.shape[0]; ++image)
    if (plan.begin(image) != plan.end(image)) images.push_back(image);
  const int64_t per_image = work / int64_t(images.size()) + plane;
  parallel_for(int64_t(images.size()) * blocks, 200000 / per_image + 1, launch,
               [&](int64_t begin, int64_t end) {
                 const LaneScratch<A> tile(plane * L), values(rows * columns * L);
                 const LaneScratch<int32_t> pixels(rows * columns * L);
                 vary_lanes<Tiles>(launch.simd, &job, images.data(), blocks, begin, end, tile.data(), values.data(),
                                   pixels.data());
               });
}

}  // namespace

void roi_pool(const View& input, const View& boxes, double spatial_scale, const View& output, const View& argmax,
              const Launch& launch) {
  const bool channels_last = check_roi_pool(input, boxes, output, argmax);
  check_batch_index("roi_pool", boxes, input.shape[0]);
  if (output.size() == 0) return;
  visit<float, double, Half, BFloat16>(input.dtype, "roi_pool", [&](auto tag) {
    forward<typename decltype(tag)::type>(input, boxes, spatial_scale, output, argmax, channels_last, launch);
  });
}

}  // namespace roikit::cpu
