// Deformable convolution on the CPU without columns: for some places of the output at a time, a tap's samples are taken
// in lanes of channels and multiplied with that tap's weights at once. Every element adds up its taps in order, each
// tap's channels in order, whatever the number of threads or the width of a register.
#include "core/deform_conv.h"

#include <algorithm>
#include <vector>

#include "cpu/deform_taps.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/product.h"
#include "cpu/rows.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kChannels = 256;                 // most of the channels that are sampled at a time
constexpr int64_t kScratch = int64_t(128) << 20;  // bytes of images that are in rows at a time, beyond the first

// Weights as (tap, group, block of outputs, channel of the group, output): a block is two packs, or the one left over.
// Where every group is one channel and one output, they are (tap, channel), and lanes is 1.
template <class A>
struct Weights {
  int64_t lanes;  // outputs of a group, in whole packs
  const A *packed, *bias;  // bias: (group, lanes)
};

template <class S, class A>
struct Job {
  DeformField<S> field;
  Weights<A> weights;
  const A *rows, *zeros;  // the input of the images at hand in rows; kChannels zeros
  bool channels_last;
  S* output;
};

template <class S, class A>
void pack_weights(const DeformShape& s, const S* weight, int64_t lanes, A* packed, const Launch& launch) {
  constexpr int64_t L = lanes_of<A>;
  const int64_t channels = s.group_channels(), outputs = s.group_outputs(), taps = s.taps();
  const int64_t blocks = (lanes + 2 * L - 1) / (2 * L);
  parallel_for(s.groups * blocks, 100000 / (2 * L * channels * taps) + 1, launch, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t group = item / blocks, o = item % blocks * 2 * L, width = std::min(2 * L, lanes - o);
      const S* const from = weight + (group * outputs + o) * channels * taps;
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t tap = 0; tap < taps; ++tap) {
          A* const to = packed + ((tap * s.groups + group) * lanes + o) * channels + c * width;
          for (int64_t l = 0; l < width; ++l)
            to[l] = o + l < outputs ? A(load(from[(l * channels + c) * taps + tap])) : A(0);
        }
    }
  });
}

ROIKIT_INLINE bool is_depthwise(const DeformShape& s) { return s.group_channels() == 1 && s.group_outputs() == 1; }

// tile[place][channel] += samples[place][channel] * weights[channel].
template <int Bytes, class A>
ROIKIT_INLINE void add_lanes(const A* samples, const A* weights, int64_t n, int64_t channels, A* tile, int64_t stride) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  for (int64_t i = 0; i < n; ++i, samples += channels, tile += stride) {
    int64_t c = 0;
    for (; c + L <= channels; c += L) {
      P sum = P::load(tile + c);
      sum.add_product(P::load(samples + c), P::load(weights + c));
      sum.store(tile + c);
    }
    for (; c < channels; ++c) tile[c] += samples[c] * weights[c];
  }
}

// tile[place][group][output] += one tap of the channels [c0, c1), which are within a group or some whole groups.
template <int Bytes, class S, class A>
ROIKIT_INLINE void add_tap(const Job<S, A>& job, int64_t at, int64_t image, int64_t tap, int64_t first, int64_t n,
                           int64_t c0, int64_t c1, A* samples, A* tile) {
  constexpr int64_t L = lanes_of<A>;
  const DeformShape& s = job.field.shape;
  const int64_t width = c1 - c0, channels = s.group_channels(), lanes = job.weights.lanes;
  for (int64_t c = c0; c < c1;) {
    const int64_t group = c / s.offset_channels(), end = std::min(c1, (group + 1) * s.offset_channels());
    const A* const map = job.rows + at * s.pixels() * s.channels + c;
    DeformWalk<S, A> walk(job.field, image, group, tap, first);
    for (int64_t i = 0; i < n; ++i, walk.next())
      sample_lanes<Bytes>(walk.cell(), walk.mask(), s, map, s.channels, end - c, job.zeros,
                          samples + i * width + c - c0);
    c = end;
  }
  if (is_depthwise(s))
    return add_lanes<Bytes>(static_cast<const A*>(samples), job.weights.packed + tap * s.channels + c0, n, width,
                            tile + c0, s.channels);
  for (int64_t c = c0; c < c1;) {
    const int64_t group = c / channels, end = std::min(c1, (group + 1) * channels);
    const A* const weights = job.weights.packed + (tap * s.groups + group) * lanes * channels;
    for (int64_t o = 0; o < lanes; o += 2 * L) {
      const int64_t block = lanes - o < 2 * L ? lanes - o : 2 * L;
      product<Bytes>(static_cast<const A*>(samples + c - c0), width, int64_t(1),
                     weights + o * channels + (c - group * channels) * block, block, end - c,
                     tile + group * lanes + o, s.groups * lanes, n, block);
    }
    c = end;
  }
}

