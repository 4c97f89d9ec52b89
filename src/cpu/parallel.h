// A few threads for one call: borrowed from the caller's team, or started here and joined. No pool, no state.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "core/launch.h"

namespace roikit::cpu {

// Calls fn(begin, end) over chunks of [0, count), the calling thread among the workers. `grain` is the least number of
// items worth a thread of their own (at least 0.2 ms of work); waking a team costs a tenth of starting a thread, so that
// less will do. The first exception is carried back. The chunks depend on the number of threads, so fn must give each
// item the same result whichever chunk it is in.
template <class Fn>
void parallel_for(int64_t count, int64_t grain, const Launch& launch, const Fn& fn) {
  if (count <= 0) return;
  if (launch.team) grain = (grain + 7) / 8;
  const int64_t useful = grain > 1 ? (count + grain - 1) / grain : count;
  const int64_t chunks = launch.threads < useful ? launch.threads : useful;
  if (chunks <= 1) {
    fn(int64_t(0), count);
    return;
  }
  std::vector<std::exception_ptr> failed(chunks);
  std::atomic<int64_t> next{0};
  // Chunks are claimed and not dealt out: a team may have fewer threads than were asked for, and no thread waits for
  // one that has not begun.
  auto work = [&] {
    for (int64_t chunk; (chunk = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) {
      try {
        fn(count * chunk / chunks, count * (chunk + 1) / chunks);
      } catch (...) {
        failed[chunk] = std::current_exception();
      }
    }
  };
  if (launch.team) {
    // All of the team, though some will find nothing to claim: it shrinks by ending threads, which the next call, or
    // the next operation of torch, would have to start anew.
    launch.team([](void* w) { (*static_cast<decltype(work)*>(w))(); }, &work, unsigned(launch.threads), 0);
  } else {
    std::vector<std::thread> crew;
    crew.reserve(chunks - 1);
    try {
      for (int64_t started = 1; started < chunks; ++started) crew.emplace_back(work);
    } catch (...) {  // no more threads to be had: those there are do the rest
    }
    work();
    for (auto& t : crew) t.join();
  }
  for (const auto& f : failed)
    if (f) std::rethrow_exception(f);
}

}  // namespace roikit::cpu
