// assemble_masks and assemble_masks_rle on the GPU.
//
// The cells of all masks are computed once, a thread a cell, into the caller's scratch; outside of a mask's box they are 0.
// For images a thread takes a pixel. For runs a thread walks down a column of one mask, whose two rows of cells it keeps
// resampled, and looks where the value crosses the threshold: once to count, and again to write.
#include "core/mask_assembly.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

// A thread an axis. The extents are those of x and y.
template <class T>
__global__ void place(const T* boxes, int64_t n, T extent_x, T extent_y, int64_t cells_x, int64_t cells_y, int64_t height,
                      int64_t width, AssembledMask<T>* placed) {
  for (int64_t k = first_item(); k < 2 * n; k += item_stride()) {
    const int axis = int(k & 1);
    const T* const b = boxes + 4 * (k >> 1);
    AssemblyAxis<T>& to = axis ? placed[k >> 1].y : placed[k >> 1].x;
    // A box with a coordinate that is not finite has no mask, whichever axis it is of.
    const bool finite = std::isfinite(b[0]) && std::isfinite(b[1]) && std::isfinite(b[2]) && std::isfinite(b[3]);
    if (!finite || cells_x == 0 || cells_y == 0 || height == 0 || width == 0)
      to = AssemblyAxis<T>();
    else if (axis)
      to = AssemblyAxis<T>::of(b[1], b[3], extent_y, cells_y, height);
    else
      to = AssemblyAxis<T>::of(b[0], b[2], extent_x, cells_x, width);
  }
}

template <class T>
__global__ void assemble(const T* prototypes, const T* coefficients, const AssembledMask<T>* placed, int64_t n,
                         int64_t prototype_count, int64_t rows, int64_t columns, T* values) {
  const int64_t plane = rows * columns;
  for (int64_t at = first_item(); at < n * plane; at += item_stride()) {
    const int64_t i = at / plane, cell = at - i * plane, y = cell / columns, x = cell - y * columns;
    const AssembledMask<T>& p = placed[i];
    T value = T(0);
    if (x >= p.x.first && x < p.x.last && y >= p.y.first && y < p.y.last) {
      const T* const c = coefficients + i * prototype_count;
      T z = T(0);
      for (int64_t k = 0; k < prototype_count; ++k) z = z + prototypes[k * plane + cell] * c[k];
      value = sigmoid_of(z);
    }
    values[at] = value;
  }
}

// One mask's cells at one column of the image.
template <class T> struct AssembledColumn {
  const T* values;  // of the mask
  int64_t rows, columns, cell;  // the first of the two cells that the column takes
  PasteTap<T> tap;

  __device__ AssembledColumn(const T* values, int64_t rows, int64_t columns, const AssemblyAxis<T>& x, int64_t i)
      : values(values), rows(rows), columns(columns), tap(x.tap(i)) {
    cell = tap.cell - 1 + x.first;
  }

  // Of a row of cells; 0 beyond them.
  __device__ T across(int64_t row) const {
    const T* const from = values + row * columns + cell;
    const T a = row < rows ? from[0] : T(0);
    const T b = row < rows && cell + 1 < columns ? from[1] : T(0);
    return paste_mix(a, tap.near, b, tap.far);
  }

  __device__ T value(const AssemblyAxis<T>& y, int64_t i) const {
    const PasteTap<T> down = y.tap(i);
    const int64_t row = down.cell - 1 + y.first;
    return paste_mix(across(row), down.near, across(row + 1), down.far);
  }
};

template <class T, class Out>
__global__ void resample(const T* values, const AssembledMask<T>* placed, int64_t n, int64_t rows, int64_t columns,
                         T threshold, Out* out, int64_t height, int64_t width) {
  const int64_t pixels = height * width;
  for (int64_t at = first_item(); at < n * pixels; at += item_stride()) {
    const int64_t i = at / pixels, pixel = at - i * pixels, y = pixel / width, x = pixel - y * width;
    const AssembledMask<T>& p = placed[i];
    if (x < p.x.begin || x >= p.x.end || y < p.y.begin || y >= p.y.end) continue;
    const T value = AssembledColumn<T>(values + i * rows * columns, rows, columns, p.x, x).value(p.y, y);
    if constexpr (std::is_same_v<Out, uint8_t>)
      out[at] = value >= threshold;
    else
      out[at] = value;
  }
}

