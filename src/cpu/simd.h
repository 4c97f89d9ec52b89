// One body, three variants, a switch that can be forced.
//
// A kernel's inner loop is a struct with one static, always-inlined function:
//
//   struct IouRows { ROIKIT_INLINE static void run(...) { loop } };
//   vary<IouRows>(launch.simd, arguments...);
//
// `vary` calls it compiled for x86-64, x86-64-v3 (AVX2) or x86-64-v4 (AVX-512). Everything the body calls must be
// inlined into it: a function that is not, or the body of a lambda, is compiled for the baseline. Arguments are
// passed by value. No variant changes a bit of a result: the build forbids contraction.
#pragma once

#include "core/launch.h"
#include "core/macros.h"

namespace roikit::cpu {

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define ROIKIT_X86_VARIANTS 1
#else
#define ROIKIT_X86_VARIANTS 0
#endif

inline Simd best_simd() {
#if ROIKIT_X86_VARIANTS
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? Simd::v4 : v3 ? Simd::v3 : Simd::base;
#else
  return Simd::base;
#endif
}

template <class Body, class... Args>
void run_base(Args... args) {
  Body::run(args...);
}

#if ROIKIT_X86_VARIANTS
#define ROIKIT_V3 "avx2,fma,bmi,bmi2,f16c,lzcnt,movbe"
#define ROIKIT_V4_ISA "avx512f,avx512bw,avx512cd,avx512dq,avx512vl," ROIKIT_V3
#if defined(__clang__)
#define ROIKIT_V4 ROIKIT_V4_ISA
#else
#define ROIKIT_V4 ROIKIT_V4_ISA ",prefer-vector-width=512"
#endif

template <class Body, class... Args>
__attribute__((target(ROIKIT_V3))) void run_v3(Args... args) {
  Body::run(args...);
}

template <class Body, class... Args>
__attribute__((target(ROIKIT_V4))) void run_v4(Args... args) {
  Body::run(args...);
}
#endif

template <class Body, class... Args>
void vary(Simd level, Args... args) {
#if ROIKIT_X86_VARIANTS
  if (level == Simd::v4) return run_v4<Body, Args...>(args...);
  if (level == Simd::v3) return run_v3<Body, Args...>(args...);
#endif
  (void)level;
  run_base<Body, Args...>(args...);
}

}  // namespace roikit::cpu
