// nms on the GPU: the boxes lie in the order in which they are decided (by score; batched: by class, within it by
// score) and are taken in tiles of 1024. After one kernel that copies them into that order there is one launch for each
// tile, whatever the data. In it
//
//   block 0       decides the tile (resolve)
//   some blocks   find which boxes of this tile and the next suppress which later ones of the next (find_words)
//   the others    strike out what the kept boxes of the tile before suppress after this tile (strike)
//
// so that the blocks of a launch need nothing of each other. What a tile leaves for the next has two places in the
// scratch, taken in turns. No matrix of all pairs exists, only that of a tile with itself and the one before. The count
// of kept boxes stays on the device, and once keep is full the launches that follow do nothing.
#include "core/nms.h"

#include <type_traits>

#include "cuda/block.cuh"
#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kTile = 1024;  // boxes that one block decides: a thread each
constexpr int kSets = kTile / kWarp;
constexpr int kStage = 64;  // kept boxes in shared memory
constexpr int kBlocks = 1024;  // more than enough to fill a device: work need not be split further

template <class T> using Corners = Pack<T, 4>;

template <class T> __device__ Box<T> box_of(const Corners<T>& c) { return Box<T>::at(c.v); }

// What is known when a tile is decided.
struct Progress {
  int64_t found;         // kept boxes of all tiles before
  int listed;            // kept boxes of the tile before that may suppress boxes of this tile
  unsigned kept[kSets];  // all kept boxes of the tile before, a bit each
};

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
  uint8_t* gone;        // of each position: a kept box of an earlier tile, but the one just before, suppresses it
  uint8_t* chosen;      // of each rank, where there are classes: it is kept
  // For the tiles with even and with odd numbers:
  Progress* progress;
  Corners<T>* lists;  // progress.listed boxes
  unsigned* words;    // [w][j], bit i: box 32 w + i, from the start of the tile before, suppresses box j if it is kept

  static Plan in(Workspace& space, int64_t n) {
    Plan p = {};
    p.n = n;
    p.corners = space.take<Corners<T>>(n);
    p.gone = space.take<uint8_t>(n);
    p.chosen = space.take<uint8_t>(n);
    p.progress = space.take<Progress>(2);
    p.lists = space.take<Corners<T>>(2 * kTile);
    p.words = space.take<unsigned>(2 * 2 * kSets * kTile);
    return p;
  }

  __device__ Corners<T> gather(int64_t p) const {
    const T* const b = boxes + 4 * by_score[ranks ? ranks[p] : p];
    return {{b[0], b[1], b[2], b[3]}};
  }
  __device__ int64_t class_of(int64_t p) const { return classes ? classes[p] : 0; }

  __device__ Progress* progress_at(int64_t base) const { return progress + base / kTile % 2; }
  __device__ Corners<T>* list_at(int64_t base) const { return lists + base / kTile % 2 * kTile; }
  __device__ unsigned* words_at(int64_t base) const { return words + base / kTile % 2 * (2 * kSets * kTile); }
};

// Bits of those of the first `count` rows that may suppress the box, without branches. Reads kFew<T> rows.
template <class T> constexpr int kFew = 32 / sizeof(T);
template <class T> __device__ unsigned candidates(const Corners<T>* rows, int count, const Box<T>& later, T threshold) {
  unsigned bits = T(0) > threshold ? ~0u : 0u;
#pragma unroll
  for (int i = 0; i < kFew<T>; ++i) bits |= unsigned(reach(box_of(rows[i]), later)) << i;
  return bits & ((1u << (count < kFew<T> ? count : kFew<T>)) - 1);
}

// Word w of every box of the tile at `base`; the block has a thread for each. `load(p)` are the corners at position p.
template <class T, class Load> __device__ void find_words(const Plan<T>& plan, int64_t base, int w, Load load) {
  __shared__ Corners<T> rows[kWarp];
  __shared__ int64_t row_classes[kWarp];
  const int j = int(threadIdx.x);
  const int64_t first = base - kTile + w * kWarp, p = base + j;
  if (j < kWarp && first + j < plan.n) {
    rows[j] = load(first + j);
    row_classes[j] = plan.class_of(first + j);
  }
  __syncthreads();
  if (p >= plan.n || first > p) return;
  const Box<T> later = box_of(load(p));
  const int64_t own = plan.class_of(p);
  const int before = p - first < kWarp ? int(p - first) : kWarp;
  unsigned bits = 0;
  for (int k = 0; k < before; k += kFew<T>) {
    for (unsigned open = candidates(rows + k, before - k, later, plan.threshold); open; open &= open - 1) {
      const int i = k + __ffs(int(open)) - 1;
      if (row_classes[i] == own && suppresses(box_of(rows[i]), later, plan.threshold)) bits |= 1u << i;
    }
  }
  plan.words_at(base)[w * kTile + j] = bits;
}

