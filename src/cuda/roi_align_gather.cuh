// RoIAlign backward partitioned by output: what a block does for one tile of a map and some channels. It works through
// "units", the bins of one RoI, at most 16 x 16 of them, as far as they touch the tile.
//
// Between two barriers each warp makes the bilinear weights of one unit; then each thread brings one bin's gradient,
// all channels of it, to shared memory; then each thread adds to its two pixels the bins that touch them.
#pragma once

#include "cuda/roi_align.cuh"
#include "cuda/roi_tiles.cuh"

namespace roikit::cuda::gather {

constexpr int kRows = 16, kColumns = 32;  // a tile; a thread has two rows of one column
constexpr int kBins = 16;                 // bins of an axis whose weights are made at once
static_assert(kRows == 2 * kBlock / kWarp && kColumns == kWarp && 2 * kBins == kWarp, "lanes are columns, and bins");

constexpr int kLargest = 16000;           // bins of an axis: a RoI's chunks, times 1024, must be an int
static_assert((kLargest / kBins) * (kLargest / kBins) <= INT32_MAX / RoiWindow::kRois, "chunks of 1024 RoIs");

using AlignTiles = TileGrid<kRows, kColumns>;

// The type of the samples, with boxes of type B.
template <class F, class B> using sample_t = decltype(accumulate_t<F>() + B());

// F: the type of the features.
template <class F>
struct Gather {
  AlignLevels levels;
  AlignTiles tiles;
  const F* grad;
  int64_t roi_stride, channel_stride, bin_stride;  // of grad
  bool grad_vectors;                               // a bin's channels lie together and may be read 16 bytes at once
  const void* boxes;
  RoiAlignRule rule;
  int64_t rows, columns;
  int channels, bands, chunks;  // bands: groups of kBins columns; chunks: these times the groups of kBins rows
  bool channels_last, vectors;  // of the gradient; whether it may be written 16 bytes at once
  int blocks, words;            // blocks of channels; words of marks a tile
  int64_t first;                // tile of this launch
  const uint32_t* marks;
};

// What one block of one tile keeps in shared memory.
template <class F>
struct Shared {
  using A = accumulate_t<F>;
  static constexpr int kVector = 16 / int(sizeof(A)), kChannels = 64 / int(sizeof(A)), kUnits = 32 / int(sizeof(A));
  static constexpr int kSlot = kChannels + kVector;  // the gap spreads the slots of neighbours over the banks

  // Odd strides spread lanes over the banks when a lane has a bin, and when it has a pixel.
  static constexpr int kAcross = kColumns + 1, kDown = kRows + 1;

  // kBins x kBins bins of one RoI.
  struct Unit {
    A x[kBins * kAcross], y[kBins * kDown];  // [bin][pixel]: sums of weights
    uint32_t touch[kWarp];  // bit j of column i, bit kBins + j of row i: whether bin j touches it
    int64_t offset;         // of the first bin in grad
    A part;                 // 1 over the number of samples
    int row, rows, column, columns;  // bins that touch the tile
  };
  Tile tile;  // here, since registers are what the kernel is short of
  int channel;
  Unit unit[kUnits];
  alignas(16) A slot[kBlock][kSlot];  // gradients of bins
};

// Bit j of lane i becomes bit i of lane j.
__device__ inline uint32_t transposed(uint32_t bits) {
  const int lane = int(threadIdx.x) % kWarp;
  uint32_t low = 0x0000ffffu;
  for (int by = kWarp / 2; by > 0; by /= 2) {
    const uint32_t other = __shfl_xor_sync(kFullWarp, bits, by);
    bits = lane & by ? (bits & ~low) | ((other & ~low) >> by) : (bits & low) | ((other & low) << by);
    low ^= low << (by / 2);
  }
  return bits;
}

// Adds to the weights of one bin, and notes which pixels of the tile it touches.
template <class T, class A>
struct AddWeight {
  A* line;
  int first, count;
  uint32_t touched;

