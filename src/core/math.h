// exp, log and atan, the same on host and device and at every SIMD level: only + - * / and integer operations, no branch,
// so that loops over them run in lanes. exp and log are within 1 unit in the last place (measured: docs/ops/box_codec.md),
// atan within 2. Infinity, NaN, 0 and subnormal numbers are those of IEEE 754.
//
// Source: Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapters 5 and 6 (argument reduction in
// two parts); Taylor's series of exp and of atanh; the last step of log is Tang's, ACM TOMS 16(4), 1990. atan: a Chebyshev
// fit of atan(sqrt z) / sqrt z over [0, tan(pi / 8)^2], its coefficients computed to 40 digits for this file.
#pragma once

#include <cstdint>
#include <limits>

#include "core/dtype.h"
#include "core/macros.h"

namespace roikit {

// What exp and log need to know of a type. ln2 is high + low; high has so few bits that k * high is exact for every
// exponent k.
template <class T> struct Ieee;
template <> struct Ieee<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127, kExpTerms = 7, kLogTerms = 5;
  static constexpr float kRound = 12582912.0f;    // 1.5 * 2^23: x + kRound has round(x) in its low bits
  static constexpr float kWhole = 8388608.0f;     // 2^23: kWhole + e has the bits of kWhole | e
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440054690583e-4f;
  static constexpr float kExpLow = -104.0f, kExpHigh = 89.0f;  // beyond: 0 and infinity
  static constexpr Bits kSqrtHalf = 0x3f3504f3u;
};
template <> struct Ieee<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kExpTerms = 13, kLogTerms = 11;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kWhole = 4503599627370496.0;
  static constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  static constexpr double kExpLow = -746.0, kExpHigh = 710.0;
  static constexpr Bits kSqrtHalf = 0x3fe6a09e667f3bcdu;
};

// 1 / k! and 2 / (2 k + 1), rounded once.
template <class T> ROIKIT_HD constexpr T inverse_factorial(int k) {
  double f = 1;
  for (int i = 2; i <= k; ++i) f *= i;
  return T(1 / f);
}
template <class T> ROIKIT_HD constexpr T atanh_term(int k) { return T(2.0 / (2 * k + 1)); }

// Horner's scheme over compile-time coefficients: c(first) + x (c(first + 1) + x (... c(last))).
template <class T, int k, int last> ROIKIT_HD T exp_series(T x) {
  constexpr T c = inverse_factorial<T>(k);
  if constexpr (k == last) return c;
  else return c + x * exp_series<T, k + 1, last>(x);
}
template <class T, int k, int last> ROIKIT_HD T log_series(T z) {
  constexpr T c = atanh_term<T>(k);
  if constexpr (k == last) return c;
  else return c + z * log_series<T, k + 1, last>(z);
}

template <class T> ROIKIT_HD T exp_of(T x) {
  using I = Ieee<T>;
  using Bits = typename I::Bits;
  T a = x < I::kExpLow ? I::kExpLow : x;  // NaN passes both
  a = a > I::kExpHigh ? I::kExpHigh : a;
  const T shifted = a * T(1.44269504088896340736) + I::kRound;
  const T k = shifted - I::kRound;
  const T r = (a - k * I::kLn2High) - k * I::kLn2Low;  // |r| <= ln2 / 2
  const T value = T(1) + (r + (r * r) * exp_series<T, 2, I::kExpTerms>(r));
  // 2^k as a product of two powers, since k may lie beyond the exponents on either side.
  constexpr Bits kFour = 4 * I::kBias + 4;  // keeps the shift's argument positive
  const Bits whole = bit_cast<Bits>(shifted) - bit_cast<Bits>(I::kRound) + kFour;
  const Bits half = whole >> 1;
  const T first = bit_cast<T>((half - kFour / 2 + I::kBias) << I::kMantissa);
  const T second = bit_cast<T>((whole - half - kFour / 2 + I::kBias) << I::kMantissa);
  return (value * first) * second;
}

template <class T> ROIKIT_HD T log_of(T x) {
  using I = Ieee<T>;
  using Bits = typename I::Bits;
  constexpr Bits kExponents = (Bits(1) << I::kMantissa) - 1;
  const bool subnormal = x < std::numeric_limits<T>::min();
  const T scaled = subnormal ? x * I::kWhole : x;
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)).
  const Bits offset = bit_cast<Bits>(scaled) + (bit_cast<Bits>(T(1)) - I::kSqrtHalf);
  const Bits exponent = (offset >> I::kMantissa) & Bits(2 * I::kBias + 1);
  const T bias = subnormal ? T(I::kBias + I::kMantissa) : T(I::kBias);
  const T k = (bit_cast<T>(bit_cast<Bits>(I::kWhole) | exponent) - I::kWhole) - bias;
  const T f = bit_cast<T>((offset & kExponents) + I::kSqrtHalf) - T(1);
  // log(1 + f) = 2 atanh(s) with s = f / (2 + f), written so that f is added last.
  const T s = f / (T(2) + f), z = s * s;
  const T rest = z * log_series<T, 1, I::kLogTerms>(z);
  const T square = (T(0.5) * f) * f;
  T value = k * I::kLn2High - ((square - (s * (square + rest) + k * I::kLn2Low)) - f);
  value = x > std::numeric_limits<T>::max() ? x : value;
  value = x == T(0) ? -std::numeric_limits<T>::infinity() : value;
  return x >= T(0) ? value : std::numeric_limits<T>::quiet_NaN();
}

// c[0] + z (c[1] + z (... c[n - 1])).
template <class T, int n> ROIKIT_HD T polynomial(const T (&c)[n], T z) {
  T sum = c[n - 1];
#ifdef __CUDACC__
#pragma unroll
#else
#pragma GCC unroll 16
#endif
  for (int i = n - 2; i >= 0; --i) sum = c[i] + z * sum;
  return sum;
}
ROIKIT_HD float atan_over(float z) {  // atan(sqrt z) / sqrt z
  const float c[] = {0.99999999937122816f, -0.33333306893048513f, 0.19998183041083205f,
                     -0.14239532669648978f, 0.10569828806414448f, -0.060263052276584591f};
  return polynomial(c, z);
}
ROIKIT_HD double atan_over(double z) {
  const double c[] = {0.99999999999999999995, -0.33333333333333324206, 0.19999999999997013892, -0.14285714285329708164,
                      0.11111111085322108759, -0.090909080590311910269, 0.076922810999377432501,
                      -0.066662052599765261879, 0.058768340046141606641, -0.052173125740615910016,
                      0.044995007289840320092, -0.033387824501211951519, 0.015113765096600924669};
  return polynomial(c, z);
}

// The angle whose tangent is y / x, for y and x of at least 0: in [0, pi / 2], and 0 where both are 0.
template <class T> ROIKIT_HD T angle_of(T y, T x) {
  const T quarter = T(0.78539816339744830962), half = T(1.57079632679489661923);
  const T low = y < x ? y : x, high = y < x ? x : y;
  const T r = high > T(0) ? low / high : T(0);
  const bool steep = r > T(0.41421356237309504880);  // tan(pi / 8)
  const T t = steep ? (r - T(1)) / (r + T(1)) : r;
  const T angle = (steep ? quarter : T(0)) + t * atan_over(t * t);
  return y > x ? half - angle : angle;
}

}  // namespace roikit
