// Rotated boxes, their overlap, and greedy suppression by it.
//
// A box is cx, cy, w, h in pixels and an angle in degrees, counter-clockwise as one sees it on an image whose y points
// down: its width lies along (cos, -sin), its height along (sin, cos). Whatever the dtype T of the boxes, everything is
// computed in double from + - * / sqrt and fmod alone, in the order written here, and rounded to T at the end: all
// floors give the same bits.
//
// The overlap needs no polygon. In the frame of the larger box "a" (which makes the answer symmetric), by Green's
// theorem the area of b within |x| <= hx, |y| <= hy is the integral of clamp(x, -hx, hx) dy along b's outline, where y
// is clamped to [-hy, hy]. Each of b's four edges gives a closed form that is continuous in all of its numbers: no
// corner is ever found to be inside or outside, which is where clipping goes wrong for boxes that nearly coincide.
//
//   box_iou_rotated(boxes1 (N, 5) T, boxes2 (M, 5) T, out (N, M) T)
//   nms_rotated, batched_nms_rotated: as nms and batched_nms of core/nms.h, on boxes (N, 5) and with this overlap
//
// On CUDA the caller sorts between two steps, as for nms; `chosen` (N,) bool says of each rank whether it is kept.
//
// T float32 or float64; all contiguous; N < 2^31 in suppression. Source: Green's theorem for the area; Gottschalk, Lin,
// Manocha, "OBBTree", SIGGRAPH 1996, section 5 (separating axes); Taylor's series of sin and cos.
#pragma once

#include <cmath>

#include "core/boxes.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

constexpr double kRotatedLimit = 1e150;  // a coordinate or a side of this size counts as infinite

struct SinCos {
  double sin, cos;
};

// c(k) - z (c(k + 2) - z (... c(last))) with c(k) = 1 / k!.
template <int k, int last> ROIKIT_HD double alternating_series(double z) {
  constexpr double c = inverse_factorial<double>(k);
  if constexpr (k == last) return c;
  else return c - z * alternating_series<k + 2, last>(z);
}

// Of a finite angle in degrees. Reduced exactly, so that multiples of 90 give 0, 1 and -1, and 360 more the same bits.
ROIKIT_HD SinCos sin_cos_degrees(double degrees) {
  const double a = fmod(degrees, 360.0);
  const double quarters = floor(a / 90.0 + 0.5);
  const double x = (a - 90.0 * quarters) * 0.017453292519943295;  // [-pi / 4, pi / 4]
  const double z = x * x;
  const double s = x - (x * z) * alternating_series<3, 17>(z);
  const double c = (1.0 - 0.5 * z) + (z * z) * alternating_series<4, 18>(z);
  const int turn = int(quarters + 4.0) % 4;
  const double sin = turn % 2 ? c : s, cos = turn % 2 ? s : c;
  return {turn >= 2 ? -sin : sin, turn == 1 || turn == 2 ? -cos : cos};
}

// x, y: the centre; c, s: cosine and sine; hx, hy: half the sides; r: half the diagonal. A box that is empty, reversed
// or not finite has an area of 0 and nothing else.
struct Rotated {
  double x, y, c, s, hx, hy, r, area;

  template <class T> ROIKIT_HD static Rotated at(const T* p) {
    const double x = double(p[0]), y = double(p[1]), w = double(p[2]), h = double(p[3]), degrees = double(p[4]);
    const double area = w * h;
    const bool real = x < kRotatedLimit && x > -kRotatedLimit && y < kRotatedLimit && y > -kRotatedLimit &&
                      w > 0.0 && w < kRotatedLimit && h > 0.0 && h < kRotatedLimit && area > 0.0 &&
                      degrees - degrees == 0.0;
    if (!real) return {0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0};
    const SinCos turn = sin_cos_degrees(degrees);
    const double hx = 0.5 * w, hy = 0.5 * h;
    return {x, y, turn.cos, turn.sin, hx, hy, sqrt(hx * hx + hy * hy), area};
  }
};

ROIKIT_HD double absolute(double v) { return v < 0.0 ? -v : v; }

// The circles around the boxes meet. Where they do not, the IoU is 0.
ROIKIT_HD bool circles_meet(const Rotated& a, const Rotated& b) {
  const double dx = b.x - a.x, dy = b.y - a.y, r = a.r + b.r;
  return dx * dx + dy * dy < r * r;
}

// A total order but for equal boxes: the larger one first.
ROIKIT_HD bool comes_first(const Rotated& a, const Rotated& b) {
  bool first = a.s > b.s;
  first = (a.c > b.c) | ((a.c == b.c) & first);
  first = (a.hx > b.hx) | ((a.hx == b.hx) & first);
  first = (a.y > b.y) | ((a.y == b.y) & first);
  first = (a.x > b.x) | ((a.x == b.x) & first);
  return (a.area > b.area) | ((a.area == b.area) & first);
}

ROIKIT_HD double clamp_to(double v, double most) {
  const double low = v > -most ? v : -most;
  return low < most ? low : most;
}

// v within [0, 1]; NaN gives 0.
ROIKIT_HD double unit_of(double v) {
  const double low = v > 0.0 ? v : 0.0;
  return low < 1.0 ? low : 1.0;
}

