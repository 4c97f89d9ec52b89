// encode_boxes_rotated and decode_boxes_rotated on the GPU: one thread a box, in a grid-stride loop.
#include "core/rotated_codec.h"

#include "cuda/launch.cuh"

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

void encode_boxes_rotated(const View& boxes, const View& anchors, const double* weights, const View& out,
                          const Launch& launch) {
  check_rotated_codec(boxes, anchors, out);
  require(boxes.shape[1] == 5, "encode_boxes_rotated: boxes must be contiguous (N, 5)");
  const int64_t n = boxes.shape[0];
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "encode_boxes_rotated");
  visit<float, double>(boxes.dtype, "encode_boxes_rotated", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("encode_boxes_rotated", launch, encode<T>, grid_for(n), kBlock, boxes.as<T>(), anchors.as<T>(),
        RotatedWeights<T>::of(weights), n, out.as<T>());
  });
}

void decode_boxes_rotated(const View& deltas, const View& anchors, const double* weights, double clip, const View& out,
                          const Launch& launch) {
  check_rotated_codec(deltas, anchors, out);
  const int64_t classes = deltas.shape[1] / 5, n = deltas.shape[0] * classes;
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "decode_boxes_rotated");
  visit<float, double>(deltas.dtype, "decode_boxes_rotated", [&](auto tag) {
    using T = typename decltype(tag)::type;
    run("decode_boxes_rotated", launch, decode<T>, grid_for(n), kBlock, deltas.as<T>(), anchors.as<T>(),
        RotatedWeights<T>::of(weights), T(clip), n, classes, out.as<T>());
  });
}

}  // namespace roikit::cuda
