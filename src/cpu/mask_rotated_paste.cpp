// paste_masks_rotated and paste_masks_rotated_rle on the CPU.
//
// As images: a row of an image at a time, pixels in lanes.
//
// As runs: a column of an image is first looked at in steps of up to a cell of the mask. Where all four cells around a
// place, and around places half a cell off, lie on one side of the threshold, so do all pixels of the step; the pixels of
// the others are decided in lanes, with the arithmetic of the images. No image is ever made.
#include "core/mask_rotated.h"

#include <algorithm>
#include <limits>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace roikit::cpu {
namespace {

constexpr int64_t kFrame = 4;    // two cells of 0 before the mask and two after
constexpr int64_t kLanes = 16;   // pixels, or steps, that are looked at at once
constexpr int64_t kChunk = 512;  // pixels of a row

// The mask with its frame; cell (y, x) is at (y + 2) * side + x + 2.
template <class T>
void frame(const T* mask, int64_t cells, std::vector<T>& to) {
  const int64_t side = cells + kFrame;
  to.assign(side * side, T(0));
  for (int64_t y = 0; y < cells; ++y) std::copy(mask + y * cells, mask + (y + 1) * cells, &to[(y + 2) * side + 2]);
}

template <class T>
struct PixelJob {
  RotatedPaste<T> place;
  const T* framed;
  int32_t side;
  T threshold;
};

// The value of a pixel from X * cos, Y * sin, X * sin, Y * cos. What is not covered is put onto the frame.
template <class T>
ROIKIT_INLINE T pixel_value(const PixelJob<T>& job, const T* framed, T x_cos, T y_sin, T x_sin, T y_cos) {
  const T u = job.place.u_at(x_cos, y_sin), v = job.place.v_at(x_sin, y_cos), cells = job.place.cells;
  const T u_up = u > T(-2) ? u : T(-2), v_up = v > T(-2) ? v : T(-2);  // NaN, too
  T far_x, far_y;
  const int32_t x = cell_below(u_up < cells ? u_up : cells, far_x);
  const int32_t y = cell_below(v_up < cells ? v_up : cells, far_y);
  const int32_t at = (y + 2) * job.side + x + 2;
  const T near_x = T(1) - far_x, near_y = T(1) - far_y;
  const T upper = paste_mix(framed[at], near_x, framed[at + 1], far_x);
  const T lower = paste_mix(framed[at + job.side], near_x, framed[at + job.side + 1], far_x);
  return paste_mix(upper, near_y, lower, far_y);
}

// Pixels [0, n) of a row from X * cos and X * sin.
struct PixelRow {
  template <class T, class Out>
  ROIKIT_INLINE static void run(const PixelJob<T> job, const T* ROIKIT_RESTRICT x_cos, const T* ROIKIT_RESTRICT x_sin,
                                T y_sin, T y_cos, int64_t n, Out* ROIKIT_RESTRICT to) {
    const T* ROIKIT_RESTRICT framed = job.framed;
    for (int64_t i = 0; i < n; ++i) {
      const T value = pixel_value(job, framed, x_cos[i], y_sin, x_sin[i], y_cos);
      if constexpr (std::is_same_v<Out, uint8_t>) to[i] = value >= job.threshold;
      else to[i] = value;
    }
  }
};

// X * cos, X * sin of the pixel centres along an axis, and room for lanes beyond its end.
template <class T>
struct Turned {
  std::vector<T> cos, sin;

  Turned(T c, T s, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end + kLanes; ++i) {
      const T centre = T(i) + T(0.5);
      cos.push_back(centre * c);
      sin.push_back(centre * s);
    }
  }
};

