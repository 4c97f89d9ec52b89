// match_boxes on the CPU. Anchors go in blocks of lanes. Neighbours in memory are neighbours in the image, so a block
// meets only the few ground truths that reach into its bounding box; with all others its IoU is 0. Nothing of size N M
// is kept: a first pass finds each anchor's best, each ground truth's best and the blocks in which that was seen; a
// second one visits those blocks again for the low-quality rule.
#include "core/matching.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kBlock = 16;  // a vector of floats at the widest level

template <class T> using Lane = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// What one thread found out about a ground truth: its best IoU, and the first and last block that has it.
template <class T>
struct Peak {
  T iou = std::numeric_limits<T>::denorm_min();  // any IoU above 0 reaches it
  int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
};

template <class T>
struct Block {
  T x1[kBlock], y1[kBlock], x2[kBlock], y2[kBlock], area[kBlock];
  T low[4], high[4];  // over the block, of each coordinate that is a number

  // The boxes from `first` on; NaN beyond the last one.
  ROIKIT_INLINE void load(const T* anchors, int64_t first, int64_t n) {
    const T* p = anchors + 4 * first;
    T padded[4 * kBlock];
    if (first + kBlock > n) {
      for (int64_t k = 0; k < 4 * kBlock; ++k)
        padded[k] = k < 4 * (n - first) ? p[k] : std::numeric_limits<T>::quiet_NaN();
      p = padded;
    }
    constexpr T kInf = std::numeric_limits<T>::infinity();
    T lows[16], highs[16];  // of every fourth box
    for (int k = 0; k < 16; ++k) {
      const T a = p[k], b = p[16 + k], c = p[32 + k], d = p[48 + k];
      lows[k] = min_of(min_of(a == a ? a : kInf, b == b ? b : kInf), min_of(c == c ? c : kInf, d == d ? d : kInf));
      highs[k] =
          max_of(max_of(a == a ? a : -kInf, b == b ? b : -kInf), max_of(c == c ? c : -kInf, d == d ? d : -kInf));
    }
    for (int k = 0; k < 4; ++k) {
      low[k] = min_of(min_of(lows[k], lows[4 + k]), min_of(lows[8 + k], lows[12 + k]));
      high[k] = max_of(max_of(highs[k], highs[4 + k]), max_of(highs[8 + k], highs[12 + k]));
    }
    for (int64_t k = 0; k < kBlock; ++k) {
      x1[k] = p[4 * k];
      y1[k] = p[4 * k + 1];
      x2[k] = p[4 * k + 2];
      y2[k] = p[4 * k + 3];
    }
    for (int64_t k = 0; k < kBlock; ++k) area[k] = box_area(x1[k], y1[k], x2[k], y2[k]);
  }

  ROIKIT_INLINE Box<T> operator[](int64_t k) const { return {x1[k], y1[k], x2[k], y2[k], area[k]}; }
};

// Ground truths in columns, as many as fill the last block of lanes; those beyond M meet nothing.
template <class T>
struct Truths {
  const T* x1;
  const T* y1;
  const T* x2;
  const T* y2;
  const T* area;
  int64_t blocks;

  ROIKIT_INLINE Box<T> operator[](int64_t g) const { return {x1[g], y1[g], x2[g], y2[g], area[g]}; }

  // One bit for each of 16 ground truths from g on that may overlap a box of the block. A block's bounds are those of
  // its corners, so exact comparisons decide.
  ROIKIT_INLINE uint32_t meeting(int64_t g, const Block<T>& block) const {
    Lane<T> bits = 0;
    for (int64_t k = 0; k < kBlock; ++k) {
      const bool meets = may_meet((*this)[g + k], block.low[0], block.low[1], block.high[2], block.high[3]);
      bits |= meets ? Lane<T>(1) << k : Lane<T>(0);
    }
    return uint32_t(bits);
  }
};

template <class T>
struct Result {
  int64_t* index;
  int8_t* label;
  T* iou;
};

struct FindBest {
  template <class T>
  ROIKIT_INLINE static void run(const T* anchors, int64_t n, Truths<T> truths, int64_t begin, int64_t end, T high,
                                T low, Result<T> out, Peak<T>* peaks) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t at = b * kBlock;
      Block<T> block;
      block.load(anchors, at, n);
      T best[kBlock] = {};
      Lane<T> index[kBlock] = {};
      for (int64_t g0 = 0; g0 < truths.blocks * kBlock; g0 += kBlock) {
        for (uint32_t bits = truths.meeting(g0, block); bits; bits &= bits - 1) {
          const int64_t g = g0 + __builtin_ctz(bits);
          const Box<T> gt = truths[g];
          T v[kBlock];
          for (int64_t k = 0; k < kBlock; ++k) v[k] = iou(block[k], gt);
          const T peak = peaks[g].iou;
          Lane<T> reached = 0;
          for (int64_t k = 0; k < kBlock; ++k) {
            reached |= v[k] >= peak ? -1 : 0;
            index[k] = v[k] > best[k] ? Lane<T>(g) : index[k];
            best[k] = v[k] > best[k] ? v[k] : best[k];
          }
          if (reached) note(peaks[g], v, b);
        }
      }
      const int64_t count = n - at < kBlock ? n - at : kBlock;
      for (int64_t k = 0; k < count; ++k) {
        out.index[at + k] = index[k];
        out.label[at + k] = match_label(best[k], high, low);
        out.iou[at + k] = best[k];
      }
    }
  }

  template <class T>
  ROIKIT_INLINE static void note(Peak<T>& peak, const T* v, int64_t b) {
    T top = peak.iou;
    for (int64_t k = 0; k < kBlock; ++k) top = max_of(v[k], top);
    if (top > peak.iou || peak.last < 0) peak.first = b;
    peak.iou = top;
    peak.last = b;
  }
};

