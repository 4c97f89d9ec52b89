// soft_nms, fast_nms and matrix_nms on the CPU.
//
// soft_nms: the boxes lie in groups of kGroup neighbours (along a Z-order curve through their centres). Each group knows
// the rectangle around its boxes, so that a box that is taken visits only the groups that it reaches. kRows groups are
// a block, one row each; a block knows the best of each of its kGroup columns, which takes no step across lanes, and
// the next best box is looked for among those. When half of the boxes are gone the others close up.
#include "core/soft_nms.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cpu/columns.h"
#include "cpu/order.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kGroup = 16;
constexpr int64_t kRows = 4;  // groups in a block

// Integers as wide as T, so that they share its lanes.
template <class T> using KeyOf = decltype(search_key(T()));
template <class T> constexpr KeyOf<T> kNone = ~KeyOf<T>(0);

// Up to whole blocks.
constexpr int64_t padded(int64_t n) { return (n + kRows * kGroup - 1) / (kRows * kGroup) * (kRows * kGroup); }

// Spreads the low 12 bits to the even bits.
uint32_t spread(uint32_t v) {
  v = (v | v << 8) & 0x00ff00ffu;
  v = (v | v << 4) & 0x0f0f0f0fu;
  v = (v | v << 2) & 0x33333333u;
  return (v | v << 1) & 0x55555555u;
}

// Boxes along a Z-order curve; those that overlap nothing, whatever their place, at its end.
template <class T> std::vector<uint32_t> along_curve(const T* boxes, const std::vector<uint32_t>& members) {
  constexpr double kCells = 4096;
  double low[2] = {1e300, 1e300}, high[2] = {-1e300, -1e300};
  std::vector<Keyed<uint32_t>> items(members.size());
  auto centre = [&](uint32_t i, int axis) { return 0.5 * boxes[4 * i + axis] + 0.5 * boxes[4 * i + 2 + axis]; };
  for (const uint32_t i : members) {
    if (inert(Box<T>::at(boxes + 4 * int64_t(i)))) continue;
    for (int axis = 0; axis < 2; ++axis) {
      low[axis] = std::min(low[axis], double(centre(i, axis)));
      high[axis] = std::max(high[axis], double(centre(i, axis)));
    }
  }
  for (size_t m = 0; m < members.size(); ++m) {
    uint32_t key = ~0u;
    if (!inert(Box<T>::at(boxes + 4 * int64_t(members[m])))) {
      uint32_t cell[2];
      for (int axis = 0; axis < 2; ++axis) {
        const double part = (centre(members[m], axis) - low[axis]) / (high[axis] - low[axis]);
        cell[axis] = part > 0 ? uint32_t(std::min(part * kCells, kCells - 1)) : 0;  // 0 where part is NaN
      }
      key = spread(cell[0]) | spread(cell[1]) << 1;
    }
    items[m] = {key, members[m]};
  }
  stable_sort(items);
  std::vector<uint32_t> order(members.size());
  for (size_t m = 0; m < order.size(); ++m) order[m] = items[m].index;
  return order;
}

// The boxes that are left, in columns; place says where each one is. The arrays belong to the caller.
template <class T> struct Left {
  using Key = KeyOf<T>;
  T *x1, *y1, *x2, *y2, *area, *score;
  Key *key, *index;  // search_key of the score; kNone: not to be taken
  uint32_t* place;
  T *low_x, *low_y, *high_x, *high_y;  // of each group
  uint8_t* reached;
  Key* best;  // of each block and lane
  int64_t n;

  ROIKIT_INLINE int64_t groups() const { return padded(n) / kGroup; }
  ROIKIT_INLINE int64_t blocks() const { return groups() / kRows; }
};

