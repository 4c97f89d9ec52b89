// Deformable convolution backward on the CPU, in two passes, each of which owns what it adds to.
//
// The input's channels are cut into blocks of two packs within an offset group. The first pass takes an image's block:
// for some places and a tap at a time it multiplies the output's gradient with the tap's weights, spreads the product
// over the block's own map, and sums up what it means for the sample's position and mask; those sums are added over the
// blocks in order. The second pass takes a block and a tap: it samples again and adds up the weights' gradient over all
// images and places in order. So neither threads nor SIMD level change a bit.
#include "core/deform_conv.h"

#include <algorithm>
#include <vector>

#include "cpu/deform_blocks.h"
#include "cpu/deform_taps.h"
#include "cpu/pages.h"
#include "cpu/parallel.h"
#include "cpu/product.h"
#include "cpu/rows.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kScratch = int64_t(256) << 20;  // bytes of images that are worked on at a time, beyond the first

// What is asked for: null where it is not.
struct DeformGradients {
  const View *input, *offset, *mask, *weight, *bias;
};

template <class S, class A>
struct Job {
  DeformField<S> field;
  const DeformBlocks* plan;
  int64_t image0, images;              // those at hand
  const A *grad, *input, *weights;     // grad: (image, place, output); input: (block, image, pixel, lane)
  const A* zeros;                      // two packs
  bool positions, channels_last;       // of the input's gradient
  S* gradient;                         // the input's, or null
  A *partial, *sums;                   // partial: (image, block, 3, tap, place); sums: as the weights

  ROIKIT_INLINE const A* map(const DeformBlock& block, int64_t at) const {
    return input + (block.before * images + at * block.width) * field.shape.pixels();
  }
  ROIKIT_INLINE const A* grad_at(int64_t at, int64_t place, int64_t group) const {
    const DeformShape& s = field.shape;
    return grad + (at * s.places() + place) * s.outputs + group * s.group_outputs();
  }
};

// Sums of the lanes of four packs, each halved until one is left.
template <int Bytes, class A>
ROIKIT_INLINE void sum_lanes(const Pack<A, Bytes>* packs, A* sums) {
  constexpr int L = lanes_of<A>;
  alignas(kLaneBytes) A wide[4][L];
  for (int t = 0; t < 4; ++t) packs[t].store(wide[t]);
#pragma GCC unroll 4
  for (int half = L / 2; half > 0; half /= 2)
    for (int t = 0; t < 4; ++t)
      for (int l = 0; l < half; ++l) wide[t][l] += wide[t][l + half];
  for (int t = 0; t < 4; ++t) sums[t] = wide[t][0];
}

// products: (place, lane), the gradient of one tap's samples. part: scratch of its size.
template <int Bytes, class S, class A>
ROIKIT_INLINE void sample_gradients(const Job<S, A>& job, const DeformBlock& block, int64_t at, int64_t tap,
                                    int64_t first, int64_t n, A* products, A* part) {
  const DeformShape& s = job.field.shape;
  const int64_t outputs = s.group_outputs(), width = block.width;
  const bool whole = block.pieces_end - block.pieces == 1;
  for (size_t p = block.pieces; p < block.pieces_end; ++p) {
    const DeformPiece& piece = job.plan->pieces[p];
    A* const to = whole ? products : part;
    std::memset(to, 0, size_t(n * width) * sizeof(A));
    product<Bytes>(job.grad_at(at, first, piece.group), s.outputs, int64_t(1),
                   job.weights + piece.packed + tap * outputs * width, width, outputs, to, width, n, width);
    for (int64_t i = 0; !whole && i < n; ++i)
      for (int64_t l = piece.lane; l < piece.lane + piece.lanes; ++l) products[i * width + l] = part[i * width + l];
  }
  // Lanes beyond the channels meet zeros of the input, and are not written.
  for (int64_t i = 0; !whole && i < n; ++i)
    for (int64_t l = block.channels; l < width; ++l) products[i * width + l] = 0;
}

