// mask_targets_rotated on the GPU: a thread for each cell. It walks the samples of its bin that can count, and reads the
// four pixels of each where they lie: bytes, or two columns of runs, whose first row it finds by bisection. Sums are of
// whole numbers, so that no order need be kept.
#include "core/mask_rotated.h"

#include "cuda/launch.cuh"
#include "cuda/masks.cuh"

namespace roikit::cuda {
namespace {

constexpr int kThreads = 128;

// What a sample adds at a position (row, column) on the map, in whole 2^-14 pixels.
template <class Masks>
__device__ uint32_t sample_at(const Masks& masks, int64_t mask, int64_t y, int64_t x) {
  const int64_t i = y >> kTargetBits, j = x >> kTargetBits;
  const uint32_t p = uint32_t(y & (kTargetUnit - 1)), q = uint32_t(x & (kTargetUnit - 1));
  uint32_t m[2][2] = {};
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    if (side == 1 && q == 0) break;  // there may be no such column, and it has no weight
    auto column = masks.column(mask, j + side, i);
    m[0][side] = column.at(i) ? 1 : 0;
    if (p != 0) m[1][side] = column.at(i + 1) ? 1 : 0;
  }
  return target_sample(p, q, m[0][0], m[0][1], m[1][0], m[1][1]);
}

template <class T, class Masks>
__global__ void __launch_bounds__(kThreads) crop(Masks masks, const T* boxes, const int64_t* matched, int64_t items,
                                                 int64_t size, bool binary, float* out) {
  for (int64_t item = first_item(); item < items; item += item_stride()) {
    const int64_t r = item / (size * size), cell = item - r * size * size, mask = matched[r];
    float value = 0.0f;
    if (mask >= 0 && mask < masks.masks) {
      const int64_t height = masks.height(mask), width = masks.width(mask);
      const auto roi = RotatedRoi<T>::of(boxes + 5 * r, T(1), size, size, height, width, -1);
      if (!roi.empty()) {
        const int64_t row = cell / size, column = cell - row * size;
        const SampleRange rows = roi.rows(row), columns = roi.columns(column);
        const T v0 = roi.v.base(row), u0 = roi.u.base(column);
        uint64_t total = 0;
        for (int64_t k = rows.first; k < rows.last; ++k) {
          const T v = roi.v.at(v0, k);
          for (int64_t j = columns.first; j < columns.last; ++j) {
            const T u = roi.u.at(u0, j), x = roi.x_at(v, u), y = roi.y_at(v, u);
            if (Bilinear<T>::inside(y, height) && Bilinear<T>::inside(x, width))
              total += sample_at(masks, mask, target_position(y, height), target_position(x, width));
          }
        }
        value = target_value(total, roi.v.grid, roi.u.grid, binary);
      }
    }
    out[item] = value;
  }
}

template <class Masks>
void targets(const Masks& masks, const View& boxes, const View& matched, bool binary, const View& out,
             const Launch& launch) {
  constexpr const char* kOp = "mask_targets_rotated";
  check_mask_targets_rotated(boxes, matched, out);
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(boxes.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(kOp, launch, crop<T, Masks>, grid_for(out.size(), kThreads), kThreads, masks, boxes.as<T>(),
        matched.as<int64_t>(), out.size(), out.shape[2], binary, out.as<float>());
  });
}

}  // namespace

void mask_targets_rotated(const View& masks, const View& boxes, const View& matched, bool binary, const View& out,
                          const Launch& launch) {
  targets(bitmaps_of("mask_targets_rotated", masks), boxes, matched, binary, out, launch);
}

void mask_targets_rotated_of_ends(const View& ends, const View& offsets, const View& sizes, const View& boxes,
                                  const View& matched, bool binary, const View& out, const Launch& launch) {
  targets(run_ends_of("mask_targets_rotated", ends, offsets, sizes), boxes, matched, binary, out, launch);
}

}  // namespace roikit::cuda
