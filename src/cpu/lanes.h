// Channels in vector lanes: 64 bytes of values as whole registers of the level at hand, and the transposes between
// planes (N, C, H, W) and lanes.
//
//   template <int Bytes> struct Body { ROIKIT_INLINE static void run(...); };
//   vary_lanes<Body>(launch.simd, arguments...);    // Bytes: width of a register, 16, 32 or 64
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "core/dtype.h"
#include "core/macros.h"
#include "cpu/simd.h"

namespace roikit::cpu {

constexpr int kLaneBytes = 64;  // a cache line, and the widest register
template <class A> constexpr int lanes_of = kLaneBytes / int(sizeof(A));

template <class A, int Bytes> struct Register;
#define ROIKIT_REGISTER(A, I, BYTES)                                                       \
  template <> struct Register<A, BYTES> {                                                  \
    typedef A values __attribute__((vector_size(BYTES)));                                  \
    typedef A anywhere __attribute__((vector_size(BYTES), aligned(sizeof(A)), may_alias)); \
    typedef I indices __attribute__((vector_size(BYTES)));                                 \
  };
ROIKIT_REGISTER(float, int32_t, 16)
ROIKIT_REGISTER(float, int32_t, 32)
ROIKIT_REGISTER(float, int32_t, 64)
ROIKIT_REGISTER(int32_t, int32_t, 16)
ROIKIT_REGISTER(double, int64_t, 16)
ROIKIT_REGISTER(double, int64_t, 32)
ROIKIT_REGISTER(double, int64_t, 64)
#undef ROIKIT_REGISTER

// One value in each of lanes_of<A> lanes.
template <class A, int Bytes>
struct Pack {
  using R = Register<A, Bytes>;
  static constexpr int kRegisters = kLaneBytes / Bytes;
  static constexpr int kPerRegister = Bytes / int(sizeof(A));
  typename R::values r[kRegisters];

  ROIKIT_INLINE static Pack zero() {
    Pack p;
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) p.r[i] = typename R::values{};
    return p;
  }

  ROIKIT_INLINE static Pack load(const A* from) {
    Pack p;
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i)
      p.r[i] = *reinterpret_cast<const typename R::anywhere*>(from + i * kPerRegister);
    return p;
  }

  ROIKIT_INLINE void store(A* to) const {
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) *reinterpret_cast<typename R::anywhere*>(to + i * kPerRegister) = r[i];
  }

  // this += w * x, as a product and then a sum
  ROIKIT_INLINE void add_product(A w, const Pack& x) {
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) r[i] += x.r[i] * w;
  }

  // this += x * y, lane by lane
  ROIKIT_INLINE void add_product(const Pack& x, const Pack& y) {
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) r[i] += x.r[i] * y.r[i];
  }
};

// Lanes from any storage type: half is widened.
template <class A, int Bytes, class S>
ROIKIT_INLINE Pack<A, Bytes> load_lanes(const S* from) {
  if constexpr (std::is_same_v<S, A>) {
    return Pack<A, Bytes>::load(from);
  } else {
    alignas(kLaneBytes) A wide[lanes_of<A>];
    for (int l = 0; l < lanes_of<A>; ++l) wide[l] = load(from[l]);
    return Pack<A, Bytes>::load(wide);
  }
}

template <class A, int Bytes, class S>
ROIKIT_INLINE void store_lanes(const Pack<A, Bytes>& pack, S* to) {
  if constexpr (std::is_same_v<S, A>) {
    pack.store(to);
  } else {
    alignas(kLaneBytes) A wide[lanes_of<A>];
    pack.store(wide);
    for (int l = 0; l < lanes_of<A>; ++l) store(to[l], wide[l]);
  }
}

constexpr int kPacks = 4;  // packs of channels that lie side by side and are worked at a time

// Block::block<B>(first channel, arguments...) for all channels, kPacks packs at a time, then one by one; the last one
// is drawn back to end with the channels, of which there is at least a whole pack.
template <class Block, class A, class... Args>
ROIKIT_INLINE void each_packs(int64_t channels, Args... args) {
  constexpr int L = lanes_of<A>;
  int64_t c = 0;
  for (; c + kPacks * L <= channels; c += kPacks * L) Block::template block<kPacks>(c, args...);
  for (; c < channels; c += L) Block::template block<1>(c + L <= channels ? c : channels - L, args...);
}

// Values of `packs` packs of channels, pixel after pixel, to pixels that are `stride` apart.
template <int Bytes, int packs, class A, class S>
ROIKIT_INLINE void pixels_from_packs(const A* from, int64_t pixels, S* to, int64_t stride) {
  constexpr int L = lanes_of<A>;
  for (int64_t i = 0; i < pixels; ++i)
    for (int b = 0; b < packs; ++b)
      store_lanes(Pack<A, Bytes>::load(from + (i * packs + b) * L), to + i * stride + b * L);
}

