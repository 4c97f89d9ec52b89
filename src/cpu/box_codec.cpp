// encode_boxes and decode_boxes on the CPU: one pass, lanes over rows, or over the classes of a row.
#include "core/box_codec.h"

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
    for (int64_t i = begin; i < end; ++i) {
      const Span<T> gx = {g[4 * i], g[4 * i + 2]}, gy = {g[4 * i + 1], g[4 * i + 3]};
      const Span<T> ax = {a[4 * i], a[4 * i + 2]}, ay = {a[4 * i + 1], a[4 * i + 3]};
      const Delta<T> x = encode_axis(gx, ax, w.x, w.w), y = encode_axis(gy, ay, w.y, w.h);
      d[4 * i] = x.shift;
      d[4 * i + 1] = y.shift;
      d[4 * i + 2] = x.scale;
      d[4 * i + 3] = y.scale;
    }
  }
};

struct Decode {
  template <class T>
  ROIKIT_INLINE static void one(const T* ROIKIT_RESTRICT d, Span<T> ax, Span<T> ay, const CodecWeights<T>& w, T clip,
                                T* ROIKIT_RESTRICT out) {
    const Span<T> x = decode_axis(Delta<T>{d[0], d[2]}, ax, w.x, w.w, clip);
    const Span<T> y = decode_axis(Delta<T>{d[1], d[3]}, ay, w.y, w.h, clip);
    out[0] = x.lo;
    out[1] = y.lo;
    out[2] = x.hi;
    out[3] = y.hi;
  }

  template <class T>
  ROIKIT_INLINE static void run(const T* deltas, const T* anchors, CodecWeights<T> w, T clip, int64_t classes,
                                int64_t begin, int64_t end, T* out) {
    const T* ROIKIT_RESTRICT d = deltas;
    const T* ROIKIT_RESTRICT a = anchors;
    T* ROIKIT_RESTRICT o = out;
    if (classes == 1) {
      for (int64_t i = begin; i < end; ++i)
        one(d + 4 * i, Span<T>{a[4 * i], a[4 * i + 2]}, Span<T>{a[4 * i + 1], a[4 * i + 3]}, w, clip, o + 4 * i);
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const Span<T> ax = {a[4 * i], a[4 * i + 2]}, ay = {a[4 * i + 1], a[4 * i + 3]};
      for (int64_t c = i * classes; c < (i + 1) * classes; ++c) one(d + 4 * c, ax, ay, w, clip, o + 4 * c);
    }
  }
};

constexpr int64_t kGrain = 32768;  // boxes a thread

template <class T> CodecWeights<T> weights_of(const double* w) { return {T(w[0]), T(w[1]), T(w[2]), T(w[3])}; }

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
    parallel_for(boxes.shape[0], kGrain, launch.threads, [&](int64_t begin, int64_t end) {
      vary<Encode>(launch.simd, g, a, weights_of<T>(weights), begin, end, to);
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
    parallel_for(deltas.shape[0], kGrain / classes + 1, launch.threads, [&](int64_t begin, int64_t end) {
      vary<Decode>(launch.simd, d, a, weights_of<T>(weights), T(clip), classes, begin, end, to);
    });
  });
}

}  // namespace roikit::cpu