template <class T, class Out>
void paste_into(const View& masks, const View& boxes, T threshold, Out* out, int64_t height, int64_t width,
                const Launch& launch) {
  const int64_t n = masks.shape[0], cells = masks.shape[1];
  const T *from = masks.as<T>(), *box = boxes.as<T>();
  // Shared out by rows.
  std::vector<RotatedPaste<T>> places(n);
  std::vector<int64_t> before(n + 1, 0);
  for (int64_t i = 0; i < n; ++i) {
    places[i] = RotatedPaste<T>::of(box + 5 * i, cells);
    const PasteSpan rows = places[i].empty() ? PasteSpan{0, 0} : PasteSpans::of(places[i], height, width).rows();
    before[i + 1] = before[i] + rows.end - rows.begin;
  }
  parallel_for(before[n], 1000, launch, [&](int64_t begin, int64_t end) {
    std::vector<T> framed;
    int64_t i = std::upper_bound(before.begin(), before.end(), begin) - before.begin() - 1;
    for (; i < n && before[i] < end; ++i) {
      const RotatedPaste<T>& place = places[i];
      if (before[i] == before[i + 1]) continue;
      const PasteSpans spans = PasteSpans::of(place, height, width);
      const PasteSpan rows = spans.rows(), columns = spans.columns();
      const int64_t first = rows.begin + std::max<int64_t>(begin - before[i], 0);
      const int64_t last = rows.begin + std::min(end, before[i + 1]) - before[i];
      frame(from + i * cells * cells, cells, framed);
      const Turned<T> x(place.cos, place.sin, columns.begin, columns.end);
      const PixelJob<T> job{place, framed.data(), int32_t(cells + kFrame), threshold};
      for (int64_t j = first; j < last; ++j) {
        const PasteSpan span = spans.in_row(j).within(columns);
        const T centre = T(j) + T(0.5), y_sin = centre * place.sin, y_cos = centre * place.cos;
        Out* const row = out + (i * height + j) * width;
        for (int64_t c = span.begin; c < span.end; c += kChunk)
          vary<PixelRow>(launch.simd, job, x.cos.data() + c - columns.begin, x.sin.data() + c - columns.begin, y_sin,
                         y_cos, std::min(span.end - c, kChunk), row + c);
      }
    }
  });
}

// Which side of the threshold all pixels near a place are on, for places in half cells: kSides bits, 0 where they may be
// on either. Half cell h is [h / 2 - 2, h / 2 - 1.5), and what lies within half a cell of it counts as near.
constexpr uint8_t kOutside = 1, kInside = 2;

template <class T>
class SideMap {
 public:
  const uint8_t* data() const { return near_.data(); }
  int32_t side() const { return int32_t(2 * quads_); }

  void fill(const std::vector<T>& framed, int64_t cells, T threshold) {
    const int64_t side = cells + kFrame;
    const T margin = rounding_margin(framed, threshold), above = threshold + margin, below = threshold - margin;
    quads_ = cells + 2;  // of four cells, the first of them from -2 on
    // A cell of exactly 0 is outside whatever the margin, as 0 is what any mean of zeros is.
    cell_.resize(side * side);
    for (int64_t i = 0; i < side * side; ++i)
      cell_[i] = uint8_t((framed[i] > above ? kInside : 0) | (framed[i] < below ? kOutside : 0) |
                         (framed[i] == T(0) ? kZero : 0));
    quad_.resize(quads_ * quads_);
    for (int64_t y = 0; y < quads_; ++y)
      for (int64_t x = 0; x < quads_; ++x) {
        const uint8_t* c = &cell_[y * side + x];
        const uint8_t all = c[0] & c[1] & c[side] & c[side + 1];
        quad_[y * quads_ + x] = uint8_t((all & (kInside | kOutside)) | (all >> 2));
      }
    // The left half of a quad is near the quad before, the right one near the next.
    const int64_t wide = 2 * quads_;
    row_.resize(wide * quads_);
    for (int64_t y = 0; y < quads_; ++y)
      for (int64_t x = 0; x < quads_; ++x) {
        const uint8_t* q = &quad_[y * quads_];
        row_[y * wide + 2 * x] = q[x] & q[std::max<int64_t>(x - 1, 0)];
        row_[y * wide + 2 * x + 1] = q[x] & q[std::min(x + 1, quads_ - 1)];
      }
    near_.resize(wide * wide);
    for (int64_t y = 0; y < quads_; ++y) {
      const uint8_t *before = &row_[std::max<int64_t>(y - 1, 0) * wide], *r = &row_[y * wide];
      const uint8_t* after = &row_[std::min(y + 1, quads_ - 1) * wide];
      for (int64_t x = 0; x < wide; ++x) near_[2 * y * wide + x] = r[x] & before[x];
      for (int64_t x = 0; x < wide; ++x) near_[(2 * y + 1) * wide + x] = r[x] & after[x];
    }
  }

