// encode_boxes and decode_boxes on the GPU: one thread a box, in a grid-stride loop; bound by reading and writing.
#include "core/box_codec.h"

#include "cuda/boxes.cuh"

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

void check_shapes(const View& first, const View& anchors, const View& out) {
  require(anchors.rank == 2 && anchors.shape[1] == 4 && anchors.contiguous(),
          "box_codec: anchors must be contiguous (N, 4)");
  require(first.rank == 2 && first.shape[0] == anchors.shape[0] && first.shape[1] % 4 == 0 && first.contiguous(),
          "box_codec: boxes or deltas must be contiguous (N, 4 C)");
  require(out.size() == first.size() && out.contiguous(),
          "box_codec: out must be contiguous, of the shape of the input");
}

unsigned blocks_for(int64_t n) {
  const int64_t blocks = ceil_div(n, kBlock);
  return unsigned(blocks < kFill ? blocks : kFill);
}

}  // namespace

void encode_boxes(const View& boxes, const View& anchors, const double* weights, const View& out,
                  const Launch& launch) {
  check_shapes(boxes, anchors, out);
  require(boxes.shape[1] == 4, "encode_boxes: boxes must be contiguous (N, 4)");
  const int64_t n = boxes.shape[0];
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "encode_boxes");
  visit<float, double>(boxes.dtype, "encode_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* g = boxes.as<T>();
    const T* a = anchors.as<T>();
    T* to = out.as<T>();
    run("encode_boxes", launch, encode<T>, blocks_for(n), kBlock, g, a, CodecWeights<T>::of(weights), n, wide_boxes(g),
        wide_boxes(a), wide_boxes(to), to);
  });
}

void decode_boxes(const View& deltas, const View& anchors, const double* weights, double clip, const View& out,
                  const Launch& launch) {
  check_shapes(deltas, anchors, out);
  const int64_t classes = deltas.shape[1] / 4, n = deltas.shape[0] * classes;
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "decode_boxes");
  visit<float, double>(deltas.dtype, "decode_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* d = deltas.as<T>();
    const T* a = anchors.as<T>();
    T* to = out.as<T>();
    const unsigned blocks = blocks_for(n);
    const int64_t step = int64_t(blocks) * kBlock;
    run("decode_boxes", launch, decode<T>, blocks, kBlock, d, a, CodecWeights<T>::of(weights), T(clip), n, classes,
        step / classes, step % classes, wide_boxes(d), wide_boxes(a), wide_boxes(to), to);
  });
}

}  // namespace roikit::cuda
