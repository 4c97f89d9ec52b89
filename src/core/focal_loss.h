// The focal loss of independent binary decisions, and its slope: the derivative by the logit.
//
//   sigmoid_focal_loss(inputs (n,) T, targets (n,) T, alpha, gamma, loss, slope): loss T (n,), or (): the sum of all;
//       slope T (n,), or (0,): not wanted.
//
// T float32 or float64; all contiguous. alpha below 0: no weights. Let p be the sigmoid of the logit x and t the target:
//
//   entropy = (1 - t) softplus(x) + t softplus(-x);  wrong = (1 - t) p + t (1 - p)
//   loss = entropy wrong^gamma (alpha t + (1 - alpha) (1 - t))
//
// An infinite logit counts as the largest finite one. A sum is taken pairwise in blocks of kFocalBlock: in T those of the
// losses, in double those of the blocks' sums, until one is left; so it depends on no thread and no vector level.
//
// Source: Lin et al., ICCV 2017, equation 5.
#pragma once

#include <cstdint>
#include <limits>

#include "core/checks.h"
#include "core/launch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/view.h"

namespace roikit {

constexpr int kFocalBlock = 512;

enum class FocalPower { none, square, any };  // gamma 0, 2, another

template <class T>
struct FocalRule {
  T positive, negative, gamma;  // weights of the two classes

  static FocalRule of(double alpha, double gamma) {
    const double most = double(std::numeric_limits<T>::max());
    return {T(alpha < 0 ? 1 : alpha), T(alpha < 0 ? 1 : 1 - alpha), T(gamma < most ? gamma : most)};
  }
};

inline FocalPower focal_power(double gamma) {
  return gamma == 0 ? FocalPower::none : gamma == 2 ? FocalPower::square : FocalPower::any;
}

template <class T>
struct Focal {
  T loss, slope;
};

// One decision. `sloped`: whether the slope is wanted, else it is 0.
template <FocalPower power, bool sloped, class T>
ROIKIT_HD Focal<T> focal_of(T logit, T t, const FocalRule<T>& rule) {
  constexpr T most = std::numeric_limits<T>::max();
  T x = logit < -most ? -most : logit;  // NaN passes both
  x = x > most ? most : x;
  const T plus = x > T(0) ? x : T(0), minus = x < T(0) ? -x : T(0), rest = T(1) - t;
  const T e = exp_of(-(plus + minus));
  const T sure = T(1) / (T(1) + e), unsure = e * sure;  // sigmoids of |x| and of -|x|
  const T up = x < T(0) ? unsure : sure, down = x < T(0) ? sure : unsure;
  const T entropy = (rest * plus + t * minus) + log1p_of(e);
  const T wrong = rest * up + t * down;
  T weight = rule.positive * t + rule.negative * rest;
  if constexpr (power == FocalPower::square) weight = (wrong * wrong) * weight;
  if constexpr (power == FocalPower::any) weight = exp_of(rule.gamma * log_of(wrong)) * weight;
  Focal<T> found = {(x == x ? entropy : x) * weight, T(0)};
  if constexpr (sloped) {
    T turn = rest * up - t * down;  // the slope of the entropy; that of log(wrong) is ratio * (rest - t)
    if constexpr (power != FocalPower::none) {
      const T ratio = (up * down) / (wrong > T(0) ? wrong : T(1));  // 0 over 0 counts as 0
      turn += entropy * ((ratio * rule.gamma) * (rest - t));        // in this order nothing overflows
    }
    found.slope = turn * weight;
  }
  return found;
}

inline void check_sigmoid_focal_loss(const View& inputs, const View& targets, const View& loss, const View& slope) {
  const char* const op = "sigmoid_focal_loss";
  const int64_t n = inputs.size();
  check_vector(op, "inputs", inputs, n);
  check_vector(op, "targets", targets, n);
  require(loss.rank == 0 || (loss.rank == 1 && loss.shape[0] == n && loss.contiguous()), op,
          "loss must be contiguous (n,), or ()");
  require(slope.rank == 1 && (slope.shape[0] == n || slope.shape[0] == 0) && slope.contiguous(), op,
          "slope must be contiguous (n,), or (0,)");
}

// fn(power, sloped) of what is asked for, as constants: std::integral_constant-like tags.
template <FocalPower p> struct FocalPowerTag { static constexpr FocalPower value = p; };
template <bool b> struct FocalSlopeTag { static constexpr bool value = b; };

template <class Fn>
void visit_focal(double gamma, bool sloped, Fn&& fn) {
  const auto with = [&](auto power) {
    if (sloped) fn(power, FocalSlopeTag<true>{});
    else fn(power, FocalSlopeTag<false>{});
  };
  const FocalPower power = focal_power(gamma);
  if (power == FocalPower::none) with(FocalPowerTag<FocalPower::none>{});
  else if (power == FocalPower::square) with(FocalPowerTag<FocalPower::square>{});
  else with(FocalPowerTag<FocalPower::any>{});
}

namespace ROIKIT_DEVICE {
void sigmoid_focal_loss(const View& inputs, const View& targets, double alpha, double gamma, const View& loss,
                        const View& slope, const Launch& launch);
}  // namespace ROIKIT_DEVICE

namespace cuda {
// Bytes of scratch for the sum of n losses.
int64_t sigmoid_focal_loss_workspace(int64_t n);
}  // namespace cuda

}  // namespace roikit
