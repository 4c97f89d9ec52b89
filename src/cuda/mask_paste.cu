// paste_masks and paste_masks_rle on the GPU.
//
// A warp walks down some columns of one mask. Each lane works out the tap of one of the next 32 rows, which costs a
// division, and hands it round; the two rows of the mask between which the warp is stay in registers, resampled at its
// columns. A row of values is stored, or decided and stored, or compared with the row above to find where runs end.
#include "core/mask_paste.h"

#include "cuda/launch.cuh"
#include "cuda/runs.cuh"

namespace roikit::cuda {
namespace {

constexpr int kColumns = 4;              // of each lane, in images
constexpr int kTile = kColumns * kWarp;  // columns of a warp
constexpr int kShare = 16384;            // warps that share an op's masks, at least
constexpr int kThreads = 128;            // few, as a thread holds some 90 registers
constexpr int kWarps = kThreads / kWarp;

// A thread an axis.
template <class T>
__global__ void place(const T* boxes, int64_t n, int64_t cells, int64_t height, int64_t width, PasteRule rule,
                      Placed<T>* placed) {
  for (int64_t k = first_item(); k < 2 * n; k += item_stride()) {
    const int axis = int(k & 1);
    const T* const b = boxes + 4 * (k >> 1);
    PasteAxis<T>& to = axis ? placed[k >> 1].y : placed[k >> 1].x;
    to = PasteAxis<T>::of(rule, b[axis], b[axis + 2], cells, axis ? height : width);
  }
}

// K columns of one mask, in each lane of a warp.
template <class T, int K>
struct PasteLanes {
  const T* mask;
  int64_t cells;
  PasteTap<T> tap[K];
  T upper[K], lower[K];  // the mask's rows `at` and at + 1, in these columns
  int32_t at = -2;

  __device__ PasteLanes(const T* mask, int64_t cells) : mask(mask), cells(cells) {}

  // Column k is pixel i of the image, which may lie outside what the mask covers: 0 then.
  __device__ void put(int k, const PasteAxis<T>& x, int64_t i) {
    tap[k] = i >= x.begin && i < x.end ? x.tap(i) : PasteTap<T>{int32_t(cells) + 1, T(0), T(0)};
  }

  // The framed mask's row, resampled at column k.
  __device__ T across(int64_t row, int k) const {
    const bool inside = row >= 1 && row <= cells;
    const int64_t first = (row - 1) * cells + tap[k].cell - 1;
    const T a = inside && tap[k].cell >= 1 && tap[k].cell <= cells ? mask[first] : T(0);
    const T b = inside && tap[k].cell < cells ? mask[first + 1] : T(0);
    return paste_mix(a, tap[k].near, b, tap[k].far);
  }

  // The value of column 0 in one row, wherever the walk is.
  __device__ T value(const PasteTap<T>& row) const {
    return paste_mix(across(row.cell, 0), row.near, across(row.cell + 1, 0), row.far);
  }

