// What a kernel sees of an array: a pointer, a dtype tag, sizes and strides (in elements). It owns nothing.
// Source: the buffer protocol, PEP 3118, cut down to what the kernels use.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/dtype.h"

namespace roikit {

constexpr int kMaxRank = 5;

struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  int64_t shape[kMaxRank] = {0, 0, 0, 0, 0};
  int64_t stride[kMaxRank] = {0, 0, 0, 0, 0};

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }

  bool contiguous() const {
    const int order[kMaxRank] = {rank - 1, rank - 2, rank - 3, rank - 4, rank - 5};
    return dense(order);
  }

  // (N, C, H, W) stored as N, H, W, C.
  bool channels_last() const {
    const int order[kMaxRank] = {1, 3, 2, 0, 0};
    return rank == 4 && dense(order);
  }

  template <class T>
  T* as() const {
    if (dtype != DTypeOf<T>::value)
      throw std::invalid_argument(std::string("a view of ") + dtype_name(dtype) + " was read as " +
                                  dtype_name(DTypeOf<T>::value));
    return static_cast<T*>(data);
  }

 private:
  // No gaps when the axes are walked from the fastest to the slowest in this order.
  bool dense(const int* order) const {
    if (size() == 0) return true;
    int64_t expected = 1;
    for (int k = 0; k < rank; ++k) {
      const int i = order[k];
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
};

// For the rules of one op, whose name begins the text; core/checks.h has those of several.
inline void require(bool rule, const char* text) {
  if (!rule) throw std::invalid_argument(text);
}

}  // namespace roikit
