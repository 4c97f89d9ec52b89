// encode_boxes_rotated and decode_boxes_rotated on the GPU: one thread a box, in a grid-stride loop.
#include "core/rotated_codec.h"

#include <type_traits>

#include "cuda/codec.cuh"

namespace roikit::cuda {
namespace {

template <class T>
__global__ void encode(const T* boxes, const T* anchors, RotatedWeights<T> w, int64_t n, T* out) {
  for (int64_t i = first_item(); i < n; i += item_stride())
    encode_rotated<WrapAny>(RotatedRow<T>::at(boxes + 5 * i), RotatedRow<T>::at(anchors + 5 * i), w).put(out + 5 * i);
}

// The classes of a row are neighbours and share its anchor.
template <class T>
__global__ void decode(const T* deltas, const T* anchors, RotatedWeights<T> w, T clip, int64_t n, int64_t classes,
                       T* out) {
  for (int64_t k = first_item(); k < n; k += item_stride()) {
    const T* const anchor = anchors + 5 * (classes == 1 ? k : k / classes);
    decode_rotated<WrapAny>(RotatedRow<T>::at(deltas + 5 * k), RotatedRow<T>::at(anchor), w, clip).put(out + 5 * k);
  }
}

}  // namespace

void encode_boxes_rotated(const View& boxes, const View& anchors, const RotatedBoxWeights& weights, const View& out,
                          const Launch& launch) {
  constexpr const char* kOp = "encode_boxes_rotated";
  check_rows(kOp, "boxes", boxes, 5);
  each_box(kOp, boxes, anchors, out, 5, launch, [&](const auto* g, const auto* a, int64_t n, auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    run(kOp, launch, encode<T>, grid_for(n), kBlock, g, a, RotatedWeights<T>::of(weights), n, to);
  });
}

void decode_boxes_rotated(const View& deltas, const View& anchors, const RotatedBoxWeights& weights, double clip,
                          const View& out, const Launch& launch) {
  constexpr const char* kOp = "decode_boxes_rotated";
  each_box(kOp, deltas, anchors, out, 5, launch, [&](const auto* d, const auto* a, int64_t n, auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    run(kOp, launch, decode<T>, grid_for(n), kBlock, d, a, RotatedWeights<T>::of(weights), T(clip), n,
        deltas.shape[1] / 5, to);
  });
}

}  // namespace roikit::cuda
