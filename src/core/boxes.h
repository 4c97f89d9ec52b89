// Boxes and their overlap.
//
// A box is x1, y1, x2, y2 with half-open sides: its width is x2 - x1. A reversed side has length 0. A box with a NaN
// or an infinite coordinate overlaps nothing. min and max are `a < b ? a : b` and `a > b ? a : b`, so that NaN takes
// the same way on every floor. Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010,
// section 4.2 (without its "+ 1"); the generalized IoU is Rezatofighi et al., CVPR 2019, the distance and complete IoU are
// Zheng et al., AAAI 2020.
//
//   box_iou(boxes1 (N, 4) T, boxes2 (M, 4) T, out (N, M) T), T float32 or float64; all contiguous.
//   generalized_box_iou likewise; distance_box_iou and complete_box_iou take eps before out.
#pragma once

#include <limits>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

template <class T> ROIKIT_HD T min_of(T a, T b) { return a < b ? a : b; }
template <class T> ROIKIT_HD T max_of(T a, T b) { return a > b ? a : b; }

// The length of [lo, hi); NaN stays NaN, so that a box with one has a NaN area and an IoU of 0.
template <class T> ROIKIT_HD T side(T lo, T hi) {
  const T length = hi - lo;
  return length < T(0) ? T(0) : length;
}

template <class T> ROIKIT_HD T box_area(T x1, T y1, T x2, T y2) { return side(x1, x2) * side(y1, y2); }

template <class T> struct Box {
  T x1, y1, x2, y2, area;

  ROIKIT_HD static Box at(const T* p) { return {p[0], p[1], p[2], p[3], box_area(p[0], p[1], p[2], p[3])}; }
};

template <class T> ROIKIT_HD T intersection(const Box<T>& a, const Box<T>& b) {
  return side(max_of(a.x1, b.x1), min_of(a.x2, b.x2)) * side(max_of(a.y1, b.y1), min_of(a.y2, b.y2));
}

// A NaN or infinite area makes the union NaN or infinite, and the answer 0.
template <class T> ROIKIT_HD T iou(const Box<T>& a, const Box<T>& b) {
  const T inter = intersection(a, b);
  const T uni = (a.area + b.area) - inter;
  return uni > T(0) ? inter / uni : T(0);
}

// The same bits as iou(), with the division behind a branch: for a walk that takes one pair at a time, most of which do
// not meet. Where inter is 0 and the union above it, the quotient is inter, its sign included.
template <class T> ROIKIT_HD T iou_of_few(const Box<T>& a, const Box<T>& b) {
  const T inter = intersection(a, b);
  const T uni = (a.area + b.area) - inter;
  T value = inter;
  if (inter > T(0)) value = inter / uni;
  return uni > T(0) ? value : T(0);
}

// The smallest box around two.
template <class T> ROIKIT_HD T hull_width(const Box<T>& a, const Box<T>& b) {
  return side(min_of(a.x1, b.x1), max_of(a.x2, b.x2));
}
template <class T> ROIKIT_HD T hull_height(const Box<T>& a, const Box<T>& b) {
  return side(min_of(a.y1, b.y1), max_of(a.y2, b.y2));
}

// A penalty that is not finite (0 / 0, a NaN or infinite box) counts nothing.
template <class T> ROIKIT_HD T less_penalty(T value, T penalty) {
  return penalty - penalty == T(0) ? value - penalty : value;
}

// The part of the hull that neither box covers.
template <class T> ROIKIT_HD T empty_part(const Box<T>& a, const Box<T>& b) {
  const T uni = (a.area + b.area) - intersection(a, b);
  const T hull = hull_width(a, b) * hull_height(a, b);
  return side(uni, hull) / hull;
}