  // Calls sink(row, values) for the rows [begin, end), which the mask covers. All lanes of the warp come along.
  template <class Sink>
  __device__ void walk(const PasteAxis<T>& y, int64_t begin, int64_t end, Sink sink) {
    const int lane = int(threadIdx.x) % kWarp;
    for (int64_t top = begin; top < end; top += kWarp) {
      const int rows = int(end - top < kWarp ? end - top : kWarp);
      const PasteTap<T> mine = y.tap(top + (lane < rows ? lane : rows - 1));
      for (int r = 0; r < rows; ++r) {
        const int32_t cell = __shfl_sync(kFullWarp, mine.cell, r);
        const T near = __shfl_sync(kFullWarp, mine.near, r), far = __shfl_sync(kFullWarp, mine.far, r);
        if (cell != at) {
#pragma unroll
          for (int k = 0; k < K; ++k) {
            upper[k] = cell == at + 1 ? lower[k] : across(cell, k);
            lower[k] = across(int64_t(cell) + 1, k);
          }
          at = cell;
        }
        T values[K];
#pragma unroll
        for (int k = 0; k < K; ++k) values[k] = paste_mix(upper[k], near, lower[k], far);
        sink(top + r, values);
      }
    }
  }
};

// Decisions of four neighbours are one word. Rows of an odd width begin anywhere, so that lanes shift their words up to
// the next boundary and take the bytes that go in front from the lane to the left; the first lane only gives. `x` is the
// first of this lane's columns, `out` the row's first pixel. Bytes beyond what the mask covers are 0, as they were.
__device__ inline void store_word(uint32_t word, int64_t x, int64_t end, int64_t width, uint8_t* out) {
  const uint32_t left = __shfl_up_sync(kFullWarp, word, 1);
  const int shift = int(reinterpret_cast<uintptr_t>(out + x) & 3);
  word = uint32_t((uint64_t(word) << 32 | left) >> (32 - 8 * shift));
  x -= shift;
  if (threadIdx.x % kWarp == 0 || x >= end) return;
  if (x >= 0 && x + 4 <= width) {
    *reinterpret_cast<uint32_t*>(out + x) = word;
    return;
  }
  for (int k = 0; k < 4; ++k, word >>= 8)
    if (x + k >= 0 && x + k < width) out[x + k] = uint8_t(word);
}

// `share` warps take turns at the tiles of a mask, 32 rows each.
template <class T, class Out>
__global__ void paste(const T* masks, const Placed<T>* placed, int64_t n, int64_t cells, int64_t share, T threshold,
                      Out* out, int64_t height, int64_t width) {
  constexpr bool decide = std::is_same_v<Out, uint8_t>;
  constexpr int step = decide ? kTile - kColumns : kTile;
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t warp = first_item() / kWarp; warp < n * share; warp += item_stride() / kWarp) {
    const int64_t i = warp / share;
    const Placed<T>& p = placed[i];
    if (p.empty()) continue;
    const PasteAxis<T> x = p.x, y = p.y;
    // A shift of up to 3 columns may leave the last of them to one more tile.
    const int64_t left = decide ? x.begin - kColumns : x.begin, over = decide ? kColumns - 1 : 0;
    const int64_t wide = ceil_div(x.end - x.begin + over, step), tiles = wide * ceil_div(y.end - y.begin, kWarp);
    for (int64_t t = warp - i * share; t < tiles; t += share) {
      const int64_t down = t / wide, first = left + (t - down * wide) * step;
      const int64_t top = y.begin + down * kWarp, bottom = top + kWarp < y.end ? top + kWarp : y.end;
      PasteLanes<T, kColumns> lanes(masks + i * cells * cells, cells);
#pragma unroll
      for (int k = 0; k < kColumns; ++k) lanes.put(k, x, first + (decide ? kColumns * lane + k : kWarp * k + lane));
      lanes.walk(y, top, bottom, [&](int64_t row, const T* values) {
        Out* const to = out + (i * height + row) * width;
        if constexpr (decide) {
          uint32_t word = 0;
#pragma unroll
          for (int k = 0; k < kColumns; ++k) word |= (values[k] >= threshold ? 1u : 0u) << (8 * k);
          store_word(word, first + kColumns * lane, x.end, width, to);
        } else {
#pragma unroll
          for (int k = 0; k < kColumns; ++k)
            if (first + kWarp * k + lane < x.end) to[first + kWarp * k + lane] = values[k];
        }
      });
    }
  }
}

// Calls turn(position) for each change of the column-major mask in the column of this lane, a change at the column's
// top included, and after it where a run reaches its end.
template <class T, class Turn>
__device__ void changes_of_column(const T* mask, int64_t cells, const Placed<T>& p, int64_t column, int64_t height,
                                  int64_t width, T threshold, Turn turn) {
  PasteLanes<T, 1> lane(mask, cells);
  const bool whole = p.y.begin == 0 && p.y.end == height;  // a run can go on from column to column
  bool inside = false;
  if (whole && column > p.x.begin && column < p.x.end) {
    lane.put(0, p.x, column - 1);
    inside = lane.value(p.y.tap(height - 1)) >= threshold;
  }
  lane.put(0, p.x, column);
  lane.walk(p.y, p.y.begin, p.y.end, [&](int64_t row, const T* value) {
    if ((value[0] >= threshold) == inside) return;
    inside = !inside;
    turn(column * height + row);
  });
  const int64_t end = column * height + p.y.end;  // where the next column goes on, or a 0 follows, or nothing
  if (inside && !(whole && column + 1 < p.x.end) && end < height * width) turn(end);
}

// A warp for each chunk of 32 covered columns. The last chunk of a mask counts its last run as well.
template <class T>
__global__ void count_changes(const T* masks, const Placed<T>* placed, int64_t n, int64_t cells, int64_t chunks,
                              int64_t height, int64_t width, T threshold, int64_t* changes) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t warp = first_item() / kWarp; warp < n * chunks; warp += item_stride() / kWarp) {
    const int64_t i = warp / chunks, chunk = warp - i * chunks;
    const Placed<T>& p = placed[i];
    unsigned count = 0;
    if (!p.empty() && p.x.begin + chunk * kWarp < p.x.end)
      changes_of_column(masks + i * cells * cells, cells, p, p.x.begin + chunk * kWarp + lane, height, width, threshold,
                        [&](int64_t) { ++count; });
    count = __reduce_add_sync(kFullWarp, count);
    if (lane == 0) changes[warp] = int64_t(count) + (chunk == chunks - 1 ? 1 : 0);
  }
}

