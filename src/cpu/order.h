// Boxes in the order of their scores, and by class within it. Scratch of one call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/checks.h"
#include "core/launch.h"
#include "core/nms.h"
#include "core/view.h"
#include "cpu/parallel.h"
#include "cpu/sort.h"

namespace roikit::cpu {

// Indices of the boxes by descending score; equal scores by index, NaN last.
inline std::vector<uint32_t> score_order(const char* op, const View& scores) {
  const int64_t n = scores.size();
  std::vector<uint32_t> order(n);
  visit<Half, BFloat16, float, double>(scores.dtype, op, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using Key = decltype(descending_key(load(S())));
    const S* s = scores.as<S>();
    std::vector<Keyed<Key>> items(n);
    for (int64_t i = 0; i < n; ++i) items[i] = {descending_key(load(s[i])), uint32_t(i)};
    stable_sort(items);
    for (int64_t i = 0; i < n; ++i) order[i] = items[i].index;
  });
  return order;
}

// The boxes of each class next to each other, those of a class in the given order.
class ByClass {
 public:
  ByClass(const std::vector<uint32_t>& order, const int64_t* classes) : boxes_(order.size()) {
    const int64_t n = int64_t(order.size());
    std::vector<Keyed<uint64_t>> items(n);
    for (int64_t r = 0; r < n; ++r) items[r] = {uint64_t(classes[order[r]]), order[r]};
    stable_sort(items);
    for (int64_t r = 0; r < n; ++r) {
      boxes_[r] = items[r].index;
      if (r == 0 || items[r].key != items[r - 1].key) first_.push_back(r);
    }
  }

  // Calls fn(boxes, count) for each class, the classes shared among threads.
  template <class Fn> void each(const Launch& launch, const Fn& fn) const {
    constexpr int64_t kGrain = 4096;  // boxes; a thread's chunk has the classes that start in it
    const int64_t n = int64_t(boxes_.size());
    parallel_for(n, kGrain, launch, [&](int64_t begin, int64_t end) {
      size_t c = std::lower_bound(first_.begin(), first_.end(), begin) - first_.begin();
      for (; c < first_.size() && first_[c] < end; ++c) {
        const int64_t next = c + 1 < first_.size() ? first_[c + 1] : n;
        fn(boxes_.data() + first_[c], next - first_[c]);
      }
    });
  }

 private:
  std::vector<uint32_t> boxes_;
  std::vector<int64_t> first_;  // where each class starts in boxes_
};

// The kept boxes of `order`; the rest of keep is -1.
inline void collect_kept(const std::vector<uint32_t>& order, const std::vector<uint8_t>& kept, const View& keep,
                         const View& count) {
  int64_t* const out = keep.as<int64_t>();
  int64_t found = 0;
  for (const uint32_t i : order) {
    if (!kept[i]) continue;
    if (found == keep.shape[0]) break;
    out[found++] = i;
  }
  std::fill(out + found, out + keep.shape[0], int64_t(-1));
  *count.as<int64_t>() = found;
}

// Suppression, within each class or, without idxs, of all boxes: choose(TypeTag<T>, members, count, kept) sets kept[box]
// for those it keeps of a class, whose boxes `members` are in the order of their scores. T is the dtype of the boxes.
template <class Choose>
void keep_chosen(const char* op, const View& boxes, const View& scores, const View* idxs, const View& keep,
                 const View& count, const Launch& launch, const Choose& choose) {
  if (idxs) check_vector(op, "idxs", *idxs, boxes.shape[0]);
  const std::vector<uint32_t> order = score_order(op, scores);
  std::vector<uint8_t> kept(order.size(), 0);
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    if (!idxs) return choose(tag, order.data(), int64_t(order.size()), kept.data());
    ByClass(order, idxs->as<int64_t>()).each(launch, [&](const uint32_t* members, int64_t n) {
      choose(tag, members, n, kept.data());
    });
  });
  collect_kept(order, kept, keep, count);
}

}  // namespace roikit::cpu
