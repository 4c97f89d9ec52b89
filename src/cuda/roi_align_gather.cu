// RoIAlign backward with the same bits in every run, partitioned by output (roi_tiles.cuh): a block owns a tile of a
// map in some channels, holds its sums in registers, and walks the RoIs that can touch the tile in ascending order.
#include "core/roi_align.h"

#include "cuda/roi_align_gather.cuh"

namespace roikit::cuda {
namespace {

using namespace gather;

constexpr const char* kOp = "roi_align_backward";

// One thread a RoI.
template <class T, class B>
__global__ void find_extents(AlignLevels levels, const B* boxes, int64_t rois, int64_t rows, int64_t columns,
                             RoiAlignRule rule, RoiExtent* extents) {
  for (int64_t k = first_item(); k < rois; k += item_stride()) {
    const B* box = boxes + 5 * k;
    const int64_t image = image_of(box[0], levels.images);
    RoiExtent extent;
    if (image >= 0) {
      const int place = pyramid_level(box + 1, levels.threshold, levels.count - 1);
      const int64_t height = levels.height[place], width = levels.width[place];
      const T scale = T(levels.scale[place]);
      const AxisSpan y =
          touched_span(SampleAxis<T>::of(T(box[2]), T(box[4]), scale, rows, height, rule), rows, height);
      const AxisSpan x =
          touched_span(SampleAxis<T>::of(T(box[1]), T(box[3]), scale, columns, width, rule), columns, width);
      if (y.begin < y.end && x.begin < x.end)
        extent = {int32_t(place * levels.images + image), int32_t(y.begin), int32_t(x.begin), int32_t(y.end - 1),
                  int32_t(x.end - 1)};
    }
    extents[k] = extent;
  }
}

template <class F, class B>
__global__ void __launch_bounds__(kBlock, sizeof(sample_t<F, B>) == 8 ? 2 : 3) gather_tiles(Gather<F> job) {
  using S = Shared<F>;
  __shared__ S shared;
  const int at = int(blockIdx.x) / job.blocks;
  if (threadIdx.x == 0) {
    shared.tile = job.tiles.at(job.first + at);
    shared.channel = (int(blockIdx.x) - at * job.blocks) * S::kChannels;
  }
  __syncthreads();
  const int warp = int(threadIdx.x) / kWarp;
  Sums<F> sums;
  for (int word = 0; word < job.words; word += RoiWindow::kWords) {
    const RoiWindow rois(job.marks + int64_t(at) * job.words, job.words, word);
    const int units = rois.count() * job.chunks;
    for (int begin = 0; begin < units; begin += S::kUnits) {
      const int mine = begin + warp;
      if (warp < S::kUnits) {
        if (mine < units) {
          const int n = job.chunks == 1 ? mine : mine / job.chunks;
          make_unit<B>(job, shared.tile, int64_t(word) * kWarp + rois.nth(n), mine - n * job.chunks, shared.unit[warp]);
        } else if (threadIdx.x % kWarp == 0) {
          shared.unit[warp].rows = 0;
        }
      }
      __syncthreads();
      Cursor<F> from;
      do {
        Cursor<F> cursor = from;
        Segment segment, own{-1, 0, 0, 0};
        while (cursor.next(shared, segment))
          if (int(threadIdx.x) >= segment.slot && int(threadIdx.x) < cursor.slot) own = segment;
        if (own.unit >= 0) stage(job, own, shared);
        __syncthreads();
        for (cursor = from; cursor.next(shared, segment);) sums.add(shared, segment);
        from = {cursor.unit, cursor.row, 0};
        __syncthreads();
      } while (from.unit < S::kUnits);
    }
  }
  sums.write(job, shared.tile, shared.channel);
}

AlignTiles tiles_of(const std::vector<View>& maps) {
  AlignTiles tiles;
  for (const View& map : maps) tiles.add(map);
  return tiles;
}

int64_t blocks_of(const View& grad) {
  const int64_t channels = grad.dtype == DType::f64 ? Shared<double>::kChannels : Shared<float>::kChannels;
  return ceil_div(grad.shape[1], channels);
}

TileMarks marks_of(Workspace& workspace, const AlignTiles& tiles, const View& grad) {
  const int64_t blocks = blocks_of(grad);
  return TileMarks(workspace, tiles, grad.shape[0], INT32_MAX / (blocks > 0 ? blocks : 1));
}

template <class F, class B>
void launch_gather(const View& grad, const View& boxes, const RoiAlignLevels& gradients, const RoiAlignRule& rule,
                   const AlignTiles& tiles, const TileMarks& marks, bool channels_last, const Launch& launch) {
  const int64_t channels = grad.shape[1], bins = grad.shape[2] * grad.shape[3];
  const bool grad_last = !grad.contiguous(), whole = channels * int64_t(sizeof(F)) % 16 == 0;
  const AlignLevels levels(gradients);
  Gather<F> job{levels};
  job.tiles = tiles, job.grad = grad.as<F>();
  job.roi_stride = channels * bins, job.channel_stride = grad_last ? 1 : bins;
  job.bin_stride = grad_last ? channels : 1;
  job.grad_vectors = grad_last && whole && aligned_to(job.grad, 16);
  job.boxes = boxes.data, job.rule = rule;
  job.channels = int(channels), job.rows = grad.shape[2], job.columns = grad.shape[3];
  job.bands = int(ceil_div(job.columns, kBins)), job.chunks = int(ceil_div(job.rows, kBins) * job.bands);
  job.channels_last = channels_last, job.vectors = channels_last && whole;
  for (const View& map : gradients.maps) job.vectors = job.vectors && aligned_to(map.as<F>(), 16);
  job.blocks = int(blocks_of(grad)), job.words = int(marks.words), job.marks = marks.marks;
  if (marks.rois > 0)
    run(kOp, launch, find_extents<sample_t<F, B>, B>, grid_for(marks.rois), kBlock, levels, boxes.as<B>(), marks.rois,
        job.rows, job.columns, rule, marks.extents);
  marks.each_pass(kOp, launch, tiles, [&](int64_t first, int64_t count) {
    job.first = first;
    run(kOp, launch, gather_tiles<F, B>, unsigned(count * job.blocks), kBlock, job);
  });
}

}  // namespace

int64_t roi_align_backward_gather_workspace(const View& grad, const std::vector<View>& gradients) {
  Workspace workspace;
  marks_of(workspace, tiles_of(gradients), grad);
  return workspace.bytes();
}

void roi_align_backward_gather(const View& grad, const View& boxes, const RoiAlignLevels& gradients,
                               const RoiAlignRule& rule, const Launch& launch) {
  const bool channels_last = check_roi_align_grad(kOp, gradients, boxes, grad);
  require(grad.shape[1] <= INT32_MAX / 2 && grad.shape[2] <= kLargest && grad.shape[3] <= kLargest,
          "roi_align_backward: at most 2^30 channels and 16000 x 16000 bins");
  const AlignTiles tiles = tiles_of(gradients.maps);
  Workspace workspace(launch.workspace);
  const TileMarks marks = marks_of(workspace, tiles, grad);
  workspace.check(kOp, launch);
  if (tiles.tiles() == 0 || grad.shape[1] == 0) return;
  const DeviceGuard guard(launch.device, kOp);
  visit<float, double>(boxes.dtype, kOp, [&](auto box) {
    visit<float, double, Half, BFloat16>(grad.dtype, kOp, [&](auto tag) {
      using F = typename decltype(tag)::type;
      using B = typename decltype(box)::type;
      launch_gather<F, B>(grad, boxes, gradients, rule, tiles, marks, channels_last, launch);
    });
  });
}

}  // namespace roikit::cuda
