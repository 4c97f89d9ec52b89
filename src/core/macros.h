// Vocabulary of the compiler. Source: GCC and CUDA manuals.
#pragma once

// The build says for which device a file is compiled. What both devices have is declared once, in this namespace; what
// one has alone in namespace cpu or cuda.
#if !defined(ROIKIT_DEVICE)
#error "compile with -DROIKIT_DEVICE=cpu or -DROIKIT_DEVICE=cuda, as setup.py does"
#endif

#if defined(__CUDACC__)
#define ROIKIT_HD __host__ __device__ __forceinline__
#else
// Always inlined, so that a body compiled into a SIMD variant takes that variant's instructions.
#define ROIKIT_HD inline __attribute__((always_inline))
#endif

#define ROIKIT_INLINE inline __attribute__((always_inline))
#define ROIKIT_RESTRICT __restrict__
