// The input's channels as the backward of deform_conv2d takes them: blocks of two packs within an offset group, cut
// into pieces where they belong to several groups of the weights.
#pragma once

#include <algorithm>
#include <vector>

#include "core/deform_conv.h"
#include "cpu/parallel.h"

namespace roikit::cpu {

// A block's channels in one group of the weights; its weights, and their gradient, as (tap, output of the group, lane).
struct DeformPiece {
  int64_t group, lane, lanes, packed;  // first lane of the block, how many, place among the packed weights
};

struct DeformBlock {
  int64_t offset_group, channel, channels, width;  // width: lanes, whole packs
  int64_t before;                                  // lanes of the blocks before
  size_t pieces, pieces_end;
};

struct DeformBlocks {
  std::vector<DeformBlock> blocks;
  std::vector<DeformPiece> pieces;
  int64_t lanes = 0, packed = 0;

  DeformBlocks(const DeformShape& s, int64_t pack) {
    for (int64_t group = 0; group < s.offset_groups; ++group)
      for (int64_t c = 0; c < s.offset_channels(); c += 2 * pack) {
        const int64_t channels = std::min(2 * pack, s.offset_channels() - c), first = group * s.offset_channels() + c;
        const int64_t width = channels > pack ? 2 * pack : pack;
        blocks.push_back({group, first, channels, width, lanes, pieces.size(), 0});
        for (int64_t at = first; at < first + channels;) {
          const int64_t owner = at / s.group_channels();
          const int64_t end = std::min(first + channels, (owner + 1) * s.group_channels());
          pieces.push_back({owner, at - first, end - at, packed});
          packed += s.taps() * s.group_outputs() * width;
          at = end;
        }
        blocks.back().pieces_end = pieces.size();
        lanes += width;
      }
  }

  // Calls fn(block, piece) for every piece on some threads.
  template <class Fn>
  void each_piece(int64_t work, const Launch& launch, const Fn& fn) const {
    parallel_for(int64_t(blocks.size()), 100000 / (work + 1) + 1, launch, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        for (size_t p = blocks[b].pieces; p < blocks[b].pieces_end; ++p) fn(blocks[b], pieces[p]);
    });
  }
};

}  // namespace roikit::cpu
