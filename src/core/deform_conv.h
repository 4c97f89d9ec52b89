// Deformable convolution: each tap of the kernel samples the input where an offset says, bilinearly.
//
// Output place (oy, ox), tap (ky, kx) of offset group g, all in the accumulate type A and in this order:
//
//   y = (oy * stride - padding + ky * dilation) + offset[n, 2 * ((g * KH + ky) * KW + kx)]
//   x likewise, with the channel after it
//
// A sample with -1 < y < H and -1 < x < W has the value sum over its four pixels of their weights and values, a pixel
// beyond the map counting 0; any other sample, one that is not finite among them, is 0 and has no gradient. With
// low = floor(y), f = y - low: rows low and low + 1 weigh 1 - f and f, columns likewise. Then
//
//   output[n, o, oy, ox] = bias[o] + sum over taps and the group's channels of weight * mask * value.
//
// The derivative by y is that within [low, low + 1): at a whole y it is the one to the right.
//
// Source: Dai et al. 2017, arXiv:1703.06211 (offsets); Zhu et al. 2019, arXiv:1811.11168 (masks); layout of offsets and
// the border as torchvision's deform_conv2d.
#pragma once

#include <array>

#include "core/checks.h"
#include "core/launch.h"
#include "core/view.h"

namespace roikit {

using DeformPair = std::array<int64_t, 2>;  // y, x

struct DeformRule {
  int64_t stride[2], padding[2], dilation[2];  // y, x

  static DeformRule of(DeformPair stride, DeformPair padding, DeformPair dilation) {
    return {{stride[0], stride[1]}, {padding[0], padding[1]}, {dilation[0], dilation[1]}};
  }
};

// One sample's cell: its first pixel may lie beyond the map by one.
template <class A>
struct DeformCell {
  int32_t y = 0, x = 0;
  A fy = 0, fx = 0;
  bool inside = false;

  ROIKIT_HD static DeformCell at(A y, A x, int32_t height, int32_t width) {
    DeformCell cell;
    cell.inside = y > A(-1) && y < A(height) && x > A(-1) && x < A(width);
    if (cell.inside) {
      cell.y = int32_t(y) - (y < A(int32_t(y)));
      cell.x = int32_t(x) - (x < A(int32_t(x)));
      cell.fy = y - A(cell.y);
      cell.fx = x - A(cell.x);
    }
    return cell;
  }

  // Pixel t of the four, row t / 2 and column t % 2 of the cell.
  ROIKIT_HD bool has(int t, int32_t height, int32_t width) const {
    const int32_t row = y + (t >> 1), column = x + (t & 1);
    return inside && row >= 0 && row < height && column >= 0 && column < width;
  }
  ROIKIT_HD int64_t pixel(int t, int32_t width) const { return int64_t(y + (t >> 1)) * width + x + (t & 1); }
  ROIKIT_HD A weight(int t) const { return (t >> 1 ? fy : A(1) - fy) * (t & 1 ? fx : A(1) - fx); }

  // The derivatives of the value, from the values of the four pixels (or from sums of them).
  ROIKIT_HD A by_y(const A* v) const { return (v[2] - v[0]) * (A(1) - fx) + (v[3] - v[1]) * fx; }
  ROIKIT_HD A by_x(const A* v) const { return (v[1] - v[0]) * (A(1) - fy) + (v[3] - v[2]) * fy; }
};

struct DeformShape {
  int64_t images, channels, outputs, rows, columns, kernel_h, kernel_w, groups, offset_groups;
  int32_t height, width;
  DeformRule rule;

  ROIKIT_HD int64_t pixels() const { return int64_t(height) * width; }
  ROIKIT_HD int64_t places() const { return rows * columns; }
  ROIKIT_HD int64_t taps() const { return kernel_h * kernel_w; }
  ROIKIT_HD int64_t group_channels() const { return channels / groups; }
  ROIKIT_HD int64_t group_outputs() const { return outputs / groups; }
  ROIKIT_HD int64_t offset_channels() const { return channels / offset_groups; }