template <int Bytes, class S, class A>
ROIKIT_INLINE void spread_tap(const Job<S, A>& job, const DeformBlock& block, int64_t at, int64_t tap, int64_t first,
                              int64_t n, const A* products, A* slice, A* dump, A* partial) {
  using P = Pack<A, Bytes>;
  constexpr int L = lanes_of<A>;
  const DeformShape& s = job.field.shape;
  const int64_t kind = s.taps() * s.places(), width = block.width;
  DeformWalk<S, A> walk(job.field, job.image0 + at, block.offset_group, tap, first);
  for (int64_t i = 0; i < n; ++i, walk.next()) {
    const DeformCell<A> cell = walk.cell();
    const A mask = walk.mask();
    A* const out = partial + tap * s.places() + first + i;
    if (!cell.inside) {
      if (job.positions) out[0] = out[kind] = out[2 * kind] = 0;
      continue;
    }
    A weight[4];
    for (int t = 0; t < 4; ++t) weight[t] = cell.weight(t);
    if (job.gradient) {
      A* to[4];
      deform_pixels(cell, s, slice, width, dump, to);
      for (int64_t l = 0; l < width; l += L) {
        const P product = P::load(products + i * width + l);
        for (int t = 0; t < 4; ++t) {
          P sum = P::load(to[t] + l);
          sum.add_product(mask * weight[t], product);
          sum.store(to[t] + l);
        }
      }
    }
    if (job.positions) {
      const A* from[4];
      deform_pixels(cell, s, job.map(block, at), width, job.zeros, from);
      P dots[4] = {P::zero(), P::zero(), P::zero(), P::zero()};
      for (int64_t l = 0; l < width; l += L) {
        const P product = P::load(products + i * width + l);
        for (int t = 0; t < 4; ++t) dots[t].add_product(product, P::load(from[t] + l));
      }
      A v[4];
      sum_lanes<Bytes>(dots, v);
      out[0] = mask * cell.by_y(v);
      out[kind] = mask * cell.by_x(v);
      out[2 * kind] = ((weight[0] * v[0] + weight[1] * v[1]) + weight[2] * v[2]) + weight[3] * v[3];
    }
  }
}

// Items are (image at hand, block). products, part: kPlaces x two packs; slice: the map x two packs; dump: two packs.
template <int Bytes>
struct Spread {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t begin, int64_t end, A* products, A* part, A* slice,
                                A* dump) {
    const DeformShape& s = job->field.shape;
    const int64_t blocks = int64_t(job->plan->blocks.size()), places = s.places(), pixels = s.pixels();
    std::memset(dump, 0, 2 * kLaneBytes);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at = item / blocks;
      const DeformBlock& block = job->plan->blocks[item % blocks];
      A* const partial = job->partial + item * 3 * s.taps() * places;
      if (job->gradient) std::memset(slice, 0, size_t(pixels * block.width) * sizeof(A));
      for (int64_t first = 0; first < places; first += kPlaces) {
        const int64_t n = places - first < kPlaces ? places - first : kPlaces;
        for (int64_t tap = 0; tap < s.taps(); ++tap) {
          sample_gradients<Bytes>(*job, block, at, tap, first, n, products, part);
          spread_tap<Bytes>(*job, block, at, tap, first, n, static_cast<const A*>(products), slice, dump, partial);
        }
      }
      if (!job->gradient) continue;
      S* const map = job->gradient + (job->image0 + at) * s.channels * pixels;
      if (job->channels_last) {
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t c = 0; c < block.channels; ++c)
            store(map[p * s.channels + block.channel + c], slice[p * block.width + c]);
      } else {
        planes_from_rows(static_cast<const A*>(slice), block.width, pixels, block.channels,
                         map + block.channel * pixels, pixels);
      }
    }
  }
};