template <Decay method> struct SoftNms {
  // Decays group g by the box a, and drops what fell below the limit.
  template <class T>
  ROIKIT_INLINE static void touch(const Left<T>& left, int64_t g, const Box<T>& a, const SoftRule<T>& rule) {
    const int64_t p = g * kGroup;
    const T* ROIKIT_RESTRICT x1 = left.x1 + p;
    const T* ROIKIT_RESTRICT y1 = left.y1 + p;
    const T* ROIKIT_RESTRICT x2 = left.x2 + p;
    const T* ROIKIT_RESTRICT y2 = left.y2 + p;
    const T* ROIKIT_RESTRICT area = left.area + p;
    T* ROIKIT_RESTRICT score = left.score + p;
    KeyOf<T>* ROIKIT_RESTRICT key = left.key + p;
    for (int64_t k = 0; k < kGroup; ++k) {
      T s = score[k];
      const T after = s * soft_weight<method>(iou(a, Box<T>{x1[k], y1[k], x2[k], y2[k], area[k]}), rule);
      s = s == lowest_score<T>() ? s : after;
      s = dropped(s, rule.min_score) ? lowest_score<T>() : s;
      score[k] = s;
      key[k] = search_key(s);
    }
  }

  // Finds the best of each lane of a block.
  template <class T> ROIKIT_INLINE static void rank(const Left<T>& left, int64_t block) {
    const KeyOf<T>* ROIKIT_RESTRICT key = left.key + block * kRows * kGroup;
    KeyOf<T>* ROIKIT_RESTRICT best = left.best + block * kGroup;
    for (int64_t k = 0; k < kGroup; ++k) {
      KeyOf<T> top = key[k];
      for (int64_t r = 1; r < kRows; ++r) top = key[r * kGroup + k] < top ? key[r * kGroup + k] : top;
      best[k] = top;
    }
  }

  // How many boxes may still be taken.
  template <class T> ROIKIT_INLINE static int64_t live(const Left<T>& left) {
    int32_t sum = 0;
    for (int64_t p = 0; p < padded(left.n); ++p) sum += left.key[p] != kNone<T> ? 1 : 0;
    return sum;
  }

  // The index of the box to take next, or kNone.
  template <class T> ROIKIT_INLINE static KeyOf<T> next(const Left<T>& left) {
    using Key = KeyOf<T>;
    const Key* ROIKIT_RESTRICT best = left.best;
    const int64_t lanes = left.blocks() * kGroup;
    Key top = kNone<T>, ties = 0, at = 0;
    for (int64_t i = 0; i < lanes; ++i) top = best[i] < top ? best[i] : top;
    if (top == kNone<T>) return top;
    for (int64_t i = 0; i < lanes; ++i) {
      const bool here = best[i] == top;
      at = here ? Key(i) : at;
      ties += here ? 1 : 0;
    }
    // The lowest index among the lane's boxes with this key, or among all boxes where several lanes have it.
    const int64_t step = ties > 1 ? 1 : kGroup;
    const int64_t first = ties > 1 ? 0 : int64_t(at) / kGroup * kGroup * kRows + int64_t(at) % kGroup;
    const int64_t end = ties > 1 ? padded(left.n) : first + kRows * kGroup;
    Key who = kNone<T>;
    for (int64_t p = first; p < end; p += step)
      if (left.key[p] == top && left.index[p] < who) who = left.index[p];
    return who;
  }

  // Closes up the boxes that are left, and sets up the groups.
  template <class T> static void close_up(Left<T>& left) {
    int64_t to = 0;
    for (int64_t p = 0; p < left.n; ++p) {
      if (left.score[p] == lowest_score<T>()) continue;
      for (T* column : {left.x1, left.y1, left.x2, left.y2, left.area, left.score}) column[to] = column[p];
      left.index[to] = left.index[p];
      left.key[to] = search_key(left.score[to]);
      left.place[left.index[to]] = uint32_t(to);
      ++to;
    }
    left.n = to;
    for (; to < padded(left.n); ++to) {
      for (T* column : {left.x1, left.y1, left.x2, left.y2, left.area}) column[to] = T(0);
      left.score[to] = lowest_score<T>();
      left.index[to] = left.key[to] = kNone<T>;
    }
    for (int64_t g = 0; g < left.groups(); ++g) {
      constexpr T kFar = std::numeric_limits<T>::infinity();
      T low_x = kFar, low_y = kFar, high_x = -kFar, high_y = -kFar;
      for (int64_t p = g * kGroup; p < (g + 1) * kGroup; ++p) {
        if (inert(Box<T>{T(0), T(0), T(0), T(0), left.area[p]})) continue;
        low_x = min_of(low_x, left.x1[p]), high_x = max_of(high_x, left.x2[p]);
        low_y = min_of(low_y, left.y1[p]), high_y = max_of(high_y, left.y2[p]);
      }
      left.low_x[g] = low_x, left.low_y[g] = low_y, left.high_x[g] = high_x, left.high_y[g] = high_y;
    }
    for (int64_t block = 0; block < left.blocks(); ++block) rank(left, block);
  }

  // Sets reached[g] for the groups whose rectangle the box reaches.
  template <class T> ROIKIT_INLINE static void mark(const Left<T>& left, int64_t groups, const Box<T>& a) {
    const T* ROIKIT_RESTRICT low_x = left.low_x;
    const T* ROIKIT_RESTRICT low_y = left.low_y;
    const T* ROIKIT_RESTRICT high_x = left.high_x;
    const T* ROIKIT_RESTRICT high_y = left.high_y;
    uint8_t* ROIKIT_RESTRICT reached = left.reached;
    for (int64_t g = 0; g < groups; ++g)
      reached[g] = (a.x1 < high_x[g]) & (low_x[g] < a.x2) & (a.y1 < high_y[g]) & (low_y[g] < a.y2);
  }

  template <class T>
  ROIKIT_INLINE static void run(Left<T> left, SoftRule<T> rule, int64_t* keep, T* decayed, int64_t* count) {
    const bool everywhere = !spares_the_distant<method>(rule);
    close_up(left);
    int64_t found = 0, at_start = live(left), until_count = left.groups();
    for (;;) {
      const KeyOf<T> who = next(left);
      if (who == kNone<T>) break;
      const int64_t p = left.place[who];
      keep[found] = int64_t(who);
      decayed[found++] = left.score[p];
      left.score[p] = lowest_score<T>();
      left.key[p] = kNone<T>;
      const Box<T> a = {left.x1[p], left.y1[p], left.x2[p], left.y2[p], left.area[p]};
      if (everywhere || inert(a)) std::memset(left.reached, everywhere, size_t(left.groups()));
      else mark(left, left.groups(), a);
      left.reached[p / kGroup] = 1;
      for (int64_t block = 0; block < left.blocks(); ++block) {
        uint32_t four;
        static_assert(sizeof four == kRows, "");
        std::memcpy(&four, left.reached + block * kRows, kRows);
        if (!four) continue;
        for (int64_t r = 0; r < kRows; ++r)
          if (left.reached[block * kRows + r]) touch(left, block * kRows + r, a, rule);
        rank(left, block);
      }
      if (--until_count > 0 || left.blocks() == 1) continue;
      if (2 * live(left) < at_start) {
        close_up(left);
        at_start = live(left);
      }
      until_count = left.groups() / 4;
    }
    // What is left has no number for a score, and none that it could decay.
    std::vector<int64_t> rest;
    for (int64_t p = 0; p < left.n; ++p)
      if (left.score[p] != left.score[p]) rest.push_back(int64_t(left.index[p]));
    std::sort(rest.begin(), rest.end());
    for (const int64_t i : rest) {
      keep[found] = i;
      decayed[found++] = std::numeric_limits<T>::quiet_NaN();
    }
    *count = found;
  }
};