  __device__ void operator()(int64_t pixel, T weight) {
    const int at = int(pixel) - first;
    if (at < 0 || at >= count || weight == T(0)) return;
    line[at] += A(weight);
    touched |= 1u << at;
  }
};

// A warp makes the weights of RoI k in a tile for one chunk of its bins: a lane of the first half has a column of bins,
// one of the second half a row.
template <class B, class F>
__device__ void make_unit(const Gather<F>& job, const Tile& tile, int64_t k, int chunk,
                          typename Shared<F>::Unit& unit) {
  using S = Shared<F>;
  using T = sample_t<F, B>;
  using A = accumulate_t<F>;
  const int lane = int(threadIdx.x) % kWarp;
  for (int i = lane; i < kBins * S::kAcross; i += kWarp) unit.x[i] = A(0);
  for (int i = lane; i < kBins * S::kDown; i += kWarp) unit.y[i] = A(0);
  __syncwarp();
  const bool vertical = lane >= kBins;
  const B* const box = static_cast<const B*>(job.boxes) + 5 * k;
  const int64_t extent = vertical ? job.levels.height[tile.level] : job.levels.width[tile.level];
  const int64_t bins = vertical ? job.rows : job.columns;
  const auto axis = SampleAxis<T>::of(T(box[vertical ? 2 : 1]), T(box[vertical ? 4 : 3]),
                                      T(job.levels.scale[tile.level]), bins, extent, job.rule);
  const int band = chunk / job.bands, row = band * kBins, column = (chunk - band * job.bands) * kBins;
  const int bin = vertical ? row + lane - kBins : column + lane;
  const int first = vertical ? tile.top : tile.left, count = vertical ? kRows : kColumns;
  AddWeight<T, A> add{vertical ? unit.y + (lane - kBins) * S::kDown : unit.x + lane * S::kAcross, first, count, 0};
  if (bin < bins) {
    if (axis.integral) add_pixels_of_bin(axis, bin, extent, first, first + count, add);
    else add_samples(axis, axis.base(bin), extent, T(first), T(first + count), add);
  }
  const uint32_t touching = __ballot_sync(kFullWarp, add.touched != 0);
  const uint32_t across = touching & 0xffffu, down = touching >> kBins;
  unit.touch[lane] = transposed(add.touched);
  const int64_t other = __shfl_sync(kFullWarp, axis.grid, kBins);
  if (lane != 0) return;
  const bool empty = across == 0 || down == 0;
  unit.offset = k * job.roi_stride + (row * job.columns + column) * job.bin_stride;
  unit.part = empty ? A(0) : A(1) / (A(axis.grid) * A(other));
  unit.row = __ffs(int(down)) - 1, unit.rows = empty ? 0 : kWarp - __clz(int(down)) - unit.row;
  unit.column = __ffs(int(across)) - 1, unit.columns = empty ? 0 : kWarp - __clz(int(across)) - unit.column;
}

// Rows of a unit's bins whose gradients lie in consecutive slots.
struct Segment {
  int unit, row, rows, slot;
};

// Walks the rows of all units, as many as there are slots for. All threads of a block walk alike.
template <class F>
struct Cursor {
  int unit = 0, row = 0, slot = 0;

  __device__ bool next(const Shared<F>& shared, Segment& segment) {
    for (; unit < Shared<F>::kUnits; ++unit, row = 0) {
      const auto& u = shared.unit[unit];
      const int left = u.rows - row, room = kBlock - slot;
      if (left <= 0) continue;
      const int rows = left * u.columns <= room ? left : room / u.columns;
      segment = {unit, u.row + row, rows, slot};
      row += rows, slot += rows * u.columns;
      return rows > 0;
    }
    return false;
  }
};

// Brings the bin of this thread's slot to shared memory, divided by its number of samples.
template <class F>
__device__ void stage(const Gather<F>& job, const Segment& segment, Shared<F>& shared) {
  using S = Shared<F>;
  using A = accumulate_t<F>;
  const auto& unit = shared.unit[segment.unit];
  const int bin = int(threadIdx.x) - segment.slot, row = bin / unit.columns;
  const int64_t at = (segment.row + row) * job.columns + unit.column + (bin - row * unit.columns);
  const F* from = job.grad + unit.offset + at * job.bin_stride + shared.channel * job.channel_stride;
  const A part = unit.part;
  const int left = job.channels - shared.channel;
  A* const to = shared.slot[threadIdx.x];
  if (job.grad_vectors && left >= S::kChannels) {
    constexpr int kRead = 16 / int(sizeof(F));
#pragma unroll
    for (int c = 0; c < S::kChannels; c += kRead) {
      const auto read = *reinterpret_cast<const Pack<F, kRead>*>(from + c);
#pragma unroll
      for (int i = 0; i < kRead; i += S::kVector) {
        Pack<A, S::kVector> values;
#pragma unroll
        for (int j = 0; j < S::kVector; ++j) values.v[j] = load(read.v[i + j]) * part;
        *reinterpret_cast<Pack<A, S::kVector>*>(to + c + i) = values;
      }
    }
    return;
  }
#pragma unroll
  for (int c = 0; c < S::kChannels; c += S::kVector) {
    Pack<A, S::kVector> values;
#pragma unroll
    for (int j = 0; j < S::kVector; ++j, from += job.channel_stride)
      values.v[j] = c + j < left ? load(*from) * part : A(0);
    *reinterpret_cast<Pack<A, S::kVector>*>(to + c) = values;
  }
}

// The sums of a thread: all channels of the block at two rows of a column.
template <class F>
struct Sums {
  using A = accumulate_t<F>;
  A v[2][Shared<F>::kChannels] = {};

