// What forward and backward of deform_conv2d share on the CPU: where a tap samples, and the samples in lanes.
#pragma once

#include "core/deform_conv.h"
#include "cpu/lanes.h"

namespace roikit::cpu {

// Output places of a pass: rows of the products. Samples, results and a tap's weights share the second-level cache.
constexpr int64_t kPlaces = 96;

template <class S>
struct DeformField {
  DeformShape shape;
  const S *offset, *mask;  // mask: null without one
};

// The samples of one tap of an offset group, place after place.
template <class S, class A>
class DeformWalk {
 public:
  ROIKIT_INLINE DeformWalk(const DeformField<S>& field, int64_t image, int64_t group, int64_t tap, int64_t first)
      : shape_(field.shape), tap_(tap), oy_(first / shape_.columns), ox_(first - oy_ * shape_.columns) {
    const int64_t places = shape_.places(), plane = (image * shape_.offset_groups + group) * shape_.taps() + tap;
    dy_ = field.offset + 2 * plane * places + first;
    dx_ = dy_ + places;
    mask_ = field.mask ? field.mask + plane * places + first : nullptr;
  }

  ROIKIT_INLINE DeformCell<A> cell() const { return shape_.template cell<A>(oy_, ox_, tap_, load(*dy_), load(*dx_)); }
  ROIKIT_INLINE A mask() const { return mask_ ? A(load(*mask_)) : A(1); }

  ROIKIT_INLINE void next() {
    ++dy_, ++dx_;
    if (mask_) ++mask_;
    if (++ox_ == shape_.columns) ox_ = 0, ++oy_;
  }

 private:
  const DeformShape& shape_;
  int64_t tap_, oy_, ox_;
  const S *dy_, *dx_, *mask_;
};

// The four pixels of a cell in a map of rows, `beyond` (a row of zeros, say) for those that are not in the map.
template <class Pointer, class A>
ROIKIT_INLINE void deform_pixels(const DeformCell<A>& cell, const DeformShape& shape, Pointer map, int64_t stride,
                                 Pointer beyond, Pointer (&at)[4]) {
  for (int t = 0; t < 4; ++t)
    at[t] = cell.has(t, shape.height, shape.width) ? map + cell.pixel(t, shape.width) * stride : beyond;
}

// to[c] = mask * the sample of channel c; `zeros`: as many as there are channels.
template <int Bytes, class A>
ROIKIT_INLINE void sample_lanes(const DeformCell<A>& cell, A mask, const DeformShape& shape, const A* map,
                                int64_t stride, int64_t channels, const A* zeros, A* to) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  if (!cell.inside) {
    for (int64_t c = 0; c < channels; ++c) to[c] = 0;
    return;
  }
  const A* from[4];
  deform_pixels(cell, shape, map, stride, zeros, from);
  A weight[4];
  for (int t = 0; t < 4; ++t) weight[t] = mask * cell.weight(t);
  int64_t c = 0;
  for (; c + L <= channels; c += L) {
    P sum = P::zero();
    for (int t = 0; t < 4; ++t) sum.add_product(weight[t], P::load(from[t] + c));
    sum.store(to + c);
  }
  for (; c < channels; ++c) {
    A sum = 0;
    for (int t = 0; t < 4; ++t) sum += from[t][c] * weight[t];
    to[c] = sum;
  }
}

}  // namespace roikit::cpu
