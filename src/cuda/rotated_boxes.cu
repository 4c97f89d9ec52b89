// min_area_boxes of bitmaps on the GPU: a thread for each column of each mask finds its first and last pixel, then a
// thread for each mask goes around its hull.
#include "core/rotated_boxes.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr const char* kOp = "min_area_boxes";

// The masks, and scratch for each of them.
struct Columns {
  const uint8_t* data;
  int64_t masks, step, row, height, width;
  int32_t *first, *last;    // width each
  HullPoint *points, *hull;  // 2 * (width + 1) and twice that each

  Columns(const View& v, Workspace& workspace)
      : data(static_cast<const uint8_t*>(v.data)), masks(v.shape[0]), step(v.stride[0]), row(v.stride[1]),
        height(v.shape[1]), width(v.shape[2]), first(workspace.take<int32_t>(masks * width)),
        last(workspace.take<int32_t>(masks * width)), points(workspace.take<HullPoint>(masks * 2 * (width + 1))),
        hull(workspace.take<HullPoint>(masks * 4 * (width + 1))) {}
};

__global__ void mark(const Columns c) {
  for (int64_t item = first_item(); item < c.masks * c.width; item += item_stride()) {
    const int64_t i = item / c.width, x = item - i * c.width;
    const uint8_t* const column = c.data + i * c.step + x;
    int32_t first = INT32_MAX, last = -1;
    for (int64_t y = 0; y < c.height; ++y) {
      if (column[y * c.row] == 0) continue;
      first = first < int32_t(y) ? first : int32_t(y);
      last = int32_t(y);
    }
    c.first[item] = first, c.last[item] = last;
  }
}

__global__ void around(const Columns c, double* out) {
  for (int64_t i = first_item(); i < c.masks; i += item_stride()) {
    HullPoint* const points = c.points + i * 2 * (c.width + 1);
    HullPoint* const hull = c.hull + i * 4 * (c.width + 1);
    const int64_t n = corners_of_columns(c.first + i * c.width, c.last + i * c.width, c.width, points);
    min_area_box(hull, convex_hull(points, n, hull), out + 5 * i);
  }
}

}  // namespace

int64_t min_area_boxes_workspace(const View& masks) {
  check_bitmaps(kOp, masks);
  Workspace workspace;
  Columns(masks, workspace);
  return workspace.bytes();
}

void min_area_boxes(const View& masks, const View& out, const Launch& launch) {
  check_bitmaps(kOp, masks);
  check_boxes_out(out, masks.shape[0]);
  if (masks.shape[0] == 0) return;
  Workspace workspace(launch.workspace);
  const Columns columns(masks, workspace);
  workspace.check(kOp, launch);
  const DeviceGuard guard(launch.device, kOp);
  run(kOp, launch, mark, grid_for(columns.masks * columns.width), kBlock, columns);
  run(kOp, launch, around, grid_for(columns.masks, kWarp), kWarp, columns, out.as<double>());
}

}  // namespace roikit::cuda
