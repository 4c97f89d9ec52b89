// Masks as the kernels of targets read them: bytes, or the ends of runs; and which mask belongs to each box.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/mask_target.h"

namespace roikit::cpu {

struct Bitmap {
  const uint8_t* data;
  int64_t height, width, row;
};

// ends[k] is where run k ends; odd runs are inside the object.
struct Runs {
  const uint32_t* ends;
  int64_t count, height, width;
};

class Bitmaps {
 public:
  Bitmaps(const char* op, const View& masks) : masks_(masks) { check_bitmaps(op, masks); }

  int64_t size() const { return masks_.shape[0]; }
  Bitmap operator[](int64_t n) const {
    return {static_cast<const uint8_t*>(masks_.data) + n * masks_.stride[0], masks_.shape[1], masks_.shape[2],
            masks_.stride[1]};
  }

 private:
  View masks_;
};

class RunMasks {
 public:
  RunMasks(const char* op, const View& counts, const View& offsets, const View& sizes)
      : offsets_(offsets.as<int64_t>()), sizes_(sizes.as<int64_t>()), masks_(sizes.shape[0]), ends_(counts.size()) {
    check_runs(op, counts, offsets, sizes);
    const uint32_t* const runs = counts.as<uint32_t>();
    for (int64_t i = 0; i < masks_; ++i) {
      const int64_t *at = offsets_ + i, *size = sizes_ + 2 * i;
      require(at[0] >= 0 && at[0] <= at[1] && at[1] <= counts.size(), op, "offsets must ascend");
      require(size[0] <= INT32_MAX && size[1] <= INT32_MAX, op, "masks must be below 2^31 a side");
      int64_t sum = 0;
      for (int64_t k = at[0]; k < at[1]; ++k) ends_[k] = uint32_t(sum += runs[k]);
      require(sum == size[0] * size[1] && sum <= UINT32_MAX, op, "runs must sum to height * width");
    }
  }

  int64_t size() const { return masks_; }
  Runs operator[](int64_t n) const {
    return {ends_.data() + offsets_[n], offsets_[n + 1] - offsets_[n], sizes_[2 * n], sizes_[2 * n + 1]};
  }

 private:
  const int64_t *offsets_, *sizes_;
  int64_t masks_;
  std::vector<uint32_t> ends_;
};

// Throws std::out_of_range for a `matched` that names none of the masks.
inline void check_matched(const char* op, const View& matched, int64_t masks) {
  const int64_t* which = matched.as<int64_t>();
  for (int64_t r = 0; r < matched.size(); ++r)
    if (which[r] < 0 || which[r] >= masks)
      throw std::out_of_range(std::string(op) + ": matched must lie in [0, " + std::to_string(masks) + "), got " +
                              std::to_string(which[r]));
}

}  // namespace roikit::cpu