template <Decay method, class T>
void soft(const T* boxes, const T* scores, int64_t n, const SoftRule<T>& rule, int64_t* keep, T* decayed,
          int64_t* count, Simd simd) {
  using Key = KeyOf<T>;
  std::vector<uint32_t> members;
  members.reserve(n);
  for (int64_t i = 0; i < n; ++i)
    if (!dropped(scores[i], rule.min_score)) members.push_back(uint32_t(i));
  if (int64_t(members.size()) > 4 * kGroup) members = along_curve(boxes, members);
  const int64_t room = padded(int64_t(members.size())), groups = room / kGroup;
  std::vector<T> values(6 * room + 4 * groups);
  std::vector<Key> keys(2 * room + room / kRows);
  std::vector<uint32_t> place(n);
  std::vector<uint8_t> reached(groups);
  T* const v = values.data();
  T* const of_groups = v + 6 * room;
  Left<T> left = {v,
                  v + room,
                  v + 2 * room,
                  v + 3 * room,
                  v + 4 * room,
                  v + 5 * room,
                  keys.data(),
                  keys.data() + room,
                  place.data(),
                  of_groups,
                  of_groups + groups,
                  of_groups + 2 * groups,
                  of_groups + 3 * groups,
                  reached.data(),
                  keys.data() + 2 * room,
                  int64_t(members.size())};
  for (int64_t p = 0; p < left.n; ++p) {
    const Box<T> b = Box<T>::at(boxes + 4 * int64_t(members[p]));
    left.x1[p] = b.x1, left.y1[p] = b.y1, left.x2[p] = b.x2, left.y2[p] = b.y2, left.area[p] = b.area;
    left.score[p] = scores[members[p]];
    left.index[p] = members[p];
  }
  vary<SoftNms<method>>(simd, left, rule, keep, decayed, count);
}

