// encode_boxes and decode_boxes on the CPU: one pass, lanes over rows, or over the classes of a row.
#include "core/box_codec.h"

#include <type_traits>

#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

struct Encode {
  template <class T>
  ROIKIT_INLINE static void run(const T* boxes, const T* anchors, CodecWeights<T> w, int64_t begin, int64_t end,
                                T* out) {
    const T* ROIKIT_RESTRICT g = boxes;
    const T* ROIKIT_RESTRICT a = anchors;
    T* ROIKIT_RESTRICT d = out;
    for (int64_t i = begin; i < end; ++i) encode_box(g + 4 * i, a + 4 * i, w, d + 4 * i);
  }
};

struct Decode {
  template <class T>
  ROIKIT_INLINE static void run(const T* deltas, const T* anchors, CodecWeights<T> w, T clip, int64_t classes,
                                int64_t begin, int64_t end, T* out) {
    const T* ROIKIT_RESTRICT d = deltas;
    const T* ROIKIT_RESTRICT a = anchors;
    T* ROIKIT_RESTRICT o = out;
    if (classes == 1) {
      for (int64_t i = begin; i < end; ++i)
        decode_box(d + 4 * i, Span<T>{a[4 * i], a[4 * i + 2]}, Span<T>{a[4 * i + 1], a[4 * i + 3]}, w, clip, o + 4 * i);
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const Span<T> ax = {a[4 * i], a[4 * i + 2]}, ay = {a[4 * i + 1], a[4 * i + 3]};
      for (int64_t c = i * classes; c < (i + 1) * classes; ++c) decode_box(d + 4 * c, ax, ay, w, clip, o + 4 * c);
    }
  }
};

constexpr int64_t kGrain = 1 << 19;  // boxes a thread

// Calls fn(given, anchors, begin, end, out) for the rows of the anchors, shared among threads.
template <class Fn>
void each_row(const char* op, const View& given, const View& anchors, const View& out, const Launch& launch, Fn fn) {
  check_codec(op, given, anchors, out, 4);
  if (given.size() == 0) return;
  visit<float, double>(given.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = given.as<T>();
    const T* a = anchors.as<T>();
    T* to = out.as<T>();
    will_fill(to, out.size() * int64_t(sizeof(T)), launch);
    parallel_for(given.shape[0], kGrain / (given.shape[1] / 4) + 1, launch,
                 [&](int64_t begin, int64_t end) { fn(from, a, begin, end, to); });
  });
}

}  // namespace

void encode_boxes(const View& boxes, const View& anchors, const BoxWeights& weights, const View& out,
                  const Launch& launch) {
  check_rows("encode_boxes", "boxes", boxes, 4);
  each_row("encode_boxes", boxes, anchors, out, launch, [&](auto* g, auto* a, int64_t begin, int64_t end, auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    vary<Encode>(launch.simd, g, a, CodecWeights<T>::of(weights), begin, end, to);
  });
}

void decode_boxes(const View& deltas, const View& anchors, const BoxWeights& weights, double clip, const View& out,
                  const Launch& launch) {
  const int64_t classes = deltas.shape[1] / 4;
  each_row("decode_boxes", deltas, anchors, out, launch, [&](auto* d, auto* a, int64_t begin, int64_t end, auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    vary<Decode>(launch.simd, d, a, CodecWeights<T>::of(weights), T(clip), classes, begin, end, to);
  });
}

}  // namespace roikit::cpu