// The first `word_blocks` blocks find the pairs within the first tile, the others fill everything that is read later.
template <class T> __global__ void __launch_bounds__(kTile) begin(Plan<T> plan, int word_blocks) {
  if (int(blockIdx.x) < word_blocks) {
    find_words(plan, 0, kSets + int(blockIdx.x), [&](int64_t p) { return plan.gather(p); });
    return;
  }
  const int64_t first = int64_t(blockIdx.x - word_blocks) * blockDim.x + threadIdx.x;
  const int64_t stride = int64_t(gridDim.x - word_blocks) * blockDim.x;
  for (int64_t p = first; p < plan.n || p < plan.limit; p += stride) {
    if (p < plan.limit) plan.keep[p] = -1;
    if (p >= plan.n) continue;
    plan.corners[p] = plan.gather(p);
    plan.gone[p] = 0;
    plan.chosen[p] = 0;
  }
  if (first != 0) return;
  *plan.count = 0;
  *plan.progress = {};
}

// Strikes out the boxes after this tile that the kept ones of the tile before suppress: a thread for each box, a slice
// of the kept ones for each block. In a class-major order only the class with which a tile ended goes on.
template <class T> __device__ void strike(const Plan<T>& plan, int64_t base, int block, int blocks, int slices) {
  __shared__ Corners<T> stage[kStage];
  const int listed = plan.progress_at(base)->listed, slice = block / blocks;
  if (slice * kStage >= listed) return;
  const int64_t first = base + kTile + int64_t(block - slice * blocks) * kTile, p = first + threadIdx.x;
  const int64_t last_class = plan.class_of(base - 1);
  if (plan.class_of(first) != last_class) return;
  const Corners<T>* const list = plan.list_at(base);
  // Other blocks may be striking the same box; whichever value is read here, the box ends up gone.
  bool alive = p < plan.n && !plan.gone[p] && plan.class_of(p) == last_class;
  Box<T> later = {};
  if (alive) later = box_of(plan.corners[p]);
  for (int k = slice * kStage; k < listed && __syncthreads_or(alive); k += slices * kStage) {
    const int staged = listed - k < kStage ? listed - k : kStage;
    if (int(threadIdx.x) < staged) stage[threadIdx.x] = list[k + threadIdx.x];
    __syncthreads();
    if (!alive) continue;
    for (int i = 0; i < staged && alive; i += kFew<T>) {
      for (unsigned open = candidates(stage + i, staged - i, later, plan.threshold); open; open &= open - 1)
        alive = alive && !suppresses(box_of(stage[i + __ffs(int(open)) - 1]), later, plan.threshold);
    }
    if (!alive) plan.gone[p] = 1;
  }
}

struct Sets {  // of a tile's boxes, a bit each
  Pack<unsigned, 4> four[kSets / 4];

  __device__ unsigned& operator[](int w) { return four[w / 4].v[w % 4]; }
};

