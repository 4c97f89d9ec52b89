// soft_nms, fast_nms and matrix_nms on the GPU.
//
// soft_nms hangs each choice on the one before, so one block does it all, without the host: every thread keeps the boxes
// of some slots, decays them by the box taken and finds its best in the same walk, and drops what fell below the limit by
// closing up its slots. One barrier a choice: the warps' best lie in one of two places in turns, and every warp finds the
// best of them itself.
//
// fast_nms and matrix_nms have a warp for each box, whose lanes share the better boxes of its class. The caller sorts.
#include "core/soft_nms.h"

#include <type_traits>

#include "cuda/block.cuh"
#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kNobody = 0xffffffffu;

template <class T> using Corners = Pack<T, 4>;
template <class T> using KeyOf = decltype(search_key(T()));

// The scratch of all three functions.
template <class T> struct Plan {
  Corners<T>* corners;  // soft_nms: of each slot; else of each position
  T* scores;            // soft_nms: of each slot; matrix_nms: the largest IoU with a better box, of each position
  unsigned* index;      // soft_nms: the box of each slot
  uint8_t* numberless;  // soft_nms: of each box; its score is NaN

  static Plan in(Workspace& space, int64_t n) {
    Plan p = {};
    p.corners = space.take<Corners<T>>(n);
    p.scores = space.take<T>(n);
    p.index = space.take<unsigned>(n);
    p.numberless = space.take<uint8_t>(n);
    return p;
  }
};

template <class T> struct Best {
  KeyOf<T> key;
  unsigned index;
};

template <class T> __device__ bool better(const Best<T>& a, const Best<T>& b) {
  return a.key < b.key || (a.key == b.key && a.index < b.index);
}

// The best of the warp, in every lane.
template <class T> __device__ Best<T> best_of_warp(Best<T> mine) {
  if constexpr (sizeof(T) == 4) {
    const unsigned key = __reduce_min_sync(kFullWarp, mine.key);
    return {key, __reduce_min_sync(kFullWarp, mine.key == key ? mine.index : kNobody)};
  } else {
    for (int by = 1; by < kWarp; by *= 2) {
      const Best<T> other = {__shfl_xor_sync(kFullWarp, mine.key, by), __shfl_xor_sync(kFullWarp, mine.index, by)};
      if (better<T>(other, mine)) mine = other;
    }
    return mine;
  }
}

template <Decay method, class T>
__global__ void __launch_bounds__(kThreads)
soft(Plan<T> plan, const T* boxes, const T* scores, int64_t n, SoftRule<T> rule, int64_t* keep, T* decayed,
     int64_t* count) {
  __shared__ Best<T> bests[2][kWarps];
  const int thread = int(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const Best<T> none = {~KeyOf<T>(0), kNobody};
  const bool everywhere = !spares_the_distant<method>(rule);

  int64_t end = thread;  // the thread's slots are thread, thread + kThreads, ... before this one
  Best<T> mine = none;
  int64_t slot_of_best = 0;
  for (int64_t i = thread; i < n; i += kThreads) {
    const T score = scores[i];
    plan.numberless[i] = score != score;
    if (score != score || dropped(score, rule.min_score)) continue;
    plan.corners[end] = {{boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]}};
    plan.scores[end] = score;
    plan.index[end] = unsigned(i);
    const Best<T> here = {search_key(score), unsigned(i)};
    if (better<T>(here, mine)) mine = here, slot_of_best = end;
    end += kThreads;
  }

  int64_t found = 0;
  for (;; ++found) {
    const Best<T> of_warp = best_of_warp<T>(mine);
    Best<T>* const shared = bests[found % 2];
    if (lane == 0) shared[warp] = of_warp;
    __syncthreads();
    const Best<T> best = best_of_warp<T>(shared[lane]);
    if (best.key == none.key) break;
    const int64_t taken = best.index;
    const Box<T> a = Box<T>::at(boxes + 4 * taken);
    const bool mine_is_taken = mine.index == best.index;
    if (mine_is_taken) {
      keep[found] = taken;
      decayed[found] = plan.scores[slot_of_best];
    }
    const int64_t slots = end;
    mine = none;
    end = thread;
    for (int64_t from = thread; from < slots; from += kThreads) {
      const unsigned index = plan.index[from];
      if (index == best.index) continue;
      const Corners<T> corners = plan.corners[from];
      T score = plan.scores[from];
      const Box<T> box = Box<T>::at(corners.v);
      if (everywhere || reach(a, box)) {
        score = score * soft_weight<method>(iou(a, box), rule);
        if (score != score) plan.numberless[index] = 1;
        if (score != score || dropped(score, rule.min_score)) continue;
        plan.scores[end] = score;
      } else if (end != from) {
        plan.scores[end] = score;
      }
      if (end != from) {
        plan.corners[end] = corners;
        plan.index[end] = index;
      }
      const Best<T> here = {search_key(score), index};
      if (better<T>(here, mine)) mine = here, slot_of_best = end;
      end += kThreads;
    }
  }

  // What is left has no number for a score, and none that it could decay.
  __syncthreads();  // all have marked theirs
  for (int64_t base = 0; base < n; base += kThreads) {
    const int64_t i = base + thread;
    const bool listed = i < n && plan.numberless[i];
    const Scanned<int> scan = block_scan(int(listed));
    if (listed) {
      keep[found + scan.before] = i;
      decayed[found + scan.before] = std::numeric_limits<T>::quiet_NaN();
    }
    found += scan.total;
  }
  for (int64_t i = found + thread; i < n; i += kThreads) {
    keep[i] = -1;
    decayed[i] = T(0);
  }
  if (thread == 0) *count = found;
}