// Better boxes visit all that follow, a whole group at a time; what that leaves at boxes that had their turn is not read.
struct FastNms {
  template <class T>
  ROIKIT_INLINE static void run(BoxColumns<T> boxes, int64_t n, const uint32_t* order, T threshold, int32_t* gone, uint8_t* kept) {
    for (int64_t i = 0; i < n; ++i) {
      kept[order[i]] = !gone[i];
      const Box<T> a = boxes[i];
      for (int64_t j = (i + 1) / kGroup * kGroup; j < n; j += kGroup) {
        int32_t* ROIKIT_RESTRICT out = gone + j;
        for (int64_t k = 0; k < kGroup; ++k) out[k] |= suppresses(a, boxes[j + k], threshold) ? -1 : 0;
      }
    }
  }
};

template <Decay method> struct MatrixNms {
  // own, state and shared have room for whole groups.
  template <class T>
  ROIKIT_INLINE static void run(BoxColumns<T> boxes, int64_t n, const uint32_t* order, T sigma, T* own, T* state,
                                T* shared, T* scores) {
    using D = MatrixDecay<method, T>;
    for (int64_t i = 0; i < n; ++i) {
      scores[order[i]] *= D::weight(state[i], sigma);
      const Box<T> a = boxes[i];
      const T c = own[i];
      const int64_t first = (i + 1) / kGroup * kGroup, length = (n - first + kGroup - 1) / kGroup * kGroup;
      const T* ROIKIT_RESTRICT x1 = boxes.x1 + first;
      const T* ROIKIT_RESTRICT y1 = boxes.y1 + first;
      const T* ROIKIT_RESTRICT x2 = boxes.x2 + first;
      const T* ROIKIT_RESTRICT y2 = boxes.y2 + first;
      const T* ROIKIT_RESTRICT area = boxes.area + first;
      T* ROIKIT_RESTRICT x = shared;
      T* ROIKIT_RESTRICT o = own + first;
      T* ROIKIT_RESTRICT s = state + first;
      // Loops of their own: GCC 12 gives no lanes to one that writes both own and state.
      for (int64_t k = 0; k < length; ++k) x[k] = iou(a, Box<T>{x1[k], y1[k], x2[k], y2[k], area[k]});
      for (int64_t k = 0; k < length; ++k) o[k] = max_of(x[k], o[k]);
      for (int64_t k = 0; k < length; ++k) s[k] = D::step(s[k], x[k], c);
    }
  }
};

}  // namespace

