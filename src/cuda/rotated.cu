// Rotated overlap and suppression on the GPU. One kernel turns the boxes into what the pairs need, so that sine and
// cosine are computed once a box.
//
// Suppression takes the boxes in the order in which they are decided, in tiles of 512. One launch finds, for every tile,
// which of its boxes suppress which later ones of it; then each tile takes two launches: `resolve` decides it with one
// block, `strike` removes what its kept boxes suppress after it. No matrix of all pairs exists, and nothing is read on
// the host.
#include "core/rotated.h"

#include "cuda/launch.cuh"

namespace roikit::cuda {
namespace {

constexpr int kTile = 512;              // boxes that one block decides: a thread each
constexpr int kSets = kTile / kWarp;
constexpr int kStage = 64;              // kept boxes in shared memory

template <class T>
__global__ void prepare(const T* boxes, int64_t n, Rotated* out) {
  for (int64_t i = first_item(); i < n; i += item_stride()) out[i] = Rotated::at(boxes + 5 * i);
}

template <class T>
__global__ void iou_pairs(const Rotated* rows, const Rotated* columns, int64_t n, int64_t m, T* out) {
  for (int64_t p = first_item(); p < n * m; p += item_stride()) {
    const int64_t i = p / m;
    const Rotated a = rows[i], b = columns[p - i * m];
    T value = T(0);
    if (circles_meet(a, b)) value = T(rotated_iou(a, b));
    out[p] = value;
  }
}

// Positions are those of the order in which boxes are decided.
struct Plan {
  const int64_t* by_score;  // the box of each rank
  const int64_t* classes;   // of each position, ascending; null: all are one class
  const int64_t* ranks;     // of each position; null: positions are ranks
  int64_t n;
  double threshold;  // rounded to the dtype of the boxes
  bool single;       // that dtype is float32
  uint8_t* chosen;   // of each rank: it is kept
  // scratch
  Rotated* boxes;    // of each position
  uint8_t* gone;     // of each position: a kept box of an earlier tile suppresses it
  unsigned* words;   // [w][p], bit i: box 32 w + i of p's tile suppresses box p, which comes after it, if it is kept
  int64_t* kept;     // the positions of the kept boxes of the last tile
  int* count;        // how many

  static Plan in(Workspace& space, int64_t n) {
    Plan p = {};
    p.n = n;
    p.boxes = space.take<Rotated>(n);
    p.gone = space.take<uint8_t>(n);
    p.words = space.take<unsigned>(kSets * n);
    p.kept = space.take<int64_t>(kTile);
    p.count = space.take<int>(1);
    return p;
  }