// Items are (block, tap). samples: kPlaces x two packs.
template <int Bytes>
struct WeightSums {
  template <class S, class A>
  ROIKIT_INLINE static void run(const Job<S, A>* job, int64_t begin, int64_t end, A* samples) {
    const DeformShape& s = job->field.shape;
    const int64_t places = s.places(), outputs = s.group_outputs();
    for (int64_t item = begin; item < end; ++item) {
      const DeformBlock& block = job->plan->blocks[item / s.taps()];
      const int64_t tap = item % s.taps(), width = block.width;
      for (int64_t at = 0; at < job->images; ++at)
        for (int64_t first = 0; first < places; first += kPlaces) {
          const int64_t n = places - first < kPlaces ? places - first : kPlaces;
          DeformWalk<S, A> walk(job->field, job->image0 + at, block.offset_group, tap, first);
          for (int64_t i = 0; i < n; ++i, walk.next())
            sample_lanes<Bytes>(walk.cell(), walk.mask(), s, job->map(block, at), width, width, job->zeros,
                                samples + i * width);
          for (size_t p = block.pieces; p < block.pieces_end; ++p) {
            const DeformPiece& piece = job->plan->pieces[p];
            product<Bytes>(job->grad_at(at, first, piece.group), int64_t(1), s.outputs,
                           static_cast<const A*>(samples), width, n, job->sums + piece.packed + tap * outputs * width,
                           width, outputs, width);
          }
        }
    }
  }
};

// Calls fn(entry of the weights, entry of the packed ones) for a piece of a block.
template <class Fn>
void each_weight(const DeformShape& s, const DeformBlock& block, const DeformPiece& piece, const Fn& fn) {
  const int64_t channels = s.group_channels(), outputs = s.group_outputs(), taps = s.taps();
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t l = piece.lane; l < piece.lane + piece.lanes; ++l)
      for (int64_t tap = 0; tap < taps; ++tap)
        fn(((piece.group * outputs + o) * channels + block.channel + l - piece.group * channels) * taps + tap,
           piece.packed + (tap * outputs + o) * block.width + l);
}

// The images' channels in blocks of lanes; the lanes beyond the channels are 0.
template <class S, class A>
void fill_blocks(const DeformBlocks& plan, const DeformShape& s, const S* input, bool channels_last, int64_t images,
                 A* to, const Launch& launch) {
  const int64_t pixels = s.pixels(), blocks = int64_t(plan.blocks.size());
  parallel_for(images * blocks, 400000 / (pixels * 2 * lanes_of<A> + 1) + 1, launch, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const DeformBlock& block = plan.blocks[item % blocks];
      const int64_t at = item / blocks;
      const S* const from = input + at * s.channels * pixels;
      A* const rows = to + (block.before * images + at * block.width) * pixels;
      if (block.channels < block.width) std::memset(rows, 0, size_t(pixels * block.width) * sizeof(A));
      if (channels_last) {
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t c = 0; c < block.channels; ++c)
            rows[p * block.width + c] = load(from[p * s.channels + block.channel + c]);
      } else {
        rows_from_planes(from + block.channel * pixels, pixels, pixels, block.channels, rows, block.width);
      }
    }
  });
}

// What the blocks of an offset group found for each position and mask, added up in order.
template <class S, class A>
void add_positions(const Job<S, A>& job, S* offset, S* mask, const Launch& launch) {
  const DeformShape& s = job.field.shape;
  const int64_t places = s.places(), blocks = int64_t(job.plan->blocks.size()), of_group = blocks / s.offset_groups;
  const int64_t kind = s.taps() * places;
  parallel_for(job.images * s.offset_groups * s.taps(), 100000 / (3 * of_group * places) + 1, launch,
               [&](int64_t begin, int64_t end) {
    constexpr int64_t kStep = 256;
    A sums[kStep];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t tap = item % s.taps(), group = item / s.taps();  // of all images at hand
      const int64_t row = job.image0 * s.offset_groups * s.taps() + item;
      for (int64_t what = mask ? 2 : 1, first = 0; what >= (offset ? 0 : 2); first = 0, --what) {
        S* const to = what == 2 ? mask + row * places : offset + (2 * row + what) * places;
        for (; first < places; first += kStep) {
          const int64_t n = std::min(kStep, places - first);
          std::fill(sums, sums + n, A(0));
          for (int64_t b = group * of_group; b < (group + 1) * of_group; ++b) {
            const A* const from = job.partial + (3 * b + what) * kind + tap * places + first;
            for (int64_t i = 0; i < n; ++i) sums[i] += from[i];
          }
          for (int64_t i = 0; i < n; ++i) store(to[first + i], sums[i]);
        }
      }
    }
  });
}

