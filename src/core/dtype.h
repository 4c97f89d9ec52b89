// Element types: tags that travel in a View, 16-bit floats, and the visitor that turns a tag into a type.
// Source: IEEE 754-2019 (binary16); bfloat16 is the upper half of binary32.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/macros.h"

namespace roikit {

enum class DType : int { f16 = 0, bf16 = 1, f32 = 2, f64 = 3, u8 = 4, b8 = 5, i8 = 6, i32 = 7, u32 = 8, i64 = 9 };
constexpr int kDTypes = 10;

inline const char* dtype_name(DType d) {
  static const char* const names[kDTypes] = {"float16", "bfloat16", "float32", "float64", "uint8",
                                             "bool",    "int8",     "int32",   "uint32",  "int64"};
  return names[static_cast<int>(d)];
}

template <class To, class From>
ROIKIT_HD To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// Branch-free in both directions, so that loops over channels vectorise without F16C.
struct Half {
  uint16_t bits;

  ROIKIT_HD static float widen(uint16_t h) {
#if defined(__CUDA_ARCH__)  // one instruction; the same bits but for the payload of a NaN
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#else
    const uint32_t sign = uint32_t(h & 0x8000u) << 16;
    const uint32_t rest = uint32_t(h & 0x7fffu) << 13;
    // 2^112 moves the exponent's bias from 15 to 127; subnormals come out exact.
    const float scaled = bit_cast<float>(rest) * bit_cast<float>(0x77800000u);
    const uint32_t special = rest | 0x7f800000u;  // infinity and NaN
    const uint32_t magnitude = rest >= 0x0f800000u ? special : bit_cast<uint32_t>(scaled);
    return bit_cast<float>(sign | magnitude);
#endif
  }

  ROIKIT_HD static uint16_t narrow(float f) {
    const uint32_t u = bit_cast<uint32_t>(f);
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t mag = u & 0x7fffffffu;
#if defined(__CUDA_ARCH__)
    uint16_t rounded;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(rounded) : "f"(f));
    return mag > 0x7f800000u ? uint16_t(sign | 0x7e00u) : rounded;
#else
    // Normal: round to nearest even on the 13 bits that go, then move the bias.
    const uint32_t normal = (mag + 0xfffu + ((mag >> 13) & 1u) - 0x38000000u) >> 13;
    // Subnormal: adding 0.5 lets the float unit do the rounding at 2^-24.
    const uint32_t tiny = bit_cast<uint32_t>(bit_cast<float>(mag) + 0.5f) - 0x3f000000u;
    uint32_t out = mag < 0x38800000u ? tiny : normal;
    out = mag >= 0x477ff000u ? 0x7c00u : out;  // rounds to infinity
    out = mag > 0x7f800000u ? 0x7e00u : out;   // NaN
    return uint16_t(sign | out);
#endif
  }
};

struct BFloat16 {
  uint16_t bits;

  ROIKIT_HD static float widen(uint16_t h) { return bit_cast<float>(uint32_t(h) << 16); }

  ROIKIT_HD static uint16_t narrow(float f) {
    const uint32_t u = bit_cast<uint32_t>(f);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return uint16_t((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
  }
};

// The type in which values of a storage type are added up.
template <class T> struct Accumulate { using type = T; };
template <> struct Accumulate<Half> { using type = float; };
template <> struct Accumulate<BFloat16> { using type = float; };
template <class T> using accumulate_t = typename Accumulate<T>::type;

template <class T> ROIKIT_HD accumulate_t<T> load(const T& x) { return x; }
template <> ROIKIT_HD float load<Half>(const Half& x) { return Half::widen(x.bits); }
template <> ROIKIT_HD float load<BFloat16>(const BFloat16& x) { return BFloat16::widen(x.bits); }

template <class T> ROIKIT_HD void store(T& to, accumulate_t<T> x) { to = x; }
template <> ROIKIT_HD void store<Half>(Half& to, float x) { to.bits = Half::narrow(x); }
template <> ROIKIT_HD void store<BFloat16>(BFloat16& to, float x) { to.bits = BFloat16::narrow(x); }

template <class T> struct TypeTag { using type = T; };
template <class T> struct DTypeOf;
template <> struct DTypeOf<Half> { static constexpr DType value = DType::f16; };
template <> struct DTypeOf<BFloat16> { static constexpr DType value = DType::bf16; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<bool> { static constexpr DType value = DType::b8; };
template <> struct DTypeOf<int8_t> { static constexpr DType value = DType::i8; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<uint32_t> { static constexpr DType value = DType::u32; };
template <> struct DTypeOf<int64_t> { static constexpr DType value = DType::i64; };

// Calls fn(TypeTag<T>{}) for the one listed T that the tag names; any other tag is an error that says so.
template <class... Ts, class Fn>
void visit(DType dtype, const char* op, Fn&& fn) {
  const bool found = ((dtype == DTypeOf<Ts>::value ? (fn(TypeTag<Ts>{}), true) : false) || ...);
  if (!found) throw std::invalid_argument(std::string(op) + ": no kernel for dtype " + dtype_name(dtype));
}

}  // namespace roikit
