// encode_boxes and decode_boxes on the CPU: one pass, lanes over rows, or over the classes of a row.
#include "core/box_codec.h"

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

void check(const View& first, const View& anchors, const View& out) {
  require(anchors.rank == 2 && anchors.shape[1] == 4 && anchors.contiguous(),
          "box_codec: anchors must be contiguous (N, 4)");
  require(first.rank == 2 && first.shape[0] == anchors.shape[0] && first.shape[1] % 4 == 0 && first.contiguous(),
          "box_codec: boxes or deltas must be contiguous (N, 4 C)");
  require(out.size() == first.size() && out.contiguous(),
          "box_codec: out must be contiguous, of the shape of the input");
}

}  // namespace

void encode_boxes(const View& boxes, const View& anchors, const double* weights, const View& out,
                  const Launch& launch) {
  check(boxes, anchors, out);
  visit<float, double>(boxes.dtype, "encode_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* g = boxes.as<T>();
    const T* a = anchors.as<T>();
    T* to = out.as<T>();
    will_fill(to, out.size() * int64_t(sizeof(T)), launch);
    parallel_for(boxes.shape[0], kGrain, launch, [&](int64_t begin, int64_t end) {
      vary<Encode>(launch.simd, g, a, CodecWeights<T>::of(weights), begin, end, to);
    });
  });
}

void decode_boxes(const View& deltas, const View& anchors, const double* weights, double clip, const View& out,
                  const Launch& launch) {
  check(deltas, anchors, out);
  const int64_t classes = deltas.shape[1] / 4;
  if (deltas.size() == 0) return;
  visit<float, double>(deltas.dtype, "decode_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* d = deltas.as<T>();
    const T* a = anchors.as<T>();
    T* to = out.as<T>();
    will_fill(to, out.size() * int64_t(sizeof(T)), launch);
    parallel_for(deltas.shape[0], kGrain / classes + 1, launch, [&](int64_t begin, int64_t end) {
      vary<Decode>(launch.simd, d, a, CodecWeights<T>::of(weights), T(clip), classes, begin, end, to);
    });
  });
}

}  // namespace roikit::cpu
