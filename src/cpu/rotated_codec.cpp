// encode_boxes_rotated and decode_boxes_rotated on the CPU. Rows of five are brought into columns, a block at a time, so
// that the arithmetic runs in lanes whatever the number of classes.
#include "core/rotated_codec.h"

#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kBlock = 64;

template <class T>
struct Block {
  T v[5][kBlock];

  ROIKIT_INLINE void set(const T* rows, int64_t n) {
    for (int64_t k = 0; k < n; ++k)
      for (int f = 0; f < 5; ++f) v[f][k] = rows[5 * k + f];
  }
  ROIKIT_INLINE void get(T* rows, int64_t n) const {
    for (int64_t k = 0; k < n; ++k)
      for (int f = 0; f < 5; ++f) rows[5 * k + f] = v[f][k];
  }
  // One row at [begin, end).
  ROIKIT_INLINE void repeat(const T* row, int64_t begin, int64_t end) {
    for (int f = 0; f < 5; ++f)
      for (int64_t k = begin; k < end; ++k) v[f][k] = row[f];
  }
  ROIKIT_INLINE RotatedRow<T> at(int64_t k) const { return {v[0][k], v[1][k], v[2][k], v[3][k], v[4][k]}; }
  ROIKIT_INLINE void put(int64_t k, const RotatedRow<T>& r) {
    v[0][k] = r.x, v[1][k] = r.y, v[2][k] = r.w, v[3][k] = r.h, v[4][k] = r.angle;
  }
};

template <class T>
struct EncodeRows {
  const T* first;
  RotatedWeights<T> weights;

  ROIKIT_INLINE T angle(const Block<T>& box, const Block<T>& anchor, int64_t k) const {
    return box.v[4][k] - anchor.v[4][k];
  }
  template <class Wrap>
  ROIKIT_INLINE RotatedRow<T> row(const Block<T>& box, const Block<T>& anchor, int64_t k) const {
    return encode_rotated<Wrap>(box.at(k), anchor.at(k), weights);
  }
};

template <class T>
struct DecodeRows {
  const T* first;
  RotatedWeights<T> weights;
  T clip;

  ROIKIT_INLINE T angle(const Block<T>& delta, const Block<T>& anchor, int64_t k) const {
    return decoded_angle(delta.v[4][k], anchor.v[4][k], weights.angle);
  }
  template <class Wrap>
  ROIKIT_INLINE RotatedRow<T> row(const Block<T>& delta, const Block<T>& anchor, int64_t k) const {
    return decode_rotated<Wrap>(delta.at(k), anchor.at(k), weights, clip);
  }
};

// Items [begin, end) of a class each, `classes` to an anchor.
struct Walk {
  template <class Wrap, class T, class Rows>
  ROIKIT_INLINE static void block(const Rows& rows, const Block<T>& a, const Block<T>& b, int64_t n, Block<T>& out) {
    for (int64_t k = 0; k < n; ++k) out.put(k, rows.template row<Wrap>(a, b, k));
  }

  template <class T, class Rows>
  ROIKIT_INLINE static void run(Rows rows, const T* anchors, int64_t classes, int64_t begin, int64_t end, T* out) {
    Block<T> in, of, result;
    int64_t row = begin / classes, of_class = begin - row * classes;
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t n = end - i < kBlock ? end - i : kBlock;
      in.set(rows.first + 5 * i, n);
      if (classes == 1) {
        of.set(anchors + 5 * i, n);
      } else {
        for (int64_t k = 0; k < n;) {
          const int64_t stop = n - k < classes - of_class ? n : k + classes - of_class;
          of.repeat(anchors + 5 * row, k, stop);
          of_class += stop - k, k = stop;
          if (of_class == classes) of_class = 0, ++row;
        }
      }
      T far = T(0);
      for (int64_t k = 0; k < n; ++k) far = WrapNear::can(rows.angle(in, of, k)) ? far : T(1);
      if (far == T(0)) block<WrapNear>(rows, in, of, n, result);
      else block<WrapAny>(rows, in, of, n, result);
      result.get(out + 5 * i, n);
    }
  }
};

constexpr int64_t kGrain = 1 << 17;  // boxes a thread

// rows(TypeTag<T>) gives EncodeRows<T> or DecodeRows<T>.
template <class Make>
void walk(const char* op, const View& first, const View& anchors, const View& out, const Launch& launch, Make make) {
  check_codec(op, first, anchors, out, 5);
  const int64_t classes = first.shape[1] / 5;
  if (first.size() == 0) return;
  visit<float, double>(first.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = anchors.as<T>();
    T* to = out.as<T>();
    const auto rows = make(tag);
    will_fill(to, out.size() * int64_t(sizeof(T)), launch);
    parallel_for(first.shape[0] * classes, kGrain, launch, [&](int64_t begin, int64_t end) {
      vary<Walk>(launch.simd, rows, a, classes, begin, end, to);
    });
  });
}

}  // namespace

void encode_boxes_rotated(const View& boxes, const View& anchors, const RotatedBoxWeights& weights, const View& out,
                          const Launch& launch) {
  check_rows("encode_boxes_rotated", "boxes", boxes, 5);
  walk("encode_boxes_rotated", boxes, anchors, out, launch, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return EncodeRows<T>{boxes.as<T>(), RotatedWeights<T>::of(weights)};
  });
}

void decode_boxes_rotated(const View& deltas, const View& anchors, const RotatedBoxWeights& weights, double clip,
                          const View& out, const Launch& launch) {
  walk("decode_boxes_rotated", deltas, anchors, out, launch, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return DecodeRows<T>{deltas.as<T>(), RotatedWeights<T>::of(weights), T(clip)};
  });
}

}  // namespace roikit::cpu
