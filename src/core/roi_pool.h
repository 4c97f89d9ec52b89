// RoIPool: the largest feature of each bin of a box rounded to whole pixels. The result is exact.
//
// The Caffe rule. T is the boxes' type, P the bins of an axis. A corner is round(c * scale), half away from zero,
// limited to +-2^30. The size is max(end - start + 1, 1), bin = T(size) / T(P), and bin p covers
// [floor(T(p) * bin) + start, ceil(T(p + 1) * bin) + start), clipped to the map; bins may overlap. Rows, then columns,
// ascending, a pixel wins by being strictly greater than the best so far, which starts at -infinity: the first maximum
// wins, and NaN never does. A bin without a winner, and every bin of a RoI that is not finite, gives 0 and argmax -1.
//
// Source: Girshick 2015, arXiv:1504.08083, section 2.1; rounding and overlap as Caffe's layer and torchvision have it.
#pragma once

#include <cmath>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

// Pixels [begin, end) along an axis.
struct PixelRange {
  int32_t begin = 0, end = 0;
};

// One axis of a RoI in whole pixels.
template <class T>
struct PoolAxis {
  int64_t start;
  T bin;

  // floor(v + 0.5) would be wrong just below one half, where the sum rounds up.
  ROIKIT_HD static int64_t corner(T value) {
    constexpr T kLimit = 1073741824;  // 2^30
    const T whole = std::trunc(value);
    const T rounded = std::fabs(value - whole) >= T(0.5) ? whole + (value > T(0) ? T(1) : T(-1)) : whole;
    return int64_t(rounded < -kLimit ? -kLimit : rounded > kLimit ? kLimit : rounded);
  }

  ROIKIT_HD static PoolAxis of(T low, T high, T scale, int64_t bins) {
    const int64_t start = corner(low * scale), size = corner(high * scale) - start + 1;
    return {start, T(size > 1 ? size : 1) / T(bins)};
  }

  ROIKIT_HD PixelRange range(int64_t p, int64_t extent) const {
    const int64_t first = int64_t(std::floor(T(p) * bin)) + start, last = int64_t(std::ceil(T(p + 1) * bin)) + start;
    return {int32_t(first < 0 ? 0 : first > extent ? extent : first),
            int32_t(last < 0 ? 0 : last > extent ? extent : last)};
  }
};

// Whether the corners of a RoI (image, x1, y1, x2, y2) are finite: x - x is 0 for finite x alone.
template <class T>
ROIKIT_HD bool finite_corners(const T* roi) {
  return (roi[1] - roi[1]) + (roi[2] - roi[2]) + (roi[3] - roi[3]) + (roi[4] - roi[4]) == T(0);
}

// True when the input is channels_last.
inline bool check_roi_pool(const View& input, const View& boxes, const View& output, const View& argmax) {
  constexpr const char* kOp = "roi_pool";
  check_rows(kOp, "boxes", boxes, 5);
  require(input.rank == 4 && output.rank == 4 && argmax.rank == 4 && output.shape[0] == boxes.shape[0] &&
              output.shape[1] == input.shape[1] && output.dtype == input.dtype &&
              (argmax.size() == output.size() || argmax.size() == 0),
          kOp, "output and argmax must be (K, C, PH, PW), input (N, C, H, W)");
  require(input.shape[2] * input.shape[3] <= INT32_MAX, kOp, "input must have H * W < 2^31");
  check_format(kOp, "input", input);
  const bool channels_last = !input.contiguous();
  require(channels_last ? output.channels_last() && argmax.channels_last() : output.contiguous() && argmax.contiguous(),
          kOp, "output and argmax must be laid out as input is");
  return channels_last;
}

inline void check_roi_pool_backward(const View& grad, const View& argmax, const View& boxes, const View& gradient) {
  constexpr const char* kOp = "roi_pool_backward";
  check_rows(kOp, "boxes", boxes, 5);
  require(grad.rank == 4 && gradient.rank == 4 && grad.shape[0] == boxes.shape[0] &&
              grad.shape[1] == gradient.shape[1] && grad.dtype == gradient.dtype && argmax.size() == grad.size(),
          kOp, "grad and argmax must be (K, C, PH, PW), gradient (N, C, H, W)");
  require((grad.contiguous() && argmax.contiguous()) || (grad.channels_last() && argmax.channels_last()), kOp,
          "grad and argmax must both be contiguous or both channels_last");
  check_format(kOp, "gradient", gradient);
}

// input (N, C, H, W) F: float16, bfloat16, float32, float64, with H * W < 2^31; boxes (K, 5) T float32 or float64,
// contiguous, batch index first; output (K, C, PH, PW) F and argmax int32, y * W + x in the RoI's map, or empty
// (0, C, PH, PW) where nobody will ask for a gradient, laid out as the
// input is, contiguous or channels_last. A batch index that is not whole or not in [0, N): the CPU throws
// std::out_of_range, CUDA gives that RoI 0 and argmax -1, and no gradient.
// Backward: grad and argmax (K, C, PH, PW) of one layout; gradient (N, C, H, W) contiguous or channels_last. A pixel
// that won several bins adds their gradients in the order k, ph, pw (CUDA: where launch.deterministic asks for it, else
// in any order); half is added in float32 and rounded once. An argmax that is no pixel of the map is passed over.
namespace ROIKIT_DEVICE {
void roi_pool(const View& input, const View& boxes, double spatial_scale, const View& output, const View& argmax,
              const Launch& launch);
void roi_pool_backward(const View& grad, const View& argmax, const View& boxes, const View& gradient,
                       const Launch& launch);
}  // namespace ROIKIT_DEVICE
namespace cuda {
// The bytes of scratch that they need.
int64_t roi_pool_workspace(int64_t rois, int64_t rows, int64_t columns);
int64_t roi_pool_backward_workspace(const View& argmax, const View& gradient, bool deterministic);
}  // namespace cuda

}  // namespace roikit
