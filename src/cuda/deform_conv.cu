// Deformable convolution on the GPU, the steps between the products of matrices. A thread has one sample, of which it
// finds the cell once, and walks over some channels; neighbouring threads have neighbouring places of the output.
#include "core/deform_conv.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kChannels = 16;  // channels that share a cell
constexpr int kSlices = kBlock / kWarp;

template <class F>
struct Field {
  DeformShape shape;
  const F *offset, *mask;

  __device__ int64_t plane(int64_t image, int64_t group, int64_t tap) const {
    return (image * shape.offset_groups + group) * shape.taps() + tap;
  }

  template <class A>
  __device__ DeformCell<A> cell(int64_t image, int64_t group, int32_t tap, int64_t place) const {
    const int64_t at = 2 * plane(image, group, tap) * shape.places() + place;
    const int64_t oy = place / shape.columns;
    return shape.template cell<A>(oy, place - oy * shape.columns, tap, load(offset[at]),
                                  load(offset[at + shape.places()]));
  }

  template <class A>
  __device__ A factor(int64_t image, int64_t group, int32_t tap, int64_t place) const {
    return mask ? A(load(mask[plane(image, group, tap) * shape.places() + place])) : A(1);
  }

  // Entry of (C, KH * KW, N, OH * OW).
  __device__ int64_t column(int64_t channel, int32_t tap, int64_t image, int64_t place) const {
    return ((channel * shape.taps() + tap) * shape.images + image) * shape.places() + place;
  }
};

// The block's samples: calls fn(image, group, chunk of the group, tap, place) with all its threads, width of them side
// by side; a place may lie beyond the last.
template <class Fn>
__device__ void each_sample(const DeformShape& s, int32_t chunks, int32_t width, Fn fn) {
  const int32_t tiles = int32_t((s.places() + width - 1) / width), taps = int32_t(s.taps());
  for (int64_t image = blockIdx.z; image < s.images; image += gridDim.z)
    for (int64_t part = blockIdx.y; part < s.offset_groups * chunks; part += gridDim.y)
      for (int64_t b = blockIdx.x; b < int64_t(tiles) * taps; b += gridDim.x) {
        const int32_t tap = int32_t(b / tiles), tile = int32_t(b - int64_t(tap) * tiles);
        const int64_t group = part / chunks;
        fn(image, group, int32_t(part - group * chunks), tap, int64_t(tile) * width + threadIdx.x % width);
      }
}

dim3 grid_of(const DeformShape& s, int64_t chunks, int64_t width) {
  const auto limited = [](int64_t n, int64_t most) { return unsigned(n < most ? n : most); };
  return dim3(limited(ceil_div(s.places(), width) * s.taps(), 1 << 30), limited(s.offset_groups * chunks, 65535),
              limited(s.images, 65535));
}

int64_t chunks_of(const DeformShape& s) { return ceil_div(s.offset_channels(), kChannels); }

template <class F>
__global__ void columns_of(const Field<F> field, int32_t chunks, const F* input, F* columns) {
  using A = accumulate_t<F>;
  const DeformShape& s = field.shape;
  each_sample(s, chunks, blockDim.x, [&](int64_t image, int64_t group, int32_t chunk, int32_t tap, int64_t place) {
    if (place >= s.places()) return;
    const auto cell = field.template cell<A>(image, group, tap, place);
    const A mask = cell.inside ? field.template factor<A>(image, group, tap, place) : A(0);
    int64_t from[4];
    A weight[4];
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const bool has = cell.has(t, s.height, s.width);
      from[t] = has ? cell.pixel(t, s.width) : -1;
      weight[t] = mask * cell.weight(t);
    }
    const int64_t first = group * s.offset_channels();
#pragma unroll 4
    for (int64_t c = int64_t(chunk) * kChannels; c < (chunk + 1) * int64_t(kChannels) && c < s.offset_channels(); ++c) {
      const F* const map = input + (image * s.channels + first + c) * s.pixels();
      A sum = 0;
#pragma unroll
      for (int t = 0; t < 4; ++t)
        if (from[t] >= 0) sum += weight[t] * load(map[from[t]]);
      store(columns[field.column(first + c, tap, image, place)], sum);
    }
  });
}