// The squared distance of the centres over the hull's squared diagonal; more than 1 for reversed boxes only.
template <class T> ROIKIT_HD T centre_distance(const Box<T>& a, const Box<T>& b, T eps) {
  const T width = hull_width(a, b), height = hull_height(a, b);
  const T dx = (a.x1 + a.x2) * T(0.5) - (b.x1 + b.x2) * T(0.5);
  const T dy = (a.y1 + a.y2) * T(0.5) - (b.y1 + b.y2) * T(0.5);
  const T away = (dx * dx + dy * dy) / ((width * width + height * height) + eps);
  return away > T(1) && away <= std::numeric_limits<T>::max() ? T(1) : away;
}

// What is written for a pair. A measure that wants the angle of each box's diagonal says so in kAngles and finds it in
// the arguments after the boxes, others find 0 there.
struct PairIou {
  static constexpr bool kAngles = false;
  template <class T> ROIKIT_HD T operator()(const Box<T>& a, T, const Box<T>& b, T) const { return iou(a, b); }
};
struct PairIouOfFew {
  static constexpr bool kAngles = false;
  template <class T> ROIKIT_HD T operator()(const Box<T>& a, T, const Box<T>& b, T) const { return iou_of_few(a, b); }
};
struct PairGeneralizedIou {
  static constexpr bool kAngles = false;
  template <class T> ROIKIT_HD T operator()(const Box<T>& a, T, const Box<T>& b, T) const {
    return less_penalty(iou(a, b), empty_part(a, b));
  }
};
struct PairDistanceIou {
  static constexpr bool kAngles = false;
  double eps;
  template <class T> ROIKIT_HD T operator()(const Box<T>& a, T, const Box<T>& b, T) const {
    return less_penalty(iou(a, b), centre_distance(a, b, T(eps)));
  }
};
struct PairCompleteIou {
  static constexpr bool kAngles = true;
  double eps;
  template <class T> ROIKIT_HD T operator()(const Box<T>& a, T angle_a, const Box<T>& b, T angle_b) const {
    const T value = iou(a, b), turn = angle_a - angle_b;
    const T shape = T(0.40528473456935108578) * (turn * turn);  // 4 / pi^2
    const T weight = shape / (((T(1) - value) + shape) + T(eps));
    return less_penalty(value, centre_distance(a, b, T(eps)) + weight * shape);
  }
};

// The angle between a box's diagonal and its upright side; 0 for an empty box.
template <class T> ROIKIT_HD T diagonal_angle(const Box<T>& b) { return angle_of(side(b.x1, b.x2), side(b.y1, b.y2)); }

// Boxes as five arrays, so that a loop over them runs in vector lanes. The arrays belong to the caller.
template <class T> struct BoxColumns {
  const T* x1;
  const T* y1;
  const T* x2;
  const T* y2;
  const T* area;

  ROIKIT_HD Box<T> operator[](int64_t i) const { return {x1[i], y1[i], x2[i], y2[i], area[i]}; }
};

namespace ROIKIT_DEVICE {
// Instantiated for the measures below.
template <class Measure>
void every_pair(const char* op, const View& boxes1, const View& boxes2, Measure measure, const View& out,
                const Launch& launch);

inline void box_iou(const View& boxes1, const View& boxes2, const View& out, const Launch& launch) {
  every_pair("box_iou", boxes1, boxes2, PairIou(), out, launch);
}
inline void generalized_box_iou(const View& boxes1, const View& boxes2, const View& out, const Launch& launch) {
  every_pair("generalized_box_iou", boxes1, boxes2, PairGeneralizedIou(), out, launch);
}
inline void distance_box_iou(const View& boxes1, const View& boxes2, double eps, const View& out,
                             const Launch& launch) {
  every_pair("distance_box_iou", boxes1, boxes2, PairDistanceIou{eps}, out, launch);
}
inline void complete_box_iou(const View& boxes1, const View& boxes2, double eps, const View& out,
                             const Launch& launch) {
  every_pair("complete_box_iou", boxes1, boxes2, PairCompleteIou{eps}, out, launch);
}
}  // namespace ROIKIT_DEVICE

}  // namespace roikit