// Where each run ends. A column with more than a few changes is walked a second time.
template <class T>
__global__ void write_ends(const T* masks, const Placed<T>* placed, int64_t n, int64_t cells, int64_t chunks,
                           int64_t height, int64_t width, T threshold, const int64_t* upto, uint32_t* ends) {
  __shared__ uint32_t kept[kWarps][kKept][kWarp];
  const int lane = int(threadIdx.x) % kWarp, own = int(threadIdx.x) / kWarp;
  for (int64_t warp = first_item() / kWarp; warp < n * chunks; warp += item_stride() / kWarp) {
    const int64_t i = warp / chunks, chunk = warp - i * chunks;
    if (lane == 0 && chunk == chunks - 1) ends[upto[warp] - 1] = uint32_t(height * width);
    const Placed<T>& p = placed[i];
    if (p.empty() || p.x.begin + chunk * kWarp >= p.x.end) continue;
    const T* const mask = masks + i * cells * cells;
    const int64_t column = p.x.begin + chunk * kWarp + lane;
    int count = 0;
    changes_of_column(mask, cells, p, column, height, width, threshold, [&](int64_t at) {
      if (count < kKept) kept[own][count][lane] = uint32_t(at);
      ++count;
    });
    int64_t to = count;
    for (int by = 1; by < kWarp; by *= 2) {
      const int64_t before = __shfl_up_sync(kFullWarp, to, by);
      if (lane >= by) to += before;
    }
    to += (warp > 0 ? upto[warp - 1] : 0) - count;
    if (__any_sync(kFullWarp, count > kKept)) {
      changes_of_column(mask, cells, p, column, height, width, threshold,
                        [&](int64_t at) { ends[to++] = uint32_t(at); });
    } else {
      for (int k = 0; k < count; ++k) ends[to + k] = kept[own][k][lane];
    }
  }
}

template <class T>
Placed<T>* lay_out(Workspace& ws, int64_t n) {
  return ws.take<Placed<T>>(n);
}

// Where the masks lie, in the caller's scratch.
template <class T>
Placed<T>* scratch(const char* op, const View& masks, const Launch& launch) {
  Workspace ws(launch.workspace);
  Placed<T>* const placed = lay_out<T>(ws, masks.shape[0]);
  ws.check(op, launch);
  return placed;
}

