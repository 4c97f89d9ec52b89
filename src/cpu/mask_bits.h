// A part of a mask in bits, and whether the pixels of rectangles in it are all alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu/masks.h"
#include "cpu/simd.h"

namespace roikit::cpu {

constexpr int kWindow = 56;  // bits that one look at a line sees

// Pixels [first, last] of one axis.
struct Extent {
  int64_t first, last;

  int64_t size() const { return last - first + 1; }
};

// Bytes to bits, 8 at a time: bit i is set where byte i is not 0.
struct PackBytes {
  ROIKIT_INLINE static void run(const uint8_t* from, int64_t groups, uint8_t* to) {
    for (int64_t g = 0; g < groups; ++g) {
      uint64_t x;
      std::memcpy(&x, from + 8 * g, 8);
      x = (((x & 0x7f7f7f7f7f7f7f7fu) + 0x7f7f7f7f7f7f7f7fu) | x) & 0x8080808080808080u;
      to[g] = uint8_t(((x >> 7) * 0x0102040810204080u) >> 56);
    }
  }
};

struct CombineLines {
  ROIKIT_INLINE static void run(const uint8_t* any, const uint8_t* all, int64_t step, int64_t n,
                                uint8_t* ROIKIT_RESTRICT to_any, uint8_t* ROIKIT_RESTRICT to_all) {
    for (int64_t i = 0; i < n; ++i) to_any[i] = any[i] | any[i + step];
    for (int64_t i = 0; i < n; ++i) to_all[i] = all[i] & all[i + step];
  }
};

// Words of a line: bits [8 w, 8 w + 16) of it, and above them those of the next line.
struct PairLines {
  ROIKIT_INLINE static void run(const uint8_t* line, const uint8_t* next, int64_t n, uint32_t* ROIKIT_RESTRICT to) {
    for (int64_t w = 0; w < n; ++w)
      to[w] = line[w] | uint32_t(line[w + 1]) << 8 | uint32_t(next[w]) << 16 | uint32_t(next[w + 1]) << 24;
  }
};

// A part of a mask in bits. Lines are rows of bitmaps, columns of runs.
class Patch {
 public:
  // As PairLines makes them, so that two neighbours in two lines are in one of them.
  const uint32_t* words() const { return words_.data(); }
  int64_t stride() const { return words_of_line_; }
  const Extent& lines() const { return lines_; }
  const Extent& bits() const { return bits_; }

  template <class Mask>
  void fill(const Mask& mask, Extent lines, Extent bits, Simd simd) {
    lines_ = lines, bits_ = bits;
    words_of_line_ = (bits.size() - 1) / 8 + 1;
    step_ = words_of_line_ + 7;  // eight bytes are read at once
    line_.assign((lines.size() + 1) * step_, 0);
    read(mask, simd);
    words_.resize(lines.size() * words_of_line_);
    for (int64_t l = 0; l < lines.size(); ++l)
      vary<PairLines>(simd, (const uint8_t*)line_.data() + l * step_, (const uint8_t*)line_.data() + (l + 1) * step_,
                      words_of_line_, words_.data() + l * words_of_line_);
  }

  // Lines combined by 2, 4, ... up to `most` at a time.
  void tabulate(int64_t most, Simd simd) {
    const int64_t lines = lines_.size(), size = lines * step_;
    levels_ = 0;
    while (levels_ < 5 && (int64_t(2) << levels_) <= std::min(most, lines)) ++levels_;
    any_.resize(levels_ * size);
    all_.resize(levels_ * size);
    for (int k = 0; k < levels_; ++k) {
      const int64_t step = step_ << k;
      vary<CombineLines>(simd, any(k), all(k), step, size - (2 * step - step_), any_.data() + k * size,
                         all_.data() + k * size);
    }
  }

