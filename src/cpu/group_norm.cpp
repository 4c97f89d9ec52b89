// group_norm on the CPU. The moments of a block are taken while it is in the first cache; what fits into the second is
// normalised by the same thread right after it was read: a group of channels of contiguous maps, a chunk of pixels of
// channels-last ones.
#include "core/group_norm.h"

#include "cpu/norm_rows.h"
#include "cpu/pages.h"

namespace roikit::cpu {
namespace {

template <class S> struct Forward {
  using A = accumulate_t<S>;
  NormShape shape;
  const S *x, *onto;
  const A *weight, *bias;
  S* out;
  A *mean, *rate;
  double eps;
  Moments* parts;  // channels-last: of each group of each chunk
};

template <bool added, bool relu> struct Layer {
  template <class S, class A = accumulate_t<S>>
  ROIKIT_INLINE static void one(const S& x, const S* onto, A mean, A scale, A shift, S& out) {
    A v = normed(load(x), mean, scale, shift);
    if constexpr (added) v += load(*onto);
    if constexpr (relu) v = rectified(v);
    store(out, v);
  }
};

template <int Bytes, class S, class A = accumulate_t<S>>
ROIKIT_INLINE void add_values(const S* x, Wide<A, Bytes>& sum) {
  using W = Wide<A, Bytes>;
  const W v = W::load(x);
#pragma GCC unroll 4
  for (int b = 0; b < 2; ++b)
#pragma GCC unroll 4
    for (int i = 0; i < W::P::kRegisters; ++i) sum.p[b].r[i] += v.p[b].r[i];
}

// The distances from a center, and their squares.
template <int Bytes, class S, class A = accumulate_t<S>>
ROIKIT_INLINE void add_distances(const S* x, A center, Wide<A, Bytes>& first, Wide<A, Bytes>& second) {
  using W = Wide<A, Bytes>;
  const W v = W::load(x);
#pragma GCC unroll 4
  for (int b = 0; b < 2; ++b)
#pragma GCC unroll 4
    for (int i = 0; i < W::P::kRegisters; ++i) {
      const auto d = v.p[b].r[i] - center;
      first.p[b].r[i] += d;
      second.p[b].r[i] += d * d;
    }
}

// Moments of values that lie side by side, at most a block.
template <int Bytes, class S> ROIKIT_INLINE Moments of_block(const S* x, int64_t n) {
  using A = accumulate_t<S>;
  constexpr int W = wide_of<A>;
  const int64_t whole = n / W * W;
  Wide<A, Bytes> sum, first, second;
  A rest = A(0), squares = A(0);
  for (int64_t i = 0; i < whole; i += W) add_values<Bytes>(x + i, sum);
  for (int64_t i = whole; i < n; ++i) rest += load(x[i]);
  const A center = (sum.total() + rest) / A(n);
  rest = A(0);
  for (int64_t i = 0; i < whole; i += W) add_distances<Bytes>(x + i, center, first, second);
  for (int64_t i = whole; i < n; ++i) {
    const A d = load(x[i]) - center;
    rest += d;
    squares += d * d;
  }
  return Moments::about(double(center), double(n), double(first.total()) + double(rest),
                        double(second.total()) + double(squares));
}

// Moments of values that lie side by side.
template <int Bytes, class S> ROIKIT_INLINE Moments of_run(const S* x, int64_t n) {
  Moments all = of_block<Bytes>(x, std::min(n, kNormBlock));
  for (int64_t i = kNormBlock; i < n; i += kNormBlock)
    all.join(of_block<Bytes>(x + i, std::min(n - i, kNormBlock)));
  return all;
}

// Groups [begin, end) of all rows, contiguous.
template <class Layer, int Bytes> struct Groups {
  template <class S>
  ROIKIT_INLINE static void run(Forward<S> f, int64_t begin, int64_t end) {
    using A = accumulate_t<S>;
    const NormShape& shape = f.shape;
    const int64_t pixels = shape.pixels, runs = shape.joint ? shape.images : 1, length = shape.width() * pixels;
    for (int64_t item = begin; item < end; ++item) {
      const S* const x = f.x + shape.plane(item, 0) * pixels;
      Moments all = of_run<Bytes>(x, length);
      for (int64_t k = 1; k < runs; ++k) all.join(of_run<Bytes>(x + k * shape.map(), length));
      const A mean = f.mean[item] = A(all.mean), rate = f.rate[item] = A(all.rate(f.eps));
      for (int64_t k = 0; k < shape.planes(); ++k) {
        const int64_t at = shape.plane(item, k) * pixels, channel = shape.channel(item, k);
        const A scale = rate * f.weight[channel], shift = f.bias[channel];
        const S *from = f.x + at, *onto = f.onto + at;
        S* to = f.out + at;
        ROIKIT_EACH
        for (int64_t i = 0; i < pixels; ++i) Layer::one(from[i], onto + i, mean, scale, shift, to[i]);
      }
    }
  }
};

template <class Layer> struct Of {
  template <int Bytes> using Plane = Groups<Layer, Bytes>;
};

// sums[c] += x[p, c] of `rows` pixels.
template <class S, class A> ROIKIT_INLINE void add_rows(const S* x, int64_t rows, int64_t channels, A* sums) {
  int64_t p = 0;
  for (; p + 4 <= rows; p += 4) {
    const S *a = x + p * channels, *b = a + channels, *c = b + channels, *d = c + channels;
    ROIKIT_EACH
    for (int64_t i = 0; i < channels; ++i) sums[i] += (load(a[i]) + load(b[i])) + (load(c[i]) + load(d[i]));
  }
  for (; p < rows; ++p)
    ROIKIT_EACH
    for (int64_t i = 0; i < channels; ++i) sums[i] += load(x[p * channels + i]);
}

// The same of the distances from centers[c], and of their squares.
template <class S, class A>
ROIKIT_INLINE void add_distances(const S* x, int64_t rows, int64_t channels, const A* centers, A* first, A* second) {
  int64_t p = 0;
  for (; p + 4 <= rows; p += 4) {
    const S *a = x + p * channels, *b = a + channels, *c = b + channels, *d = c + channels;
    ROIKIT_EACH
    for (int64_t i = 0; i < channels; ++i) {
      const A center = centers[i];
      const A s = load(a[i]) - center, t = load(b[i]) - center, u = load(c[i]) - center, v = load(d[i]) - center;
      first[i] += (s + t) + (u + v);
      second[i] += (s * s + t * t) + (u * u + v * v);
    }
  }
  for (; p < rows; ++p)
    ROIKIT_EACH
    for (int64_t i = 0; i < channels; ++i) {
      const A s = load(x[p * channels + i]) - centers[i];
      first[i] += s;
      second[i] += s * s;
    }
}

// The moments of each group of one chunk, channels-last. room: four values a channel.
template <class S, class A>
ROIKIT_INLINE void of_chunk(const Forward<S>& f, int64_t item, A* room) {
  const NormShape& shape = f.shape;
  const int64_t channels = shape.channels, width = shape.width(), chunks = shape.chunks();
  const int64_t begin = item % chunks * shape.chunk(), end = std::min(begin + shape.chunk(), shape.pixels);
  A *sums = room, *centers = room + channels, *first = room + 2 * channels, *second = room + 3 * channels;
  Moments* parts = f.parts + item * shape.groups;
  for (int64_t p = begin; p < end; p += shape.block()) {
    const int64_t rows = std::min(shape.block(), end - p);
    const S* const x = f.x + item / chunks * shape.map() + p * channels;
    std::fill(sums, sums + channels, A(0));
    std::fill(first, first + 2 * channels, A(0));
    add_rows(x, rows, channels, sums);
    const double count = double(width) * double(rows), share = double(rows) / double(p - begin + rows);
    for (int64_t g = 0; g < shape.groups; ++g) {
      A sum = A(0);
      for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += sums[c];
      std::fill(centers + g * width, centers + (g + 1) * width, sum / A(count));
    }
    add_distances(x, rows, channels, centers, first, second);
    for (int64_t g = 0; g < shape.groups; ++g) {
      double one = 0, two = 0;
      for (int64_t c = g * width; c < (g + 1) * width; ++c) {
        one += double(first[c]);
        two += double(second[c]);
      }
      const Moments found = Moments::about(double(centers[g * width]), count, one, two);
      if (p == begin) parts[g] = found;
      else parts[g].join(found, share);
    }
  }
}

// Means and rates of a row from those of its chunks.
template <class S> ROIKIT_INLINE void finish(const Forward<S>& f, int64_t row) {
  const int64_t groups = f.shape.groups, chunks = f.shape.row_chunks();
  for (int64_t g = 0; g < groups; ++g) {
    const Moments* const parts = f.parts + row * chunks * groups + g;
    Moments all = parts[0];
    for (int64_t k = 1; k < chunks; ++k) all.join(parts[k * groups]);
    f.mean[row * groups + g] = accumulate_t<S>(all.mean);
    f.rate[row * groups + g] = accumulate_t<S>(all.rate(f.eps));
  }
}

template <int rows, class Layer, class S, class A>
ROIKIT_INLINE void write_rows(const Forward<S>& f, int64_t at, const A* mean, const A* scale) {
  const S *from = f.x + at, *onto = f.onto + at;
  const A* const shift = f.bias;
  const int64_t channels = f.shape.channels;
  S* const to = f.out + at;
  ROIKIT_EACH
  for (int64_t c = 0; c < channels; ++c)
    for (int k = 0; k < rows; ++k) {
      const int64_t i = k * channels + c;
      Layer::one(from[i], onto + i, mean[c], scale[c], shift[c], to[i]);
    }
}

template <class Layer, class S> ROIKIT_INLINE void write_chunk(const Forward<S>& f, int64_t item) {
  using A = accumulate_t<S>;
  const NormShape& shape = f.shape;
  const int64_t channels = shape.channels, image = item / shape.chunks();
  const int64_t begin = item % shape.chunks() * shape.chunk(), end = std::min(begin + shape.chunk(), shape.pixels);
  const int64_t row = shape.row(image) * shape.groups;
  const NormTable<A> table(shape, f.mean + row, f.rate + row, f.weight);
  const A *mean = table.mean.data(), *scale = table.scale.data();
  int64_t p = begin;
  for (; p + kRows <= end; p += kRows) write_rows<kRows, Layer>(f, image * shape.map() + p * channels, mean, scale);
  for (; p < end; ++p) write_rows<1, Layer>(f, image * shape.map() + p * channels, mean, scale);
}

// Chunks [begin, end) of all images, channels-last: their moments, and where a row is one chunk its values too.
template <class Layer> struct Chunks {
  template <class S>
  ROIKIT_INLINE static void run(Forward<S> f, int64_t begin, int64_t end) {
    std::vector<accumulate_t<S>> room(size_t(4 * f.shape.channels));
    for (int64_t item = begin; item < end; ++item) {
      of_chunk(f, item, room.data());
      if (f.shape.row_chunks() > 1) continue;
      finish(f, item);
      write_chunk<Layer>(f, item);
    }
  }
};

template <class Layer> struct Written {
  template <class S>
  ROIKIT_INLINE static void run(Forward<S> f, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) write_chunk<Layer>(f, item);
  }
};

template <class Layer, class S> void walk(Forward<S> f, const Launch& launch) {
  const NormShape& shape = f.shape;
  if (!shape.last) {
    const int64_t grain = norm_grain(shape.planes() * shape.pixels);
    parallel_for(shape.rows() * shape.groups, grain, launch, [&](int64_t begin, int64_t end) {
      vary_lanes<Of<Layer>::template Plane>(norm_level(launch), f, begin, end);
    });
    return;
  }
  const int64_t items = shape.images * shape.chunks(), grain = norm_grain(shape.channels * shape.chunk());
  std::vector<Moments> parts(size_t(items * shape.groups));
  f.parts = parts.data();
  parallel_for(items, grain, launch,
               [&](int64_t begin, int64_t end) { vary<Chunks<Layer>>(norm_level(launch), f, begin, end); });
  if (shape.row_chunks() == 1) return;
  for (int64_t row = 0; row < shape.rows(); ++row) finish(f, row);
  parallel_for(items, grain, launch,
               [&](int64_t begin, int64_t end) { vary<Written<Layer>>(norm_level(launch), f, begin, end); });
}

}  // namespace

