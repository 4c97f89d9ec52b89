// Rotated boxes of objects: of all rectangles around an object's points, one of the least area.
//
// Points are the vertices of polygons, or the corners of the pixels of a mask, pixel (x, y) covering [x, x + 1) x
// [y, y + 1). All in double, in this order, never contracted; for whole numbers below 2^25 the hull is exact.
//
//   hull: Andrew's monotone chain over the points sorted by x, then y; a corner stays where the turn
//     (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x) is above 0.
//   of each edge d of the hull, from p: by calipers the furthest points along d, before and behind, and across it;
//     area = ((most - least) * across) / (d.x * d.x + d.y * d.y), for products with d.
//   of the edges whose area is at most (1 + 2^-40) times the least: that which is turned least from the axes, by
//     min(|d.x|, |d.y|) / max(|d.x|, |d.y|); of equals that whose angle is lower; of equals the first.
//   w is the longer side, and its angle lies in [-90, 90); of a square, in [-45, 45).
//
// A single point gives x, y, 0, 0, 0; points on a line a box of height 0; no points 0, 0, 0, 0, 0.
//
// Source: Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979; Freeman and Shapira,
// "Determining the minimum-area encasing rectangle for an arbitrary closed curve", 1975; Toussaint, "Solving geometric
// problems with the rotating calipers", 1983.
//
//   min_area_boxes(masks (N, H, W) u8 or b8, out (N, 5) f64)
//   min_area_boxes_of_points(points (P, 2) f64, offsets (N + 1) i64, out): points[offsets[n]:offsets[n + 1]] are n's
//   min_area_boxes_of_runs(counts, offsets, sizes, out): masks as mask_targets_of_runs takes them
#pragma once

#include <cmath>

#include "core/checks.h"
#include "core/launch.h"
#include "core/mask_target.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

struct HullPoint {
  double x, y;
};

ROIKIT_HD bool comes_before(const HullPoint& a, const HullPoint& b) { return a.x < b.x || (a.x == b.x && a.y < b.y); }