// Calls turn(position) for each change of the column-major mask in one column of the image, a change at its top included.
template <class T, class Turn>
__device__ void changes_of_column(const T* values, const AssembledMask<T>& p, int64_t rows, int64_t columns,
                                  int64_t column, int64_t height, T threshold, Turn turn) {
  const bool covered = column >= p.x.begin && column < p.x.end && p.y.begin < p.y.end;
  const bool before = column > p.x.begin && column <= p.x.end && p.y.end == height && p.y.begin < p.y.end;
  const int64_t base = column * height;
  bool inside = before && AssembledColumn<T>(values, rows, columns, p.x, column - 1).value(p.y, height - 1) >= threshold;
  if (inside && (!covered || p.y.begin > 0)) {
    turn(base);
    inside = false;
  }
  if (!covered) return;
  const AssembledColumn<T> own(values, rows, columns, p.x, column);
  int64_t row = -2;
  T upper = T(0), lower = T(0);
  for (int64_t y = p.y.begin; y < p.y.end; ++y) {
    const PasteTap<T> down = p.y.tap(y);
    const int64_t next = down.cell - 1 + p.y.first;
    if (next != row) {
      upper = next == row + 1 ? lower : own.across(next);
      lower = own.across(next + 1);
      row = next;
    }
    if ((paste_mix(upper, down.near, lower, down.far) >= threshold) == inside) continue;
    inside = !inside;
    turn(base + y);
  }
  if (inside && p.y.end < height) turn(base + p.y.end);
}

// A thread a column. The last column of a mask counts its last run as well.
template <class T>
__global__ void count_changes(const T* values, const AssembledMask<T>* placed, int64_t n, int64_t rows, int64_t columns,
                              int64_t slots, int64_t height, T threshold, int64_t* changes) {
  for (int64_t at = first_item(); at < n * slots; at += item_stride()) {
    const int64_t i = at / slots, column = at - i * slots;
    int64_t count = column == slots - 1 ? 1 : 0;
    changes_of_column(values + i * rows * columns, placed[i], rows, columns, column, height, threshold,
                      [&](int64_t) { ++count; });
    changes[at] = count;
  }
}

// Where each run ends.
template <class T>
__global__ void write_ends(const T* values, const AssembledMask<T>* placed, int64_t n, int64_t rows, int64_t columns,
                           int64_t slots, int64_t height, uint32_t total, T threshold, const int64_t* upto,
                           uint32_t* ends) {
  for (int64_t at = first_item(); at < n * slots; at += item_stride()) {
    const int64_t i = at / slots, column = at - i * slots;
    int64_t to = at > 0 ? upto[at - 1] : 0;
    changes_of_column(values + i * rows * columns, placed[i], rows, columns, column, height, threshold,
                      [&](int64_t end) { ends[to++] = uint32_t(end); });
    if (column == slots - 1) ends[to] = total;
  }
}

// The last end of every mask is `total`, and no other is.
__global__ void lengths(const uint32_t* ends, int64_t runs, uint32_t total, uint32_t* counts) {
  for (int64_t k = first_item(); k < runs; k += item_stride()) {
    const uint32_t begin = k == 0 || ends[k - 1] == total ? 0 : ends[k - 1];
    counts[k] = ends[k] - begin;
  }
}

// The caller's scratch: where the masks lie, and their cells.
template <class T> struct Scratch {
  AssembledMask<T>* placed;
  T* values;

  Scratch(Workspace& ws, const View& prototypes, const View& boxes) {
    const int64_t n = boxes.shape[0];
    placed = ws.take<AssembledMask<T>>(n);
    values = ws.take<T>(n * prototypes.shape[1] * prototypes.shape[2]);
  }

  static Scratch of(const char* op, const View& prototypes, const View& boxes, const Launch& launch) {
    Workspace ws(launch.workspace);
    const Scratch found(ws, prototypes, boxes);
    ws.check(op, launch);
    return found;
  }
};

template <class T>
Scratch<T> assembled(const char* op, const View& prototypes, const View& coefficients, const View& boxes,
                     double extent_y, double extent_x, int64_t height, int64_t width, const Launch& launch) {
  const int64_t n = boxes.shape[0], rows = prototypes.shape[1], columns = prototypes.shape[2];
  const Scratch<T> scratch = Scratch<T>::of(op, prototypes, boxes, launch);
  run(op, launch, place<T>, grid_for(2 * n), kBlock, boxes.as<T>(), n, T(extent_x), T(extent_y), columns, rows, height,
      width, scratch.placed);
  if (rows * columns > 0)
    run(op, launch, assemble<T>, grid_for(n * rows * columns), kBlock, prototypes.as<T>(), coefficients.as<T>(),
        scratch.placed, n, prototypes.shape[0], rows, columns, scratch.values);
  return scratch;
}

