// grid_anchors on the GPU: one thread an anchor, in a grid-stride loop whose steps need no division.
#include "core/anchors.h"

#include "cuda/boxes.cuh"

namespace roikit::cuda {
namespace {

struct Place {
  int64_t row, column, cell;
};

__host__ __device__ inline Place place_of(int64_t k, int64_t width, int64_t cells) {
  const int64_t position = k / cells, row = position / width;
  return {row, position - row * width, k - position * cells};
}

// Rotated cells have rows of five numbers, which are no multiple of 16 bytes.
template <int numbers, class T>
__global__ void fill_grid(const T* cell, AnchorGrid<T> grid, int64_t n, Place step, bool wide_cell, bool wide_out,
                          T* out) {
  Place at = place_of(first_item(), grid.width, grid.cells);
  for (int64_t k = first_item(); k < n; k += item_stride()) {
    const T x = grid_shift(at.column, grid.offset, grid.stride_x), y = grid_shift(at.row, grid.offset, grid.stride_y);
    if constexpr (numbers == 4) {
      const Corners<T> from = read_corners(cell + 4 * at.cell, wide_cell);
      Corners<T> to;
      place_anchor<4>(from.v, x, y, to.v);
      write_corners(out + 4 * k, to, wide_out);
    } else {
      place_anchor<numbers>(cell + numbers * at.cell, x, y, out + numbers * k);
    }
    at.cell += step.cell;
    at.column += step.column;
    at.row += step.row;
    if (at.cell >= grid.cells) at.cell -= grid.cells, ++at.column;
    if (at.column >= grid.width) at.column -= grid.width, ++at.row;
  }
}

}  // namespace

void grid_anchors(const View& cell, int64_t height, int64_t width, double stride_y, double stride_x, double offset,
                  const View& out, const Launch& launch) {
  check_grid_anchors(cell, height, width, out);
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, "grid_anchors");
  visit<float, double>(cell.dtype, "grid_anchors", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = cell.as<T>();
    T* to = out.as<T>();
    const AnchorGrid<T> grid = {width, cell.shape[0], T(stride_y), T(stride_x), T(offset)};
    const int64_t n = height * width * grid.cells, blocks = ceil_div(n, kBlock);
    const unsigned launched = unsigned(blocks < kFill ? blocks : kFill);
    const auto kernel = cell.shape[1] == 4 ? fill_grid<4, T> : fill_grid<5, T>;
    run("grid_anchors", launch, kernel, launched, kBlock, from, grid, n,
        place_of(int64_t(launched) * kBlock, grid.width, grid.cells), wide_boxes(from), wide_boxes(to), to);
  });
}

}  // namespace roikit::cuda