// Items are (image at hand, some places). samples: kPlaces x kChannels; tile: kPlaces x the outputs in whole packs.
template <int Bytes>
struct Tiles {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t image0, int64_t begin, int64_t end, A* samples, A* tile) {
    const DeformShape& s = job->field.shape;
    const int64_t places = s.places(), parts = (places + kPlaces - 1) / kPlaces, channels = s.group_channels();
    const int64_t lanes = job->weights.lanes, stride = s.groups * lanes, groups = is_depthwise(s) ? 1 : s.groups;
    const int64_t outputs = s.outputs / groups;  // that lie side by side
    const int64_t step = channels < kChannels ? kChannels / channels * channels : kChannels;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at = item / parts, image = image0 + at, first = item % parts * kPlaces;
      const int64_t n = places - first < kPlaces ? places - first : kPlaces;
      for (int64_t i = 0; i < n; ++i) std::memcpy(tile + i * stride, job->weights.bias, size_t(stride) * sizeof(A));
      for (int64_t tap = 0; tap < s.taps(); ++tap)
        for (int64_t c = 0; c < s.channels;) {
          const int64_t limit = channels < kChannels ? s.channels : (c / channels + 1) * channels;
          const int64_t next = std::min(c + step, limit);
          add_tap<Bytes>(*job, at, image, tap, first, n, c, next, samples, tile);
          c = next;
        }
      for (int64_t group = 0; group < groups; ++group) {
        const A* const from = tile + group * lanes;
        if (job->channels_last) {
          S* const to = job->output + (image * places + first) * s.outputs + group * outputs;
          for (int64_t i = 0; i < n; ++i)
            for (int64_t o = 0; o < outputs; ++o) store(to[i * s.outputs + o], from[i * stride + o]);
        } else {
          planes_from_rows(from, stride, n, outputs,
                           job->output + (image * s.outputs + group * outputs) * places + first, places);
        }
      }
    }
  }
};

template <class S>
void forward(const DeformShape& s, const View& input, const View& offset, const View* mask, const View& weight,
             const View* bias, const View& output, const Launch& launch) {
  using A = accumulate_t<S>;
  constexpr int64_t L = lanes_of<A>;
  const bool last = !input.contiguous();
  const int64_t lanes = is_depthwise(s) ? 1 : (s.group_outputs() + L - 1) / L * L;
  const int64_t places = s.places(), stride = s.groups * lanes;
  const int64_t image_bytes = s.channels * s.pixels() * int64_t(sizeof(A));
  const int64_t most = std::max<int64_t>(1, std::min(kScratch / (image_bytes + 1), s.images));
  const bool direct = last && std::is_same_v<S, A>;
  const LaneScratch<A> packed(s.taps() * stride * s.group_channels());
  const LaneScratch<A> rows(direct ? 0 : most * image_bytes / int64_t(sizeof(A)));
  std::vector<A> added(size_t(stride), A(0)), zeros(kChannels, A(0));
  for (int64_t o = 0; bias && o < s.outputs; ++o)
    added[o / s.group_outputs() * lanes + o % s.group_outputs()] = load(bias->as<S>()[o]);
  will_fill(rows.data(), direct ? 0 : most * image_bytes, launch);
  will_fill(output.data, output.size() * int64_t(sizeof(S)), launch);
  pack_weights(s, static_cast<const S*>(weight.as<S>()), lanes, packed.data(), launch);
  Job<S, A> job{{s, offset.as<S>(), mask ? mask->as<S>() : nullptr}, {lanes, packed.data(), added.data()},
                rows.data(), zeros.data(), !output.contiguous(), output.as<S>()};
  const int64_t parts = (places + kPlaces - 1) / kPlaces;
  const int64_t work = kPlaces * s.taps() * s.channels * (s.group_outputs() / 16 + 4);  // of an item
  for (int64_t image = 0; image < s.images; image += most) {
    const int64_t images = std::min(most, s.images - image);
    const S* const from = input.as<S>() + image * s.channels * s.pixels();
    if constexpr (std::is_same_v<S, A>) {
      if (direct) job.rows = from;
    }
    if (!direct) rows_of(from, last, images, s.channels, s.pixels(), rows.data(), launch);
    parallel_for(images * parts, 400000 / work + 1, launch, [&](int64_t begin, int64_t end) {
      const LaneScratch<A> samples(kPlaces * kChannels), tile(kPlaces * stride);
      vary_lanes<Tiles>(launch.simd, static_cast<const Job<S, A>*>(&job), image, begin, end, samples.data(),
                        tile.data());
    });
  }
}

}  // namespace

void deform_conv2d(const View& input, const View& offset, const View* mask, const View& weight, const View* bias,
                   DeformPair stride, DeformPair padding, DeformPair dilation, const View& output,
                   const Launch& launch) {
  const DeformShape s = deform_shape("deform_conv2d", input, offset, mask, weight, output.shape,
                                     DeformRule::of(stride, padding, dilation));
  check_format("deform_conv2d", "input", input);
  check_format("deform_conv2d", "output", output);
  require(output.dtype == input.dtype && output.rank == 4 &&
              (!bias || (bias->dtype == input.dtype && bias->rank == 1 && bias->contiguous() &&
                         bias->shape[0] == s.outputs)),
          "deform_conv2d: bias must be (O), of the input's dtype");
  if (output.size() == 0) return;
  visit<float, double, Half, BFloat16>(input.dtype, "deform_conv2d", [&](auto tag) {
    forward<typename decltype(tag)::type>(s, input, offset, mask, weight, bias, output, launch);
  });
}

}  // namespace roikit::cpu
