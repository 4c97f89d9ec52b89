// paste_masks and paste_masks_rle on the CPU.
//
// Masks are framed by zeros and resampled as cpu/resample.h says.
#include "core/mask_paste.h"

#include <algorithm>

#include "cpu/parallel.h"
#include "cpu/resample.h"

namespace roikit::cpu {
namespace {

template <class T>
std::vector<Placed<T>> place(const T* boxes, int64_t n, int64_t cells, int64_t height, int64_t width, PasteRule rule) {
  std::vector<Placed<T>> placed(n);
  for (int64_t i = 0; i < n; ++i) {
    const T* b = boxes + 4 * i;
    placed[i].x = PasteAxis<T>::of(rule, b[0], b[2], cells, width);
    placed[i].y = PasteAxis<T>::of(rule, b[1], b[3], cells, height);
  }
  return placed;
}

// The mask with its frame of zeros, `stride` values a row; transposed where columns are wanted in lanes.
template <class T>
void frame(const T* mask, int64_t cells, int64_t stride, bool transposed, std::vector<T>& to) {
  to.assign((cells + kFrame) * stride, T(0));
  for (int64_t y = 0; y < cells; ++y)
    for (int64_t x = 0; x < cells; ++x)
      to[transposed ? (x + 1) * stride + y + 1 : (y + 1) * stride + x + 1] = mask[y * cells + x];
}

template <class T, class Out>
void paste_into(const View& masks, const View& boxes, T threshold, PasteRule rule, Out* out, int64_t height,
                int64_t width, const Launch& launch) {
  const int64_t n = masks.shape[0], cells = masks.shape[1], stride = cells + kFrame;
  const T* from = masks.as<T>();
  const auto placed = place(boxes.as<T>(), n, cells, height, width, rule);
  // Shared out by area, so that one large mask is split and unequal ones are balanced.
  std::vector<int64_t> before(n + 1, 0);
  for (int64_t i = 0; i < n; ++i)
    before[i + 1] = before[i] + (placed[i].empty() ? 0 : placed[i].columns() * placed[i].rows());
  parallel_for(before[n], 200000, launch, [&](int64_t begin, int64_t end) {
    std::vector<T> framed, pair;
    Taps<T> x, y;
    int64_t i = std::upper_bound(before.begin(), before.end(), begin) - before.begin() - 1;
    for (; i < n && before[i] < end; ++i) {
      const Placed<T>& p = placed[i];
      if (p.empty()) continue;
      const int64_t columns = p.columns();
      // A row belongs to the chunk in which its first pixel lies.
      const int64_t first = begin > before[i] ? (begin - before[i] + columns - 1) / columns : 0;
      const int64_t last = std::min(p.rows(), (end - before[i] + columns - 1) / columns);
      if (first >= last) continue;
      frame(from + i * cells * cells, cells, stride, false, framed);
      pair.resize(2 * columns);
      x.fill(p.x, p.x.begin, p.x.end);
      y.fill(p.y, p.y.begin + first, p.y.begin + last);
      Out* to = out + (i * height + p.y.begin + first) * width + p.x.begin;
      vary<PasteRows>(launch.simd, (const T*)framed.data(), stride, x.ptr(), columns, y.ptr(), last - first,
                      pair.data(), threshold, to, width);
    }
  });
}

}  // namespace

void paste_masks(const View& masks, const View& boxes, double threshold, PasteRule rule, const View& out,
                 const Launch& launch) {
  check_paste_masks(masks, boxes, out);
  visit<float, double>(masks.dtype, "paste_masks", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t height = out.shape[1], width = out.shape[2];
    if (out.dtype == DType::b8)
      paste_into<T>(masks, boxes, T(threshold), rule, static_cast<uint8_t*>(out.data), height, width, launch);
    else
      paste_into<T>(masks, boxes, T(0), rule, out.as<T>(), height, width, launch);
  });
}

void paste_masks_rle(const View& masks, const View& boxes, int64_t height, int64_t width, double threshold,
                     PasteRule rule, std::vector<uint32_t>& counts, const View& offsets, const Launch& launch) {
  check_paste("paste_masks_rle", masks, boxes);
  check_paste_size("paste_masks_rle", height, width);
  const int64_t n = masks.shape[0], cells = masks.shape[1];
  require(offsets.size() == n + 1 && offsets.contiguous(), "paste_masks_rle: offsets must be contiguous (N + 1)");
  visit<float, double>(masks.dtype, "paste_masks_rle", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T limit = T(threshold);
    require(limit > T(0), "paste_masks_rle: threshold must be above 0");
    const T* from = masks.as<T>();
    const auto placed = place(boxes.as<T>(), n, cells, height, width, rule);
    std::vector<int64_t> before(n + 1, 0);  // columns of the masks before, and one for each mask
    for (int64_t i = 0; i < n; ++i) before[i + 1] = before[i] + 1 + (placed[i].empty() ? 0 : placed[i].columns());
    std::vector<std::vector<uint32_t>> runs(n);
    parallel_for(before[n], 2000, launch, [&](int64_t begin, int64_t end) {
      RunWriter<T> writer(limit, height, width, launch.simd);
      const int64_t stride = RunWriter<T>::stride_of(cells);
      std::vector<T> framed;
      int64_t i = std::lower_bound(before.begin(), before.end(), begin) - before.begin();
      for (; i < n && before[i] < end; ++i) {
        if (!placed[i].empty()) frame(from + i * cells * cells, cells, stride, true, framed);
        writer.write(framed, stride, placed[i], runs[i]);
      }
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
