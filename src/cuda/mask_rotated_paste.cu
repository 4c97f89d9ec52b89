// paste_masks_rotated and paste_masks_rotated_rle on the GPU. As images: a warp for each row of each mask, which goes
// along the pixels that can be covered. As runs: a lane for each column, which walks down them; counted first, then
// written, as for paste_masks_rle.
#include "core/mask_rotated.h"

#include "cuda/launch.cuh"
#include "cuda/runs.cuh"

namespace roikit::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

// One mask in one image.
template <class T>
struct Pasted {
  const T* mask;
  int64_t cells;
  RotatedPaste<T> place;

  __device__ Pasted(const T* masks, const T* boxes, int64_t i, int64_t cells)
      : mask(masks + i * cells * cells), cells(cells), place(RotatedPaste<T>::of(boxes + 5 * i, cells)) {}

  __device__ T cell(int32_t y, int32_t x) const {
    return y >= 0 && y < cells && x >= 0 && x < cells ? mask[y * cells + x] : T(0);
  }

  // 0 where the pixel is not covered.
  __device__ T value(int64_t column, int64_t row) const {
    const T x = T(column) + T(0.5), y = T(row) + T(0.5);
    const T u = place.u_at(x * place.cos, y * place.sin), v = place.v_at(x * place.sin, y * place.cos);
    if (!place.covers(u, v)) return T(0);
    T fx, fy;
    const int32_t left = cell_below(u, fx), top = cell_below(v, fy);
    const T upper = paste_mix(cell(top, left), T(1) - fx, cell(top, left + 1), fx);
    const T lower = paste_mix(cell(top + 1, left), T(1) - fx, cell(top + 1, left + 1), fx);
    return paste_mix(upper, T(1) - fy, lower, fy);
  }
};

template <class T, class Out>
__global__ void __launch_bounds__(kThreads) paste(const T* masks, const T* boxes, int64_t n, int64_t cells, T threshold,
                                                  Out* out, int64_t height, int64_t width) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t item = first_item() / kWarp; item < n * height; item += item_stride() / kWarp) {
    const int64_t i = item / height, row = item - i * height;
    const Pasted<T> pasted(masks, boxes, i, cells);
    if (pasted.place.empty()) continue;
    const PasteSpan span = PasteSpans::of(pasted.place, height, width).in_row(row);
    for (int64_t column = span.begin + lane; column < span.end; column += kWarp) {
      const T value = pasted.value(column, row);
      if constexpr (std::is_same_v<Out, uint8_t>) out[item * width + column] = value >= threshold;
      else out[item * width + column] = value;
    }
  }
}

// Calls turn(position) for each change of the column-major mask in a column, one at its top included, and after it where
// a run reaches the end of what can be covered.
template <class T, class Turn>
__device__ void changes_of_column(const Pasted<T>& pasted, const PasteSpans& spans, int64_t column, int64_t height,
                                  T threshold, Turn turn) {
  const PasteSpan span = spans.in_column(column);
  const int64_t top = column * height;
  bool inside = column > 0 && pasted.value(column - 1, height - 1) >= threshold;
  if (inside && (span.begin > 0 || span.begin == span.end)) {
    turn(top);
    inside = false;
  }
  for (int64_t row = span.begin; row < span.end; ++row)
    if ((pasted.value(column, row) >= threshold) != inside) {
      inside = !inside;
      turn(top + row);
    }
  if (inside && span.end < height) turn(top + span.end);
}

// A lane's column of a chunk, or -1 where nothing can change in it: also the column after the last that can be covered
// may end a run.
template <class T>
__device__ int64_t column_of(const Pasted<T>& pasted, const PasteSpans& spans, int64_t chunk, int lane, int64_t height,
                             int64_t width) {
  if (pasted.place.empty() || height == 0) return -1;
  const PasteSpan columns = spans.columns();
  const int64_t column = chunk * kWarp + lane;
  return column < width && column >= columns.begin && column <= columns.end && columns.begin < columns.end ? column : -1;
}

// A warp for each chunk of 32 columns. The last chunk of a mask counts its last run as well.
template <class T>
__global__ void __launch_bounds__(kThreads) count_changes(const T* masks, const T* boxes, int64_t n, int64_t cells,
                                                          int64_t chunks, int64_t height, int64_t width, T threshold,
                                                          int64_t* changes) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t warp = first_item() / kWarp; warp < n * chunks; warp += item_stride() / kWarp) {
    const int64_t i = warp / chunks, chunk = warp - i * chunks;
    const Pasted<T> pasted(masks, boxes, i, cells);
    const PasteSpans spans = PasteSpans::of(pasted.place, height, width);
    const int64_t column = column_of(pasted, spans, chunk, lane, height, width);
    unsigned count = 0;
    if (column >= 0) changes_of_column(pasted, spans, column, height, threshold, [&](int64_t) { ++count; });
    count = __reduce_add_sync(kFullWarp, count);
    if (lane == 0) changes[warp] = int64_t(count) + (chunk == chunks - 1 ? 1 : 0);
  }
}

