// Boxes as deltas from anchors, and back.
//
//   encode_boxes(boxes (N, 4), anchors (N, 4), weights, out (N, 4))
//     dx = wx (gcx - acx) / aw, dw = ww log(gw / aw); likewise y
//   decode_boxes(deltas (N, 4 C), anchors (N, 4), weights, clip, out (N, 4 C))
//     w = exp(min(dw / ww, clip)) aw, cx = (dx / wx) aw + acx, x1 = cx - w / 2, x2 = cx + w / 2; likewise y
//
// All T, float32 or float64, contiguous. A side that is not positive gives infinities or NaN in its own row and axis.
// Source: Ren et al., "Faster R-CNN", arXiv:1506.01497, section 3.1.2; the clip is torchvision's.
#pragma once

#include <array>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

template <class T> struct CodecWeights {
  T x, y, w, h;

  template <class Given> static CodecWeights of(const Given& v) { return {T(v[0]), T(v[1]), T(v[2]), T(v[3])}; }
};

template <class T> struct Delta { T shift, scale; };
template <class T> struct Span { T lo, hi; };
template <class T> struct Extent { T centre, size; };

template <class T> ROIKIT_HD Extent<T> extent_of(Span<T> s) {
  const T size = s.hi - s.lo;
  return {s.lo + T(0.5) * size, size};
}

// One axis; the weights are those of the shift and of the size.
template <class T> ROIKIT_HD Delta<T> encode_extent(Extent<T> box, Extent<T> anchor, T w_shift, T w_size) {
  return {w_shift * (box.centre - anchor.centre) / anchor.size, w_size * log_of(box.size / anchor.size)};
}

template <class T> ROIKIT_HD Extent<T> decode_extent(Delta<T> delta, Extent<T> anchor, T w_shift, T w_size, T clip) {
  const T d = delta.scale / w_size;
  return {(delta.shift / w_shift) * anchor.size + anchor.centre, exp_of(d > clip ? clip : d) * anchor.size};
}

template <class T> ROIKIT_HD Delta<T> encode_axis(Span<T> box, Span<T> anchor, T w_shift, T w_size) {
  return encode_extent(extent_of(box), extent_of(anchor), w_shift, w_size);
}

template <class T> ROIKIT_HD Span<T> decode_axis(Delta<T> delta, Span<T> anchor, T w_shift, T w_size, T clip) {
  const Extent<T> box = decode_extent(delta, extent_of(anchor), w_shift, w_size, clip);
  return {box.centre - T(0.5) * box.size, box.centre + T(0.5) * box.size};
}

// A whole row: corners in, deltas out.
template <class T>
ROIKIT_HD void encode_box(const T* ROIKIT_RESTRICT box, const T* ROIKIT_RESTRICT anchor, const CodecWeights<T>& w,
                          T* ROIKIT_RESTRICT out) {
  const Delta<T> x = encode_axis(Span<T>{box[0], box[2]}, Span<T>{anchor[0], anchor[2]}, w.x, w.w);
  const Delta<T> y = encode_axis(Span<T>{box[1], box[3]}, Span<T>{anchor[1], anchor[3]}, w.y, w.h);
  out[0] = x.shift;
  out[1] = y.shift;
  out[2] = x.scale;
  out[3] = y.scale;
}

// Deltas of one class in, corners out; ax and ay are the anchor's sides.
template <class T>
ROIKIT_HD void decode_box(const T* ROIKIT_RESTRICT delta, Span<T> ax, Span<T> ay, const CodecWeights<T>& w, T clip,
                          T* ROIKIT_RESTRICT out) {
  const Span<T> x = decode_axis(Delta<T>{delta[0], delta[2]}, ax, w.x, w.w, clip);
  const Span<T> y = decode_axis(Delta<T>{delta[1], delta[3]}, ay, w.y, w.h, clip);
  out[0] = x.lo;
  out[1] = y.lo;
  out[2] = x.hi;
  out[3] = y.hi;
}

// Boxes (N, numbers), or deltas (N, numbers * C).
inline void check_codec(const char* op, const View& given, const View& anchors, const View& out, int64_t numbers) {
  check_rows(op, "anchors", anchors, numbers);
  require(given.rank == 2 && given.shape[0] == anchors.shape[0] && given.shape[1] % numbers == 0 && given.contiguous(),
          op, "boxes or deltas must be contiguous, of one or more boxes an anchor");
  require(out.size() == given.size() && out.contiguous(), op, "out must be contiguous, of the shape of the input");
}

using BoxWeights = std::array<double, 4>;

namespace ROIKIT_DEVICE {
void encode_boxes(const View& boxes, const View& anchors, const BoxWeights& weights, const View& out,
                  const Launch& launch);
void decode_boxes(const View& deltas, const View& anchors, const BoxWeights& weights, double clip, const View& out,
                  const Launch& launch);
}  // namespace ROIKIT_DEVICE

}  // namespace roikit
