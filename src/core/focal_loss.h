// The focal loss of independent binary decisions, and its slope: the derivative by the logit.
//
//   sigmoid_focal_loss(inputs (n,) T, targets (n,) T, alpha, gamma, loss, slope): loss T (n,), or (): the sum of all;
//       slope T (n,), or (0,): not wanted.
//
// T float32 or float64; all contiguous. alpha below 0: no weights. With p the sigmoid of the logit x, and t the target:
//
//   entropy = (1 - t) softplus(x) + t softplus(-x);  wrong = (1 - t) p + t (1 - p)
//   loss = entropy wrong^gamma (alpha t + (1 - alpha) (1 - t))
//
// An infinite logit counts as the largest finite one. A sum is taken pairwise in blocks of kFocalBlock: in T those of
// the losses, in double those of the blocks' sums, until one is left; so it depends on no thread and no vector level.
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

// c(first) + ... + c(first + terms - 1) x^(terms - 1) with the coefficients of C, in halves: a short chain of dependent
// operations, where Horner's is as long as the series. powers: x, x^2, x^4, ...
template <class C, int first, int terms, class T>
ROIKIT_HD T in_halves(const T* powers) {
  if constexpr (terms == 1) {
    constexpr T c = C::template at<T>(first);
    return c;
  } else {
    constexpr int level = terms > 8 ? 3 : terms > 4 ? 2 : terms > 2 ? 1 : 0, half = 1 << level;
    return in_halves<C, first, half>(powers) + powers[level] * in_halves<C, first + half, terms - half>(powers);
  }
}
struct ExpTerms {
  template <class T> ROIKIT_HD static constexpr T at(int k) { return inverse_factorial<T>(k); }
};
struct LogTerms {
  template <class T> ROIKIT_HD static constexpr T at(int k) { return atanh_term<T>(k); }
};

template <class T> struct FocalSeries;
template <> struct FocalSeries<float> {
  static constexpr float kLeast = -87.0f;  // of exp's argument: below, 0 stands for what is no normal number
  static constexpr int kLogTerms = 6;
};
template <> struct FocalSeries<double> {
  static constexpr double kLeast = -708.0;
  static constexpr int kLogTerms = 16;
};

// exp(x) for x of at most 0, within 2 units in the last place; 0 below kLeast.
template <class T> ROIKIT_HD T exp_down(T x) {
  using I = Ieee<T>;
  using Bits = typename I::Bits;
  constexpr T least = FocalSeries<T>::kLeast;
  const T a = x < least ? least : x;  // NaN passes
  const T shifted = a * T(1.44269504088896340736) + I::kRound;
  const T k = shifted - I::kRound;
  const T r = (a - k * I::kLn2High) - k * I::kLn2Low;
  const T square = r * r, powers[4] = {r, square, square * square, (square * square) * (square * square)};
  const T value = T(1) + (r + square * in_halves<ExpTerms, 2, I::kExpTerms - 1>(powers));
  const Bits exponent = bit_cast<Bits>(shifted) - bit_cast<Bits>(I::kRound) + Bits(I::kBias);
  const T scaled = value * bit_cast<T>(exponent << I::kMantissa);
  return x < least ? T(0) : scaled;
}

// One decision. `sloped`: whether the slope is wanted, else it is 0.
template <FocalPower power, bool sloped, class T>
ROIKIT_HD Focal<T> focal_of(T logit, T t, const FocalRule<T>& rule) {
  constexpr T most = std::numeric_limits<T>::max();
  T x = logit < -most ? -most : logit;  // NaN passes both
  x = x > most ? most : x;
  const T plus = x > T(0) ? x : T(0), minus = plus - x, rest = T(1) - t;
  const T e = exp_down(-(plus + minus)), one = T(1) + e, two = T(2) + e;
  const T both = T(1) / (one * two);              // one division for the two that are needed
  const T sure = two * both, unsure = e * sure;   // 1 / (1 + e) and e / (1 + e): sigmoids of |x| and of -|x|
  const T s = e * (one * both), z = s * s;        // log(1 + e) = 2 atanh(s) with s = e / (2 + e), at most 1 / 3
  const T powers[4] = {z, z * z, (z * z) * (z * z), ((z * z) * (z * z)) * ((z * z) * (z * z))};
  const T tail = s * (T(2) + z * in_halves<LogTerms, 1, FocalSeries<T>::kLogTerms>(powers));
  const T up = x < T(0) ? unsure : sure, down = x < T(0) ? sure : unsure;
  const T entropy = (rest * plus + t * minus) + tail;
  const T for_negative = rest * up, for_positive = t * down, wrong = for_negative + for_positive;
  T weight = rule.positive * t + rule.negative * rest;
  T turn = for_negative - for_positive;  // the slope of the entropy; that of wrong is (up * down) * (rest - t)
  if constexpr (power == FocalPower::square) {
    const T loss = entropy * ((wrong * wrong) * weight);
    if constexpr (!sloped) return {loss, T(0)};
    // up * down first: where entropy is large it is 0, so that nothing overflows
    return {loss, (wrong * weight) * (wrong * turn + (((up * down) * T(2)) * (rest - t)) * entropy)};
  } else {
    if constexpr (power == FocalPower::any) {
      weight = exp_of(rule.gamma * log_of(wrong)) * weight;
      const T ratio = (up * down) / (wrong > T(0) ? wrong : T(1));  // 0 over 0 counts as 0
      turn += ((ratio * rule.gamma) * (rest - t)) * entropy;
    }
    return {entropy * weight, sloped ? turn * weight : T(0)};
  }
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

// fn(power, sloped) of what is asked for, as constants.
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