template <class T>
__global__ void gather(const T* boxes, const int64_t* by_score, const int64_t* ranks, int64_t n, Corners<T>* corners) {
  for (int64_t p = first_item(); p < n; p += item_stride()) {
    const T* const b = boxes + 4 * by_score[ranks[p]];
    corners[p] = {{b[0], b[1], b[2], b[3]}};
  }
}

// Where the class of position p begins.
__device__ int64_t class_begin(const int64_t* classes, int64_t p) {
  const int64_t own = classes[p];
  int64_t low = 0, high = p;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (classes[middle] < own) low = middle + 1;
    else high = middle;
  }
  return low;
}

__device__ int64_t first_warp() { return first_item() / kWarp; }
__device__ int64_t warp_stride() { return item_stride() / kWarp; }

template <class T>
__global__ void fast(const Corners<T>* corners, const int64_t* classes, const int64_t* ranks, int64_t n, T threshold,
                     int64_t top_k, bool* kept) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t p = first_warp(); p < n; p += warp_stride()) {
    const int64_t begin = class_begin(classes, p);
    bool in = p - begin < top_k;
    const Box<T> box = Box<T>::at(corners[p].v);
    for (int64_t first = begin; in && first < p; first += kWarp) {
      const int64_t i = first + lane;
      const bool over = i < p && suppresses(Box<T>::at(corners[i].v), box, threshold);
      in = !__any_sync(kFullWarp, over);
    }
    if (lane == 0) kept[ranks[p]] = in;
  }
}

// The largest IoU of each box with a better one of its class.
template <class T>
__global__ void find_own(const Corners<T>* corners, const int64_t* classes, int64_t n, T* own) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t p = first_warp(); p < n; p += warp_stride()) {
    const Box<T> box = Box<T>::at(corners[p].v);
    T most = T(0);
    for (int64_t i = class_begin(classes, p) + lane; i < p; i += kWarp) {
      const T x = iou_of_few(Box<T>::at(corners[i].v), box);
      most = x > most ? x : most;
    }
    for (int by = 1; by < kWarp; by *= 2) most = max_of(most, __shfl_xor_sync(kFullWarp, most, by));
    if (lane == 0) own[p] = most;
  }
}

template <Decay method, class T>
__global__ void matrix(const Corners<T>* corners, const T* own, const T* scores, const int64_t* by_score,
                       const int64_t* classes, const int64_t* ranks, int64_t n, T sigma, T* decayed) {
  using D = MatrixDecay<method, T>;
  const int lane = int(threadIdx.x) % kWarp;
  for (int64_t p = first_warp(); p < n; p += warp_stride()) {
    const Box<T> box = Box<T>::at(corners[p].v);
    T state = D::kStart;
    for (int64_t i = class_begin(classes, p) + lane; i < p; i += kWarp)
      state = D::step(state, iou_of_few(Box<T>::at(corners[i].v), box), own[i]);
    for (int by = 1; by < kWarp; by *= 2) state = D::merge(state, __shfl_xor_sync(kFullWarp, state, by));
    const int64_t box_index = by_score[ranks[p]];
    if (lane == 0) decayed[box_index] = scores[box_index] * D::weight(state, sigma);
  }
}

