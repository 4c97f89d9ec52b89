// box_iou and its relatives on the GPU. A thread keeps a few neighbouring columns' boxes in registers and walks down a chunk of rows,
// whose boxes lie in shared memory; a block's threads are so laid over the matrix that each step of theirs writes one
// stretch of memory. What bounds it is the writing of the result.
#include "cuda/boxes.cuh"

namespace roikit::cuda {
namespace {

constexpr int kRows = 512;     // of boxes1, in shared memory
constexpr int kBlocks = 528;   // enough to fill a device of 132 multiprocessors, and so few that each has rows to walk

// A thread owns `V` columns; `width` threads stand side by side, `at_once` such rows below each other.
struct Tiling {
  int width, at_once, rows;  // rows: of a block
  int64_t tiles, wide_columns;  // tiles of `width` beside each other; columns in units of V
};

// Blocks go through a row of tiles first.
template <class T, int V, class Measure>
__global__ void measure_pairs(const T* boxes1, const T* boxes2, int64_t n, int64_t m, Tiling tiling, bool wide1, bool wide2,
                           Measure measure, T* out) {
  __shared__ Pack<T, 4> corners[kRows];
  __shared__ T areas[kRows];
  __shared__ T angles[Measure::kAngles ? kRows : 1];
  const int64_t chunk = blockIdx.x / tiling.tiles, tile = blockIdx.x - chunk * tiling.tiles;
  const int64_t first = chunk * tiling.rows;
  const int rows = int(n - first < tiling.rows ? n - first : tiling.rows);
  for (int r = int(threadIdx.x); r < rows; r += int(blockDim.x)) {
    const Box<T> a = read_box(boxes1 + 4 * (first + r), wide1);
    corners[r] = {{a.x1, a.y1, a.x2, a.y2}};
    areas[r] = a.area;
    if (Measure::kAngles) angles[r] = diagonal_angle(a);
  }
  const int begin = int(threadIdx.x) / tiling.width;
  const int64_t column = tile * tiling.width + (int(threadIdx.x) - begin * tiling.width);
  const bool works = begin < tiling.at_once && column < tiling.wide_columns;
  Box<T> b[V];
  T turned[V];
#pragma unroll
  for (int k = 0; k < V; ++k) {
    b[k] = read_box(boxes2 + 4 * (works ? V * column + k : 0), wide2);
    turned[k] = Measure::kAngles ? diagonal_angle(b[k]) : T(0);
  }
  __syncthreads();
  if (!works) return;
  T* to = out + (first + begin) * m + V * column;
  for (int r = begin; r < rows; r += tiling.at_once, to += tiling.at_once * m) {
    const Pack<T, 4> c = corners[r];
    const Box<T> a = {c.v[0], c.v[1], c.v[2], c.v[3], areas[r]};
    const T angle = Measure::kAngles ? angles[r] : T(0);
    Pack<T, V> values;
#pragma unroll
    for (int k = 0; k < V; ++k) values.v[k] = measure(a, angle, b[k], turned[k]);
    *reinterpret_cast<Pack<T, V>*>(to) = values;
  }
}

template <class T, int V, class Measure>
void launch_pairs(const char* op, const View& boxes1, const View& boxes2, Measure measure, const View& out,
                  const Launch& launch) {
  const T* a = boxes1.as<T>();
  const T* b = boxes2.as<T>();
  T* to = out.as<T>();
  const int64_t n = boxes1.shape[0], m = boxes2.shape[0];
  if constexpr (V > 1)
    if (m % V != 0 || !aligned_to(to, V * int64_t(sizeof(T))))
      return launch_pairs<T, V / 2>(op, boxes1, boxes2, measure, out, launch);
  Tiling t;
  t.wide_columns = m / V;
  t.tiles = ceil_div(t.wide_columns, kBlock);
  t.width = int(ceil_div(t.wide_columns, t.tiles));
  if (t.tiles > 1) t.width = int(ceil_div(t.width, kWarp) * kWarp);
  t.at_once = kBlock / t.width;
  const int64_t steps = ceil_div(n * t.tiles, int64_t(kBlocks) * t.at_once), most = kRows / t.at_once;
  t.rows = t.at_once * int(steps < most ? steps : most);
  const unsigned threads = unsigned(ceil_div(t.width * t.at_once, kWarp) * kWarp);
  run(op, launch, measure_pairs<T, V, Measure>, unsigned(ceil_div(n, t.rows) * t.tiles), threads, a, b, n, m, t,
      wide_boxes(a), wide_boxes(b), measure, to);
}

// Most pairs do not meet, and a thread takes one at a time.
PairIouOfFew as_walked(PairIou) { return {}; }
template <class Measure> Measure as_walked(Measure measure) { return measure; }

}  // namespace

template <class Measure>
void every_pair(const char* op, const View& boxes1, const View& boxes2, Measure measure, const View& out,
                const Launch& launch) {
  check_pairs(op, boxes1, boxes2, out, 4);
  if (out.size() == 0) return;
  const DeviceGuard guard(launch.device, op);
  visit<float, double>(boxes1.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch_pairs<T, 16 / int(sizeof(T))>(op, boxes1, boxes2, as_walked(measure), out, launch);
  });
}

template void every_pair(const char*, const View&, const View&, PairIou, const View&, const Launch&);
template void every_pair(const char*, const View&, const View&, PairGeneralizedIou, const View&, const Launch&);
template void every_pair(const char*, const View&, const View&, PairDistanceIou, const View&, const Launch&);
template void every_pair(const char*, const View&, const View&, PairCompleteIou, const View&, const Launch&);

}  // namespace roikit::cuda