// The integral of clamp(x, -hx, hx) dy along an edge from (x, y), where y runs from `from` to `to`. The edge's extents
// are dx and 1 / per_y; where those are infinite, from and to are equal.
ROIKIT_HD double edge_integral(double x, double y, double dx, double per_y, double from, double to, double hx) {
  const double xa = x + unit_of((from - y) * per_y) * dx, xb = x + unit_of((to - y) * per_y) * dx;
  const double ca = clamp_to(xa, hx), cb = clamp_to(xb, hx);
  const double length = xb - xa, step = cb - ca;
  const double weight = (0.5 * step + (xb - cb)) / (length == 0.0 ? 1.0 : length);
  return (ca + step * weight) * (to - from);
}

// The area that two boxes share, between 0 and that of the smaller one.
ROIKIT_HD double rotated_intersection(const Rotated& p, const Rotated& q) {
  const bool first = comes_first(p, q);
  const double c = p.c * q.c + p.s * q.s;  // b's width lies along (c, s) in a's frame
  const double turn = q.c * p.s - q.s * p.c;
  const double s = first ? turn : -turn;
  const double ac = first ? p.c : q.c, as = first ? p.s : q.s, bc = first ? q.c : p.c, bs = first ? q.s : p.s;
  const double ahx = first ? p.hx : q.hx, ahy = first ? p.hy : q.hy;
  const double bhx = first ? q.hx : p.hx, bhy = first ? q.hy : p.hy;
  const double fromx = q.x - p.x, fromy = q.y - p.y;
  const double dx = first ? fromx : -fromx, dy = first ? fromy : -fromy;
  const double x = dx * ac - dy * as, y = dx * as + dy * ac;      // b's centre in a's frame
  const double ux = c * bhx, uy = s * bhx, vx = -s * bhy, vy = c * bhy;  // half of b's sides
  // An axis of either box separates them.
  const double ofx = dx * bc - dy * bs, ofy = dx * bs + dy * bc;
  const double absc = absolute(c), abss = absolute(s);
  const bool apart = (absolute(x) >= ahx + (absolute(ux) + absolute(vx))) |
                     (absolute(y) >= ahy + (absolute(uy) + absolute(vy))) |
                     (absolute(ofx) >= bhx + (absc * ahx + abss * ahy)) |
                     (absolute(ofy) >= bhy + (abss * ahx + absc * ahy));
  const double x0 = (x - ux) - vx, x1 = (x + ux) - vx, x2 = (x + ux) + vx, x3 = (x - ux) + vx;
  const double y0 = (y - uy) - vy, y1 = (y + uy) - vy, y2 = (y + uy) + vy, y3 = (y - uy) + vy;
  const double c0 = clamp_to(y0, ahy), c1 = clamp_to(y1, ahy), c2 = clamp_to(y2, ahy), c3 = clamp_to(y3, ahy);
  const double per_u = 0.5 / uy, per_v = 0.5 / vy;
  const double area = (edge_integral(x0, y0, 2.0 * ux, per_u, c0, c1, ahx) +
                       edge_integral(x1, y1, 2.0 * vx, per_v, c1, c2, ahx)) +
                      (edge_integral(x2, y2, -2.0 * ux, -per_u, c2, c3, ahx) +
                       edge_integral(x3, y3, -2.0 * vx, -per_v, c3, c0, ahx));
  const double most = p.area < q.area ? p.area : q.area;
  const double positive = area > 0.0 ? area : 0.0;
  const double shared = positive < most ? positive : most;
  return apart ? 0.0 : shared;
}

// In [0, 1]; 0 where a box is empty, reversed or not finite.
ROIKIT_HD double rotated_iou(const Rotated& a, const Rotated& b) {
  const double inter = rotated_intersection(a, b);
  const double value = inter / ((a.area + b.area) - inter);
  const bool some = (inter > 0.0) & circles_meet(a, b);
  return some ? value : 0.0;
}

// Boxes as columns, so that a loop over them runs in vector lanes. The arrays belong to the caller.
struct RotatedColumns {
  const double* p;
  int64_t stride;

  ROIKIT_HD Rotated operator[](int64_t i) const {
    return {p[i],
            p[stride + i],
            p[2 * stride + i],
            p[3 * stride + i],
            p[4 * stride + i],
            p[5 * stride + i],
            p[6 * stride + i],
            p[7 * stride + i]};
  }
};

namespace ROIKIT_DEVICE {
void box_iou_rotated(const View& boxes1, const View& boxes2, const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE

namespace cpu {
void nms_rotated(const View& boxes, const View& scores, double threshold, const View& keep, const View& count,
                 const Launch& launch);
void batched_nms_rotated(const View& boxes, const View& scores, const View& idxs, double threshold, const View& keep,
                         const View& count, const Launch& launch);
}  // namespace cpu

namespace cuda {
int64_t box_iou_rotated_workspace(const View& boxes1, const View& boxes2);  // bytes
int64_t nms_rotated_workspace(const View& boxes);  // bytes
// by_score (N,) int64: the box of each rank. classes (N,) int64 ascending, and ranks (N,) int64, the rank of each of
// them; both null where all boxes are one class.
void nms_rotated_in_order(const View& boxes, const View& by_score, double threshold, const View& chosen,
                          const Launch& launch);
void batched_nms_rotated_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                                  double threshold, const View& chosen, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