void group_norm(const View& x, const View& weight, const View& bias, int64_t groups, double eps, const View& onto,
                bool relu, const View& out, const View& mean, const View& rate, const Launch& launch) {
  const char* const op = "group_norm";
  const NormShape shape = norm_shape(op, x, groups, mean.rank == 2 ? mean.shape[0] : x.shape[0]);
  check_norm_map(op, "out", out, x);
  check_norm_parts(op, shape, weight, bias, mean, rate);
  const bool added = norm_map_or_none(op, "onto", onto, x);
  if (x.size() == 0) return;
  visit<float, double, BFloat16>(x.dtype, op, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using A = accumulate_t<S>;
    const Forward<S> f = {shape,       x.as<S>(),    added ? onto.as<S>() : x.as<S>(), weight.as<A>(), bias.as<A>(),
                          out.as<S>(), mean.as<A>(), rate.as<A>(),                     eps,            nullptr};
    if (out.data != x.data) will_fill(f.out, x.size() * int64_t(sizeof(S)), launch);
    if (added && relu) walk<Layer<true, true>>(f, launch);
    else if (added) walk<Layer<true, false>>(f, launch);
    else if (relu) walk<Layer<false, true>>(f, launch);
    else walk<Layer<false, false>>(f, launch);
  });
}

}  // namespace roikit::cpu
