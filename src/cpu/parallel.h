// A few threads, started for the call and joined before it returns: no pool, no state, safe after fork.
#pragma once

#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace roikit::cpu {

// Calls fn(begin, end) over chunks of [0, count), the calling thread among the workers. `grain` is the least number
// of items worth a thread (at least 0.2 ms of work). The first exception is carried back. The chunks depend on the
// number of threads, so fn must give each item the same result whichever chunk it is in.
template <class Fn>
void parallel_for(int64_t count, int64_t grain, int threads, const Fn& fn) {
  if (count <= 0) return;
  const int64_t useful = grain > 0 ? (count + grain - 1) / grain : count;
  const int64_t workers = threads < useful ? (threads < 1 ? 1 : threads) : useful;
  if (workers <= 1) {
    fn(int64_t(0), count);
    return;
  }
  std::vector<std::exception_ptr> failed(workers);
  const auto work = [&](int64_t w) {
    try {
      fn(count * w / workers, count * (w + 1) / workers);
    } catch (...) {
      failed[w] = std::current_exception();
    }
  };
  std::vector<std::thread> crew;
  crew.reserve(workers - 1);
  int64_t started = 1;
  try {
    for (; started < workers; ++started) crew.emplace_back(work, started);
  } catch (...) {  // no more threads to be had: the rest is done here
    for (int64_t w = started; w < workers; ++w) work(w);
  }
  work(0);
  for (auto& t : crew) t.join();
  for (const auto& f : failed)
    if (f) std::rethrow_exception(f);
}

}  // namespace roikit::cpu