// Where each run ends. A column with more than a few changes is walked a second time.
template <class T>
__global__ void __launch_bounds__(kThreads) write_ends(const T* masks, const T* boxes, int64_t n, int64_t cells,
                                                       int64_t chunks, int64_t height, int64_t width, T threshold,
                                                       const int64_t* upto, uint32_t* ends) {
  __shared__ uint32_t kept[kWarps][kKept][kWarp];
  const int lane = int(threadIdx.x) % kWarp, own = int(threadIdx.x) / kWarp;
  for (int64_t warp = first_item() / kWarp; warp < n * chunks; warp += item_stride() / kWarp) {
    const int64_t i = warp / chunks, chunk = warp - i * chunks;
    if (lane == 0 && chunk == chunks - 1) ends[upto[warp] - 1] = uint32_t(height * width);
    const Pasted<T> pasted(masks, boxes, i, cells);
    const PasteSpans spans = PasteSpans::of(pasted.place, height, width);
    const int64_t column = column_of(pasted, spans, chunk, lane, height, width);
    int count = 0;
    if (column >= 0)
      changes_of_column(pasted, spans, column, height, threshold, [&](int64_t at) {
        if (count < kKept) kept[own][count][lane] = uint32_t(at);
        ++count;
      });
    int64_t to = count;
    for (int by = 1; by < kWarp; by *= 2) {
      const int64_t before = __shfl_up_sync(kFullWarp, to, by);
      if (lane >= by) to += before;
    }
    to += (warp > 0 ? upto[warp - 1] : 0) - count;
    if (count > kKept) {
      changes_of_column(pasted, spans, column, height, threshold, [&](int64_t at) { ends[to++] = uint32_t(at); });
    } else {
      for (int k = 0; k < count; ++k) ends[to + k] = kept[own][k][lane];
    }
  }
}

}  // namespace

void paste_masks_rotated(const View& masks, const View& boxes, double threshold, const View& out,
                         const Launch& launch) {
  constexpr const char* kOp = "paste_masks_rotated";
  check_paste_rotated(kOp, masks, boxes);
  check_images(kOp, masks, out);
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  const int64_t n = masks.shape[0], height = out.shape[1], width = out.shape[2];
  visit<float, double>(masks.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const unsigned grid = grid_for(n * height, kWarps);
    if (out.dtype == DType::b8) {
      require(T(threshold) > T(0), kOp, "threshold must be above 0");
      run(kOp, launch, paste<T, uint8_t>, grid, kThreads, masks.as<T>(), boxes.as<T>(), n, masks.shape[1],
          T(threshold), static_cast<uint8_t*>(out.data), height, width);
    } else {
      run(kOp, launch, paste<T, T>, grid, kThreads, masks.as<T>(), boxes.as<T>(), n, masks.shape[1], T(0), out.as<T>(),
          height, width);
    }
  });
}

void paste_masks_rotated_rle_count(const View& masks, const View& boxes, int64_t height, int64_t width,
                                   double threshold, const View& changes, const Launch& launch) {
  constexpr const char* kOp = "paste_masks_rotated_rle";
  check_paste_rotated(kOp, masks, boxes);
  check_chunks(kOp, masks, height, width, changes);
  const int64_t n = masks.shape[0], chunks = paste_masks_rle_chunks(width);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(masks.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    require(T(threshold) > T(0), kOp, "threshold must be above 0");
    run(kOp, launch, count_changes<T>, grid_for(n * chunks, kWarps), kThreads, masks.as<T>(), boxes.as<T>(), n,
        masks.shape[1], chunks, height, width, T(threshold), changes.as<int64_t>());
  });
}

void paste_masks_rotated_rle_write(const View& masks, const View& boxes, int64_t height, int64_t width,
                                   double threshold, const View& upto, const View& ends, const View& counts,
                                   const Launch& launch) {
  constexpr const char* kOp = "paste_masks_rotated_rle";
  check_paste_rotated(kOp, masks, boxes);
  check_chunks(kOp, masks, height, width, upto);
  uint32_t* const to = check_ends(kOp, ends, counts);
  const int64_t n = masks.shape[0], chunks = paste_masks_rle_chunks(width);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(masks.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(kOp, launch, write_ends<T>, grid_for(n * chunks, kWarps), kThreads, masks.as<T>(), boxes.as<T>(), n,
        masks.shape[1], chunks, height, width, T(threshold), upto.as<int64_t>(), to);
  });
  lengths_of(kOp, to, counts, height * width, launch);
}

}  // namespace roikit::cuda