template <class F>
__global__ void scatter(const Field<F> field, int32_t chunks, const F* columns, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  const DeformShape& s = field.shape;
  each_sample(s, chunks, blockDim.x, [&](int64_t image, int64_t group, int32_t chunk, int32_t tap, int64_t place) {
    if (place >= s.places()) return;
    const auto cell = field.template cell<A>(image, group, tap, place);
    if (!cell.inside) return;
    const A mask = field.template factor<A>(image, group, tap, place);
    const int64_t first = group * s.offset_channels();
#pragma unroll 4
    for (int64_t c = int64_t(chunk) * kChannels; c < (chunk + 1) * int64_t(kChannels) && c < s.offset_channels(); ++c) {
      const A grad = mask * load(columns[field.column(first + c, tap, image, place)]);
      A* const map = sums + (image * s.channels + first + c) * s.pixels();
#pragma unroll
      for (int t = 0; t < 4; ++t)
        if (cell.has(t, s.height, s.width)) atomicAdd(map + cell.pixel(t, s.width), cell.weight(t) * grad);
    }
  });
}

template <class F>
__global__ void keys_of(const Field<F> field, int64_t* keys) {
  using A = accumulate_t<F>;
  const DeformShape& s = field.shape;
  each_sample(s, 1, blockDim.x, [&](int64_t image, int64_t group, int32_t, int32_t tap, int64_t place) {
    if (place >= s.places()) return;
    const auto cell = field.template cell<A>(image, group, tap, place);
    const int64_t map = (image * s.offset_groups + group) * s.pixels();
    int64_t* const to = keys + 4 * field.plane(image, group, tap) * s.places() + place;
    for (int t = 0; t < 4; ++t)
      to[t * s.places()] = cell.has(t, s.height, s.width) ? map + cell.pixel(t, s.width)
                                                          : s.images * s.offset_groups * s.pixels();
  });
}

// A thread has one pixel of some channels, and adds up what names it in the order of the samples.
template <class F>
__global__ void gather(const Field<F> field, int32_t chunks, const F* columns, const int64_t* order,
                       const int64_t* starts, accumulate_t<F>* sums) {
  using A = accumulate_t<F>;
  const DeformShape& s = field.shape;
  const int64_t pixels = s.pixels(), places = s.places(), first_of = s.offset_channels();
  for (int64_t item = first_item(); item < s.images * s.offset_groups * chunks * pixels; item += item_stride()) {
    const int64_t pixel = item % pixels, part = item / pixels, map = part / chunks;
    const int64_t image = map / s.offset_groups, group = map - image * s.offset_groups;
    const int64_t c0 = (part - map * chunks) * kChannels;
    const int count = int(first_of - c0 < kChannels ? first_of - c0 : kChannels);
    A sum[kChannels] = {};
    for (int64_t i = starts[map * pixels + pixel]; i < starts[map * pixels + pixel + 1]; ++i) {
      const int64_t entry = order[i], row = entry / places, place = entry - row * places;
      const int t = int(row % 4);
      const int32_t tap = int32_t(row / 4 % s.taps());
      const A weight = field.template cell<A>(image, group, tap, place).weight(t);
      const A mask = field.template factor<A>(image, group, tap, place);
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
        if (c < count)
          sum[c] += weight * (mask * load(columns[field.column(group * first_of + c0 + c, tap, image, place)]));
    }
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
      if (c < count) sums[(image * s.channels + group * first_of + c0 + c) * pixels + pixel] = sum[c];
  }
}

