// Normalisation of groups of channels, with an addition and a ReLU behind it, and its gradients.
//
//   group_norm(x (N, C, H, W) T, weight, bias (C,) A, groups, eps, onto like x or (0,), relu, out like x,
//              mean, rate (N, groups) A)
//   group_norm_backward(grad, x like out, out like x or (0,), weight, bias (C,) A, mean, rate (N, groups) A, relu,
//              grad_x like x, grad_sum like x or (0,), grad_weight, grad_bias (C,) A)
//
// With mean and rate (1, C) they are those of each channel of all images: batch normalisation.
//
// T float32, float64 or bfloat16, A the type in which it is added up. Maps are contiguous or channels-last, all of one
// call alike. With the mean and the variance of the C / groups channels of a group of an image together,
//
//   rate = 1 / sqrt(variance + eps);  out = ((x - mean) (rate weight) + bias) + onto, and 0 where that is below 0
//
// Means and variances are those of blocks, of kNormBlock values or of the at most kNormPixels pixels that have
// kNormRows, taken about the block's own mean, and joined in double: no digits are lost where a mean is large. Blocks
// follow from the shape, so that the bits depend on no thread and no vector level; those of the two formats differ. The
// gradient passes where out is above 0: what is 0 or less is known from `out` where there was an addition, else from x.
// grad_sum is then the gradient of what was added.
//
// Source: Wu and He, ECCV 2018; Ioffe and Szegedy, ICML 2015; blocks are joined as in Chan, Golub and LeVeque, The
// American Statistician 37 (1983).
#pragma once

#include <cmath>
#include <cstdint>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/view.h"

namespace roikit {

constexpr int64_t kNormBlock = 4096;       // values that lie side by side, of one group
constexpr int64_t kNormRows = 4 * 4096;    // values of pixels, of all groups
constexpr int64_t kNormPixels = 512;       // pixels of a block at most: few values are added up one after the other
constexpr int64_t kNormChunk = 16 * 4096;  // values of a map that are one thread's, channels-last

// Values in all, their mean, and the sum of their squared distances from it.
struct Moments {
  double count, mean, spread;

  // Of values whose distances from a centre have the sum `first`, and their squares the sum `second`.
  static Moments about(double center, double count, double first, double second) {
    const double apart = first / count;
    return {count, center + apart, second - first * apart};
  }

  void join(const Moments& other) { join(other, other.count / (count + other.count)); }

  // share: of the others among all.
  void join(const Moments& other, double share) {
    const double apart = other.mean - mean;
    mean += apart * share;
    spread += other.spread + apart * apart * count * share;
    count += other.count;
  }

  double rate(double eps) const {
    const double variance = spread > 0 ? spread / count : spread * 0;  // rounding may leave less than 0; NaN stays
    return 1.0 / std::sqrt(variance + eps);
  }
};

template <class A> ROIKIT_HD A normed(A x, A mean, A scale, A shift) { return (x - mean) * scale + shift; }

// NaN passes.
template <class A> ROIKIT_HD A rectified(A x) { return x < A(0) ? A(0) : x; }

struct NormShape {
  int64_t images, channels, pixels, groups;
  bool last;   // channels-last
  bool joint;  // all images have means and variances together; a group is then a channel

  int64_t width() const { return channels / groups; }
  double count() const { return double(width()) * double(pixels) * double(joint ? images : 1); }
  int64_t map() const { return channels * pixels; }

  // Rows of means and rates, and that of an image.
  int64_t rows() const { return joint ? 1 : images; }
  int64_t row(int64_t image) const { return joint ? 0 : image; }

  // Contiguous: the planes of group `item` of all rows, of planes()[image, channel], and the channel of each.
  int64_t planes() const { return joint ? images : width(); }
  int64_t plane(int64_t item, int64_t k) const { return joint ? k * channels + item : item * width() + k; }
  int64_t channel(int64_t item, int64_t k) const { return joint ? item : item % groups * width() + k; }

  // Pixels of a block and of a chunk, channels-last.
  int64_t block() const {
    const int64_t rows = channels < kNormRows ? kNormRows / channels : 1;
    return rows < kNormPixels ? rows : kNormPixels;
  }
  int64_t chunk() const { return channels < kNormChunk ? kNormChunk / (channels * block()) * block() : block(); }
  int64_t chunks() const { return (pixels + chunk() - 1) / chunk(); }
  int64_t row_chunks() const { return chunks() * (joint ? images : 1); }
};

// rows: of means; one for several images is that of them all.
inline NormShape norm_shape(const char* op, const View& x, int64_t groups, int64_t rows) {
  require(x.rank == 4, op, "maps must be (N, C, H, W)");
  check_format(op, "x", x);
  require(groups > 0 && x.shape[1] % groups == 0, op, "groups must divide the channels");
  const bool joint = rows == 1 && x.shape[0] != 1;
  require(!joint || groups == x.shape[1], op, "with one mean for all images, groups must be the channels");
  return {x.shape[0], x.shape[1], x.shape[2] * x.shape[3], groups, !x.contiguous(), joint};
}

inline void check_norm_map(const char* op, const char* name, const View& v, const View& x) {
  bool same = v.rank == 4 && v.dtype == x.dtype;
  for (int i = 0; same && i < 4; ++i) same = v.shape[i] == x.shape[i];
  if (!same || !(x.contiguous() ? v.contiguous() : v.channels_last()))
    throw std::invalid_argument(std::string(op) + ": " + name + " must have the shape, dtype and format of x");
}

// A map like x; with none of it, size 0.
inline bool norm_map_or_none(const char* op, const char* name, const View& v, const View& x) {
  if (v.rank == 1 && v.shape[0] == 0) return false;
  check_norm_map(op, name, v, x);
  return true;
}

inline void check_norm_parts(const char* op, const NormShape& shape, const View& weight, const View& bias,
                             const View& mean, const View& rate) {
  check_vector(op, "weight", weight, shape.channels);
  check_vector(op, "bias", bias, shape.channels);
  check_rows(op, "mean", mean, shape.groups);
  check_rows(op, "rate", rate, shape.groups);
  require(mean.shape[0] == shape.rows() && rate.shape[0] == shape.rows(), op,
          "mean and rate must be (N, groups), or (1, C) for all images together");
}

namespace cpu {
void group_norm(const View& x, const View& weight, const View& bias, int64_t groups, double eps, const View& onto,
                bool relu, const View& out, const View& mean, const View& rate, const Launch& launch);

void group_norm_backward(const View& grad, const View& x, const View& out, const View& weight, const View& bias,
                         const View& mean, const View& rate, bool relu, const View& grad_x, const View& grad_sum,
                         const View& grad_weight, const View& grad_bias, const Launch& launch);
}  // namespace cpu

}  // namespace roikit