ROIKIT_HD double turn_at(const HullPoint& a, const HullPoint& b, const HullPoint& c) {
  return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

// The corners of n sorted points, once around; `hull` has room for 2 n.
ROIKIT_HD int64_t convex_hull(const HullPoint* points, int64_t n, HullPoint* hull) {
  int64_t k = 0;
  for (int64_t i = 0; i < n; ++i) {
    while (k >= 2 && !(turn_at(hull[k - 2], hull[k - 1], points[i]) > 0.0)) --k;
    hull[k++] = points[i];
  }
  const int64_t lower = k + 1;
  for (int64_t i = n - 2; i >= 0; --i) {
    while (k >= lower && !(turn_at(hull[k - 2], hull[k - 1], points[i]) > 0.0)) --k;
    hull[k++] = points[i];
  }
  return k > 1 ? k - 1 : k;
}

// The rectangle on one edge of a hull, in products with the edge's direction.
struct HullEdge {
  HullPoint from;
  double dx, dy, square, least, most, across;

  ROIKIT_HD double area() const { return ((most - least) * across) / square; }
  ROIKIT_HD double tilt() const {
    const double x = dx < 0.0 ? -dx : dx, y = dy < 0.0 ? -dy : dy;
    return x < y ? x / y : y / x;
  }

  // cx, cy, w, h, degrees.
  ROIKIT_HD void box(double* out) const {
    const double length = std::sqrt(square), along = (most - least) / length, high = across / length;
    const double middle = 0.5 * (most + least), half = 0.5 * across;
    out[0] = from.x + (dx * middle - dy * half) / square;
    out[1] = from.y + (dy * middle + dx * half) / square;
    double ex = dx, ey = dy;
    const double x = dx < 0.0 ? -dx : dx, y = dy < 0.0 ? -dy : dy;
    const bool other = along < high || (along == high && (x < y || (x == y && (dx < 0.0) != (dy < 0.0))));
    if (other) ex = -dy, ey = dx;
    out[2] = other ? high : along;
    out[3] = other ? along : high;
    if (ex < 0.0 || (ex == 0.0 && ey < 0.0)) ex = -ex, ey = -ey;
    // y points down: what falls on the screen turns clockwise.
    const double angle = angle_of(ey < 0.0 ? -ey : ey, ex) * 57.295779513082323;
    out[4] = ey > 0.0 ? -angle : angle;
  }
};

// Calls visit(edge) for each edge of a hull of n corners.
template <class Visit>
ROIKIT_HD void each_edge(const HullPoint* hull, int64_t n, Visit&& visit) {
  int64_t before = 1, beside = 1, behind = 1;
  for (int64_t i = 0; i < n; ++i) {
    const HullPoint p = hull[i], q = hull[(i + 1) % n];
    const double dx = q.x - p.x, dy = q.y - p.y, square = dx * dx + dy * dy;
    if (square == 0.0) continue;  // of no length, or of one whose square is no number
    if (before < i + 1) before = i + 1;
    for (; before < i + n; ++before) {
      const HullPoint a = hull[before % n], b = hull[(before + 1) % n];
      if (!(dx * (b.x - a.x) + dy * (b.y - a.y) > 0.0)) break;
    }
    if (beside < before) beside = before;
    for (; beside < i + n; ++beside) {
      const HullPoint a = hull[beside % n], b = hull[(beside + 1) % n];
      if (!(dx * (b.y - a.y) - dy * (b.x - a.x) > 0.0)) break;
    }
    if (behind < beside) behind = beside;
    for (; behind < i + n; ++behind) {
      const HullPoint a = hull[behind % n], b = hull[(behind + 1) % n];
      if (!(dx * (b.x - a.x) + dy * (b.y - a.y) < 0.0)) break;
    }
    const HullPoint f = hull[before % n], s = hull[beside % n], r = hull[behind % n];
    visit(HullEdge{p, dx, dy, square, dx * (r.x - p.x) + dy * (r.y - p.y), dx * (f.x - p.x) + dy * (f.y - p.y),
                   dx * (s.y - p.y) - dy * (s.x - p.x)});
  }
}

// The box of n corners of a hull.
ROIKIT_HD void min_area_box(const HullPoint* hull, int64_t n, double* out) {
  for (int k = 0; k < 5; ++k) out[k] = 0.0;
  if (n == 0) return;
  out[0] = hull[0].x, out[1] = hull[0].y;
  bool some = false;
  double least = 0.0, tilt = 0.0;
  each_edge(hull, n, [&](const HullEdge& edge) {
    const double area = edge.area();
    least = some && !(area < least) ? least : area;
    some = true;
  });
  const double most = least + least * 9.094947017729282e-13;  // 2^-40
  bool found = false;
  each_edge(hull, n, [&](const HullEdge& edge) {
    const double own = edge.tilt();
    if (edge.area() > most || (found && own > tilt)) return;
    double box[5];
    edge.box(box);
    if (found && own == tilt && !(box[4] < out[4])) return;
    for (int k = 0; k < 5; ++k) out[k] = box[k];
    tilt = own;
    found = true;
  });
}

// The corners of pixels that can be on the hull, sorted; first and last are the rows of a mask's pixels in each column,
// first above last where there are none. At most 2 * (width + 1).
ROIKIT_HD int64_t corners_of_columns(const int32_t* first, const int32_t* last, int64_t width, HullPoint* to) {
  int64_t n = 0;
  for (int64_t x = 0; x <= width; ++x) {
    int32_t top = INT32_MAX, bottom = -1;
    if (x > 0) top = first[x - 1], bottom = last[x - 1];
    if (x < width) top = first[x] < top ? first[x] : top, bottom = last[x] > bottom ? last[x] : bottom;
    if (top > bottom) continue;
    to[n++] = {double(x), double(top)};
    to[n++] = {double(x), double(bottom) + 1.0};
  }
  return n;
}

inline void check_boxes_out(const View& out, int64_t n) {
  check_rows("min_area_boxes", "out", out, 5);
  require(out.shape[0] == n && out.dtype == DType::f64, "min_area_boxes: out must be (N, 5) float64");
}

namespace ROIKIT_DEVICE {
void min_area_boxes(const View& masks, const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cpu {
void min_area_boxes_of_points(const View& points, const View& offsets, const View& out, const Launch& launch);
void min_area_boxes_of_runs(const View& counts, const View& offsets, const View& sizes, const View& out,
                            const Launch& launch);
}  // namespace cpu
namespace cuda {
int64_t min_area_boxes_workspace(const View& masks);  // bytes
}  // namespace cuda

}  // namespace roikit
