// weighted_boxes_fusion on the GPU. Joining hangs each box on those before, so a block has a class: its threads share the
// clusters, each of which one thread alone keeps. There is one barrier a box: the warps' best lie in one of two places in
// turns, and every warp finds the best of them itself. The caller sorts.
#include "core/weighted_boxes_fusion.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kNone = 0xffffffffu;

// The scratch: clusters, those of a class from the place on where the class begins.
template <class T> struct Plan {
  FusedBox<T>* found;
  unsigned* first;  // the first box of each

  static Plan in(Workspace& space, int64_t n) {
    Plan p = {};
    p.found = space.take<FusedBox<T>>(n);
    p.first = space.take<unsigned>(n);
    return p;
  }
};

template <class T> struct Nearest {
  T iou;
  unsigned cluster;
};

// The largest IoU of the warp, of equal ones the earliest cluster, in every lane.
template <class T> __device__ Nearest<T> nearest_of_warp(Nearest<T> mine) {
  for (int by = 1; by < kWarp; by *= 2) {
    const Nearest<T> other = {__shfl_xor_sync(kFullWarp, mine.iou, by), __shfl_xor_sync(kFullWarp, mine.cluster, by)};
    if (other.iou > mine.iou || (other.iou == mine.iou && other.cluster < mine.cluster)) mine = other;
  }
  return mine;
}

template <class T>
__global__ void vote(const T* boxes, const T* scores, const int64_t* models, int64_t n, const T* weights,
                     int64_t limit, T skip, T* votes) {
  for (int64_t i = first_item(); i < n; i += item_stride()) {
    const int64_t model = models[i];
    const bool known = model >= 0 && model < limit;
    const T weight = !known ? std::numeric_limits<T>::quiet_NaN() : weights ? weights[model] : T(1);
    votes[i] = weighted_boxes_fusion_vote_of(boxes + 4 * i, scores[i], weight, skip);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
join(Plan<T> plan, const T* boxes, const T* votes, const int64_t* models, const int64_t* by_vote,
     const int64_t* classes, const int64_t* ranks, int64_t n, T threshold, T* fused, T* sums, int64_t* keys,
     bool* chosen) {
  __shared__ Nearest<T> shared[2][kWarps];
  const int thread = int(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const Nearest<T> none = {threshold, kNone};
  int turn = 0;
  for (int64_t begin = blockIdx.x; begin < n; begin += gridDim.x) {
    if (begin > 0 && classes[begin] == classes[begin - 1]) continue;
    FusedBox<T>* const found = plan.found + begin;
    unsigned* const first = plan.first + begin;
    unsigned count = 0;
    for (int64_t p = begin; p < n && classes[p] == classes[begin]; ++p) {
      const int64_t i = by_vote[ranks[p]];
      const T vote = votes[i];
      if (vote != vote) {  // left out, as is all that follows in the class
        if (thread == 0) keys[i] = kNoCluster, chosen[i] = false;
        continue;
      }
      const Box<T> b = weighted_boxes_fusion_box(boxes + 4 * i);
      Nearest<T> mine = none;
      for (unsigned k = unsigned(thread); k < count; k += kThreads) {
        const T x = iou(Box<T>::at(found[k].box), b);
        if (x > mine.iou) mine = {x, k};
      }
      mine = nearest_of_warp(mine);
      if (lane == 0) shared[turn][warp] = mine;
      __syncthreads();
      const Nearest<T> best = nearest_of_warp(lane < kWarps ? shared[turn][lane] : none);
      turn = 1 - turn;
      const bool joins = best.cluster != kNone;
      const unsigned k = joins ? best.cluster : count;
      if (!joins) ++count;
      if (k % kThreads != unsigned(thread)) continue;
      if (joins) {
        found[k].add(b, vote);
      } else {
        found[k] = FusedBox<T>::of(b, vote);
        first[k] = unsigned(i);
      }
      chosen[i] = !joins;
      keys[i] = weighted_boxes_fusion_key(first[k], models[i]);
    }
    for (unsigned k = unsigned(thread); k < count; k += kThreads) {
      const int64_t i = first[k];
      for (int c = 0; c < 4; ++c) fused[4 * i + c] = found[k].box[c];
      sums[i] = found[k].sum;
    }
  }
}

template <class T>
__global__ void score(const int64_t* keys, const T* votes, const T* sums, int64_t n, const T* weights,
                      const int64_t* count, FusedScore rule, bool overflow, T* fused_scores) {
  const FusingModels<T> models = FusingModels<T>::of(weights, *count);
  for (int64_t p = first_item(); p < n; p += item_stride()) {
    if (keys[p] == kNoCluster) continue;
    const int64_t i = keys[p] / kMostModels;
    if (p > 0 && keys[p - 1] / kMostModels == i) continue;
    fused_scores[i] = fused_score_of(keys, p, n, votes[i], sums[i], models, rule, overflow);
  }
}

template <class T> const T* weights_of(const View& weights) { return weights.size() ? weights.as<T>() : nullptr; }

}  // namespace

void weighted_boxes_fusion_vote(const View& boxes, const View& scores, const View& models, const View& weights,
                                double skip, const View& votes, const Launch& launch) {
  const char* const op = "weighted_boxes_fusion";
  const int64_t n = boxes.shape[0], given = weights.size();
  check_weighted_boxes_fusion(boxes, scores, models);
  check_vector(op, "weights", weights, given);
  check_vector(op, "votes", votes, n);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(op, launch, vote<T>, grid_for(n), kBlock, boxes.as<T>(), scores.as<T>(), models.as<int64_t>(), n,
        weights_of<T>(weights), given ? given : kMostModels, T(skip), votes.as<T>());
  });
}

