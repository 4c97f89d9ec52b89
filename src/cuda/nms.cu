// nms on the GPU: the boxes lie in the order in which they are decided (by score; batched: by class, within it by
// score) and are taken in tiles of 1024. Three kernels work on a tile, of which the first comes once and the others are
// launched for every tile, whatever the data:
//
//   begin    copies the boxes into that order, and finds the pairs of the first tile
//   pairs    strikes out what the kept boxes of the tile before suppress, and finds the pairs within the next tile
//   resolve  one block decides the tile
//
// Scratch grows with N: no matrix of all pairs exists, only that of a tile. The count of kept boxes stays on the
// device, and when it has reached the size of keep the launches that follow do nothing.
#include "core/nms.h"

#include <type_traits>

#include "cuda/block.cuh"
#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kTile = 1024;   // boxes that one block decides: a thread each
constexpr int kWords = kTile / kWarp;
constexpr int kPairs = 128;   // threads of the other kernels
constexpr int kStage = 64;    // kept boxes in shared memory
constexpr int kSlices = kTile / kStage;

template <class T> using Corners = Pack<T, 4>;

template <class T> __device__ Box<T> box_of(const Corners<T>& c) { return Box<T>::at(c.v); }

// Positions are those of the order in which boxes are decided.
template <class T> struct Plan {
  const T* boxes;
  const int64_t* by_score;  // the box of each rank
  const int64_t* classes;   // of each position, ascending; null: all are one class
  const int64_t* ranks;     // of each position; null: positions are ranks
  int64_t n, limit;
  T threshold;
  int64_t* keep;
  int64_t* count;
  // scratch
  Corners<T>* corners;  // of each position
  uint8_t* gone;        // of each position: a kept box of an earlier tile suppresses it
  uint8_t* chosen;      // of each rank, where there are classes: it is kept
  unsigned* words;      // [w][j], bit i: box 32 w + i of the tile comes before its box j, and suppresses it if kept
  Corners<T>* kept;     // boxes that the last tile kept, of the class with which it ends
  int* kept_count;

  static Plan in(Workspace& space, int64_t n) {
    Plan p = {};
    p.n = n;
    p.corners = space.take<Corners<T>>(n);
    p.gone = space.take<uint8_t>(n);
    p.chosen = space.take<uint8_t>(n);
    p.words = space.take<unsigned>(int64_t(kWords) * kTile);
    p.kept = space.take<Corners<T>>(kTile);
    p.kept_count = space.take<int>(1);
    return p;
  }

  __device__ Corners<T> gather(int64_t p) const {
    const T* const b = boxes + 4 * by_score[ranks ? ranks[p] : p];
    return {{b[0], b[1], b[2], b[3]}};
  }
  __device__ int64_t class_of(int64_t p) const { return classes ? classes[p] : 0; }
};

// Blocks for the pairs within a tile of m boxes: one for each 128 of them and each word of these and the ones before.
constexpr int kWordsOfBlock = kPairs / kWarp;
inline int64_t pair_blocks(int64_t m) {
  const int64_t chunks = ceil_div(m, kPairs);
  return kWordsOfBlock * (chunks * (chunks + 1) / 2);
}

// One word for each thread of block `block` of these. `load(p)` are the corners at position p.
template <class T, class Load>
__device__ void find_pairs(const Plan<T>& plan, int64_t base, int block, Load load) {
  __shared__ Corners<T> rows[kWarp];
  __shared__ int64_t row_classes[kWarp];
  int chunk = 0;
  for (; block >= kWordsOfBlock * (chunk + 1); ++chunk) block -= kWordsOfBlock * (chunk + 1);
  const int64_t left = plan.n - base;
  const int m = left < kTile ? int(left) : kTile;
  const int thread = int(threadIdx.x), word = block, first = word * kWarp, j = chunk * kPairs + thread;
  if (thread < kWarp && first + thread < m) {
    rows[thread] = load(base + first + thread);
    row_classes[thread] = plan.class_of(base + first + thread);
  }
  __syncthreads();
  if (j >= m || first > j) return;
  const Box<T> later = box_of(load(base + j));
  const int64_t own = plan.class_of(base + j);
  const int before = j - first < kWarp ? j - first : kWarp;
  unsigned bits = 0;
  for (int i = 0; i < before; ++i) {
    if (row_classes[i] == own && suppresses_if_reached(box_of(rows[i]), later, plan.threshold)) bits |= 1u << i;
  }
  plan.words[word * kTile + j] = bits;
}