 private:
  static constexpr uint8_t kZero = kOutside << 2;

  // How far rounding can carry a value out of the interval of its four cells: 6 units of the largest cell; 16 are taken,
  // and the least normal number for what underflows. A cell that is not finite makes nothing certain.
  static T rounding_margin(const std::vector<T>& framed, T threshold) {
    T largest = 0;
    bool finite = true;
    for (const T v : framed) {
      finite = finite && std::isfinite(v);
      largest = std::max(largest, std::abs(v));
    }
    if (!finite) return std::numeric_limits<T>::infinity();
    return 16 * std::numeric_limits<T>::epsilon() * (largest + threshold) + std::numeric_limits<T>::min();
  }

  int64_t quads_ = 0;
  std::vector<uint8_t> cell_, quad_, row_, near_;
};

// Where the steps of a column lie in the map of sides, in half cells: about x + k * dx, y + k * dy.
struct StepJob {
  const uint8_t* map;
  int32_t side;
  float x, y, dx, dy;
};

struct Steps {
  ROIKIT_INLINE static void run(const StepJob job, int64_t n, uint8_t* sides) {
    const float most = float(job.side - 1);
    for (int64_t k = 0; k < n; ++k) {
      const float x = job.x + float(k) * job.dx, y = job.y + float(k) * job.dy;
      const float x_up = x > 0.0f ? x : 0.0f, y_up = y > 0.0f ? y : 0.0f;
      sides[k] = job.map[int32_t(y_up < most ? y_up : most) * job.side + int32_t(x_up < most ? x_up : most)];
    }
  }
};

// Decisions of groups of kLanes pixels of a column from Y * sin and Y * cos, as bits.
struct PixelColumn {
  template <class T>
  ROIKIT_INLINE static void run(const PixelJob<T>* given, T x_cos, T x_sin, const T* y_sin, const T* y_cos,
                                int64_t groups, uint32_t* ROIKIT_RESTRICT inside) {
    const PixelJob<T> job = *given;
    for (int64_t g = 0; g < groups; ++g, y_sin += kLanes, y_cos += kLanes) {
      uint32_t bits = 0;
      for (int64_t i = 0; i < kLanes; ++i)
        bits |= uint32_t(pixel_value(job, job.framed, x_cos, y_sin[i], x_sin, y_cos[i]) >= job.threshold) << i;
      inside[g] = bits;
    }
  }
};

// Scratch of one worker and the encoder of one mask.
template <class T>
class RotatedRunWriter {
 public:
  RotatedRunWriter(int64_t cells, T threshold, int64_t height, int64_t width, Simd simd)
      : cells_(cells), threshold_(threshold), height_(height), width_(width), simd_(simd) {}

  void write(const T* mask, const RotatedPaste<T>& place, std::vector<uint32_t>& counts) {
    runs_ = &counts;
    last_ = 0, inside_ = false;
    if (!place.empty()) columns_of(mask, place);
    if (inside_ && end_ < height_ * width_) turn(end_, false);
    counts.push_back(uint32_t(height_ * width_ - last_));
  }

