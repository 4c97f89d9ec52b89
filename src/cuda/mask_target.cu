// mask_targets on the GPU: a block for each row of cells of each RoI.
//
// The columns under the RoI are summed over the rows of the cells' bin, a thread a column, into shared memory; then the
// columns are summed, a thread a cell. TapWalk gives a bin's pixels and weights one after another: the first thread
// lists those of the rows for all, a cell's thread walks its own. No list is ever whole in memory, so that boxes and
// masks of any size take the same road; what a box makes a thread do is bounded by the mask's sides.
#include "core/mask_target.h"

#include "cuda/launch.cuh"
#include "cuda/masks.cuh"

namespace roikit::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kSpan = 1024;  // columns that are held at a time
constexpr int kRows = 64;    // rows that are listed at a time

// The pixel of a position, the nearest where it lies outside.
template <class T>
__device__ int pixel_of(T position, int64_t extent) {
  return position > T(0) ? (position < T(extent) ? int(position) : int(extent - 1)) : 0;
}

template <class T, class Masks>
__global__ void crop(Masks masks, const T* boxes, const int64_t* matched, int64_t items, int64_t size, bool binary,
                     float* out) {
  __shared__ T column[kSpan], weights[kRows];
  __shared__ int rows[kRows], listed, begin, end;
  const int thread = int(threadIdx.x);
  const int64_t groups = ceil_div(size, kThreads);
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int64_t cells = item / groups, r = cells / size, q = (item - cells * groups) * kThreads + thread;
    const int64_t mask = matched[r], p = cells - r * size;
    const T* const box = boxes + 4 * r;
    SampleAxis<T> x, y;
    int64_t height = 0, width = 0;
    if (mask >= 0 && mask < masks.masks) {
      height = masks.height(mask), width = masks.width(mask);
      x = SampleAxis<T>::of(box[0], box[2], T(1), size, width, RoiAlignRule{-1, binary});
      y = SampleAxis<T>::of(box[1], box[3], T(1), size, height, RoiAlignRule{-1, binary});
    }
    T total = 0;
    if (x.grid > 0 && y.grid > 0) {
      // The columns that the block's cells may touch.
      __syncthreads();  // the item before may still be read
      if (thread == 0) begin = int(width), end = 0;
      __syncthreads();
      const T base = x.base(q);
      const SampleRange range = q < size ? SampleRange::of(x, base, width) : SampleRange{0, 0};
      if (range.first < range.last) {
        const int last = pixel_of(x.at(base, range.last - 1), width);
        atomicMin(&begin, pixel_of(x.at(base, range.first), width));
        atomicMax(&end, last + 1 < int(width) ? last + 2 : last + 1);
      }
      __syncthreads();
      const int64_t left = begin, right = end;
      TapWalk<T> across(x, q < size ? q : 0, width);
      int64_t at = 0;
      T weight = 0;
      bool more = q < size && across.next(at, weight);
      for (int64_t first = left; first < right; first += kSpan) {
        const int columns = int(right - first < kSpan ? right - first : kSpan);
        TapWalk<T> down(y, p, height);
        for (bool start = true;; start = false) {
          __syncthreads();  // the columns and rows before have been read
          if (thread == 0) {
            int64_t row;
            int n = 0;
            for (; n < kRows && down.next(row, weights[n]); ++n) rows[n] = int(row);
            listed = n;
          }
          __syncthreads();
          const int count = listed;
          for (int c = thread; c < columns; c += kThreads) {
            T sum = start ? T(0) : column[c];
            if (count > 0) {
              auto pixels = masks.column(mask, first + c, rows[0]);
#pragma unroll 4
              for (int j = 0; j < count; ++j) sum += pixels.at(rows[j]) ? weights[j] : T(0);
            }
            column[c] = sum;
          }
          if (count < kRows) break;
        }
        __syncthreads();
        for (; more && at < first + columns; more = across.next(at, weight)) total += column[at - first] * weight;
      }
    }
    if (q < size)
      out[cells * size + q] = x.grid > 0 && y.grid > 0 ? mask_target_value(total, y.grid, x.grid, binary) : 0.0f;
  }
}

template <class Masks>
void targets(const Masks& masks, const View& boxes, const View& matched, bool binary, const View& out,
             const Launch& launch) {
  check_mask_targets(boxes, matched, out);
  const int64_t count = boxes.shape[0], size = out.shape[2];
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, "mask_targets");
  const int64_t items = count * size * ceil_div(size, kThreads);
  visit<float, double>(boxes.dtype, "mask_targets", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("mask_targets", launch, crop<T, Masks>, grid_for(items, 1), kThreads, masks, boxes.as<T>(),
        matched.as<int64_t>(), items, size, binary, out.as<float>());
  });
}

}  // namespace

void mask_targets(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                  const Launch& launch) {
  targets(bitmaps_of("mask_targets", masks), boxes, matched, binary, out, launch);
}

void mask_targets_of_ends(const View& ends, const View& offsets, const View& sizes, const View& boxes,
                          const View& matched, bool binary, const View& out, const Launch& launch) {
  targets(run_ends_of("mask_targets", ends, offsets, sizes), boxes, matched, binary, out, launch);
}

}  // namespace roikit::cuda
