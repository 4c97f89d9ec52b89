// Gradients of RoI ops partitioned by output: the maps are cut into tiles, every tile gets one bit for each RoI that
// can touch it, and a block adds up a tile over its set bits in ascending order. So each pixel is written once, by one
// thread, and the sum has the same order in every run.
#pragma once

#include "cuda/launch.cuh"

namespace roikit::cuda {

// What a RoI can touch: a map (level * images + image) and a rectangle of its pixels, borders included. The default
// touches nothing.
struct alignas(16) RoiExtent {
  int32_t map = -1, top = 0, left = 0, bottom = -1, right = -1;
};

struct Tile {
  int32_t level;
  int64_t image;
  int32_t map, top, left;  // as in RoiExtent, and the first pixel
};

// The tiles of Rows x Columns pixels that cover (N, C, H_i, W_i) maps, numbered by level, image, row, column. Kernels
// take it by value.
template <int Rows, int Columns>
class TileGrid {
 public:
  static constexpr int kRows = Rows, kColumns = Columns, kMaxLevels = 16;

  void add(const View& map) {
    require(levels_ < kMaxLevels, "the tiled backward pass takes at most 16 levels");
    require(map.shape[2] <= INT32_MAX - Rows && map.shape[3] <= INT32_MAX - Columns && map.shape[0] <= INT32_MAX / 16,
            "the tiled backward pass takes maps of less than 2^31 pixels a side, and at most 2^27 images");
    Level& level = level_[levels_++];
    images_ = map.shape[0];
    level.first = tiles_;
    level.down = int32_t(ceil_div(map.shape[2], Rows)), level.across = int32_t(ceil_div(map.shape[3], Columns));
    tiles_ += images_ * level.down * level.across;
  }

  int64_t tiles() const { return tiles_; }

  __device__ Tile at(int64_t index) const {
    int level = 0;
    while (level + 1 < levels_ && index >= level_[level + 1].first) ++level;
    const Level& l = level_[level];
    const int64_t rest = index - l.first, row = rest / l.across, image = row / l.down;
    return {level, image, int32_t(level * images_ + image), int32_t(row - image * l.down) * Rows,
            int32_t(rest - row * l.across) * Columns};
  }

  __device__ static bool touches(const RoiExtent& roi, const Tile& tile) {
    return roi.map == tile.map && roi.top < tile.top + Rows && roi.bottom >= tile.top &&
           roi.left < tile.left + Columns && roi.right >= tile.left;
  }

 private:
  struct Level {
    int64_t first;
    int32_t down, across;
  };
  Level level_[kMaxLevels] = {};
  int32_t levels_ = 0;
  int64_t images_ = 0, tiles_ = 0;
};

// Bit j of marks[tile - first][word] tells whether RoI 32 * word + j can touch the tile. One thread a word.
template <class Grid>
__global__ void mark_tiles(Grid grid, int64_t first, int64_t tiles, const RoiExtent* extents, int64_t rois,
                           int64_t words, uint32_t* marks) {
  for (int64_t i = first_item(); i < tiles * words; i += item_stride()) {
    const int64_t word = i / tiles, at = i - word * tiles;  // a warp reads the same RoIs
    const Tile tile = grid.at(first + at);
    uint32_t bits = 0;
    for (int j = 0; j < kWarp; ++j) {
      const int64_t k = word * kWarp + j;
      if (k < rois) bits |= uint32_t(Grid::touches(extents[k], tile)) << j;
    }
    marks[at * words + word] = bits;
  }
}

// Extents and marks in the caller's scratch. Where the marks of all tiles would take more than 64 MiB, the tiles are
// worked in several passes:
//
//   TileMarks marks(workspace, grid, rois, most);  fill marks.extents;
//   marks.each_pass("op", launch, grid, [&](int64_t first, int64_t tiles) { a kernel over tiles first ... });
struct TileMarks {
  RoiExtent* extents;
  uint32_t* marks;
  int64_t rois, words, per_pass;

  // most: how many tiles a launch of the op's kernel can take.
  template <class Grid>
  TileMarks(Workspace& workspace, const Grid& grid, int64_t rois, int64_t most) : rois(rois) {
    constexpr int64_t kLimit = int64_t(1) << 24;  // words
    words = ceil_div(rois, kWarp);
    const int64_t fit = words > 0 ? kLimit / words : most, tiles = fit < most ? fit : most;
    per_pass = tiles < grid.tiles() ? (tiles > 1 ? tiles : 1) : grid.tiles();
    extents = workspace.take<RoiExtent>(rois);
    marks = workspace.take<uint32_t>(per_pass * words);
  }

  template <class Grid, class Fn>
  void each_pass(const char* op, const Launch& launch, const Grid& grid, Fn gather) const {
    for (int64_t first = 0; first < grid.tiles(); first += per_pass) {
      const int64_t tiles = first + per_pass < grid.tiles() ? per_pass : grid.tiles() - first;
      if (words > 0)
        run(op, launch, mark_tiles<Grid>, grid_for(tiles * words), kBlock, grid, first, tiles, extents, rois, words,
            marks);
      gather(first, tiles);
    }
  }
};

// 1024 RoIs of a tile as a warp holds them, 32 to a lane. All lanes construct it and call nth().
class RoiWindow {
 public:
  static constexpr int kWords = kWarp, kRois = kWords * kWarp;

  // words: the tile's marks, count of them; the window begins at the first-th.
  __device__ RoiWindow(const uint32_t* words, int64_t count, int64_t first) {
    const int lane = int(threadIdx.x) % kWarp;
    bits_ = first + lane < count ? words[first + lane] : 0;
    const int own = __popc(bits_);
    int upto = own;
    for (int by = 1; by < kWarp; by *= 2) {
      const int left = __shfl_up_sync(kFullWarp, upto, by);
      if (lane >= by) upto += left;
    }
    before_ = upto - own;
    count_ = __shfl_sync(kFullWarp, upto, kWarp - 1);
  }

  __device__ int count() const { return count_; }

  // All of them in ascending order, as nth() counts them, into an array of kRois.
  __device__ void list(uint16_t* to) const {
    const int lane = int(threadIdx.x) % kWarp;
    int n = before_;
    for (unsigned bits = bits_; bits != 0; bits &= bits - 1) to[n++] = uint16_t(lane * kWarp + __ffs(int(bits)) - 1);
  }

  // The n-th RoI in ascending order, counted from the window's first; 0 <= n < count(), the same in all lanes.
  __device__ int nth(int n) const {
    const int lane = __popc(__ballot_sync(kFullWarp, before_ <= n)) - 1;
    unsigned bits = __shfl_sync(kFullWarp, bits_, lane);
    for (int skip = n - __shfl_sync(kFullWarp, before_, lane); skip > 0; --skip) bits &= bits - 1;
    return lane * kWarp + __ffs(int(bits)) - 1;
  }

 private:
  unsigned bits_;
  int before_, count_;
};

}  // namespace roikit::cuda