// tile[tap] += weight * value for the taps [begin, end).
template <int Bytes, class A, class Taps>
ROIKIT_INLINE void add_to_taps(const Taps* taps, int64_t begin, int64_t end, const Pack<A, Bytes>& value, A* tile) {
  for (int64_t t = begin; t < end; ++t) {
    A* at = tile + int64_t(taps[t].at) * lanes_of<A>;
    Pack<A, Bytes> total = Pack<A, Bytes>::load(at);
    total.add_product(taps[t].weight, value);
    total.store(at);
  }
}

// Four values of four planes, transposed: to[j * to_stride + i] = from[i * from_stride + j]. A: float or int32_t.
template <class A>
ROIKIT_INLINE void transpose4(const A* from, int64_t from_stride, A* to, int64_t to_stride) {
  using V = Register<A, 16>;
  using I = typename V::indices;
  using Values = typename V::values;
  using Anywhere = typename V::anywhere;
  Values row[4];
  for (int i = 0; i < 4; ++i) row[i] = *reinterpret_cast<const Anywhere*>(from + i * from_stride);
  const Values a = __builtin_shuffle(row[0], row[1], I{0, 4, 1, 5});
  const Values b = __builtin_shuffle(row[0], row[1], I{2, 6, 3, 7});
  const Values c = __builtin_shuffle(row[2], row[3], I{0, 4, 1, 5});
  const Values d = __builtin_shuffle(row[2], row[3], I{2, 6, 3, 7});
  *reinterpret_cast<Anywhere*>(to) = __builtin_shuffle(a, c, I{0, 1, 4, 5});
  *reinterpret_cast<Anywhere*>(to + to_stride) = __builtin_shuffle(a, c, I{2, 3, 6, 7});
  *reinterpret_cast<Anywhere*>(to + 2 * to_stride) = __builtin_shuffle(b, d, I{0, 1, 4, 5});
  *reinterpret_cast<Anywhere*>(to + 3 * to_stride) = __builtin_shuffle(b, d, I{2, 3, 6, 7});
}

