// RoIs by image: the check of the batch index, and the order in which they are worked.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/view.h"

namespace roikit::cpu {

// The image of row k of boxes (K, 5), or of rotated ones (K, 6).
template <class T>
int64_t image_of(const char* op, const T* boxes, int64_t k, int64_t images, int64_t columns = 5) {
  const T index = boxes[columns * k];
  if (!(index >= T(0) && index < T(images) && index == std::floor(index))) {
    std::string text = std::to_string(double(index));
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text += '0';
    throw std::out_of_range(std::string(op) + ": boxes must have a whole batch index in [0, " +
                            std::to_string(images) + "), got " + text);
  }
  return int64_t(index);
}

inline void check_batch_index(const char* op, const View& boxes, int64_t images) {
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t k = 0; k < boxes.shape[0]; ++k) image_of(op, boxes.as<T>(), k, images, boxes.shape[1]);
  });
}

// Rows grouped by a key in [0, keys), in their own order inside a group: rows[begin[key]] ... rows[begin[key + 1] - 1].
struct Groups {
  std::vector<int64_t> begin, rows;

  Groups(const std::vector<int64_t>& key_of_row, int64_t keys) : begin(keys + 1, 0), rows(key_of_row.size()) {
    for (const int64_t key : key_of_row) ++begin[key + 1];
    for (int64_t key = 0; key < keys; ++key) begin[key + 1] += begin[key];
    std::vector<int64_t> next(begin.begin(), begin.end() - 1);
    for (size_t row = 0; row < key_of_row.size(); ++row) rows[next[key_of_row[row]]++] = int64_t(row);
  }
};

}  // namespace roikit::cpu
