// Runs of pasted masks: from where each ends to how long it is.
#pragma once

#include "core/mask_paste.h"
#include "cuda/launch.cuh"

namespace roikit::cuda {

constexpr int kKept = 8;  // changes of a column that are remembered between counting and writing

// The last end of every mask is `total`, and no other is.
__global__ static void lengths(const uint32_t* ends, int64_t runs, uint32_t total, uint32_t* counts) {
  for (int64_t k = first_item(); k < runs; k += item_stride()) {
    const uint32_t begin = k == 0 || ends[k - 1] == total ? 0 : ends[k - 1];
    counts[k] = ends[k] - begin;
  }
}

inline void lengths_of(const char* op, const uint32_t* ends, const View& counts, int64_t total, const Launch& launch) {
  const int64_t runs = counts.size();
  run(op, launch, lengths, grid_for(runs), kBlock, ends, runs, uint32_t(total),
      reinterpret_cast<uint32_t*>(counts.as<int32_t>()));
}

// What counting and writing share; the changes, or their sums, of each chunk of columns.
inline void check_chunks(const char* op, const View& masks, int64_t height, int64_t width, const View& chunked) {
  check_masks(op, masks);
  check_paste_size(op, height, width);
  require(chunked.size() == masks.shape[0] * paste_masks_rle_chunks(width) && chunked.contiguous(), op,
          "changes and upto must be contiguous (N, chunks)");
}

inline uint32_t* check_ends(const char* op, const View& ends, const View& counts) {
  require(ends.contiguous() && counts.contiguous() && ends.size() == counts.size(), op,
          "ends and counts must be contiguous and of one size");
  return reinterpret_cast<uint32_t*>(ends.as<int32_t>());
}

}  // namespace roikit::cuda