// to[j * columns_stride + i] = from[i * rows_stride + j] for i < rows, j < columns.
template <class A>
ROIKIT_INLINE void transpose(const A* from, int64_t from_stride, int64_t rows, int64_t columns, A* to,
                             int64_t to_stride) {
  int64_t whole_rows = 0, whole_columns = 0;
  if constexpr (sizeof(A) == 4) {
    whole_rows = rows & ~int64_t(3);
    whole_columns = columns & ~int64_t(3);
    // Sixteen columns at a time use up the cache lines of four rows before the next four are touched.
    for (int64_t j0 = 0; j0 < whole_columns; j0 += 16) {
      const int64_t j1 = j0 + 16 < whole_columns ? j0 + 16 : whole_columns;
      for (int64_t i = 0; i < whole_rows; i += 4)
        for (int64_t j = j0; j < j1; j += 4)
          transpose4(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
      to[j * to_stride + i] = from[i * from_stride + j];
}

constexpr int64_t kStrip = 16;  // pixels that are widened or narrowed at a time

// Planes, at most as many as there are lanes, into rows of the accumulate type that are `stride` apart:
// to[p * stride + l] = planes[l * plane + p].
template <class A, class S>
ROIKIT_INLINE void turn_planes(const S* planes, int64_t plane, int64_t pixels, int lanes, A* to, int64_t stride) {
  constexpr int L = lanes_of<A>;
  if constexpr (std::is_same_v<S, A>) {
    transpose(planes, plane, lanes, pixels, to, stride);
  } else {
    alignas(kLaneBytes) A wide[L * kStrip];
    for (int64_t p = 0; p < pixels; p += kStrip) {
      const int64_t n = pixels - p < kStrip ? pixels - p : kStrip;
      for (int l = 0; l < lanes; ++l)
        for (int64_t i = 0; i < n; ++i) wide[l * kStrip + i] = load(planes[l * plane + p + i]);
      transpose(wide, kStrip, lanes, n, to + p * stride, stride);
    }
  }
}

// And back.
template <class A, class S>
ROIKIT_INLINE void turn_rows(const A* from, int64_t stride, int64_t pixels, int lanes, S* planes, int64_t plane) {
  constexpr int L = lanes_of<A>;
  if constexpr (std::is_same_v<S, A>) {
    transpose(from, stride, pixels, lanes, planes, plane);
  } else {
    alignas(kLaneBytes) A wide[L * kStrip];
    for (int64_t p = 0; p < pixels; p += kStrip) {
      const int64_t n = pixels - p < kStrip ? pixels - p : kStrip;
      transpose(from + p * stride, stride, n, lanes, wide, kStrip);
      for (int l = 0; l < lanes; ++l)
        for (int64_t i = 0; i < n; ++i) store(planes[l * plane + p + i], wide[l * kStrip + i]);
    }
  }
}

// Planes of at most so many pixels that lie one after the other, as the bins of a RoI do, are turned in the first cache
// and copied as one block. Turned in place they are as many streams as planes, each too short for the processor to
// fetch ahead, which took up to five times as long.
constexpr int64_t kShort = 256;

// Pixels of `lanes` planes into lanes: to[p * L + l] = planes[l * plane + p]; the lanes beyond are 0.
template <class A, class S>
ROIKIT_INLINE void lanes_from_planes(const S* planes, int64_t plane, int64_t pixels, int lanes, A* to) {
  constexpr int L = lanes_of<A>;
  if (lanes < L) std::memset(to, 0, size_t(pixels) * kLaneBytes);
  if (plane == pixels && pixels <= kShort) {
    alignas(kLaneBytes) S block[L * kShort];
    std::memcpy(block, planes, size_t(lanes) * size_t(pixels) * sizeof(S));
    turn_planes(static_cast<const S*>(block), pixels, pixels, lanes, to, L);
  } else {
    turn_planes(planes, plane, pixels, lanes, to, L);
  }
}

// And back; pixels are `stride` apart.
template <class A, class S>
ROIKIT_INLINE void planes_from_rows(const A* from, int64_t stride, int64_t pixels, int lanes, S* planes,
                                    int64_t plane) {
  if (plane == pixels && pixels <= kShort) {
    alignas(kLaneBytes) S block[lanes_of<A> * kShort];
    turn_rows(from, stride, pixels, lanes, block, pixels);
    std::memcpy(planes, block, size_t(lanes) * size_t(pixels) * sizeof(S));
  } else {
    turn_rows(from, stride, pixels, lanes, planes, plane);
  }
}

template <class A, class S>
ROIKIT_INLINE void planes_from_lanes(const A* from, int64_t pixels, int lanes, S* planes, int64_t plane) {
  planes_from_rows(from, lanes_of<A>, pixels, lanes, planes, plane);
}

// Pixels whose channels lie side by side (channels_last), `stride` apart, into lanes and back.
template <class A, class S>
ROIKIT_INLINE void lanes_from_pixels(const S* from, int64_t stride, int64_t pixels, int lanes, A* to) {
  constexpr int L = lanes_of<A>;
  for (int64_t p = 0; p < pixels; ++p) {
    if (lanes == L) {
      for (int l = 0; l < L; ++l) to[p * L + l] = load(from[p * stride + l]);
    } else {
      for (int l = 0; l < L; ++l) to[p * L + l] = l < lanes ? load(from[p * stride + l]) : A(0);
    }
  }
}

template <class A, class S>
ROIKIT_INLINE void pixels_from_lanes(const A* from, int64_t pixels, int lanes, S* to, int64_t stride) {
  constexpr int L = lanes_of<A>;
  for (int64_t p = 0; p < pixels; ++p) {
    if (lanes == L) {
      for (int l = 0; l < L; ++l) store(to[p * stride + l], from[p * L + l]);
    } else {
      for (int l = 0; l < lanes; ++l) store(to[p * stride + l], from[p * L + l]);
    }
  }
}

template <template <int> class Body, class... Args>
void vary_lanes(Simd level, Args... args) {
#if ROIKIT_X86_VARIANTS
  if (level == Simd::v4) return run_v4<Body<64>, Args...>(args...);
  if (level == Simd::v3) return run_v3<Body<32>, Args...>(args...);
#endif
  (void)level;
  run_base<Body<16>, Args...>(args...);
}

// Scratch of one call that starts on a cache line. Its values are not set: a tile is far larger than what most calls
// touch of it.
template <class A>
class LaneScratch {
 public:
  explicit LaneScratch(int64_t values)
      : size_(values + lanes_of<A>), memory_(std::allocator<A>().allocate(size_t(size_))) {}
  ~LaneScratch() { std::allocator<A>().deallocate(memory_, size_t(size_)); }
  LaneScratch(const LaneScratch&) = delete;
  LaneScratch& operator=(const LaneScratch&) = delete;

  A* data() const {
    const uintptr_t at = (reinterpret_cast<uintptr_t>(memory_) + kLaneBytes - 1) / kLaneBytes * kLaneBytes;
    return reinterpret_cast<A*>(at);
  }

 private:
  int64_t size_;
  A* memory_;
};

}  // namespace roikit::cpu
