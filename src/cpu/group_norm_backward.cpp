// The gradients of group_norm on the CPU: of each channel of an image the sum of the gradients, and that of their
// products with the values, in one pass; the gradient of x in another. Both are one thread's, one right after the
// other, of a group of channels of contiguous maps and of a channels-last map of one chunk.
#include "core/group_norm.h"

#include "cpu/norm_rows.h"
#include "cpu/pages.h"

namespace roikit::cpu {
namespace {

// How it is known where the gradient passes: everywhere, from x, or from what came out.
enum class Passed { all, by_x, by_out };

struct ChannelSums {
  double grad, product;  // of (x - mean)

  void add(const ChannelSums& other, double weight = 1) {
    grad += weight * other.grad;
    product += weight * other.product;
  }
};

template <class S> struct Backward {
  using A = accumulate_t<S>;
  NormShape shape;
  const S *grad, *x, *out;
  const A *weight, *bias, *mean, *rate;
  S *grad_x, *grad_sum;
  ChannelSums* sums;  // of each channel of each image, channels-last of each chunk
};

// The gradient of the sum, before its ReLU; written where it is known from what came out.
template <Passed passed, class S, class A = accumulate_t<S>>
ROIKIT_INLINE A before_relu(const S& grad, const S& x, const S* out, S* grad_sum, A mean, A scale, A shift) {
  const A g = load(grad);
  if constexpr (passed == Passed::all) return g;
  if constexpr (passed == Passed::by_x) return normed(load(x), mean, scale, shift) <= A(0) ? A(0) : g;
  const A found = load(*out) <= A(0) ? A(0) : g;
  store(*grad_sum, found);
  return found;
}

// In the second pass grad_sum stands in the place of the gradient.
template <Passed passed, class S, class A = accumulate_t<S>>
ROIKIT_INLINE void write_one(const S& grad, const S& x, const S& grad_sum, A mean, A scale, A shift, A slope, A level,
                             S& to) {
  const A v = load(x);
  A g;
  if constexpr (passed == Passed::by_out) g = load(grad_sum);
  else if constexpr (passed == Passed::by_x) g = normed(v, mean, scale, shift) <= A(0) ? A(0) : load(grad);
  else g = load(grad);
  store(to, (g * scale - (v - mean) * slope) - level);
}

// A group of a row, from its sums times the weights: grad_x = grad scale - (x - mean) slope - level.
template <class A> struct Slopes {
  A slope, level;

  Slopes(const NormShape& shape, const ChannelSums& all, A rate) {
    const double r = double(rate);
    slope = A(r * r * r * all.product / shape.count());
    level = A(r * all.grad / shape.count());
  }
};

// The gradients, and their products with x - mean, of values that lie side by side.
template <Passed passed, int Bytes, class S, class A = accumulate_t<S>>
ROIKIT_INLINE void add_values(const S* grad, const S* x, const S* out, S* own, A mean, A scale, A shift,
                              Wide<A, Bytes>& first, Wide<A, Bytes>& second) {
  using W = Wide<A, Bytes>;
  constexpr int n = wide_of<A>;
  alignas(kLaneBytes) A each[n];  // a choice between registers is taken apart, one between values of a loop is not
  ROIKIT_EACH
  for (int l = 0; l < n; ++l) each[l] = before_relu<passed>(grad[l], x[l], out + l, own + l, mean, scale, shift);
  const W g = W::load(each), v = W::load(x);
#pragma GCC unroll 4
  for (int b = 0; b < 2; ++b)
#pragma GCC unroll 4
    for (int i = 0; i < W::P::kRegisters; ++i) {
      first.p[b].r[i] += g.p[b].r[i];
      second.p[b].r[i] += g.p[b].r[i] * (v.p[b].r[i] - mean);
    }
}

// The sums of a channel of an image, contiguous.
template <Passed passed, int Bytes, class S, class A = accumulate_t<S>>
ROIKIT_INLINE ChannelSums of_plane(const Backward<S>& b, int64_t at, A mean, A scale, A shift) {
  constexpr int W = wide_of<A>;
  ChannelSums all = {0, 0};
  for (int64_t begin = 0; begin < b.shape.pixels; begin += kNormBlock) {
    const int64_t n = std::min(b.shape.pixels - begin, kNormBlock), whole = n / W * W;
    const S *grad = b.grad + at + begin, *x = b.x + at + begin, *out = b.out + at + begin;
    S* const own = b.grad_sum + at + begin;
    Wide<A, Bytes> first, second;
    for (int64_t i = 0; i < whole; i += W)
      add_values<passed>(grad + i, x + i, out + i, own + i, mean, scale, shift, first, second);
    A rest = A(0), products = A(0);
    for (int64_t i = whole; i < n; ++i) {
      const A g = before_relu<passed>(grad[i], x[i], out + i, own + i, mean, scale, shift);
      rest += g;
      products += g * (load(x[i]) - mean);
    }
    all.grad += double(first.total()) + double(rest);
    all.product += double(second.total()) + double(products);
  }
  return all;
}

// Groups [begin, end) of all rows, contiguous.
template <Passed passed, int Bytes> struct Groups {
  template <class S>
  ROIKIT_INLINE static void run(Backward<S> b, int64_t begin, int64_t end) {
    using A = accumulate_t<S>;
    const NormShape& shape = b.shape;
    const int64_t pixels = shape.pixels, planes = shape.planes();
    for (int64_t item = begin; item < end; ++item) {
      const A mean = b.mean[item], rate = b.rate[item];
      ChannelSums all = {0, 0};
      for (int64_t k = 0; k < planes; ++k) {
        const int64_t plane = shape.plane(item, k), channel = shape.channel(item, k);
        b.sums[plane] = of_plane<passed, Bytes>(b, plane * pixels, mean, rate * b.weight[channel], b.bias[channel]);
        all.add(b.sums[plane], double(b.weight[channel]));
      }
      const Slopes<A> s(shape, all, rate);
      for (int64_t k = 0; k < planes; ++k) {
        const int64_t at = shape.plane(item, k) * pixels, channel = shape.channel(item, k);
        const A scale = rate * b.weight[channel], shift = b.bias[channel], slope = s.slope, level = s.level;
        const S *grad = b.grad + at, *x = b.x + at, *own = b.grad_sum + at;
        S* to = b.grad_x + at;
        ROIKIT_EACH
        for (int64_t i = 0; i < pixels; ++i)
          write_one<passed>(grad[i], x[i], own[i], mean, scale, shift, slope, level, to[i]);
      }
    }
  }
};

template <Passed passed> struct Of {
  template <int Bytes> using Plane = Groups<passed, Bytes>;
};

// first[c] += the gradients, second[c] += their products with x - mean[c].
template <int rows, Passed passed, class S, class A>
ROIKIT_INLINE void add_rows(const Backward<S>& b, int64_t at, const A* mean, const A* scale, A* first, A* second) {
  const S *grad = b.grad + at, *x = b.x + at, *out = b.out + at;
  const A* const shift = b.bias;
  const int64_t channels = b.shape.channels;
  S* const own = b.grad_sum + at;
  ROIKIT_EACH
  for (int64_t c = 0; c < channels; ++c) {
    A sum = A(0), product = A(0);
    for (int k = 0; k < rows; ++k) {
      const int64_t i = k * channels + c;
      const A g = before_relu<passed>(grad[i], x[i], out + i, own + i, mean[c], scale[c], shift[c]);
      sum += g;
      product += g * (load(x[i]) - mean[c]);
    }
    first[c] += sum;
    second[c] += product;
  }
}

// The sums of each channel of a chunk, channels-last. room: two values a channel.
template <Passed passed, class S, class A>
ROIKIT_INLINE void of_chunk(const Backward<S>& b, int64_t item, const NormTable<A>& table, A* room) {
  const NormShape& shape = b.shape;
  const int64_t channels = shape.channels, image = item / shape.chunks();
  const int64_t begin = item % shape.chunks() * shape.chunk(), end = std::min(begin + shape.chunk(), shape.pixels);
  const A *mean = table.mean.data(), *scale = table.scale.data();
  A *first = room, *second = room + channels;
  ChannelSums* const sums = b.sums + item * channels;
  std::fill(sums, sums + channels, ChannelSums{0, 0});
  for (int64_t block = begin; block < end; block += shape.block()) {
    std::fill(first, first + 2 * channels, A(0));
    const int64_t stop = std::min(block + shape.block(), end);
    int64_t p = block;
    for (; p + kRows <= stop; p += kRows)
      add_rows<kRows, passed>(b, image * shape.map() + p * channels, mean, scale, first, second);
    for (; p < stop; ++p) add_rows<1, passed>(b, image * shape.map() + p * channels, mean, scale, first, second);
    for (int64_t c = 0; c < channels; ++c) {
      sums[c].grad += double(first[c]);
      sums[c].product += double(second[c]);
    }
  }
}

// The sums of a row come to stand in those of its first chunk.
template <class S> ROIKIT_INLINE void finish(const Backward<S>& b, int64_t row) {
  const int64_t channels = b.shape.channels, chunks = b.shape.row_chunks();
  ChannelSums* const all = b.sums + row * chunks * channels;
  for (int64_t k = 1; k < chunks; ++k)
    for (int64_t c = 0; c < channels; ++c) all[c].add(all[k * channels + c]);
}

template <int rows, Passed passed, class S, class A>
ROIKIT_INLINE void write_rows(const Backward<S>& b, int64_t at, const NormTable<A>& table, const A* slope,
                              const A* level) {
  const S *grad = b.grad + at, *x = b.x + at, *own = b.grad_sum + at;
  const A *mean = table.mean.data(), *scale = table.scale.data(), *shift = b.bias;
  const int64_t channels = b.shape.channels;
  S* const to = b.grad_x + at;
  ROIKIT_EACH
  for (int64_t c = 0; c < channels; ++c)
    for (int k = 0; k < rows; ++k) {
      const int64_t i = k * channels + c;
      write_one<passed>(grad[i], x[i], own[i], mean[c], scale[c], shift[c], slope[c], level[c], to[i]);
    }
}

template <Passed passed, class S, class A>
ROIKIT_INLINE void write_chunk(const Backward<S>& b, int64_t item, const NormTable<A>& table, A* room) {
  const NormShape& shape = b.shape;
  const int64_t channels = shape.channels, width = shape.width(), image = item / shape.chunks();
  const int64_t begin = item % shape.chunks() * shape.chunk(), end = std::min(begin + shape.chunk(), shape.pixels);
  A *slope = room, *level = room + channels;
  const int64_t row = shape.row(image);
  const ChannelSums* const sums = b.sums + row * shape.row_chunks() * channels;
  for (int64_t g = 0; g < shape.groups; ++g) {
    ChannelSums all = {0, 0};
    for (int64_t c = g * width; c < (g + 1) * width; ++c) all.add(sums[c], double(b.weight[c]));
    const Slopes<A> s(shape, all, b.rate[row * shape.groups + g]);
    std::fill(slope + g * width, slope + (g + 1) * width, s.slope);
    std::fill(level + g * width, level + (g + 1) * width, s.level);
  }
  int64_t p = begin;
  for (; p + kRows <= end; p += kRows)
    write_rows<kRows, passed>(b, image * shape.map() + p * channels, table, slope, level);
  for (; p < end; ++p) write_rows<1, passed>(b, image * shape.map() + p * channels, table, slope, level);
}

// Chunks [begin, end) of all images, channels-last. which: 0 the sums, 1 the gradients, 2 both, of rows of one chunk.
template <Passed passed> struct Chunks {
  template <class S>
  ROIKIT_INLINE static void run(Backward<S> b, int which, int64_t begin, int64_t end) {
    using A = accumulate_t<S>;
    std::vector<A> room(size_t(2 * b.shape.channels));
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = b.shape.row(item / b.shape.chunks()) * b.shape.groups;
      const NormTable<A> table(b.shape, b.mean + first, b.rate + first, b.weight);
      if (which != 1) of_chunk<passed>(b, item, table, room.data());
      if (which != 0) write_chunk<passed>(b, item, table, room.data());
    }
  }
};

template <Passed passed, class S> void walk(const Backward<S>& b, const Launch& launch) {
  const NormShape& shape = b.shape;
  if (!shape.last) {
    const int64_t grain = norm_grain(shape.planes() * shape.pixels);
    parallel_for(shape.rows() * shape.groups, grain, launch, [&](int64_t begin, int64_t end) {
      vary_lanes<Of<passed>::template Plane>(norm_level(launch), b, begin, end);
    });
    return;
  }
  const int64_t items = shape.images * shape.chunks(), grain = norm_grain(shape.channels * shape.chunk());
  const auto over = [&](int which) {
    parallel_for(items, grain, launch,
                 [&](int64_t begin, int64_t end) { vary<Chunks<passed>>(norm_level(launch), b, which, begin, end); });
  };
  if (shape.row_chunks() == 1) return over(2);
  over(0);
  for (int64_t row = 0; row < shape.rows(); ++row) finish(b, row);
  over(1);
}

// Of weight and bias, image after image; channels-last row after row, whose sums are those of a first chunk.
template <class S, class A>
void of_parameters(const Backward<S>& b, int64_t stride, A* grad_weight, A* grad_bias) {
  const NormShape& shape = b.shape;
  for (int64_t c = 0; c < shape.channels; ++c) {
    const int64_t group = c / shape.width();
    double weight = 0, bias = 0;
    for (int64_t image = 0; image < (shape.last ? shape.rows() : shape.images); ++image) {
      const ChannelSums& own = b.sums[image * stride + c];
      weight += double(b.rate[shape.row(image) * shape.groups + group]) * own.product;
      bias += own.grad;
    }
    grad_weight[c] = A(weight);
    grad_bias[c] = A(bias);
  }
}

}  // namespace