  __device__ int64_t class_of(int64_t p) const { return classes ? classes[p] : 0; }
  __device__ bool suppresses(const Rotated& kept, const Rotated& later) const {
    if (threshold < 0.0) return true;
    if (!circles_meet(kept, later)) return false;
    const double iou = rotated_iou(kept, later);
    return (single ? double(float(iou)) : iou) > threshold;
  }
};

template <class T>
__global__ void begin(Plan plan, const T* boxes) {
  for (int64_t p = first_item(); p < plan.n; p += item_stride()) {
    plan.boxes[p] = Rotated::at(boxes + 5 * plan.by_score[plan.ranks ? plan.ranks[p] : p]);
    plan.gone[p] = 0;
    plan.chosen[p] = 0;
  }
}

__global__ void find_words(Plan plan) {
  for (int64_t item = first_item(); item < kSets * plan.n; item += item_stride()) {
    const int64_t w = item / plan.n, p = item - w * plan.n, first = p / kTile * kTile + w * kWarp;
    const Rotated later = plan.boxes[p];
    const int64_t own = plan.class_of(p);
    unsigned bits = 0;
    for (int i = 0; i < kWarp && first + i < p; ++i)
      if (plan.class_of(first + i) == own && plan.suppresses(plan.boxes[first + i], later)) bits |= 1u << i;
    plan.words[item] = bits;
  }
}

// Decides the tile at `base`: warp by warp, and within a warp box by box.
__global__ void __launch_bounds__(kTile) resolve(Plan plan, int64_t base) {
  __shared__ unsigned kept[kSets];
  const int j = int(threadIdx.x), lane = j % kWarp, warp = j / kWarp;
  const int64_t p = base + j;
  bool out = p >= plan.n || plan.gone[p];
  for (int w = 0; w < kSets; ++w) {
    const unsigned bits = p < plan.n && warp >= w ? plan.words[w * plan.n + p] : 0u;
    if (warp == w) {
      for (int i = 0; i < kWarp; ++i) {
        const unsigned alive = __ballot_sync(kFullWarp, !out);
        if (alive >> i & bits >> i & 1u) out = true;
      }
      const unsigned alive = __ballot_sync(kFullWarp, !out);
      if (lane == 0) kept[w] = alive;
    }
    __syncthreads();
    if (warp > w && (bits & kept[w])) out = true;
  }
  int place = 0, total = 0;
  for (int w = 0; w < kSets; ++w) {
    const int here = __popc(kept[w]);
    if (w < warp) place += here;
    total += here;
  }
  place += __popc(kept[warp] & ((1u << lane) - 1));
  if (!out) {
    plan.kept[place] = p;
    plan.chosen[plan.ranks ? plan.ranks[p] : p] = 1;
  }
  if (j == 0) *plan.count = total;
}

// A thread for each box after the tile that ended before `base`. In a class-major order only the class with which that
// tile ended goes on.
__global__ void __launch_bounds__(kBlock) strike(Plan plan, int64_t base) {
  __shared__ Rotated stage[kStage];
  __shared__ int64_t stage_classes[kStage];
  const int count = *plan.count;
  const int64_t last_class = plan.class_of(base - 1);
  for (int64_t first = base + int64_t(blockIdx.x) * blockDim.x; first < plan.n;
       first += int64_t(gridDim.x) * blockDim.x) {
    if (plan.class_of(first) != last_class) return;
    const int64_t p = first + threadIdx.x;
    bool alive = p < plan.n && !plan.gone[p] && plan.class_of(p) == last_class;
    Rotated later = {};
    if (alive) later = plan.boxes[p];
    for (int k = 0; k < count; k += kStage) {
      const int staged = count - k < kStage ? count - k : kStage;
      __syncthreads();
      if (int(threadIdx.x) < staged) {
        stage[threadIdx.x] = plan.boxes[plan.kept[k + threadIdx.x]];
        stage_classes[threadIdx.x] = plan.class_of(plan.kept[k + threadIdx.x]);
      }
      __syncthreads();
      for (int i = 0; i < staged && alive; ++i)
        alive = stage_classes[i] != last_class || !plan.suppresses(stage[i], later);
    }
    if (p < plan.n && !alive && plan.class_of(p) == last_class) plan.gone[p] = 1;
  }
}

void suppress(const char* op, const View& boxes, const View& by_score, const View* classes, const View* ranks,
              double threshold, const View& chosen, const Launch& launch) {
  const int64_t n = boxes.shape[0];
  check_boxes(op, boxes, 5);
  check_vector(op, "by_score", by_score, n);
  check_vector(op, "chosen", chosen, n);
  if (n == 0) return;
  const DeviceGuard guard(launch.device, op);
  Workspace space(launch.workspace);
  Plan plan = Plan::in(space, n);
  space.check(op, launch);
  plan.by_score = by_score.as<int64_t>();
  plan.chosen = reinterpret_cast<uint8_t*>(chosen.as<bool>());
  if (classes) plan.classes = classes->as<int64_t>(), plan.ranks = ranks->as<int64_t>();
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    plan.threshold = double(T(threshold));
    plan.single = sizeof(T) == 4;
    run(op, launch, begin<T>, grid_for(n), kBlock, plan, boxes.as<T>());
  });
  run(op, launch, find_words, grid_for(kSets * n), kBlock, plan);
  for (int64_t base = 0; base < n; base += kTile) {
    run(op, launch, resolve, 1, kTile, plan, base);
    if (base + kTile < n)
      run(op, launch, strike, grid_for(n - base - kTile), kBlock, plan, base + kTile);
  }
}

}  // namespace

int64_t box_iou_rotated_workspace(const View& boxes1, const View& boxes2) {
  Workspace space;
  space.take<Rotated>(boxes1.shape[0]);
  space.take<Rotated>(boxes2.shape[0]);
  return space.bytes();
}

void box_iou_rotated(const View& boxes1, const View& boxes2, const View& out, const Launch& launch) {
  constexpr const char* kOp = "box_iou_rotated";
  check_pairs(kOp, boxes1, boxes2, out, 5);
  const int64_t n = boxes1.shape[0], m = boxes2.shape[0];
  if (n == 0 || m == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  Workspace space(launch.workspace);
  Rotated* const rows = space.take<Rotated>(n);
  Rotated* const columns = space.take<Rotated>(m);
  space.check(kOp, launch);
  visit<float, double>(boxes1.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(kOp, launch, prepare<T>, grid_for(n), kBlock, boxes1.as<T>(), n, rows);
    run(kOp, launch, prepare<T>, grid_for(m), kBlock, boxes2.as<T>(), m, columns);
    run(kOp, launch, iou_pairs<T>, grid_for(n * m), kBlock, rows, columns, n, m, out.as<T>());
  });
}

int64_t nms_rotated_workspace(const View& boxes) {
  Workspace space;
  Plan::in(space, boxes.shape[0]);
  return space.bytes();
}

void nms_rotated_in_order(const View& boxes, const View& by_score, double threshold, const View& chosen,
                          const Launch& launch) {
  suppress("nms_rotated", boxes, by_score, nullptr, nullptr, threshold, chosen, launch);
}

void batched_nms_rotated_in_order(const View& boxes, const View& by_score, const View& classes, const View& ranks,
                                  double threshold, const View& chosen, const Launch& launch) {
  check_vector("batched_nms_rotated", "classes", classes, boxes.shape[0]);
  check_vector("batched_nms_rotated", "ranks", ranks, boxes.shape[0]);
  suppress("batched_nms_rotated", boxes, by_score, &classes, &ranks, threshold, chosen, launch);
}

}  // namespace roikit::cuda