int64_t slots_of(int64_t width) { return width > 0 ? width : 1; }

}  // namespace

int64_t assemble_masks_workspace(const View& prototypes, const View& boxes) {
  require(prototypes.rank == 3 && boxes.rank == 2, "assemble_masks: prototypes must be (K, h, w), boxes (N, 4)");
  Workspace ws;
  visit<float, double>(prototypes.dtype, "assemble_masks",
                       [&](auto tag) { Scratch<typename decltype(tag)::type>(ws, prototypes, boxes); });
  return ws.bytes();
}

void assemble_masks(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                    double extent_x, double threshold, const View& out, const Launch& launch) {
  constexpr const char* kOp = "assemble_masks";
  check_assemble_masks(prototypes, coefficients, boxes, out);
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(prototypes.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t n = boxes.shape[0], height = out.shape[1], width = out.shape[2];
    const int64_t rows = prototypes.shape[1], columns = prototypes.shape[2];
    const auto scratch = assembled<T>(kOp, prototypes, coefficients, boxes, extent_y, extent_x, height, width, launch);
    if (out.dtype == DType::b8)
      run(kOp, launch, resample<T, uint8_t>, grid_for(out.size()), kBlock, scratch.values, scratch.placed, n, rows,
          columns, above<T>(threshold), static_cast<uint8_t*>(out.data), height, width);
    else
      run(kOp, launch, resample<T, T>, grid_for(out.size()), kBlock, scratch.values, scratch.placed, n, rows, columns,
          T(0), out.as<T>(), height, width);
  });
}

void assemble_masks_rle_count(const View& prototypes, const View& coefficients, const View& boxes, double extent_y,
                              double extent_x, int64_t height, int64_t width, double threshold, const View& changes,
                              const Launch& launch) {
  constexpr const char* kOp = "assemble_masks_rle";
  check_assembly(kOp, prototypes, coefficients, boxes);
  check_paste_size(kOp, height, width);
  const int64_t n = boxes.shape[0], slots = slots_of(width);
  require(changes.size() == n * slots && changes.contiguous(), kOp, "changes must be contiguous (N, columns)");
  require(threshold >= 0, kOp, "threshold must be at least 0");
  if (n == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(prototypes.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto scratch = assembled<T>(kOp, prototypes, coefficients, boxes, extent_y, extent_x, height, width, launch);
    run(kOp, launch, count_changes<T>, grid_for(n * slots), kBlock, scratch.values, scratch.placed, n,
        prototypes.shape[1], prototypes.shape[2], slots, height, above<T>(threshold), changes.as<int64_t>());
  });
}

void assemble_masks_rle_write(const View& prototypes, const View& boxes, int64_t height, int64_t width, double threshold,
                              const View& upto, const View& ends, const View& counts, const Launch& launch) {
  constexpr const char* kOp = "assemble_masks_rle";
  check_paste_size(kOp, height, width);
  const int64_t n = boxes.shape[0], slots = slots_of(width), runs = counts.size();
  require(prototypes.rank == 3 && upto.size() == n * slots && upto.contiguous(), kOp,
          "upto must be contiguous (N, columns)");
  require(ends.contiguous() && counts.contiguous() && ends.size() == counts.size(), kOp,
          "ends and counts must be contiguous and of one size");
  if (n == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  uint32_t* const to = reinterpret_cast<uint32_t*>(ends.as<int32_t>());
  const uint32_t total = uint32_t(height * width);
  visit<float, double>(prototypes.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto scratch = Scratch<T>::of(kOp, prototypes, boxes, launch);
    run(kOp, launch, write_ends<T>, grid_for(n * slots), kBlock, scratch.values, scratch.placed, n, prototypes.shape[1],
        prototypes.shape[2], slots, height, total, above<T>(threshold), upto.as<int64_t>(), to);
  });
  run(kOp, launch, lengths, grid_for(runs), kBlock, to, runs, total, reinterpret_cast<uint32_t*>(counts.as<int32_t>()));
}

}  // namespace roikit::cuda
