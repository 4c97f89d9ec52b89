// A product of matrices small enough for the caches, added to what is there: rows of whole packs of lanes.
//
//   c[m][n] += sum over k, ascending, of a[m][k] * b[k][n]
//
// Each element is one chain of products and sums, whatever the width of a register, so that no SIMD level changes a bit.
#pragma once

#include <cstdint>

#include "core/macros.h"
#include "cpu/lanes.h"

namespace roikit::cpu {

constexpr int64_t kDepth = 128;  // b's rows that stay in the first-level cache while a's are walked

// M rows of two registers (or one) at a time: as many sums as there are registers to hold them. am, ak: a's strides in
// elements; bk, cm: strides of the rows of b and c.
template <int Bytes, int M, int R, class A>
ROIKIT_INLINE void product_tile(const A* a, int64_t am, int64_t ak, const A* b, int64_t bk, int64_t depth, A* c,
                                int64_t cm) {
  using V = Register<A, Bytes>;
  using Values = typename V::values;
  using Anywhere = typename V::anywhere;
  constexpr int W = Bytes / int(sizeof(A));
  // Three rows share a base, as an address is a base and up to twice an index.
  constexpr int kBases = (M + 2) / 3;
  const A* base[kBases];
#pragma GCC unroll 4
  for (int i = 0; i < kBases; ++i) base[i] = a + 3 * i * am;
  Values sum[M][R];
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < R; ++j) sum[i][j] = *reinterpret_cast<const Anywhere*>(c + i * cm + j * W);
  for (int64_t k = 0; k < depth; ++k) {
    Values row[R];
#pragma GCC unroll 2
    for (int j = 0; j < R; ++j) row[j] = *reinterpret_cast<const Anywhere*>(b + j * W);
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      const A x = base[i / 3][i % 3 * am];
#pragma GCC unroll 2
      for (int j = 0; j < R; ++j) sum[i][j] += row[j] * x;
    }
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] += ak;
    b += bk;
  }
#pragma GCC unroll 12
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < R; ++j) *reinterpret_cast<Anywhere*>(c + i * cm + j * W) = sum[i][j];
}

template <int Bytes, int R, class A>
ROIKIT_INLINE void product_rows(const A* a, int64_t am, int64_t ak, const A* b, int64_t bk, int64_t depth, A* c,
                                int64_t cm, int64_t rows) {
  constexpr int M = Bytes == 64 ? 12 : 6;
  int64_t m = 0;
  for (; m + M <= rows; m += M) product_tile<Bytes, M, R>(a + m * am, am, ak, b, bk, depth, c + m * cm, cm);
  for (; m + 3 <= rows; m += 3) product_tile<Bytes, 3, R>(a + m * am, am, ak, b, bk, depth, c + m * cm, cm);
  for (; m < rows; ++m) product_tile<Bytes, 1, R>(a + m * am, am, ak, b, bk, depth, c + m * cm, cm);
}

// rows x lanes, lanes being whole packs.
template <int Bytes, class A>
ROIKIT_INLINE void product(const A* a, int64_t am, int64_t ak, const A* b, int64_t bk, int64_t depth, A* c, int64_t cm,
                           int64_t rows, int64_t lanes) {
  constexpr int64_t W = Bytes / int64_t(sizeof(A));
  for (int64_t n = 0; n < lanes; n += 2 * W) {
    const bool two = n + 2 * W <= lanes;
    for (int64_t k = 0; k < depth; k += kDepth) {
      const int64_t part = depth - k < kDepth ? depth - k : kDepth;
      if (two)
        product_rows<Bytes, 2>(a + k * ak, am, ak, b + k * bk + n, bk, part, c + n, cm, rows);
      else
        product_rows<Bytes, 1>(a + k * ak, am, ak, b + k * bk + n, bk, part, c + n, cm, rows);
    }
  }
}

}  // namespace roikit::cpu
