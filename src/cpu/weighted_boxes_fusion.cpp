// weighted_boxes_fusion on the CPU. The fused boxes of a class lie in columns; a box looks for its cluster among a block
// of them at a time, in lanes. Classes are shared among threads.
#include "core/weighted_boxes_fusion.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "cpu/order.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kBlock = 64;  // clusters that are looked at together
constexpr int64_t kColumns = 5;

constexpr int64_t padded(int64_t n) { return (n + kBlock - 1) / kBlock * kBlock; }

// What a class is joined from, and where the results lie. The arrays belong to the caller.
template <class T> struct Joining {
  const T* boxes;
  const T* votes;           // of each box
  const uint32_t* members;  // the class by vote
  int64_t n;
  T threshold;
  T* columns;          // of the fused boxes: kColumns times padded(n), all 0
  FusedBox<T>* found;  // of each cluster
  uint32_t* first;     // its first box
  uint32_t* cluster;   // of each member
};

struct Join {
  // The cluster that the box joins, or -1. Few exceed the best so far, so lanes only say whether any does.
  template <class T>
  ROIKIT_INLINE static int64_t nearest(const Joining<T>& j, int64_t count, const Box<T>& b) {
    using Mask = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
    const int64_t stride = padded(j.n);
    T best = j.threshold;
    int64_t at = -1;
    for (int64_t from = 0; from < count; from += kBlock) {
      const T* ROIKIT_RESTRICT x1 = j.columns + from;
      const T* ROIKIT_RESTRICT y1 = x1 + stride;
      const T* ROIKIT_RESTRICT x2 = y1 + stride;
      const T* ROIKIT_RESTRICT y2 = x2 + stride;
      const T* ROIKIT_RESTRICT area = y2 + stride;
      T value[kBlock];
      Mask any = 0;
      for (int64_t k = 0; k < kBlock; ++k) {
        value[k] = iou(Box<T>{x1[k], y1[k], x2[k], y2[k], area[k]}, b);
        any |= value[k] > best ? -1 : 0;
      }
      if (!any) continue;
      for (int64_t k = 0; k < kBlock; ++k) {
        at = value[k] > best ? from + k : at;
        best = value[k] > best ? value[k] : best;
      }
    }
    return at;
  }

  template <class T> ROIKIT_INLINE static void run(Joining<T> j, int64_t* clusters) {
    const int64_t stride = padded(j.n);
    int64_t count = 0;
    for (int64_t r = 0; r < j.n; ++r) {
      const uint32_t i = j.members[r];
      const Box<T> b = weighted_boxes_fusion_box(j.boxes + 4 * int64_t(i));
      int64_t k = inert(b) ? -1 : nearest(j, count, b);
      if (k >= 0) {
        j.found[k].add(b, j.votes[i]);
      } else {
        k = count++;
        j.found[k] = FusedBox<T>::of(b, j.votes[i]);
        j.first[k] = i;
      }
      j.cluster[r] = uint32_t(k);
      const Box<T> fused = Box<T>::at(j.found[k].box);
      T* const column = j.columns + k;
      column[0] = fused.x1;
      column[stride] = fused.y1;
      column[2 * stride] = fused.x2;
      column[3 * stride] = fused.y2;
      column[4 * stride] = fused.area;
    }
    *clusters = count;
  }
};

// What is found at the first box of each cluster, and the key of each box.
template <class T> struct Found {
  std::vector<T> boxes, sums;
  std::vector<Keyed<uint64_t>> keys;

  explicit Found(int64_t n) : boxes(4 * n), sums(n), keys(n, {uint64_t(kNoCluster), 0}) {}
};