 private:
  void columns_of(const T* mask, const RotatedPaste<T>& place) {
    const PasteSpans spans = PasteSpans::of(place, height_, width_);
    const PasteSpan columns = spans.columns(), rows = spans.rows();
    if (columns.begin == columns.end || rows.begin == rows.end) return;
    frame(mask, cells_, framed_);
    const Turned<T> y(place.cos, place.sin, rows.begin, rows.end);
    const PixelJob<T> job{place, framed_.data(), int32_t(cells_ + kFrame), threshold_};
    plan_steps(place, spans, rows);
    if (step_ > 1) sides_.fill(framed_, cells_, threshold_);
    for (int64_t i = columns.begin; i < columns.end; ++i) {
      const PasteSpan span = spans.in_column(i).within(rows);
      if (span.begin == span.end) continue;
      const T centre = T(i) + T(0.5), x_cos = centre * place.cos, x_sin = centre * place.sin;
      const int64_t base = i * height_;
      // What lies between two spans is outside.
      if (inside_ && end_ < base + span.begin) turn(end_, false);
      if (step_ > 1) {
        look(place, span, double(i) + 0.5);
        const int64_t n = int64_t(steps_.size());
        for (int64_t k = 0; k < n;) {
          const uint8_t side = steps_[k];
          int64_t stop = k + 1;
          while (stop < n && steps_[stop] == side) ++stop;
          const int64_t from = span.begin + k * step_, to = std::min(span.begin + stop * step_, span.end);
          if (side == 0) decide(job, x_cos, x_sin, y, rows.begin, base, from, to);
          else turn(base + from, side == kInside);
          k = stop;
        }
      } else {
        decide(job, x_cos, x_sin, y, rows.begin, base, span.begin, span.end);
      }
      end_ = base + span.end;
    }
  }

  // How many rows go to a step, so that no pixel of it is half a cell from its middle.
  void plan_steps(const RotatedPaste<T>& place, const PasteSpans& spans, const PasteSpan& rows) {
    const double cells = double(cells_);
    u_scale_ = cells / double(place.x_length), v_scale_ = cells / double(place.y_length);
    const double u = -double(place.sin) * u_scale_, v = double(place.cos) * v_scale_;  // cells a row
    const double most = std::max(absolute(u), absolute(v));
    // What float32 makes of a place, and how far the exact arithmetic may be from it.
    const double off = (cells + 4.0 + most * double(rows.end - rows.begin)) * 1e-6 +
                       spans.slack() * cells / std::min(double(place.x_length), double(place.y_length));
    const double step = 2.0 * (0.5 - off) / most;
    step_ = step > 1.0 ? int64_t(std::min(step, 1e6)) : 1;
    u_step_ = u, v_step_ = v;
  }

  void look(const RotatedPaste<T>& place, const PasteSpan& span, double x) {
    const int64_t n = (span.end - span.begin + step_ - 1) / step_;
    steps_.resize(n);
    const double y = double(span.begin) + 0.5 * double(step_), sin = double(place.sin), cos = double(place.cos);
    const double u = ((x * cos - y * sin) + double(place.x_shift)) - double(place.x_low);
    const double v = ((x * sin + y * cos) + double(place.y_shift)) - double(place.y_low);
    // Half cells from -2 on.
    const StepJob job{sides_.data(), sides_.side(), float(2.0 * (u * u_scale_ + 1.5)), float(2.0 * (v * v_scale_ + 1.5)),
                      float(2.0 * u_step_ * double(step_)), float(2.0 * v_step_ * double(step_))};
    vary<Steps>(simd_, job, n, steps_.data());
  }

  // Rows [begin, end) of a column, pixel by pixel.
  void decide(const PixelJob<T>& job, T x_cos, T x_sin, const Turned<T>& y, int64_t first_row, int64_t base,
              int64_t begin, int64_t end) {
    const int64_t groups = (end - begin + kLanes - 1) / kLanes;
    decisions_.resize(groups);
    vary<PixelColumn>(simd_, &job, x_cos, x_sin, y.sin.data() + begin - first_row, y.cos.data() + begin - first_row,
                      groups, decisions_.data());
    for (int64_t g = 0, j = begin; g < groups; ++g, j += kLanes) {
      const uint32_t bits = decisions_[g];
      const int64_t n = std::min(end - j, kLanes);
      uint32_t changes = (bits ^ (bits << 1 | (inside_ ? 1u : 0u))) & ((1u << n) - 1u);
      for (; changes != 0; changes &= changes - 1) turn(base + j + __builtin_ctz(changes), !inside_);
    }
  }

