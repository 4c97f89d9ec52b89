// Large results are fresh memory, and touching it first costs a page fault for every 4 KiB: 20 ms for 50 MB, more
// than computing them. docs/performance.md has the figures and where huge pages lose.
#pragma once

#include <cstdint>

#include "core/launch.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace roikit::cpu {

// Asks for huge pages under a block that is about to be written whole. The first and the last one reach beyond the
// block by less than 2 MiB, into memory that its allocator has mapped anyway: left to small pages, a block of 4 MB
// would pay half of its faults. A hint: nothing depends on its success, and small blocks are left alone.
inline void will_fill(void* data, int64_t bytes, const Launch& launch) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kHuge = uintptr_t(2) << 20;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data) / kHuge * kHuge;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + uintptr_t(bytes) + kHuge - 1) / kHuge * kHuge;
  if (launch.huge_pages && bytes >= int64_t(kHuge))
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
  (void)launch;
#endif
}

}  // namespace roikit::cpu