// sums[o] += the images' gradient: every kPlaces places by themselves, so that errors stay small.
template <class A>
void add_bias(const DeformShape& s, const A* grad, int64_t images, A* sums) {
  std::vector<A> part(size_t(s.outputs));
  for (int64_t first = 0; first < images * s.places(); first += kPlaces) {
    std::fill(part.begin(), part.end(), A(0));
    const int64_t end = std::min(first + kPlaces, images * s.places());
    for (int64_t p = first; p < end; ++p)
      for (int64_t o = 0; o < s.outputs; ++o) part[o] += grad[p * s.outputs + o];
    for (int64_t o = 0; o < s.outputs; ++o) sums[o] += part[o];
  }
}

template <class S>
void backward(const DeformShape& s, const View& grad, const View& input, const View& offset, const View* mask,
              const View& weight, const DeformGradients& gradients, const Launch& launch) {
  using A = accumulate_t<S>;
  const DeformBlocks plan(s, lanes_of<A>);
  const int64_t pixels = s.pixels(), places = s.places(), blocks = int64_t(plan.blocks.size());
  const bool positions = gradients.offset || gradients.mask, spread = positions || gradients.input;
  const bool direct = !grad.contiguous() && std::is_same_v<S, A>, sampled = positions || gradients.weight;
  const int64_t kept = sampled ? plan.lanes * pixels : 0, rows = direct ? 0 : places * s.outputs;
  const int64_t found = positions ? blocks * 3 * s.taps() * places : 0;
  const int64_t image_bytes = (kept + rows + found) * int64_t(sizeof(A));
  const int64_t most = std::max<int64_t>(1, std::min(kScratch / (image_bytes + 1), s.images));
  const LaneScratch<A> inputs(most * kept), grads(most * rows), partial(most * found);
  const LaneScratch<A> weights(spread ? plan.packed : 0), sums(gradients.weight ? plan.packed : 0);
  will_fill(inputs.data(), most * kept * int64_t(sizeof(A)), launch);
  will_fill(grads.data(), most * rows * int64_t(sizeof(A)), launch);
  will_fill(partial.data(), most * found * int64_t(sizeof(A)), launch);
  const int64_t work = s.taps() * s.group_outputs() * 2 * lanes_of<A>;  // of a block at one place
  const S* const from = weight.as<S>();
  if (spread) {
    std::memset(weights.data(), 0, size_t(plan.packed) * sizeof(A));
    plan.each_piece(work, launch, [&](const DeformBlock& block, const DeformPiece& piece) {
      each_weight(s, block, piece, [&](int64_t at, int64_t packed) { weights.data()[packed] = load(from[at]); });
    });
  }
  if (gradients.weight) std::memset(sums.data(), 0, size_t(plan.packed) * sizeof(A));
  std::vector<A> bias(size_t(s.outputs), A(0)), zeros(2 * lanes_of<A>, A(0));
  Job<S, A> job{{s, offset.as<S>(), mask ? mask->as<S>() : nullptr}, &plan, 0, most, grads.data(), inputs.data(),
                weights.data(), zeros.data(), positions,
                gradients.input && !gradients.input->contiguous(),
                gradients.input ? gradients.input->as<S>() : nullptr, partial.data(), sums.data()};
  for (job.image0 = 0; job.image0 < s.images; job.image0 += most) {
    job.images = std::min(most, s.images - job.image0);
    const S* const outer = grad.as<S>() + job.image0 * places * s.outputs;
    if constexpr (std::is_same_v<S, A>) {
      if (direct) job.grad = outer;
    }
    if (!direct) rows_of(outer, !grad.contiguous(), job.images, s.outputs, places, grads.data(), launch);
    if (sampled)
      fill_blocks(plan, s, static_cast<const S*>(input.as<S>()) + job.image0 * s.channels * pixels,
                  !input.contiguous(), job.images, inputs.data(), launch);
    if (gradients.bias) add_bias(s, job.grad, job.images, bias.data());
    const Job<S, A>* const given = &job;
    if (spread)
      parallel_for(job.images * blocks, 400000 / (work * places) + 1, launch, [&](int64_t begin, int64_t end) {
        const LaneScratch<A> products(kPlaces * 2 * lanes_of<A>), part(kPlaces * 2 * lanes_of<A>);
        const LaneScratch<A> slice(given->gradient ? pixels * 2 * lanes_of<A> : 0), dump(2 * lanes_of<A>);
        vary_lanes<Spread>(launch.simd, given, begin, end, products.data(), part.data(), slice.data(), dump.data());
      });
    if (positions)
      add_positions(job, gradients.offset ? gradients.offset->as<S>() : nullptr,
                    gradients.mask ? gradients.mask->as<S>() : nullptr, launch);
    if (gradients.weight)
      parallel_for(blocks * s.taps(), 400000 / (work / s.taps() * places * job.images + 1) + 1, launch,
                   [&](int64_t begin, int64_t end) {
        const LaneScratch<A> samples(kPlaces * 2 * lanes_of<A>);
        vary_lanes<WeightSums>(launch.simd, given, begin, end, samples.data());
      });
  }
  if (gradients.weight) {
    S* const to = gradients.weight->as<S>();
    plan.each_piece(work, launch, [&](const DeformBlock& block, const DeformPiece& piece) {
      each_weight(s, block, piece, [&](int64_t at, int64_t packed) { store(to[at], sums.data()[packed]); });
    });
  }
  for (int64_t o = 0; gradients.bias && o < s.outputs; ++o) store(gradients.bias->as<S>()[o], bias[o]);
}

}  // namespace

