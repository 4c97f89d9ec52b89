// encode_boxes and decode_boxes on the GPU: one thread a box, in a grid-stride loop; bound by reading and writing.
#include "core/box_codec.h"

#include <type_traits>

#include "cuda/boxes.cuh"
#include "cuda/codec.cuh"

namespace roikit::cuda {
namespace {

template <class T>
__global__ void encode(const T* boxes, const T* anchors, CodecWeights<T> w, int64_t n, bool wide,
                       bool wide_anchors, bool wide_out, T* out) {
  for (int64_t i = first_item(); i < n; i += item_stride()) {
    const Corners<T> box = read_corners(boxes + 4 * i, wide), anchor = read_corners(anchors + 4 * i, wide_anchors);
    Corners<T> delta;
    encode_box(box.v, anchor.v, w, delta.v);
    write_corners(out + 4 * i, delta, wide_out);
  }
}

// The classes of a row are neighbours and share its anchor. `row` and `of_class` follow the item by additions.
template <class T>
__global__ void decode(const T* deltas, const T* anchors, CodecWeights<T> w, T clip, int64_t n, int64_t classes,
                       int64_t step_row, int64_t step_class, bool wide, bool wide_anchors, bool wide_out,
                       T* out) {
  int64_t row = first_item() / classes, of_class = first_item() - row * classes;
  for (int64_t k = first_item(); k < n; k += item_stride()) {
    const Corners<T> delta = read_corners(deltas + 4 * k, wide), a = read_corners(anchors + 4 * row, wide_anchors);
    Corners<T> box;
    decode_box(delta.v, Span<T>{a.v[0], a.v[2]}, Span<T>{a.v[1], a.v[3]}, w, clip, box.v);
    write_corners(out + 4 * k, box, wide_out);
    row += step_row;
    of_class += step_class;
    if (of_class >= classes) of_class -= classes, ++row;
  }
}

unsigned blocks_for(int64_t n) {
  const int64_t blocks = ceil_div(n, kBlock);
  return unsigned(blocks < kFill ? blocks : kFill);
}

}  // namespace

void encode_boxes(const View& boxes, const View& anchors, const BoxWeights& weights, const View& out,
                  const Launch& launch) {
  constexpr const char* kOp = "encode_boxes";
  check_rows(kOp, "boxes", boxes, 4);
  each_box(kOp, boxes, anchors, out, 4, launch, [&](const auto* g, const auto* a, int64_t n, auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    run(kOp, launch, encode<T>, blocks_for(n), kBlock, g, a, CodecWeights<T>::of(weights), n, wide_boxes(g),
        wide_boxes(a), wide_boxes(to), to);
  });
}

void decode_boxes(const View& deltas, const View& anchors, const BoxWeights& weights, double clip, const View& out,
                  const Launch& launch) {
  constexpr const char* kOp = "decode_boxes";
  each_box(kOp, deltas, anchors, out, 4, launch, [&](const auto* d, const auto* a, int64_t n, auto* to) {
    using T = std::remove_pointer_t<decltype(to)>;
    const unsigned blocks = blocks_for(n);
    const int64_t classes = deltas.shape[1] / 4, step = int64_t(blocks) * kBlock;
    run(kOp, launch, decode<T>, blocks, kBlock, d, a, CodecWeights<T>::of(weights), T(clip), n, classes, step / classes,
        step % classes, wide_boxes(d), wide_boxes(a), wide_boxes(to), to);
  });
}

}  // namespace roikit::cuda
