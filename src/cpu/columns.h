// Boxes laid out in columns for vector lanes: scratch of one call.
#pragma once

#include <vector>

#include "core/boxes.h"

namespace roikit::cpu {

// The five columns of n boxes, taken in the given order (or as they stand), with room for a whole vector beyond n.
template <class T>
class ColumnsOf {
 public:
  static constexpr int64_t kPad = 16;

  template <class Index = int64_t>
  ColumnsOf(const T* boxes, int64_t n, const Index* order = nullptr) : stride_(n + kPad), data_(5 * stride_, T(0)) {
    for (int64_t i = 0; i < n; ++i) {
      const Box<T> b = Box<T>::at(boxes + 4 * (order ? int64_t(order[i]) : i));
      T* p = data_.data() + i;
      p[0] = b.x1;
      p[stride_] = b.y1;
      p[2 * stride_] = b.x2;
      p[3 * stride_] = b.y2;
      p[4 * stride_] = b.area;
    }
  }

  BoxColumns<T> view() const {
    const T* p = data_.data();
    return {p, p + stride_, p + 2 * stride_, p + 3 * stride_, p + 4 * stride_};
  }

 private:
  int64_t stride_;
  std::vector<T> data_;
};

}  // namespace roikit::cpu
