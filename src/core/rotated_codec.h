// Rotated boxes as deltas from rotated anchors, and back. Rows are cx, cy, w, h and degrees counter-clockwise.
//
//   encode_boxes_rotated(boxes (N, 5), anchors (N, 5), weights, out (N, 5))
//     dx = wx (gcx - acx) / aw, dw = ww log(gw / aw), likewise y; da = wa (wrap(ga - aa) pi / 180)
//   decode_boxes_rotated(deltas (N, 5 C), anchors (N, 5), weights, clip, out (N, 5 C))
//     w = exp(min(dw / ww, clip)) aw, cx = (dx / wx) aw + acx, likewise y; angle = wrap((da / wa) 180 / pi + aa)
//
// wrap takes away whole turns, without rounding, so that [-180, 180) is left. All T, float32 or float64, contiguous. A
// side that is not positive gives infinities or NaN in its own row and axis, an infinite angle NaN in its own column.
// Source: Ren et al., "Faster R-CNN", arXiv:1506.01497, section 3.1.2; the angle: Ma et al., arXiv:1703.01086.
#pragma once

#include <cmath>

#include "core/box_codec.h"

namespace roikit {

template <class T> struct RotatedWeights {
  CodecWeights<T> sides;
  T angle;

  template <class Given> static RotatedWeights of(const Given& v) { return {CodecWeights<T>::of(v), T(v[4])}; }
};

template <class T> struct RotatedRow {
  T x, y, w, h, angle;

  ROIKIT_HD static RotatedRow at(const T* p) { return {p[0], p[1], p[2], p[3], p[4]}; }
  ROIKIT_HD void put(T* p) const { p[0] = x, p[1] = y, p[2] = w, p[3] = h, p[4] = angle; }
};

// From [-540, 540) or less. Both sums are exact; 0 is +0.
template <class T> ROIKIT_HD T within_turn(T r) {
  r = r >= T(180) ? r - T(360) : r;
  return (r < T(-180) ? r + T(360) : r) + T(0);
}

// Any angle.
struct WrapAny {
  template <class T> ROIKIT_HD static T of(T degrees) { return within_turn(std::fmod(degrees, T(360))); }
};

// An angle of less than 2^20 degrees: the same bits, in vector lanes. 360 times the turns is exact, and so is what is
// left, since it is a multiple of the angle's last place and no larger.
struct WrapNear {
  template <class T> ROIKIT_HD static bool can(T degrees) { return degrees < T(1048576) && degrees > T(-1048576); }

  template <class T> ROIKIT_HD static T of(T degrees) {
    const T turns = degrees * T(1.0 / 360.0);
    const int32_t whole = int32_t(turns + (turns < T(0) ? T(-0.5) : T(0.5)));
    return within_turn(degrees - T(360) * T(whole));
  }
};

template <class Wrap, class T>
ROIKIT_HD RotatedRow<T> encode_rotated(const RotatedRow<T>& box, const RotatedRow<T>& anchor,
                                       const RotatedWeights<T>& w) {
  const auto x = encode_extent(Extent<T>{box.x, box.w}, Extent<T>{anchor.x, anchor.w}, w.sides.x, w.sides.w);
  const auto y = encode_extent(Extent<T>{box.y, box.h}, Extent<T>{anchor.y, anchor.h}, w.sides.y, w.sides.h);
  const T turn = Wrap::of(box.angle - anchor.angle);
  return {x.shift, y.shift, x.scale, y.scale, w.angle * (turn * T(0.017453292519943295))};
}

// The angle of a decoded box, before whole turns are taken away.
template <class T> ROIKIT_HD T decoded_angle(T delta, T anchor, T weight) {
  return (delta / weight) * T(57.29577951308232) + anchor;
}

template <class Wrap, class T>
ROIKIT_HD RotatedRow<T> decode_rotated(const RotatedRow<T>& delta, const RotatedRow<T>& anchor,
                                       const RotatedWeights<T>& w, T clip) {
  const auto x = decode_extent(Delta<T>{delta.x, delta.w}, Extent<T>{anchor.x, anchor.w}, w.sides.x, w.sides.w, clip);
  const auto y = decode_extent(Delta<T>{delta.y, delta.h}, Extent<T>{anchor.y, anchor.h}, w.sides.y, w.sides.h, clip);
  return {x.centre, y.centre, x.size, y.size, Wrap::of(decoded_angle(delta.angle, anchor.angle, w.angle))};
}

using RotatedBoxWeights = std::array<double, 5>;

namespace ROIKIT_DEVICE {
void encode_boxes_rotated(const View& boxes, const View& anchors, const RotatedBoxWeights& weights, const View& out,
                          const Launch& launch);
void decode_boxes_rotated(const View& deltas, const View& anchors, const RotatedBoxWeights& weights, double clip,
                          const View& out, const Launch& launch);
}  // namespace ROIKIT_DEVICE

}  // namespace roikit