void soft_nms(const View& boxes, const View& scores, double threshold, double sigma, double min_score, Decay method,
              const View& keep, const View& decayed, const View& count, const Launch& launch) {
  check_soft_nms("soft_nms", boxes, scores, keep, decayed, count);
  const int64_t n = boxes.shape[0];
  visit<float, double>(boxes.dtype, "soft_nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const SoftRule<T> rule = {T(threshold), T(sigma), T(min_score)};
    const auto run = [&](auto kernel) {
      kernel(boxes.as<T>(), scores.as<T>(), n, rule, keep.as<int64_t>(), decayed.as<T>(), count.as<int64_t>(),
             launch.simd);
    };
    if (method == Decay::gaussian) run(soft<Decay::gaussian, T>);
    else if (method == Decay::linear) run(soft<Decay::linear, T>);
    else run(soft<Decay::naive, T>);
    const int64_t found = *count.as<int64_t>();
    std::fill(keep.as<int64_t>() + found, keep.as<int64_t>() + n, int64_t(-1));
    std::fill(decayed.as<T>() + found, decayed.as<T>() + n, T(0));
  });
}

void fast_nms(const View& boxes, const View& scores, const View& idxs, double threshold, int64_t top_k,
              const View& keep, const View& count, const Launch& launch) {
  check_keep("fast_nms", boxes, 4, "scores", scores, keep, count);
  keep_chosen("fast_nms", boxes, scores, &idxs, keep, count, launch,
              [&](auto tag, const uint32_t* members, int64_t n, uint8_t* kept) {
    using T = typename decltype(tag)::type;
    const int64_t looked_at = std::min(n, top_k);
    const ColumnsOf<T> columns(boxes.as<T>(), looked_at, members);
    std::vector<int32_t> gone(padded(looked_at), 0);
    vary<FastNms>(launch.simd, columns.view(), looked_at, members, T(threshold), gone.data(), kept);
  });
}

void matrix_nms(const View& boxes, const View& scores, const View& idxs, double sigma, double min_score, Decay method,
                const View& keep, const View& decayed, const View& count, const Launch& launch) {
  check_soft_nms("matrix_nms", boxes, scores, keep, decayed, count);
  check_vector("matrix_nms", "idxs", idxs, boxes.shape[0]);
  require(method != Decay::naive, "matrix_nms: the decay is linear or gaussian");
  const int64_t n = boxes.shape[0];
  const ByClass classes(score_order("matrix_nms", scores), idxs.as<int64_t>());
  visit<float, double>(boxes.dtype, "matrix_nms", [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::vector<T> after(scores.as<T>(), scores.as<T>() + n);
    classes.each(launch, [&](const uint32_t* members, int64_t size) {
      const ColumnsOf<T> columns(boxes.as<T>(), size, members);
      const auto run = [&](auto walk, T start) {
        std::vector<T> own(padded(size), T(0)), state(padded(size), start), shared(padded(size));
        vary<decltype(walk)>(launch.simd, columns.view(), size, members, T(sigma), own.data(), state.data(),
                             shared.data(), after.data());
      };
      if (method == Decay::gaussian) run(MatrixNms<Decay::gaussian>(), MatrixDecay<Decay::gaussian, T>::kStart);
      else run(MatrixNms<Decay::linear>(), MatrixDecay<Decay::linear, T>::kStart);
    });
    View result = scores;
    result.data = after.data();
    std::vector<uint8_t> kept(n);
    for (int64_t i = 0; i < n; ++i) kept[i] = !dropped(after[i], T(min_score));
    collect_kept(score_order("matrix_nms", result), kept, keep, count);
    const int64_t found = *count.as<int64_t>();
    for (int64_t r = 0; r < n; ++r) decayed.as<T>()[r] = r < found ? after[keep.as<int64_t>()[r]] : T(0);
  });
}

}  // namespace roikit::cpu