// Decides the tile with one block, a thread for each box. A box is out when a kept box suppresses it, and in when all
// that could are out. In every round each warp goes as far as it can with what the others said; the first warp that is
// not ready has nothing to wait for, so there are at most as many rounds as warps, however long the chains.
template <class T> __device__ void resolve(const Plan<T>& plan, int64_t base, int64_t found) {
  __shared__ Sets last, kept, removed;
  const int j = int(threadIdx.x), lane = j % kWarp, warp = j / kWarp, warps = int(blockDim.x) / kWarp;
  const int64_t p = base + j;
  const unsigned* const words = plan.words_at(base) + j;
  bool in = false, out = p >= plan.n || plan.gone[p];
  if (j < kSets) last[j] = plan.progress_at(base)->kept[j];
  __syncthreads();

  if (!out) {
    unsigned hit = 0;  // boxes that the tile before kept
#pragma unroll
    for (int q = 0; q < kSets / 4; ++q) {
      const Pack<unsigned, 4> set = last.four[q];
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (set.v[e]) hit |= words[(4 * q + e) * kTile] & set.v[e];
    }
    out = hit;
  }
  unsigned earlier[kSets] = {};  // boxes of earlier warps that suppress this one
  unsigned own = 0;              // boxes of this warp
  if (!out) {
    own = words[(kSets + warp) * kTile];
#pragma unroll
    for (int w = 0; w < kSets; ++w)
      if (w < warp) earlier[w] = words[(kSets + w) * kTile];
  }
  for (;;) {
    const unsigned ins = __ballot_sync(kFullWarp, in), outs = __ballot_sync(kFullWarp, out);
    if (lane == 0) kept[warp] = ins, removed[warp] = outs;
    if (!__syncthreads_or(!in && !out)) break;
    if (~(ins | outs)) {
      unsigned hit = 0, open = 0;
#pragma unroll
      for (int q = 0; q < kSets / 4; ++q) {
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
  if (listed) plan.list_at(base + kTile)[place] = plan.corners[p];
  if (plan.ranks) {
    if (in) plan.chosen[plan.ranks[p]] = 1;
  } else if (in && found + place < plan.limit) {
    plan.keep[found + place] = plan.by_score[p];
  }
  Progress* const next = plan.progress_at(base + kTile);
  if (j < warps) next->kept[j] = kept[j];
  if (j != 0) return;
  next->listed = total;
  next->found = plan.ranks ? 0 : found + total;
  if (!plan.ranks) *plan.count = found + total < plan.limit ? found + total : plan.limit;
}

template <class T>
__global__ void __launch_bounds__(kTile) step(Plan<T> plan, int64_t base, int word_blocks, int blocks, int slices) {
  const int64_t found = plan.progress_at(base)->found;
  const int block = int(blockIdx.x) - 1;
  if (found >= plan.limit) {
    if (block < 0 && threadIdx.x == 0) plan.progress_at(base + kTile)->found = found;
  } else if (block < 0) {
    resolve(plan, base, found);
  } else if (block < word_blocks) {
    find_words(plan, base + kTile, block, [&](int64_t p) { return plan.corners[p]; });
  } else {
    strike(plan, base, block - word_blocks, blocks, slices);
  }
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

// Warps that the tile at `base` fills.
int64_t warps_at(int64_t base, int64_t n) { return ceil_div(n - base < kTile ? n - base : kTile, kWarp); }

void suppress(const char* op, const View& boxes, const View& by_score, const View* classes, const View* ranks,
              double threshold, const View& keep, const View& count, const Launch& launch) {
  check_keep(op, boxes, 4, "by_score", by_score, keep, count);
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t n = boxes.shape[0], limit = keep.shape[0];
    Workspace space(launch.workspace);
    Plan<T> plan = Plan<T>::in(space, n);
    space.check(op, launch);
    plan.boxes = boxes.as<T>(), plan.by_score = by_score.as<int64_t>(), plan.threshold = T(threshold);
    plan.keep = keep.as<int64_t>(), plan.count = count.as<int64_t>(), plan.limit = limit;
    if (classes) plan.classes = classes->as<int64_t>(), plan.ranks = ranks->as<int64_t>();

    const int64_t first_words = limit > 0 ? warps_at(0, n) : 0, most = n > limit ? n : limit;
    const unsigned wide = unsigned(n > 0 ? warps_at(0, n) * kWarp : kWarp);
    run(op, launch, begin<T>, unsigned(first_words + grid_for(most, wide)), wide, plan, first_words);
    for (int64_t base = 0; base < n && limit > 0; base += kTile) {
      const int64_t next = base + kTile, word_blocks = next < n ? kSets + warps_at(next, n) : 0;
      const int64_t strikes = next < n && base > 0 ? ceil_div(n - next, kTile) : 0;
      int64_t slices = kTile / kStage;
      while (slices > 1 && slices * strikes > kBlocks) slices /= 2;
      run(op, launch, step<T>, unsigned(1 + word_blocks + slices * strikes), unsigned(warps_at(base, n) * kWarp),
          plan, base, word_blocks, strikes, slices);
    }
    if (plan.ranks && n > 0)
      run(op, launch, collect, 1, kTile, plan.chosen, plan.by_score, n, limit, plan.keep, plan.count);
  });
}

}  // namespace

void score_keys(const View& scores, const View& keys, const Launch& launch) {
  const int64_t n = scores.size();
  check_vector("score_keys", "scores", scores, n);
  check_vector("score_keys", "keys", keys, n);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "score_keys");
  visit<Half, BFloat16, float, double>(scores.dtype, "score_keys", [&](auto tag) {
    using S = typename decltype(tag)::type;
    using Key = std::conditional_t<sizeof(S) == 8, int64_t, int32_t>;
    run("score_keys", launch, write_keys<S, Key>, grid_for(n), kBlock, scores.as<S>(), n, keys.as<Key>());
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
  suppress("nms", boxes, by_score, nullptr, nullptr, threshold, keep, count, launch);
}

void batched_nms_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                          double threshold, const View& keep, const View& count, const Launch& launch) {
  check_vector("batched_nms", "classes", classes, boxes.shape[0]);
  check_vector("batched_nms", "ranks", ranks, boxes.shape[0]);
  suppress("batched_nms", boxes, by_score, &classes, &ranks, threshold, keep, count, launch);
}

}  // namespace roikit::cuda