void group_norm_backward(const View& grad, const View& x, const View& out, const View& weight, const View& bias,
                         const View& mean, const View& rate, bool relu, const View& grad_x, const View& grad_sum,
                         const View& grad_weight, const View& grad_bias, const Launch& launch) {
  const char* const op = "group_norm_backward";
  require(mean.rank == 2, op, "mean must be (N, groups)");
  const NormShape shape = norm_shape(op, x, mean.shape[1], mean.shape[0]);
  check_norm_map(op, "grad", grad, x);
  check_norm_map(op, "grad_x", grad_x, x);
  check_norm_parts(op, shape, weight, bias, mean, rate);
  check_vector(op, "grad_weight", grad_weight, shape.channels);
  check_vector(op, "grad_bias", grad_bias, shape.channels);
  const bool added = norm_map_or_none(op, "out", out, x);
  require(norm_map_or_none(op, "grad_sum", grad_sum, x) == added && (relu || !added), op,
          "out and grad_sum must come together, with relu");
  visit<float, double, BFloat16>(x.dtype, op, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const int64_t stride = shape.channels * (shape.last ? shape.chunks() : 1), bytes = x.size() * int64_t(sizeof(S));
    std::vector<ChannelSums> sums(size_t(shape.images * stride));
    const Backward<S> b = {shape,
                           grad.as<S>(),
                           x.as<S>(),
                           added ? out.as<S>() : x.as<S>(),
                           weight.as<A>(),
                           bias.as<A>(),
                           mean.as<A>(),
                           rate.as<A>(),
                           grad_x.as<S>(),
                           added ? grad_sum.as<S>() : grad_x.as<S>(),
                           sums.data()};
    will_fill(b.grad_x, bytes, launch);
    if (added) will_fill(b.grad_sum, bytes, launch);
    if (shape.pixels == 0) {
    } else if (!relu) walk<Passed::all>(b, launch);
    else if (added) walk<Passed::by_out>(b, launch);
    else walk<Passed::by_x>(b, launch);
    of_parameters(b, stride, grad_weight.as<A>(), grad_bias.as<A>());
  });
}

}  // namespace roikit::cpu