  __device__ void add(const Shared<F>& shared, const Segment& segment) {
    using S = Shared<F>;
    const auto& unit = shared.unit[segment.unit];
    const int lane = int(threadIdx.x) % kWarp, row = 2 * (int(threadIdx.x) / kWarp);
    const uint32_t upper = unit.touch[row] >> kBins, lower = unit.touch[row + 1] >> kBins;
    const uint32_t across = unit.touch[lane] & 0xffffu;
    const int columns = unit.columns;
    const int first = segment.slot - unit.column;
    for (int i = 0; i < segment.rows; ++i) {
      const int p = segment.row + i;
      const bool up = upper >> p & 1, down = lower >> p & 1;  // the same in the whole warp
      if (!up && !down) continue;
      const A y0 = unit.y[p * S::kDown + row], y1 = unit.y[p * S::kDown + row + 1];
      for (uint32_t bins = across; bins != 0; bins &= bins - 1) {
        const int q = __ffs(int(bins)) - 1;
        const A x = unit.x[q * S::kAcross + lane], w0 = y0 * x, w1 = y1 * x;
        const A* const g = shared.slot[first + i * columns + q];
#pragma unroll
        for (int c = 0; c < S::kChannels; c += S::kVector) {
          const auto part = *reinterpret_cast<const Pack<A, S::kVector>*>(g + c);
          // A weight of 0 is no reason to add 0 times infinity.
          if (up) {
#pragma unroll
            for (int j = 0; j < S::kVector; ++j) v[0][c + j] = fused(w0, part.v[j], v[0][c + j]);
          }
          if (down) {
#pragma unroll
            for (int j = 0; j < S::kVector; ++j) v[1][c + j] = fused(w1, part.v[j], v[1][c + j]);
          }
        }
      }
    }
  }

  __device__ void write(const Gather<F>& job, const Tile& tile, int channel) const {
    using S = Shared<F>;
    constexpr int kWrite = 16 / int(sizeof(F));
    const int64_t height = job.levels.height[tile.level], width = job.levels.width[tile.level];
    const int lane = int(threadIdx.x) % kWarp, row = 2 * (int(threadIdx.x) / kWarp);
    const int x = tile.left + lane, left = job.channels - channel;
    if (x >= width) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int y = tile.top + row + r;
      if (y >= height) return;
      F* const data = static_cast<F*>(job.levels.map[tile.level]);
      if (!job.channels_last) {
        const int64_t plane = height * width;
        F* const to = data + (tile.image * job.channels + channel) * plane + y * width + x;
#pragma unroll
        for (int c = 0; c < S::kChannels; ++c)
          if (c < left) store(to[c * plane], v[r][c]);
        continue;
      }
      F* const to = data + ((tile.image * height + y) * width + x) * job.channels + channel;
      if (job.vectors && left >= S::kChannels) {
#pragma unroll
        for (int c = 0; c < S::kChannels; c += kWrite) {
          Pack<F, kWrite> values;
#pragma unroll
          for (int j = 0; j < kWrite; ++j) store(values.v[j], v[r][c + j]);
          *reinterpret_cast<Pack<F, kWrite>*>(to + c) = values;
        }
      } else {
#pragma unroll
        for (int c = 0; c < S::kChannels; ++c)
          if (c < left) store(to[c], v[r][c]);
      }
    }
  }
};

}  // namespace roikit::cuda::gather
