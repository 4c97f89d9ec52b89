// cell_anchors and grid_anchors on the CPU. A cell is a few boxes; of a grid, rows of the map are shared among threads,
// and every result is written once.
#include "core/anchors.h"

#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

template <int numbers>
struct FillRows {
  template <class T>
  ROIKIT_INLINE static void run(const T* cell, AnchorGrid<T> grid, int64_t begin, int64_t end, T* out) {
    for (int64_t i = begin; i < end; ++i) {
      const T y = grid_shift(i, grid.offset, grid.stride_y);
      T* ROIKIT_RESTRICT to = out + numbers * grid.cells * grid.width * i;
      for (int64_t j = 0; j < grid.width; ++j) {
        const T x = grid_shift(j, grid.offset, grid.stride_x);
        const T* ROIKIT_RESTRICT c = cell;
        for (int64_t k = 0; k < grid.cells; ++k, to += numbers, c += numbers) place_anchor<numbers>(c, x, y, to);
      }
    }
  }
};

}  // namespace

void cell_anchors(const View& sizes, const View& ratios, bool ratio_outside, bool rounded, const View& out,
                  const Launch&) {
  require(sizes.rank == 1 && ratios.rank == 1 && sizes.contiguous() && ratios.contiguous(),
          "cell_anchors: sizes must be contiguous (S,), ratios (R,)");
  const int64_t s = sizes.shape[0], r = ratios.shape[0];
  require(out.size() == 4 * s * r && out.contiguous(), "cell_anchors: out must be contiguous (S R, 4)");
  visit<float, double>(sizes.dtype, "cell_anchors", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* size = sizes.as<T>();
    const T* ratio = ratios.as<T>();
    T* to = out.as<T>();
    const int64_t inner = ratio_outside ? s : r;
    for (int64_t i = 0; i < s * r; ++i, to += 4) {
      const int64_t of_size = ratio_outside ? i % inner : i / inner, of_ratio = ratio_outside ? i / inner : i % inner;
      const HalfSides<T> a = cell_anchor(size[of_size], ratio[of_ratio], rounded);
      to[0] = -a.width;
      to[1] = -a.height;
      to[2] = a.width;
      to[3] = a.height;
    }
  });
}

void grid_anchors(const View& cell, int64_t height, int64_t width, double stride_y, double stride_x, double offset,
                  const View& out, const Launch& launch) {
  check_grid_anchors(cell, height, width, out);
  if (out.size() == 0) return;
  visit<float, double>(cell.dtype, "grid_anchors", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = cell.as<T>();
    T* to = out.as<T>();
    const AnchorGrid<T> grid = {width, cell.shape[0], T(stride_y), T(stride_x), T(offset)};
    const int64_t grain = (1 << 19) / (grid.width * grid.cells) + 1;
    // A row of four values gains nothing from wider vectors: v4 took 1.4 times as long.
    const Simd level = launch.simd == Simd::v4 ? Simd::v3 : launch.simd;
    will_fill(to, out.size() * int64_t(sizeof(T)), launch);
    parallel_for(height, grain, launch, [&](int64_t begin, int64_t end) {
      if (cell.shape[1] == 4) vary<FillRows<4>>(level, from, grid, begin, end, to);
      else vary<FillRows<5>>(level, from, grid, begin, end, to);
    });
  });
}

}  // namespace roikit::cpu
