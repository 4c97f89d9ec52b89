// RoIAlign forward on the GPU, all levels in one launch. A block takes one RoI and a chunk of channels. It first brings
// the RoI's taps to shared memory, a bin to a thread; all channels use them.
//
// Contiguous maps: pixels that lie side by side are read side by side. The threads take (bin row, touched column) and
// add up the rows of the bin for four channels; then they take bins and add up the columns of these sums. channels_last
// maps: the threads take (bin, 16 bytes of channels) and do the same two sums in the same order, so that both formats
// have the same bits. A RoI with more taps than the tables hold is left to a second kernel that
// walks them one by one, in that order too; it is not launched where no RoI can be so large.
#include "core/roi_align.h"

#include "cuda/roi_align.cuh"

namespace roikit::cuda {
namespace {

constexpr int kSumBytes = 12 * 1024;  // with the tables 20 KB a block: the rest of an SM's memory caches the maps
constexpr int kChannels = 4;          // that a thread adds up at once

// The part of a map that a block reads, and of the output that it writes, from its first channel on.
template <class F>
struct Chunk {
  const F* map;
  F* output;
  int32_t channels;

  template <bool channels_last>
  __device__ static Chunk of(const AlignLevels& levels, const AlignShape& shape, const AlignPlace& place, int64_t k,
                             F* output) {
    const F* const map = static_cast<const F*>(levels.map[place.level]);
    return {map + place.map_offset<channels_last>(shape), output + place.bins_offset<channels_last>(shape, k),
            place.channels};
  }
};

// The columns of a map that a RoI touches: the whole run between the outermost where that is shorter than the list of
// taps, since neighbouring bins then share columns; else the taps as they come. In place, a tap's pixel becomes its
// number among the columns. Returns how many there are.
template <class A>
__device__ int32_t list_columns(const AlignShape& shape, AxisTaps<A>& taps, int32_t* pixels) {
  const int32_t width = taps.high - taps.low + 1, low = taps.low;
  const bool run = width <= taps.total;
  __syncthreads();
  for (int32_t p = int32_t(threadIdx.x); p < shape.columns; p += int32_t(blockDim.x)) {
    int32_t before = 0;
    if (!run)
      for (int32_t q = 0; q < p; ++q) before += taps.count[q];
    for (int32_t t = 0; t < taps.count[p]; ++t) {
      int32_t& at = taps.taps[p * taps.slots + t].at;
      if (!run) pixels[before + t] = at;
      at = run ? at - low : before + t;
    }
  }
  if (run)
    for (int32_t j = int32_t(threadIdx.x); j < width; j += int32_t(blockDim.x)) pixels[j] = low + j;
  __syncthreads();
  return run ? width : taps.total;
}

template <class F>
__device__ void sum_planes(const AlignShape& shape, const AxisTaps<accumulate_t<F>>& rows,
                           const AxisTaps<accumulate_t<F>>& columns, const int32_t* pixels, int32_t touched,
                           const Chunk<F>& chunk, int64_t plane, int64_t width, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  constexpr int32_t kSums = kSumBytes / int(sizeof(A));
  const int32_t bins = shape.rows * shape.columns;
  const int32_t rows_at_once = shape.rows < kSums / touched ? shape.rows : kSums / touched;
  int32_t at_once = kSums / (rows_at_once * touched);
  const int64_t outputs = rows_at_once * shape.columns;  // of a channel; with few columns touched they may be many
  while (at_once > 1 && at_once * outputs * outputs > UINT32_MAX) at_once /= 2;  // as by_part asks for
  if (at_once > kChannels) at_once -= at_once % kChannels;
  const SmallDivisor by_column{uint32_t(touched)}, by_pw{uint32_t(shape.columns)};
  for (int32_t row0 = 0; row0 < shape.rows; row0 += rows_at_once) {
    const int32_t n_rows = shape.rows - row0 < rows_at_once ? shape.rows - row0 : rows_at_once;
    const int32_t items = n_rows * touched, part = n_rows * shape.columns;
    const SmallDivisor by_item{uint32_t(items)}, by_part{uint32_t(part)};
    for (int32_t c0 = 0; c0 < chunk.channels; c0 += at_once) {
      const int32_t n = chunk.channels - c0 < at_once ? chunk.channels - c0 : at_once;
      const int32_t units = (n + kChannels - 1) / kChannels * items;
      for (int32_t unit = int32_t(threadIdx.x); unit < units; unit += int32_t(blockDim.x)) {
        const int32_t group = by_item.quotient(unit), item = unit - group * items;
        const int32_t row = by_column.quotient(item), c = group * kChannels, some = n - c;
        const F* const from = chunk.map + int64_t(c0 + c) * plane + pixels[item - row * touched];
        const Tap<A>* tap = rows.taps + (row0 + row) * rows.slots;
        A sum[kChannels] = {};
        for (const Tap<A>* const end = tap + rows.count[row0 + row]; tap < end; ++tap) {
          const F* const at = from + tap->at * width;
#pragma unroll
          for (int i = 0; i < kChannels; ++i)
            if (i < some) sum[i] = fused(tap->weight, load(at[i * plane]), sum[i]);
        }
#pragma unroll
        for (int i = 0; i < kChannels; ++i)
          if (i < some) sums[(c + i) * items + item] = sum[i];
      }
      __syncthreads();
      F* const to = chunk.output + int64_t(c0) * bins + row0 * shape.columns;
      for (int32_t i = int32_t(threadIdx.x); i < n * part; i += int32_t(blockDim.x)) {
        const int32_t c = by_part.quotient(i), bin = i - c * part, row = by_pw.quotient(bin);
        const int32_t pw = bin - row * shape.columns;
        const A* const line = sums + c * items + row * touched;
        const Tap<A>* tap = columns.taps + pw * columns.slots;
        A total = 0;
        for (const Tap<A>* const end = tap + columns.count[pw]; tap < end; ++tap)
          total = fused(tap->weight, line[tap->at], total);
        store(to[int64_t(c) * bins + bin], total);
      }
      __syncthreads();
    }
  }
}

// V: channels that are read and written at once.
template <int V, class F>
__device__ void sum_pixels(const AlignShape& shape, const AxisTaps<accumulate_t<F>>& rows,
                           const AxisTaps<accumulate_t<F>>& columns, const Chunk<F>& chunk, int64_t width) {
  using A = accumulate_t<F>;
  using P = Pack<F, V>;
  constexpr int kRows = 2;  // loads in flight
  const int32_t packs = chunk.channels / V, units = shape.rows * shape.columns * packs;
  const SmallDivisor by_pack{uint32_t(packs)}, by_pw{uint32_t(shape.columns)};
  for (int32_t unit = int32_t(threadIdx.x); unit < units; unit += int32_t(blockDim.x)) {
    const int32_t bin = by_pack.quotient(unit), c = (unit - bin * packs) * V;
    const int32_t ph = by_pw.quotient(bin), pw = bin - ph * shape.columns;
    const int32_t down = rows.count[ph], across = columns.count[pw];
    const Tap<A>* const y = rows.taps + ph * rows.slots;
    const Tap<A>* const x = columns.taps + pw * columns.slots;
    A total[V] = {};
    for (int32_t t = 0; t < across; ++t) {
      const F* const from = chunk.map + int64_t(x[t].at) * shape.channels + c;
      A sum[V] = {};
      for (int32_t r = 0; r < down; r += kRows) {
        P read[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i)
          if (r + i < down)
            read[i] = *reinterpret_cast<const P*>(from + y[r + i].at * width * shape.channels);
#pragma unroll
        for (int i = 0; i < kRows; ++i)
          if (r + i < down)
#pragma unroll
            for (int v = 0; v < V; ++v) sum[v] = fused(y[r + i].weight, load(read[i].v[v]), sum[v]);
      }
#pragma unroll
      for (int v = 0; v < V; ++v) total[v] = fused(x[t].weight, sum[v], total[v]);
    }
    P result;
#pragma unroll
    for (int v = 0; v < V; ++v) store(result.v[v], total[v]);
    *reinterpret_cast<P*>(chunk.output + int64_t(bin) * shape.channels + c) = result;
  }
}

template <class F>
__device__ void fill_zero(const AlignShape& shape, F* output, int32_t channels, bool channels_last) {
  const int64_t bins = int64_t(shape.rows) * shape.columns;
  for (int64_t i = threadIdx.x; i < bins * channels; i += blockDim.x)
    store(output[channels_last ? i / channels * shape.channels + i % channels : i], accumulate_t<F>(0));
}

// V: see sum_pixels; 0 for contiguous maps.
template <class F, int V>
__global__ void __launch_bounds__(kBlock, V > 1 ? 3 : 4)
    align(const __grid_constant__ AlignLevels levels, const __grid_constant__ AlignShape shape, F* output) {
  using A = accumulate_t<F>;
  __shared__ AxisTaps<A> rows, columns;
  for (int64_t k = blockIdx.x; k < shape.rois; k += gridDim.x) {
    const AlignPlace place = tabulate(levels, shape, k, rows, columns);
    const auto chunk = Chunk<F>::template of<(V > 0)>(levels, shape, place, k, output);
    if (place.fits && place.empty) {
      fill_zero(shape, chunk.output, chunk.channels, V > 0);
    } else if (place.fits) {
      if constexpr (V > 0) {
        sum_pixels<V>(shape, rows, columns, chunk, place.width);
      } else {
        __shared__ A sums[kSumBytes / sizeof(A)];
        __shared__ int32_t pixels[AxisTaps<A>::kTaps];
        const int32_t touched = list_columns(shape, columns, pixels);
        sum_planes(shape, rows, columns, pixels, touched, chunk, place.plane(), place.width, sums);
      }
    }
    __syncthreads();  // the tables are free for the next RoI
  }
}

// The RoIs that align leaves out. There may be any number of samples, but only those inside the map are visited.
template <class F, bool channels_last, class Walk, class T>
__device__ void walk_samples(const AlignShape& shape, const LargeRoi<T, accumulate_t<F>>& roi, const Chunk<F>& chunk) {
  using A = accumulate_t<F>;
  const int64_t pixel = channels_last ? shape.channels : 1, plane = channels_last ? 1 : roi.plane(), row = roi.width;
  const int64_t bins = int64_t(shape.rows) * shape.columns;
  for (int64_t i = threadIdx.x; i < bins * chunk.channels; i += blockDim.x) {
    const int64_t line = channels_last ? chunk.channels : bins, major = i / line, minor = i - major * line;
    const int64_t c = channels_last ? minor : major, bin = channels_last ? major : minor, ph = bin / shape.columns;
    const F* const from = chunk.map + c * plane;
    const Walk all_rows(roi.y, ph, roi.height);
    A total = 0;
    int32_t x, y;
    T across, down;
    for (Walk columns(roi.x, bin - ph * shape.columns, roi.width); columns.next(x, across);) {
      A sum = 0;
      for (Walk rows = all_rows; rows.next(y, down);)
        sum = fused(A(down / T(roi.y.grid)), load(from[(y * row + x) * pixel]), sum);
      total = fused(A(across / T(roi.x.grid)), sum, total);
    }
    store(chunk.output[channels_last ? bin * shape.channels + c : i], total);
  }
}

template <class F, bool channels_last>
__global__ void __launch_bounds__(kLargeBlock)
    align_large(const __grid_constant__ AlignLevels levels, const __grid_constant__ AlignShape shape, F* output) {
  using A = accumulate_t<F>;
  for (int64_t k = blockIdx.x; k < shape.rois; k += gridDim.x) {
    as_large<A>(levels, shape, k, [&](const auto& roi) {
      if (roi.fits) return;
      using T = decltype(roi.y.step);
      const auto chunk = Chunk<F>::template of<channels_last>(levels, shape, roi, k, output);
      if (shape.rule.integral)
        walk_samples<F, channels_last, IntegralWalk<T>>(shape, roi, chunk);
      else
        walk_samples<F, channels_last, TapWalk<T>>(shape, roi, chunk);
    });
  }
}

}  // namespace

void roi_align(const RoiAlignLevels& features, const View& boxes, const View& output, const RoiAlignRule& rule,
               const Launch& launch) {
  const bool channels_last = check_roi_align_output(features, boxes, output);
  const AlignLevels levels(features);
  const AlignShape shape(boxes, output, rule);
  if (output.size() == 0) return;
  const DeviceGuard guard(launch.device, "roi_align");
  visit<float, double, Half, BFloat16>(output.dtype, "roi_align", [&](auto tag) {
    using F = typename decltype(tag)::type;
    constexpr int kPack = 16 / int(sizeof(F));
    F* const to = output.as<F>();
    bool packs = shape.channels % kPack == 0 && aligned_to(to, 16);
    for (const View& map : features.maps) packs = packs && aligned_to(map.as<F>(), 16);
    const auto kernel = !channels_last ? align<F, 0> : packs ? align<F, kPack> : align<F, 1>;
    run("roi_align", launch, kernel, shape.grid(), kBlock, levels, shape, to);
    if (AxisTaps<accumulate_t<F>>::always_fit(shape)) return;
    const auto rest = channels_last ? align_large<F, true> : align_large<F, false>;
    run("roi_align", launch, rest, shape.large_grid(), kLargeBlock, levels, shape, to);
  });
}

}  // namespace roikit::cuda