int64_t weighted_boxes_fusion_workspace(const View& boxes) {
  Workspace space;
  visit<float, double>(boxes.dtype, "weighted_boxes_fusion", [&](auto tag) {
    Plan<typename decltype(tag)::type>::in(space, boxes.shape[0]);
  });
  return space.bytes();
}

void weighted_boxes_fusion_join(const View& boxes, const View& votes, const View& models, const View& by_vote,
                                const View& classes, const View& ranks, double threshold, const View& fused,
                                const View& sums, const View& keys, const View& chosen, const Launch& launch) {
  const char* const op = "weighted_boxes_fusion";
  const int64_t n = boxes.shape[0];
  check_weighted_boxes_fusion(boxes, votes, models);
  check_vector(op, "by_vote", by_vote, n);
  check_vector(op, "classes", classes, n);
  check_vector(op, "ranks", ranks, n);
  check_rows(op, "fused", fused, 4);
  check_vector(op, "sums", sums, n);
  check_vector(op, "keys", keys, n);
  check_vector(op, "chosen", chosen, n);
  require(fused.shape[0] == n, op, "fused must be contiguous (N, 4)");
  if (n == 0) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Workspace space(launch.workspace);
    const Plan<T> plan = Plan<T>::in(space, n);
    space.check(op, launch);
    run(op, launch, join<T>, grid_for(n, 1), kThreads, plan, boxes.as<T>(), votes.as<T>(), models.as<int64_t>(),
        by_vote.as<int64_t>(), classes.as<int64_t>(), ranks.as<int64_t>(), n, T(threshold), fused.as<T>(),
        sums.as<T>(), keys.as<int64_t>(), chosen.as<bool>());
  });
}

void weighted_boxes_fusion_score(const View& keys, const View& votes, const View& sums, const View& weights,
                                 const View& count, FusedScore rule, bool overflow, const View& fused_scores,
                                 const Launch& launch) {
  const char* const op = "weighted_boxes_fusion";
  const int64_t n = keys.size();
  check_vector(op, "keys", keys, n);
  check_vector(op, "votes", votes, n);
  check_vector(op, "sums", sums, n);
  check_vector(op, "weights", weights, weights.size());
  check_vector(op, "fused_scores", fused_scores, n);
  require(count.size() == 1, op, "count must be ()");
  if (n == 0) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(votes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(op, launch, score<T>, grid_for(n), kBlock, keys.as<int64_t>(), votes.as<T>(), sums.as<T>(), n,
        weights_of<T>(weights), count.as<int64_t>(), rule, overflow, fused_scores.as<T>());
  });
}

}  // namespace roikit::cuda