void deform_conv2d_backward(const View& grad, const View& input, const View& offset, const View* mask,
                            const View& weight, DeformPair stride, DeformPair padding, DeformPair dilation,
                            const View* input_gradient, const View* offset_gradient, const View* mask_gradient,
                            const View* weight_gradient, const View* bias_gradient, const Launch& launch) {
  constexpr const char* kOp = "deform_conv2d_backward";
  const DeformShape s = deform_shape(kOp, input, offset, mask, weight, grad.shape,
                                     DeformRule::of(stride, padding, dilation));
  const DeformGradients gradients{input_gradient, offset_gradient, mask_gradient, weight_gradient, bias_gradient};
  check_format(kOp, "input", input);
  check_format(kOp, "grad", grad);
  require(grad.rank == 4 && grad.dtype == input.dtype, kOp, "input and grad must have one dtype");
  const auto fits = [&](const View* gradient, const View& of) {
    if (!gradient) return true;
    return gradient->dtype == input.dtype && gradient->rank == of.rank && gradient->size() == of.size() &&
           (gradient->contiguous() || (gradient == gradients.input && gradient->channels_last()));
  };
  require(fits(gradients.input, input) && fits(gradients.offset, offset) && fits(gradients.weight, weight) &&
              (!gradients.mask || (mask && fits(gradients.mask, *mask))) &&
              (!gradients.bias || (gradients.bias->dtype == input.dtype && gradients.bias->size() == s.outputs)),
          kOp, "a gradient must be laid out as its argument");
  visit<float, double, Half, BFloat16>(input.dtype, kOp, [&](auto tag) {
    backward<typename decltype(tag)::type>(s, grad, input, offset, mask, weight, gradients, launch);
  });
}

}  // namespace roikit::cpu