// A warp has some places side by side, and each warp of the block every kSlices-th channel.
template <class F>
__global__ void positions(const Field<F> field, const F* columns, const F* input, F* by_offset, F* by_mask) {
  using A = accumulate_t<F>;
  __shared__ A dots[kSlices][4][kWarp];
  const DeformShape& s = field.shape;
  const int lane = int(threadIdx.x) % kWarp, slice = int(threadIdx.x) / kWarp;
  each_sample(s, 1, kWarp, [&](int64_t image, int64_t group, int32_t, int32_t tap, int64_t place) {
    const bool here = place < s.places();
    DeformCell<A> cell;
    if (here) cell = field.template cell<A>(image, group, tap, place);
    A v[4] = {};
    for (int64_t c = slice; cell.inside && c < s.offset_channels(); c += kSlices) {
      const int64_t channel = group * s.offset_channels() + c;
      const A grad = load(columns[field.column(channel, tap, image, place)]);
      const F* const map = input + (image * s.channels + channel) * s.pixels();
#pragma unroll
      for (int t = 0; t < 4; ++t)
        if (cell.has(t, s.height, s.width)) v[t] += grad * load(map[cell.pixel(t, s.width)]);
    }
#pragma unroll
    for (int t = 0; t < 4; ++t) dots[slice][t][lane] = v[t];
    __syncthreads();
    if (slice == 0 && here) {
      A weighted = 0;
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        for (int i = 1; i < kSlices; ++i) v[t] += dots[i][t][lane];
        weighted += cell.weight(t) * v[t];
      }
      const int64_t plane = field.plane(image, group, tap);
      if (by_offset) {
        const A mask = cell.inside ? field.template factor<A>(image, group, tap, place) : A(0);
        F* const to = by_offset + 2 * plane * s.places() + place;
        store(to[0], cell.inside ? mask * cell.by_y(v) : A(0));
        store(to[s.places()], cell.inside ? mask * cell.by_x(v) : A(0));
      }
      if (by_mask) store(by_mask[plane * s.places() + place], weighted);
    }
    __syncthreads();
  });
}

template <class F>
Field<F> field_of(const DeformShape& s, const View& offset, const View* mask) {
  return {s, offset.as<F>(), mask ? mask->as<F>() : nullptr};
}

// The shape where the output is at hand only as the places of offset. like: (N, C, H, W).
DeformShape shape_of(const char* op, const View& like, const View& offset, const View* mask, const View& weight,
                     const DeformRule& rule) {
  const int64_t sizes[4] = {offset.shape[0], weight.shape[0], offset.shape[2], offset.shape[3]};
  View input = like;
  input.dtype = offset.dtype;  // sums have the accumulate type
  const DeformShape s = deform_shape(op, input, offset, mask, weight, sizes, rule);
  require(like.contiguous(), op, "input must be contiguous");
  require(s.places() <= INT32_MAX && s.taps() <= 65535, op, "the output must have < 2^31 places an image");
  return s;
}

void check_columns(const char* op, const DeformShape& s, const View& columns, const View& offset) {
  require(columns.rank == 4 && columns.contiguous() && columns.dtype == offset.dtype &&
              columns.shape[0] == s.channels && columns.shape[1] == s.taps() && columns.shape[2] == s.images &&
              columns.shape[3] == s.places(),
          op, "columns must be contiguous (C, KH * KW, N, OH * OW)");
}

// Calls fn(TypeTag<F>) on the device of the launch, where there is anything to do.
template <class Fn>
void each_dtype(const char* op, const DeformShape& s, const View& offset, const Launch& launch, Fn fn) {
  if (s.images * s.places() == 0) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double, Half, BFloat16>(offset.dtype, op, fn);
}

}  // namespace

void deform_conv2d_columns(const View& input, const View& offset, const View* mask, const View& weight,
                           DeformPair stride, DeformPair padding, DeformPair dilation, const View& columns,
                           const Launch& launch) {
  constexpr const char* kOp = "deform_conv2d_columns";
  const DeformShape s = shape_of(kOp, input, offset, mask, weight, DeformRule::of(stride, padding, dilation));
  check_columns(kOp, s, columns, offset);
  each_dtype(kOp, s, offset, launch, [&](auto tag) {
    using F = typename decltype(tag)::type;
    run(kOp, launch, columns_of<F>, grid_of(s, chunks_of(s), kBlock), kBlock, field_of<F>(s, offset, mask),
        int32_t(chunks_of(s)), input.as<F>(), columns.as<F>());
  });
}