template <class T> __global__ void __launch_bounds__(kPairs) begin(Plan<T> plan, int tile_blocks) {
  if (int(blockIdx.x) < tile_blocks) {
    find_pairs(plan, 0, int(blockIdx.x), [&](int64_t p) { return plan.gather(p); });
    return;
  }
  const int64_t first = int64_t(blockIdx.x - tile_blocks) * kPairs + threadIdx.x;
  const int64_t stride = int64_t(gridDim.x - tile_blocks) * kPairs;
  for (int64_t p = first; p < plan.n || p < plan.limit; p += stride) {
    if (p < plan.limit) plan.keep[p] = -1;
    if (p >= plan.n) continue;
    plan.corners[p] = plan.gather(p);
    plan.gone[p] = 0;
    plan.chosen[p] = 0;
  }
  if (first == 0) *plan.count = 0;
}

// Strikes out boxes from `base` on, a thread each, that boxes of one slice of the kept ones suppress. In a class-major
// order only the class with which the last tile ended goes on.
template <class T> __device__ void strike(const Plan<T>& plan, int64_t base, int block, int blocks, int slices) {
  __shared__ Corners<T> stage[kStage];
  const int kept = *plan.kept_count, slice = block / blocks;
  if (slice * kStage >= kept) return;
  const int64_t first = base + int64_t(block - slice * blocks) * kPairs, p = first + threadIdx.x;
  const int64_t last_class = plan.class_of(base - 1);
  if (plan.class_of(first) != last_class) return;
  // Other blocks may be striking the same box; whichever value is read here, the box ends up gone.
  bool alive = p < plan.n && !plan.gone[p] && plan.class_of(p) == last_class;
  Box<T> later = {};
  if (alive) later = box_of(plan.corners[p]);
  for (int k = slice * kStage; k < kept && __syncthreads_or(alive); k += slices * kStage) {
    const int staged = kept - k < kStage ? kept - k : kStage;
    if (int(threadIdx.x) < staged) stage[threadIdx.x] = plan.kept[k + threadIdx.x];
    __syncthreads();
    for (int i = 0; i < staged && alive; ++i) {
      alive = !suppresses_if_reached(box_of(stage[i]), later, plan.threshold);
      if (!alive) plan.gone[p] = 1;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kPairs) pairs(Plan<T> plan, int64_t base, int tile_blocks, int blocks, int slices) {
  if (*plan.count >= plan.limit) return;
  const int block = int(blockIdx.x);
  if (block < tile_blocks)
    find_pairs(plan, base, block, [&](int64_t p) { return plan.corners[p]; });
  else
    strike(plan, base, block - tile_blocks, blocks, slices);
}

struct Sets {  // of the tile's boxes, a bit each
  Pack<unsigned, 4> four[kWords / 4];

  __device__ unsigned& operator[](int w) { return four[w / 4].v[w % 4]; }
};

// One block, a thread for each box of the tile. A box is out when a kept box suppresses it, and in when all that could
// are out. In every round each warp goes as far as it can with what the others said; the first warp that is not ready
// has nothing to wait for, so there are at most as many rounds as warps, however long the chains.
template <class T> __global__ void __launch_bounds__(kTile) resolve(Plan<T> plan, int64_t base) {
  __shared__ Sets kept, removed;
  const int64_t found = *plan.count;
  if (found >= plan.limit) return;
  const int j = int(threadIdx.x), lane = j % kWarp, warp = j / kWarp, warps = int(blockDim.x) / kWarp;
  const int64_t p = base + j;
  bool in = false, out = p >= plan.n || plan.gone[p];

  unsigned earlier[kWords] = {};  // boxes of earlier warps that suppress this one
  unsigned own = 0;               // boxes of this warp
  if (!out) {
    own = plan.words[warp * kTile + j];
#pragma unroll
    for (int w = 0; w < kWords; ++w)
      if (w < warp) earlier[w] = plan.words[w * kTile + j];
  }
  for (;;) {
    const unsigned ins = __ballot_sync(kFullWarp, in), outs = __ballot_sync(kFullWarp, out);
    if (lane == 0) kept[warp] = ins, removed[warp] = outs;
    if (!__syncthreads_or(!in && !out)) break;
    if (~(ins | outs)) {
      unsigned hit = 0, open = 0;
#pragma unroll
      for (int q = 0; q < kWords / 4; ++q) {
        if (4 * q >= warp) continue;
        const Pack<unsigned, 4> k = kept.four[q], r = removed.four[q];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          hit |= earlier[4 * q + e] & k.v[e];
          open |= earlier[4 * q + e] & ~r.v[e];
        }
      }
      if (!in) out = out || hit;
      for (unsigned before = ins | outs, now = ~before; now != before;) {
        const unsigned ins = __ballot_sync(kFullWarp, in), outs = __ballot_sync(kFullWarp, out);
        before = now, now = ins | outs;
        if (!in && !out) {
          out = own & ins;
          in = !out && !open && !(own & ~outs);
        }
      }
    }
    __syncthreads();  // all have read the sets
  }

  // The kept boxes that may suppress later ones, in order. Without classes, these are all.
  const int64_t end = base + kTile < plan.n ? base + kTile : plan.n;
  const bool listed = in && plan.class_of(p) == plan.class_of(end - 1);
  const unsigned ours = __ballot_sync(kFullWarp, listed);
  if (lane == 0) removed[warp] = ours;
  __syncthreads();
  const int of_lane = lane < warps ? __popc(removed[lane]) : 0;
  int upto = of_lane;
  for (int by = 1; by < kWarp; by *= 2) {
    const int left = __shfl_up_sync(kFullWarp, upto, by);
    if (lane >= by) upto += left;
  }
  const int place = __shfl_sync(kFullWarp, upto - of_lane, warp) + __popc(ours & ((1u << lane) - 1));
  const int total = __shfl_sync(kFullWarp, upto, kWarp - 1);
  if (listed) plan.kept[place] = plan.corners[p];
  if (plan.ranks) {
    if (in) plan.chosen[plan.ranks[p]] = 1;
  } else if (in && found + place < plan.limit) {
    plan.keep[found + place] = plan.by_score[p];
  }
  if (j != 0) return;
  *plan.kept_count = total;
  if (!plan.ranks) *plan.count = found + total < plan.limit ? found + total : plan.limit;
}

// One block writes the boxes of the chosen ranks to keep.
constexpr int kRun = 16;  // ranks of a thread, read at once

__global__ void __launch_bounds__(kTile)
collect(const uint8_t* chosen, const int64_t* by_score, int64_t n, int64_t limit, int64_t* keep, int64_t* count) {
  int64_t found = 0;
  for (int64_t begin = 0; begin < n; begin += int64_t(blockDim.x) * kRun) {
    const int64_t first = begin + int64_t(threadIdx.x) * kRun;
    Pack<uint8_t, kRun> flags = {};
    if (first < n) flags = *reinterpret_cast<const Pack<uint8_t, kRun>*>(chosen + first);
    int mine = 0;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      if (first + i >= n) flags.v[i] = 0;
      mine += flags.v[i];
    }
    const Scanned<int> scan = block_scan(mine);
    int64_t to = found + scan.before;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      if (!flags.v[i]) continue;
      if (to < limit) keep[to] = by_score[first + i];
      ++to;
    }
    found += scan.total;
  }
  if (threadIdx.x == 0) *count = found < limit ? found : limit;
}