  void turn(int64_t at, bool inside) {
    if (inside == inside_) return;
    runs_->push_back(uint32_t(at - last_));
    last_ = at;
    inside_ = inside;
  }

  int64_t cells_;
  T threshold_;
  int64_t height_, width_;
  Simd simd_;
  std::vector<uint32_t>* runs_ = nullptr;
  int64_t last_ = 0, end_ = 0;  // where the present run began, and the span of the column before ended
  bool inside_ = false;
  std::vector<T> framed_;
  SideMap<T> sides_;
  int64_t step_ = 1;
  double u_scale_ = 0, v_scale_ = 0, u_step_ = 0, v_step_ = 0;
  std::vector<uint8_t> steps_;
  std::vector<uint32_t> decisions_;
};

}  // namespace

void paste_masks_rotated(const View& masks, const View& boxes, double threshold, const View& out,
                         const Launch& launch) {
  constexpr const char* kOp = "paste_masks_rotated";
  check_paste_rotated(kOp, masks, boxes);
  check_images(kOp, masks, out);
  visit<float, double>(masks.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t height = out.shape[1], width = out.shape[2];
    if (out.dtype == DType::b8)
      paste_into<T>(masks, boxes, T(threshold), static_cast<uint8_t*>(out.data), height, width, launch);
    else
      paste_into<T>(masks, boxes, T(0), out.as<T>(), height, width, launch);
  });
}

void paste_masks_rotated_rle(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                             std::vector<uint32_t>& counts, const View& offsets, const Launch& launch) {
  constexpr const char* kOp = "paste_masks_rotated_rle";
  check_paste_rotated(kOp, masks, boxes);
  check_paste_size(kOp, height, width);
  const int64_t n = masks.shape[0], cells = masks.shape[1];
  require(offsets.size() == n + 1 && offsets.contiguous(), kOp, "offsets must be contiguous (N + 1)");
  visit<float, double>(masks.dtype, kOp, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T limit = T(threshold);
    require(limit > T(0), kOp, "threshold must be above 0");
    const T *from = masks.as<T>(), *box = boxes.as<T>();
    std::vector<RotatedPaste<T>> places(n);
    std::vector<int64_t> before(n + 1, 0);  // columns of the masks before, and one for each mask
    for (int64_t i = 0; i < n; ++i) {
      places[i] = RotatedPaste<T>::of(box + 5 * i, cells);
      before[i + 1] = before[i] + 1;
      if (places[i].empty()) continue;
      const PasteSpan columns = PasteSpans::of(places[i], height, width).columns();
      before[i + 1] += columns.end - columns.begin;
    }
    std::vector<std::vector<uint32_t>> runs(n);
    parallel_for(before[n], 1000, launch, [&](int64_t begin, int64_t end) {
      RotatedRunWriter<T> writer(cells, limit, height, width, launch.simd);
      int64_t i = std::lower_bound(before.begin(), before.end(), begin) - before.begin();
      for (; i < n && before[i] < end; ++i) writer.write(from + i * cells * cells, places[i], runs[i]);
    });
    int64_t* at = offsets.as<int64_t>();
    at[0] = 0;
    for (int64_t i = 0; i < n; ++i) at[i + 1] = at[i] + int64_t(runs[i].size());
    counts.clear();
    counts.reserve(at[n]);
    for (const auto& r : runs) counts.insert(counts.end(), r.begin(), r.end());
  });
}

}  // namespace roikit::cpu