unsigned warps_for(int64_t n) { return grid_for(n, kBlock / kWarp); }

void check_in_order(const char* op, const View& boxes, const View& by_score, const View& classes, const View& ranks) {
  check_boxes(op, boxes, 4);
  check_vector(op, "by_score", by_score, boxes.shape[0]);
  check_vector(op, "classes", classes, boxes.shape[0]);
  check_vector(op, "ranks", ranks, boxes.shape[0]);
}

template <class T> Plan<T> plan_of(const char* op, const Launch& launch, int64_t n) {
  Workspace space(launch.workspace);
  const Plan<T> plan = Plan<T>::in(space, n);
  space.check(op, launch);
  return plan;
}

}  // namespace

int64_t soft_nms_workspace(const View& boxes) {
  Workspace space;
  visit<float, double>(boxes.dtype, "soft_nms", [&](auto tag) {
    Plan<typename decltype(tag)::type>::in(space, boxes.shape[0]);
  });
  return space.bytes();
}

void soft_nms(const View& boxes, const View& scores, double threshold, double sigma, double min_score, Decay method,
              const View& keep, const View& decayed, const View& count, const Launch& launch) {
  const int64_t n = boxes.shape[0];
  check_soft_nms("soft_nms", boxes, scores, keep, decayed, count);
  const DeviceGuard guard(launch.device, "soft_nms");
  visit<float, double>(boxes.dtype, "soft_nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const SoftRule<T> rule = {T(threshold), T(sigma), T(min_score)};
    const auto kernel = method == Decay::gaussian ? soft<Decay::gaussian, T>
                        : method == Decay::linear ? soft<Decay::linear, T>
                                                  : soft<Decay::naive, T>;
    run("soft_nms", launch, kernel, 1, kThreads, plan_of<T>("soft_nms", launch, n), boxes.as<T>(), scores.as<T>(), n,
        rule, keep.as<int64_t>(), decayed.as<T>(), count.as<int64_t>());
  });
}

void fast_nms_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                       double threshold, int64_t top_k, const View& kept, const Launch& launch) {
  const int64_t n = boxes.shape[0];
  check_in_order("fast_nms", boxes, by_score, classes, ranks);
  check_vector("fast_nms", "kept", kept, n);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "fast_nms");
  visit<float, double>(boxes.dtype, "fast_nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Plan<T> plan = plan_of<T>("fast_nms", launch, n);
    run("fast_nms", launch, gather<T>, grid_for(n), kBlock, boxes.as<T>(), by_score.as<int64_t>(),
        ranks.as<int64_t>(), n, plan.corners);
    run("fast_nms", launch, fast<T>, warps_for(n), kBlock, plan.corners, classes.as<int64_t>(), ranks.as<int64_t>(), n,
        T(threshold), top_k, kept.as<bool>());
  });
}

void matrix_nms_in_order(const View& boxes, const View& scores, const View& by_score, const View& classes,
                         const View& ranks, double sigma, Decay method, const View& decayed, const Launch& launch) {
  const int64_t n = boxes.shape[0];
  check_in_order("matrix_nms", boxes, by_score, classes, ranks);
  check_vector("matrix_nms", "scores", scores, n);
  check_vector("matrix_nms", "decayed", decayed, n);
  require(method != Decay::naive, "matrix_nms: the decay is linear or gaussian");
  if (n == 0) return;
  const DeviceGuard guard(launch.device, "matrix_nms");
  visit<float, double>(boxes.dtype, "matrix_nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Plan<T> plan = plan_of<T>("matrix_nms", launch, n);
    const auto kernel = method == Decay::gaussian ? matrix<Decay::gaussian, T> : matrix<Decay::linear, T>;
    run("matrix_nms", launch, gather<T>, grid_for(n), kBlock, boxes.as<T>(), by_score.as<int64_t>(),
        ranks.as<int64_t>(), n, plan.corners);
    run("matrix_nms", launch, find_own<T>, warps_for(n), kBlock, plan.corners, classes.as<int64_t>(), n, plan.scores);
    run("matrix_nms", launch, kernel, warps_for(n), kBlock, plan.corners, plan.scores, scores.as<T>(),
        by_score.as<int64_t>(), classes.as<int64_t>(), ranks.as<int64_t>(), n, T(sigma), decayed.as<T>());
  });
}

}  // namespace roikit::cuda