template <class S, class Key> __global__ void write_keys(const S* scores, int64_t n, Key* keys) {
  using Unsigned = decltype(descending_key(load(S())));
  constexpr Unsigned kSign = Unsigned(1) << (8 * sizeof(Unsigned) - 1);  // turns unsigned order into signed
  for (int64_t i = first_item(); i < n; i += item_stride()) keys[i] = Key(descending_key(load(scores[i])) ^ kSign);
}

void check(const View& boxes, const View& by_score, const View& keep, const View& count) {
  const int64_t n = boxes.shape[0];
  require(boxes.rank == 2 && boxes.shape[1] == 4 && boxes.contiguous(), "nms: boxes must be contiguous (N, 4)");
  require(by_score.rank == 1 && by_score.shape[0] == n && by_score.contiguous(),
          "nms: by_score must be contiguous (N,)");
  require(keep.rank == 1 && keep.contiguous() && count.size() == 1, "nms: keep must be contiguous (K,), count ()");
  if (n > INT32_MAX) throw std::invalid_argument("nms: boxes must be at most 2147483647, got " + std::to_string(n));
}

void suppress(const View& boxes, const View& by_score, const View* classes, const View* ranks, double threshold,
              const View& keep, const View& count, const Launch& launch) {
  check(boxes, by_score, keep, count);
  const DeviceGuard guard(launch.device, "nms");
  visit<float, double>(boxes.dtype, "nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t n = boxes.shape[0], limit = keep.shape[0];
    Workspace space(launch.workspace);
    Plan<T> plan = Plan<T>::in(space, n);
    require(space.bytes() <= launch.workspace_bytes, "nms: the workspace is too small");
    plan.boxes = boxes.as<T>(), plan.by_score = by_score.as<int64_t>(), plan.threshold = T(threshold);
    plan.keep = keep.as<int64_t>(), plan.count = count.as<int64_t>(), plan.limit = limit;
    if (classes) plan.classes = classes->as<int64_t>(), plan.ranks = ranks->as<int64_t>();

    const auto size_of_tile = [n](int64_t base) { return n - base < kTile ? n - base : kTile; };
    const int64_t first_blocks = limit > 0 ? pair_blocks(size_of_tile(0)) : 0;
    run("nms", launch, begin<T>, unsigned(first_blocks + grid_for(n > limit ? n : limit, kPairs)), kPairs, plan,
        first_blocks);
    if (limit == 0) return;
    for (int64_t base = 0; base < n; base += kTile) {
      const int64_t m = size_of_tile(base);
      if (base > 0) {
        const int64_t tile_blocks = pair_blocks(m), blocks = ceil_div(n - base, kPairs);
        int64_t slices = kSlices;
        while (slices > 1 && slices * blocks > 2048) slices /= 2;  // enough blocks to fill the device
        run("nms", launch, pairs<T>, unsigned(tile_blocks + slices * blocks), kPairs, plan, base, tile_blocks, blocks,
            slices);
      }
      run("nms", launch, resolve<T>, 1, unsigned(ceil_div(m, kWarp) * kWarp), plan, base);
    }
    if (plan.ranks && n > 0)
      run("nms", launch, collect, 1, kTile, plan.chosen, plan.by_score, n, limit, plan.keep, plan.count);
  });
}

}  // namespace