void deform_conv2d_scatter(const View& columns, const View& offset, const View* mask, const View& weight,
                           DeformPair stride, DeformPair padding, DeformPair dilation, const View& sums,
                           const Launch& launch) {
  constexpr const char* kOp = "deform_conv2d_scatter";
  const DeformShape s = shape_of(kOp, sums, offset, mask, weight, DeformRule::of(stride, padding, dilation));
  check_columns(kOp, s, columns, offset);
  if (sums.size() == 0) return;
  each_dtype(kOp, s, offset, launch, [&](auto tag) {
    using F = typename decltype(tag)::type;
    using A = accumulate_t<F>;
    check(cudaMemsetAsync(sums.as<A>(), 0, sums.size() * sizeof(A), stream_of(launch)), kOp);
    run(kOp, launch, scatter<F>, grid_of(s, chunks_of(s), kBlock), kBlock, field_of<F>(s, offset, mask),
        int32_t(chunks_of(s)), columns.as<F>(), sums.as<A>());
  });
}

void deform_conv2d_keys(const View& input, const View& offset, const View& weight, DeformPair stride,
                        DeformPair padding, DeformPair dilation, const View& keys, const Launch& launch) {
  constexpr const char* kOp = "deform_conv2d_keys";
  const DeformShape s = shape_of(kOp, input, offset, nullptr, weight, DeformRule::of(stride, padding, dilation));
  require(keys.contiguous() && keys.size() == 4 * s.images * s.offset_groups * s.taps() * s.places(),
          "deform_conv2d_keys: keys must be contiguous (N, DG, KH * KW, 4, OH * OW)");
  each_dtype(kOp, s, offset, launch, [&](auto tag) {
    using F = typename decltype(tag)::type;
    run(kOp, launch, keys_of<F>, grid_of(s, 1, kBlock), kBlock, field_of<F>(s, offset, nullptr), keys.as<int64_t>());
  });
}

void deform_conv2d_gather(const View& columns, const View& offset, const View* mask, const View& weight,
                          DeformPair stride, DeformPair padding, DeformPair dilation, const View& order,
                          const View& starts, const View& sums, const Launch& launch) {
  constexpr const char* kOp = "deform_conv2d_gather";
  const DeformShape s = shape_of(kOp, sums, offset, mask, weight, DeformRule::of(stride, padding, dilation));
  check_columns(kOp, s, columns, offset);
  require(order.contiguous() && order.size() == 4 * s.images * s.offset_groups * s.taps() * s.places() &&
              starts.contiguous() && starts.size() == s.images * s.offset_groups * s.pixels() + 1,
          "deform_conv2d_gather: order and starts must fit the samples and the pixels");
  if (sums.size() == 0) return;
  each_dtype(kOp, s, offset, launch, [&](auto tag) {
    using F = typename decltype(tag)::type;
    using A = accumulate_t<F>;
    run(kOp, launch, gather<F>, grid_for(s.images * s.offset_groups * chunks_of(s) * s.pixels()), kBlock,
        field_of<F>(s, offset, mask), int32_t(chunks_of(s)), columns.as<F>(), order.as<int64_t>(),
        starts.as<int64_t>(), sums.as<A>());
  });
}

void deform_conv2d_positions(const View& columns, const View& input, const View& offset, const View* mask,
                             const View& weight, DeformPair stride, DeformPair padding, DeformPair dilation,
                             const View* offset_gradient, const View* mask_gradient, const Launch& launch) {
  constexpr const char* kOp = "deform_conv2d_positions";
  const DeformShape s = shape_of(kOp, input, offset, mask, weight, DeformRule::of(stride, padding, dilation));
  check_columns(kOp, s, columns, offset);
  require((!offset_gradient || (offset_gradient->contiguous() && offset_gradient->size() == offset.size())) &&
              (!mask_gradient || (mask && mask_gradient->contiguous() && mask_gradient->size() == mask->size())),
          "deform_conv2d_positions: a gradient must be laid out as its argument");
  each_dtype(kOp, s, offset, launch, [&](auto tag) {
    using F = typename decltype(tag)::type;
    run(kOp, launch, positions<F>, grid_of(s, 1, kWarp), kBlock, field_of<F>(s, offset, mask), columns.as<F>(),
        input.as<F>(), offset_gradient ? offset_gradient->as<F>() : nullptr,
        mask_gradient ? mask_gradient->as<F>() : nullptr);
  });
}

}  // namespace roikit::cuda
