// Boxes and their overlap.
//
// A box is x1, y1, x2, y2 with half-open sides: its width is x2 - x1. A reversed side has length 0. A box with a NaN
// or an infinite coordinate overlaps nothing. min and max are `a < b ? a : b` and `a > b ? a : b`, so that NaN takes
// the same way on every floor. Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010,
// section 4.2 (without its "+ 1").
//
//   box_iou(boxes1 (N, 4) T, boxes2 (M, 4) T, out (N, M) T), T float32 or float64; all contiguous.
#pragma once

#include "core/launch.h"
#include "core/macros.h"
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

// Boxes as five arrays, so that a loop over them runs in vector lanes. The arrays belong to the caller.
template <class T> struct BoxColumns {
  const T* x1;
  const T* y1;
  const T* x2;
  const T* y2;
  const T* area;

  ROIKIT_HD Box<T> operator[](int64_t i) const { return {x1[i], y1[i], x2[i], y2[i], area[i]}; }
};

namespace cpu {
void box_iou(const View& boxes1, const View& boxes2, const View& out, const Launch& launch);
}
namespace cuda {
void box_iou(const View& boxes1, const View& boxes2, const View& out, const Launch& launch);
}

}  // namespace roikit