void score_keys(const View& scores, const View& keys, const Launch& launch) {
  const int64_t n = scores.size();
  require(scores.rank == 1 && scores.contiguous(), "nms: scores must be contiguous (N,)");
  require(keys.rank == 1 && keys.shape[0] == n && keys.contiguous(), "nms: keys must be contiguous (N,)");
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "nms");
  visit<Half, BFloat16, float, double>(scores.dtype, "nms", [&](auto tag) {
    using S = typename decltype(tag)::type;
    using Key = std::conditional_t<sizeof(S) == 8, int64_t, int32_t>;
    run("nms", launch, write_keys<S, Key>, grid_for(n), kBlock, scores.as<S>(), n, keys.as<Key>());
  });
}

int64_t nms_workspace(const View& boxes) {
  Workspace space;
  visit<float, double>(boxes.dtype, "nms", [&](auto tag) {
    Plan<typename decltype(tag)::type>::in(space, boxes.shape[0]);
  });
  return space.bytes();
}

void nms_in_order(const View& boxes, const View& by_score, double threshold, const View& keep, const View& count,
                  const Launch& launch) {
  suppress(boxes, by_score, nullptr, nullptr, threshold, keep, count, launch);
}

void batched_nms_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                          double threshold, const View& keep, const View& count, const Launch& launch) {
  const int64_t n = boxes.shape[0];
  require(classes.rank == 1 && classes.shape[0] == n && classes.contiguous(), "nms: classes must be contiguous (N,)");
  require(ranks.rank == 1 && ranks.shape[0] == n && ranks.contiguous(), "nms: ranks must be contiguous (N,)");
  suppress(boxes, by_score, &classes, &ranks, threshold, keep, count, launch);
}

}  // namespace roikit::cuda
