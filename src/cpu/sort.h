// Stable sorting of indices by unsigned keys: least significant digit first. Scratch of one call.
// Source: Knuth, The Art of Computer Programming, vol. 3, section 5.2.5.
#pragma once

#include <cstdint>
#include <vector>

namespace roikit::cpu {

template <class Key>
struct Keyed {
  Key key;
  uint32_t index;
};

// Sorts `items` by key, ascending; equal keys keep their order. Digits that are the same in every key cost nothing,
// so 64-bit keys of a few small classes take one pass.
template <class Key>
void stable_sort(std::vector<Keyed<Key>>& items) {
  constexpr int kDigits = sizeof(Key), kValues = 256;
  const size_t n = items.size();
  if (n < 2) return;
  std::vector<uint32_t> counts(kDigits * kValues, 0);
  for (const auto& item : items)
    for (int d = 0; d < kDigits; ++d) ++counts[d * kValues + uint8_t(item.key >> (8 * d))];
  std::vector<Keyed<Key>> other(n);
  for (int d = 0; d < kDigits; ++d) {
    uint32_t* const place = counts.data() + d * kValues;
    if (place[uint8_t(items[0].key >> (8 * d))] == n) continue;
    uint32_t next = 0;
    for (int v = 0; v < kValues; ++v) {
      const uint32_t here = place[v];
      place[v] = next;
      next += here;
    }
    for (const auto& item : items) other[place[uint8_t(item.key >> (8 * d))]++] = item;
    items.swap(other);
  }
}

}  // namespace roikit::cpu