struct PromoteLowQuality {
  template <class T>
  ROIKIT_INLINE static void run(const T* anchors, int64_t n, Truths<T> truths, int64_t begin, int64_t end,
                                const Peak<T>* peaks, int8_t* label) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t at = b * kBlock, count = n - at < kBlock ? n - at : kBlock;
      Block<T> block;
      block.load(anchors, at, n);
      for (int64_t g0 = 0; g0 < truths.blocks * kBlock; g0 += kBlock) {
        for (uint32_t bits = truths.meeting(g0, block); bits; bits &= bits - 1) {
          const int64_t g = g0 + __builtin_ctz(bits);
          if (b < peaks[g].first || b > peaks[g].last) continue;
          const Box<T> gt = truths[g];
          const T peak = peaks[g].iou;
          for (int64_t k = 0; k < count; ++k)
            if (iou(block[k], gt) == peak) label[at + k] = 1;
        }
      }
    }
  }
};

template <class T>
class TruthColumns {
 public:
  TruthColumns(const T* boxes, int64_t m) : blocks_((m + kBlock - 1) / kBlock), data_(5 * blocks_ * kBlock) {
    constexpr T kInf = std::numeric_limits<T>::infinity();
    const T nowhere[4] = {kInf, kInf, -kInf, -kInf};
    const int64_t stride = blocks_ * kBlock;
    for (int64_t g = 0; g < stride; ++g) {
      const Box<T> b = Box<T>::at(g < m ? boxes + 4 * g : nowhere);
      const T columns[5] = {b.x1, b.y1, b.x2, b.y2, b.area};
      for (int c = 0; c < 5; ++c) data_[c * stride + g] = columns[c];
    }
  }

  int64_t padded() const { return blocks_ * kBlock; }
  Truths<T> view() const {
    const T* p = data_.data();
    const int64_t s = padded();
    return {p, p + s, p + 2 * s, p + 3 * s, p + 4 * s, blocks_};
  }

 private:
  int64_t blocks_;
  std::vector<T> data_;
};

template <class T>
void match(const T* anchors, int64_t n, const T* gt_boxes, int64_t m, T high, T low, bool allow_low_quality,
           const Result<T>& out, const Launch& launch) {
  const TruthColumns<T> columns(gt_boxes, m);
  const Truths<T> truths = columns.view();
  const int64_t padded = columns.padded(), blocks = (n + kBlock - 1) / kBlock;
  const int64_t grain = 4000 / (truths.blocks + 1) + 1, parts = blocks > grain ? std::max(launch.threads, 1) : 1;
  std::vector<Peak<T>> found(parts * padded);  // each part has peaks of its own, so that no thread waits for another
  parallel_for(parts, 1, launch, [&](int64_t from, int64_t to) {
    for (int64_t w = from; w < to; ++w)
      vary<FindBest>(launch.simd, anchors, n, truths, blocks * w / parts, blocks * (w + 1) / parts, high, low, out,
                     found.data() + w * padded);
  });
  if (!allow_low_quality) return;
  std::vector<Peak<T>> peaks(padded);
  int64_t first = blocks, last = -1;
  for (int64_t g = 0; g < padded; ++g) {
    for (int64_t w = 0; w < parts; ++w) {
      const Peak<T>& one = found[w * padded + g];
      if (one.last < 0 || one.iou < peaks[g].iou) continue;
      if (one.iou > peaks[g].iou) peaks[g] = Peak<T>();
      peaks[g] = {one.iou, std::min(peaks[g].first, one.first), std::max(peaks[g].last, one.last)};
    }
    first = std::min(first, peaks[g].first);
    last = std::max(last, peaks[g].last);
  }
  if (last < 0) return;
  parallel_for(last + 1 - first, grain, launch, [&](int64_t begin, int64_t end) {
    vary<PromoteLowQuality>(launch.simd, anchors, n, truths, first + begin, first + end,
                            static_cast<const Peak<T>*>(peaks.data()), out.label);
  });
}

}  // namespace

void match_boxes(const View& anchors, const View& gt_boxes, double high, double low, bool allow_low_quality,
                 const View& index, const View& label, const View& iou, const Launch& launch) {
  check_match_boxes(anchors, gt_boxes, index, label, iou);
  const int64_t n = anchors.shape[0], m = gt_boxes.shape[0];
  visit<float, double>(anchors.dtype, "match_boxes", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Result<T> out = {index.as<int64_t>(), label.as<int8_t>(), iou.as<T>()};
    if (m == 0) {
      std::fill(out.index, out.index + n, int64_t(-1));
      std::fill(out.label, out.label + n, int8_t(0));
      std::fill(out.iou, out.iou + n, T(0));
      return;
    }
    match(anchors.as<T>(), n, gt_boxes.as<T>(), m, T(high), T(low), allow_low_quality, out, launch);
  });
}

}  // namespace roikit::cpu