template <class T>
void join(const T* boxes, const T* votes, const int64_t* models, const uint32_t* members, int64_t n, T threshold,
          Simd simd, Found<T>& found) {
  while (n > 0 && votes[members[n - 1]] != votes[members[n - 1]]) --n;  // those left out are last
  if (n == 0) return;
  std::vector<T> columns(kColumns * padded(n), T(0));
  std::vector<FusedBox<T>> fused(n);
  std::vector<uint32_t> first(n), cluster(n);
  int64_t clusters = 0;
  vary<Join>(simd, Joining<T>{boxes, votes, members, n, threshold, columns.data(), fused.data(), first.data(),
                              cluster.data()}, &clusters);
  for (int64_t k = 0; k < clusters; ++k) {
    std::copy(fused[k].box, fused[k].box + 4, found.boxes.begin() + 4 * int64_t(first[k]));
    found.sums[first[k]] = fused[k].sum;
  }
  for (int64_t r = 0; r < n; ++r)
    found.keys[members[r]].key = uint64_t(weighted_boxes_fusion_key(first[cluster[r]], models[members[r]]));
}

void check_models(const View& models, int64_t limit) {
  for (int64_t i = 0; i < models.shape[0]; ++i) {
    const int64_t model = models.as<int64_t>()[i];
    if (model < 0 || model >= limit)
      throw std::out_of_range("weighted_boxes_fusion: models must lie in [0, " + std::to_string(limit) + "), got " +
                              std::to_string(model));
  }
}

template <class T> View vector_view(const std::vector<T>& v) {
  View view;
  view.data = const_cast<T*>(v.data());
  view.dtype = DTypeOf<T>::value;
  view.rank = 1;
  view.shape[0] = int64_t(v.size());
  view.stride[0] = 1;
  return view;
}

}  // namespace

void weighted_boxes_fusion(const View& boxes, const View& scores, const View& idxs, const View& models,
                           const View& weights, double threshold, double skip, FusedScore rule, bool overflow,
                           const View& fused, const View& fused_scores, const View& classes, const View& count,
                           const Launch& launch) {
  const char* const op = "weighted_boxes_fusion";
  const int64_t n = boxes.shape[0], given = weights.size();
  check_weighted_boxes_fusion(boxes, scores, models);
  check_vector(op, "idxs", idxs, n);
  check_vector(op, "weights", weights, given);
  check_rows(op, "fused", fused, 4);
  check_vector(op, "fused_scores", fused_scores, n);
  check_vector(op, "classes", classes, n);
  require(fused.shape[0] == n && count.size() == 1, op, "fused must be contiguous (N, 4), count ()");
  check_models(models, given ? given : kMostModels);
  visit<float, double>(boxes.dtype, op, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* const b = boxes.as<T>();
    const T* const s = scores.as<T>();
    const int64_t* const model = models.as<int64_t>();
    const int64_t* const label = idxs.as<int64_t>();
    const auto all = FusingModels<T>::of(given ? weights.as<T>() : nullptr,
                                         given || n == 0 ? given : *std::max_element(model, model + n) + 1);
    std::vector<T> votes(n);
    for (int64_t i = 0; i < n; ++i)
      votes[i] = weighted_boxes_fusion_vote_of(b + 4 * i, s[i], all.weight(model[i]), T(skip));

    Found<T> found(n);
    ByClass(score_order(op, vector_view(votes)), label).each(launch, [&](const uint32_t* members, int64_t size) {
      join(b, votes.data(), model, members, size, T(threshold), launch.simd, found);
    });

    stable_sort(found.keys);
    std::vector<int64_t> keys(n), first;
    for (int64_t p = 0; p < n; ++p) keys[p] = int64_t(found.keys[p].key);
    std::vector<T> values;
    for (int64_t p = 0; p < n && keys[p] != kNoCluster; ++p) {
      const int64_t i = keys[p] / kMostModels;
      if (!first.empty() && i == first.back()) continue;
      first.push_back(i);
      values.push_back(fused_score_of(keys.data(), p, n, votes[i], found.sums[i], all, rule, overflow));
    }

    int64_t to = 0;
    for (const uint32_t c : score_order(op, vector_view(values))) {
      std::copy_n(found.boxes.begin() + 4 * first[c], 4, fused.as<T>() + 4 * to);
      fused_scores.as<T>()[to] = values[c];
      classes.as<int64_t>()[to++] = label[first[c]];
    }
    *count.as<int64_t>() = to;
  });
}

}  // namespace roikit::cpu
