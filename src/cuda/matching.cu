// match_boxes on the GPU, in O(N + M) memory. A warp holds 32 anchors. Neighbours in memory are neighbours in the image,
// so a warp has small bounds, and its lanes test 32 ground truths at once against them; only the few that reach into the
// bounds are compared with the anchors. With all others their IoU is 0.
//
// The first kernel finds each anchor's best and, for the low-quality rule, each ground truth's best over all anchors: a
// maximum over a warp, a block, the grid. The second one looks again at the anchors whose own best is as large as the
// best of some ground truth. An IoU above 0 is ordered as its bits are, so every maximum is one of whole numbers and
// does not depend on the order in which it is taken.
#include "core/matching.h"

#include <limits>
#include <type_traits>

#include "cuda/boxes.cuh"

namespace roikit::cuda {
namespace {

constexpr int kTile = 256;  // ground truths in shared memory

template <class T> using Key = std::conditional_t<sizeof(T) == 4, unsigned, unsigned long long>;

// Ordered as the IoU; 0 for an IoU of 0, whatever its sign.
template <class T> __device__ Key<T> key_of(T iou) { return iou > T(0) ? bit_cast<Key<T>>(iou) : Key<T>(0); }

__device__ inline unsigned warp_max(unsigned key) { return __reduce_max_sync(kFullWarp, key); }
__device__ inline unsigned long long warp_max(unsigned long long key) {
  for (int by = kWarp / 2; by > 0; by /= 2) {
    const unsigned long long other = __shfl_xor_sync(kFullWarp, key, by);
    key = other > key ? other : key;
  }
  return key;
}

// Of the warp's boxes, over each coordinate that is a number.
template <class T> struct Bounds {
  T low_x, low_y, high_x, high_y;

  __device__ static Bounds of_warp(const Box<T>& b) {
    constexpr T kInf = std::numeric_limits<T>::infinity();
    Bounds all = {b.x1 == b.x1 ? b.x1 : kInf, b.y1 == b.y1 ? b.y1 : kInf, b.x2 == b.x2 ? b.x2 : -kInf,
                  b.y2 == b.y2 ? b.y2 : -kInf};
    for (int by = kWarp / 2; by > 0; by /= 2) {
      all.low_x = min_of(all.low_x, __shfl_xor_sync(kFullWarp, all.low_x, by));
      all.low_y = min_of(all.low_y, __shfl_xor_sync(kFullWarp, all.low_y, by));
      all.high_x = max_of(all.high_x, __shfl_xor_sync(kFullWarp, all.high_x, by));
      all.high_y = max_of(all.high_y, __shfl_xor_sync(kFullWarp, all.high_y, by));
    }
    return all;
  }
};

template <class T> struct Problem {
  const T* anchors;
  const T* gt_boxes;
  int64_t n, m;
  bool wide_anchors, wide_gt_boxes;

  __device__ Box<T> anchor(int64_t i) const { return read_box(anchors + 4 * i, wide_anchors); }
  __device__ Box<T> gt_box(int64_t g) const { return read_box(gt_boxes + 4 * g, wide_gt_boxes); }
};

template <class T> struct Matches {
  int64_t* index;
  int8_t* label;
  T* iou;
};

// kPeaks: also raise peaks[g] to each ground truth's best.
template <class T, bool kPeaks>
__global__ void find_best(Problem<T> p, T high, T low, Matches<T> out, Key<T>* peaks) {
  __shared__ Pack<T, 4> corners[kTile];
  __shared__ T areas[kTile];
  __shared__ Key<T> tops[kTile];
  constexpr T kNan = std::numeric_limits<T>::quiet_NaN();
  const int thread = int(threadIdx.x), lane = thread % kWarp;
  const int64_t i = first_item();
  const Box<T> a = i < p.n ? p.anchor(i) : Box<T>{kNan, kNan, kNan, kNan, kNan};
  const Bounds<T> bounds = Bounds<T>::of_warp(a);
  T best = T(0);
  int64_t index = p.m > 0 ? 0 : -1;
  for (int64_t first = 0; first < p.m; first += kTile) {
    const int count = int(p.m - first < kTile ? p.m - first : kTile);
    for (int g = thread; g < count; g += kBlock) {
      const Box<T> b = p.gt_box(first + g);
      corners[g] = {{b.x1, b.y1, b.x2, b.y2}};
      areas[g] = b.area;
      if (kPeaks) tops[g] = 0;
    }
    __syncthreads();
    for (int g0 = 0; g0 < count; g0 += kWarp) {
      const int mine = g0 + lane < count ? g0 + lane : g0;
      const Pack<T, 4> c = corners[mine];
      const bool meets = may_meet(Box<T>{c.v[0], c.v[1], c.v[2], c.v[3], T(0)}, bounds.low_x, bounds.low_y,
                                  bounds.high_x, bounds.high_y);
      for (unsigned bits = __ballot_sync(kFullWarp, meets && g0 + lane < count); bits; bits &= bits - 1) {
        const int g = g0 + __ffs(int(bits)) - 1;
        const Pack<T, 4> d = corners[g];
        const T v = iou_of_few(a, Box<T>{d.v[0], d.v[1], d.v[2], d.v[3], areas[g]});
        if (v > best) best = v, index = first + g;
        if (kPeaks) {
          const Key<T> top = warp_max(key_of(v));
          if (lane == 0 && top != 0) atomicMax(&tops[g], top);
        }
      }
    }
    __syncthreads();
    // The thread that reads a ground truth's top here is the one that writes its place in the next tile.
    if (kPeaks)
      for (int g = thread; g < count; g += kBlock)
        if (tops[g] != 0) atomicMax(&peaks[first + g], tops[g]);
  }
  if (i >= p.n) return;
  out.index[i] = index;
  out.label[i] = p.m > 0 ? match_label(best, high, low) : int8_t(0);
  out.iou[i] = best;
}

template <class T>
__global__ void promote_low_quality(Problem<T> p, const Key<T>* peaks, const T* best, int8_t* label) {
  const int lane = int(threadIdx.x) % kWarp;
  const int64_t i = first_item();
  const Key<T> mine = i < p.n ? key_of(best[i]) : Key<T>(0), top = warp_max(mine);
  bool positive = false;
  for (int64_t first = 0; first < p.m; first += kWarp) {
    const Key<T> peak = first + lane < p.m ? peaks[first + lane] : Key<T>(0);
    for (unsigned bits = __ballot_sync(kFullWarp, peak != 0 && peak <= top); bits; bits &= bits - 1) {
      const int from = __ffs(int(bits)) - 1;
      const Key<T> wanted = __shfl_sync(kFullWarp, peak, from);
      if (mine >= wanted) positive |= key_of(iou_of_few(p.anchor(i), p.gt_box(first + from))) == wanted;
    }
  }
  if (positive) label[i] = 1;
}

template <class T>
void match(const View& anchors, const View& gt_boxes, T high, T low, bool allow_low_quality, const Matches<T>& out,
           const Launch& launch) {
  const T* a = anchors.as<T>();
  const T* b = gt_boxes.as<T>();
  const Problem<T> p = {a, b, anchors.shape[0], gt_boxes.shape[0], wide_boxes(a), wide_boxes(b)};
  const int64_t blocks = ceil_div(p.n, kBlock);
  require(blocks <= std::numeric_limits<int>::max(), "match_boxes: more anchors than a grid has threads");
  const unsigned grid = unsigned(blocks);
  if (!allow_low_quality || p.m == 0) {
    run("match_boxes", launch, find_best<T, false>, grid, kBlock, p, high, low, out, nullptr);
    return;
  }
  Workspace scratch(launch.workspace);
  Key<T>* const peaks = scratch.take<Key<T>>(p.m);
  scratch.check("match_boxes", launch);
  check(cudaMemsetAsync(peaks, 0, size_t(p.m) * sizeof(Key<T>), stream_of(launch)), "match_boxes");
  run("match_boxes", launch, find_best<T, true>, grid, kBlock, p, high, low, out, peaks);
  run("match_boxes", launch, promote_low_quality<T>, grid, kBlock, p, peaks, out.iou, out.label);
}

}  // namespace

int64_t match_boxes_workspace(const View& gt_boxes, bool allow_low_quality) {
  Workspace scratch;
  visit<float, double>(gt_boxes.dtype, "match_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (allow_low_quality) scratch.take<Key<T>>(gt_boxes.shape[0]);
  });
  return scratch.bytes();
}

void match_boxes(const View& anchors, const View& gt_boxes, double high, double low, bool allow_low_quality,
                 const View& index, const View& label, const View& iou, const Launch& launch) {
  check_match_boxes(anchors, gt_boxes, index, label, iou);
  if (anchors.shape[0] == 0) return;
  const DeviceGuard guard(launch.device, "match_boxes");
  visit<float, double>(anchors.dtype, "match_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matches<T> out = {index.as<int64_t>(), label.as<int8_t>(), iou.as<T>()};
    match<T>(anchors, gt_boxes, T(high), T(low), allow_low_quality, out, launch);
  });
}

}  // namespace roikit::cuda