  // Whether the pixels of a rectangle are all outside (0), all inside (1), or not all alike (2).
  int kind(Extent lines, Extent bits) const {
    int level = 0;
    while (level < levels_ && (int64_t(2) << level) <= lines.size()) ++level;
    const int64_t window = int64_t(1) << level, last = lines.last - lines_.first - window + 1;
    const uint8_t* const any_of = any(level);
    const uint8_t* const all_of = all(level);
    bool some = false, every = true;
    for (int64_t b = bits.first - bits_.first; b <= bits.last - bits_.first; b += kWindow) {
      const int64_t n = std::min<int64_t>(bits.last - bits_.first - b + 1, kWindow);
      const uint64_t wanted = (uint64_t(1) << n) - 1;
      uint64_t any_bits = 0, all_bits = wanted;
      for (int64_t l = lines.first - lines_.first;; l = std::min(l + window, last)) {
        any_bits |= look(any_of + l * step_, b);
        all_bits &= look(all_of + l * step_, b);
        if (l == last) break;
      }
      some = some || (any_bits & wanted) != 0;
      every = every && (all_bits & wanted) == wanted;
      if (some && !every) return 2;
    }
    return some ? 1 : 0;
  }

 private:
  const uint8_t* any(int level) const {
    return level == 0 ? line_.data() : any_.data() + (level - 1) * lines_.size() * step_;
  }
  const uint8_t* all(int level) const {
    return level == 0 ? line_.data() : all_.data() + (level - 1) * lines_.size() * step_;
  }

  // Bits from b on, kWindow of them at least.
  static uint64_t look(const uint8_t* line, int64_t b) {
    const uint8_t* const h = line + (b >> 3);
    const uint64_t bits = uint64_t(h[0]) | uint64_t(h[1]) << 8 | uint64_t(h[2]) << 16 | uint64_t(h[3]) << 24 |
                          uint64_t(h[4]) << 32 | uint64_t(h[5]) << 40 | uint64_t(h[6]) << 48 | uint64_t(h[7]) << 56;
    return bits >> (b & 7);
  }

  void read(const Bitmap& mask, Simd simd) {
    const int64_t groups = bits_.size() / 8, rest = bits_.size() % 8;
    for (int64_t l = 0; l < lines_.size(); ++l) {
      const uint8_t* const from = mask.data + (lines_.first + l) * mask.row + bits_.first;
      uint8_t* const to = line_.data() + l * step_;
      vary<PackBytes>(simd, from, groups, to);
      for (int64_t i = 0; i < rest; ++i) to[groups] |= uint8_t((from[8 * groups + i] != 0) << i);
    }
  }

  void read(const Runs& mask, Simd) {
    int64_t at = lines_.first * mask.height + bits_.first;
    int64_t k = std::upper_bound(mask.ends, mask.ends + mask.count, at) - mask.ends;  // the run that holds `at`
    for (int64_t l = 0; l < lines_.size(); ++l, at += mask.height) {
      const int64_t end = at + bits_.size();
      while (k < mask.count && mask.ends[k] <= at) ++k;
      for (int64_t begin = at; begin < end && k < mask.count;) {
        const int64_t stop = std::min<int64_t>(mask.ends[k], end);
        if (k % 2 == 1) set(line_.data() + l * step_, begin - at, stop - at);
        begin = stop;
        if (begin < end) ++k;
      }
    }
  }

  // Bits [begin, end) of a line.
  static void set(uint8_t* line, int64_t begin, int64_t end) {
    if (begin >= end) return;
    const int64_t first = begin >> 3, last = (end - 1) >> 3;
    const uint8_t head = uint8_t(0xffu << (begin & 7)), tail = uint8_t(0xffu >> (7 - ((end - 1) & 7)));
    if (first == last) {
      line[first] |= head & tail;
      return;
    }
    line[first] |= head;
    std::memset(line + first + 1, 0xff, size_t(last - first - 1));
    line[last] |= tail;
  }

  Extent lines_ = {0, -1}, bits_ = {0, -1};
  int64_t words_of_line_ = 0, step_ = 0;
  int levels_ = 0;
  std::vector<uint8_t> line_, any_, all_;
  std::vector<uint32_t> words_;
};

}  // namespace roikit::cpu