template <class T>
Placed<T>* placed_on_device(const char* op, const View& masks, const View& boxes, int64_t height, int64_t width,
                            PasteRule rule, const Launch& launch) {
  const int64_t n = masks.shape[0];
  Placed<T>* const placed = scratch<T>(op, masks, launch);
  run(op, launch, place<T>, grid_for(2 * n), kBlock, boxes.as<T>(), n, masks.shape[1], height, width, rule, placed);
  return placed;
}

template <class T, class Out>
void paste_into(const View& masks, const View& boxes, T threshold, PasteRule rule, Out* out, int64_t height,
                int64_t width, const Launch& launch) {
  const int64_t n = masks.shape[0], tiles = ceil_div(height, kWarp) * ceil_div(width, kTile);
  const Placed<T>* const placed = placed_on_device<T>("paste_masks", masks, boxes, height, width, rule, launch);
  const int64_t wish = ceil_div(kShare, n), share = wish < tiles ? wish : tiles;
  run("paste_masks", launch, paste<T, Out>, grid_for(n * share, kWarps), kThreads, masks.as<T>(), placed, n,
      masks.shape[1], share, threshold, out, height, width);
}

}  // namespace

int64_t paste_masks_workspace(const View& masks) {
  check_masks("paste_masks", masks);
  Workspace ws;
  visit<float, double>(masks.dtype, "paste_masks",
                       [&](auto tag) { lay_out<typename decltype(tag)::type>(ws, masks.shape[0]); });
  return ws.bytes();
}

void paste_masks(const View& masks, const View& boxes, double threshold, PasteRule rule, const View& out,
                 const Launch& launch) {
  check_paste_masks(masks, boxes, out);
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, "paste_masks");
  visit<float, double>(masks.dtype, "paste_masks", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t height = out.shape[1], width = out.shape[2];
    if (out.dtype == DType::b8) {
      require(T(threshold) > T(0), "paste_masks: threshold must be above 0");
      paste_into<T>(masks, boxes, T(threshold), rule, static_cast<uint8_t*>(out.data), height, width, launch);
    } else {
      paste_into<T>(masks, boxes, T(0), rule, out.as<T>(), height, width, launch);
    }
  });
}

void paste_masks_rle_count(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                           PasteRule rule, const View& changes, const Launch& launch) {
  check_paste("paste_masks_rle", masks, boxes);
  check_chunks("paste_masks_rle", masks, height, width, changes);
  const int64_t n = masks.shape[0], chunks = paste_masks_rle_chunks(width);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "paste_masks_rle");
  visit<float, double>(masks.dtype, "paste_masks_rle", [&](auto tag) {
    using T = typename decltype(tag)::type;
    require(T(threshold) > T(0), "paste_masks_rle: threshold must be above 0");
    const Placed<T>* const placed = placed_on_device<T>("paste_masks_rle", masks, boxes, height, width, rule, launch);
    run("paste_masks_rle", launch, count_changes<T>, grid_for(n * chunks, kWarps), kThreads, masks.as<T>(), placed, n,
        masks.shape[1], chunks, height, width, T(threshold), changes.as<int64_t>());
  });
}

void paste_masks_rle_write(const View& masks, int64_t height, int64_t width, double threshold, const View& upto,
                           const View& ends, const View& counts, const Launch& launch) {
  check_chunks("paste_masks_rle", masks, height, width, upto);
  uint32_t* const to = check_ends("paste_masks_rle", ends, counts);
  const int64_t n = masks.shape[0], chunks = paste_masks_rle_chunks(width);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "paste_masks_rle");
  visit<float, double>(masks.dtype, "paste_masks_rle", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Placed<T>* const placed = scratch<T>("paste_masks_rle", masks, launch);
    run("paste_masks_rle", launch, write_ends<T>, grid_for(n * chunks, kWarps), kThreads, masks.as<T>(), placed, n,
        masks.shape[1], chunks, height, width, T(threshold), upto.as<int64_t>(), to);
  });
  lengths_of("paste_masks_rle", to, counts, height * width, launch);
}

}  // namespace roikit::cuda