  // Where tap `tap` samples for output place (oy, ox); dy, dx: its offset.
  template <class A>
  ROIKIT_HD DeformCell<A> cell(int64_t oy, int64_t ox, int64_t tap, A dy, A dx) const {
    const int64_t ky = tap / kernel_w, kx = tap - ky * kernel_w;
    return DeformCell<A>::at(A(oy * rule.stride[0] - rule.padding[0] + ky * rule.dilation[0]) + dy,
                             A(ox * rule.stride[1] - rule.padding[1] + kx * rule.dilation[1]) + dx, height, width);
  }
};

// input: or its gradient. offset, mask: contiguous. mask: null without one. sizes: (N, O, OH, OW), of the output.
inline DeformShape deform_shape(const char* op, const View& input, const View& offset, const View* mask,
                                const View& weight, const int64_t* sizes, const DeformRule& rule) {
  require(input.rank == 4 && offset.rank == 4 && weight.rank == 4 && (!mask || mask->rank == 4),
          op, "input, offset, mask and weight must have four axes");
  require(offset.contiguous() && weight.contiguous() && (!mask || mask->contiguous()),
          op, "offset, mask and weight must be contiguous");
  require(offset.dtype == input.dtype && weight.dtype == input.dtype && (!mask || mask->dtype == input.dtype),
          op, "all arguments must have one dtype");
  require(input.shape[2] <= INT32_MAX && input.shape[3] <= INT32_MAX, op, "H and W must be < 2^31");
  const int64_t taps = weight.shape[2] * weight.shape[3];
  require(taps > 0 && weight.shape[0] > 0 && weight.shape[1] > 0 && input.shape[1] > 0 &&
              input.shape[1] % weight.shape[1] == 0 && offset.shape[1] > 0 && offset.shape[1] % (2 * taps) == 0,
          op, "channels must divide into groups");
  DeformShape s{input.shape[0], input.shape[1], weight.shape[0], sizes[2], sizes[3], weight.shape[2], weight.shape[3],
                input.shape[1] / weight.shape[1], offset.shape[1] / (2 * taps), int32_t(input.shape[2]),
                int32_t(input.shape[3]), rule};
  require(s.outputs % s.groups == 0 && s.channels % s.offset_groups == 0 && sizes[1] == s.outputs,
          op, "channels must divide into groups");
  const auto fits = [&](const View& v, int64_t channels) {
    return v.shape[0] == s.images && v.shape[1] == channels && v.shape[2] == s.rows && v.shape[3] == s.columns;
  };
  require(sizes[0] == s.images && fits(offset, 2 * s.offset_groups * taps) &&
              (!mask || fits(*mask, s.offset_groups * taps)),
          op, "offset and mask must fit the output");
  return s;
}

// F: float16, bfloat16, float32, float64, the same in all; half is added up in float32 and rounded once. input, output,
// grad and the gradient of the input: contiguous or channels_last each; the rest contiguous. bias (O).
namespace cpu {
void deform_conv2d(const View& input, const View& offset, const View* mask, const View& weight, const View* bias,
                   DeformPair stride, DeformPair padding, DeformPair dilation, const View& output,
                   const Launch& launch);
// The gradients that are not asked for are null.
void deform_conv2d_backward(const View& grad, const View& input, const View& offset, const View* mask,
                            const View& weight, DeformPair stride, DeformPair padding, DeformPair dilation,
                            const View* input_gradient, const View* offset_gradient, const View* mask_gradient,
                            const View* weight_gradient, const View* bias_gradient, const Launch& launch);
}  // namespace cpu

// CUDA works in steps; the caller multiplies matrices in between. All arrays are contiguous. columns, of some images:
// (C, KH * KW, N, OH * OW) of mask * value, or the gradient of that; weight gives the kernel's size and C / groups.
namespace cuda {
void deform_conv2d_columns(const View& input, const View& offset, const View* mask, const View& weight,
                           DeformPair stride, DeformPair padding, DeformPair dilation, const View& columns,
                           const Launch& launch);
// From the gradient of the columns, that of the input, added up by atomics. sums (N, C, H, W), A: set here.
void deform_conv2d_scatter(const View& columns, const View& offset, const View* mask, const View& weight,
                           DeformPair stride, DeformPair padding, DeformPair dilation, const View& sums,
                           const Launch& launch);
// The same in a fixed order. keys (N, DG, KH * KW, 4, OH * OW) int64: the pixel, of N * DG maps, that each pixel of a
// sample is, or N * DG * H * W beyond the map. The caller sorts them stably; order: their places, sorted; starts
// (N * DG * H * W + 1): where each pixel's run of them begins.
void deform_conv2d_keys(const View& input, const View& offset, const View& weight, DeformPair stride,
                        DeformPair padding, DeformPair dilation, const View& keys, const Launch& launch);
void deform_conv2d_gather(const View& columns, const View& offset, const View* mask, const View& weight,
                          DeformPair stride, DeformPair padding, DeformPair dilation, const View& order,
                          const View& starts, const View& sums, const Launch& launch);
// From the gradient of the columns, those of offset and mask (each null where it is not asked for).
void deform_conv2d_positions(const View& columns, const View& input, const View& offset, const View* mask,
                             const View& weight, DeformPair stride, DeformPair padding, DeformPair dilation,
                             const View* offset_gradient, const View* mask_gradient, const Launch& launch);
}  // namespace cuda

}  // namespace roikit
