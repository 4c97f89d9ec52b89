// Runs a block's threads as fibers on one host thread: who is running, who waits for whom, and what they exchange.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;
constexpr int warpSize = 32;

namespace emulation {

enum class Kind { sync, any, count, ballot, shuffle, reduce, match };
enum class State { ready, at_block_barrier, in_warp_operation, done };

struct Fiber {
  static constexpr size_t kStack = 128 * 1024;
  std::unique_ptr<char[]> stack;
  ucontext_t context;
  jmp_buf place;
  bool entered = false;
  State state = State::ready;
  Kind kind = Kind::sync;
  unsigned mask = 0;
  uint64_t value = 0;
  uint64_t received[32] = {};
};

// One launch at a time in a process: device code reads threadIdx and the rest as globals.
struct Machine {
  std::mutex launching;
  std::vector<std::unique_ptr<Fiber>> fibers;
  jmp_buf scheduler;
  ucontext_t origin;
  std::function<void()> body;
  int threads = 0;
  int current = 0;
  uint64_t vote = 0;
  std::string failure;
  std::mt19937 order{20171020};
};

inline Machine& machine() {
  static Machine m;
  return m;
}

inline int lane() { return machine().current % 32; }

inline dim3 index_of(int thread) {
  const unsigned t = unsigned(thread);
  return {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

// Back to the scheduler until it picks this fiber again.
inline void wait() {
  Machine& m = machine();
  if (_setjmp(m.fibers[m.current]->place) == 0) _longjmp(m.scheduler, 1);
}

[[noreturn]] inline void fail(const char* text) {
  Machine& m = machine();
  m.failure = std::string(text) + " (thread " + std::to_string(m.current) + " of block " + std::to_string(blockIdx.x) +
              ", " + std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + ")";
  _longjmp(m.scheduler, 1);
}

inline void fiber_main() {
  Machine& m = machine();
  for (;;) {
    m.body();
    m.fibers[m.current]->state = State::done;
    wait();
  }
}

inline void resume(int thread) {
  Machine& m = machine();
  Fiber& f = *m.fibers[thread];
  m.current = thread;
  threadIdx = index_of(thread);
  if (_setjmp(m.scheduler) != 0) return;
  if (f.entered) _longjmp(f.place, 1);
  f.entered = true;
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack.get();
  f.context.uc_stack.ss_size = Fiber::kStack;
  f.context.uc_link = nullptr;
  makecontext(&f.context, fiber_main, 0);
  swapcontext(&m.origin, &f.context);
}

inline uint64_t block_barrier(Kind kind, uint64_t value) {
  Machine& m = machine();
  Fiber& me = *m.fibers[m.current];
  me.state = State::at_block_barrier, me.kind = kind, me.value = value;
  wait();
  return m.vote;
}

// Gives `value` to the lanes of the mask and returns theirs, once all of them have come to the same operation.
inline const uint64_t* exchange(Kind kind, unsigned mask, uint64_t value) {
  Machine& m = machine();
  const int first = m.current / 32 * 32, mine = m.current - first;
  Fiber& me = *m.fibers[m.current];
  if (!(mask >> mine & 1)) fail("a lane called a warp operation whose mask does not name it");
  me.state = State::in_warp_operation, me.kind = kind, me.mask = mask, me.value = value;
  bool complete = true;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    if (first + i >= m.threads) fail("a warp operation's mask names lanes beyond the block");
    const Fiber& other = *m.fibers[first + i];
    complete &= other.state == State::in_warp_operation && other.mask == mask && other.kind == kind;
  }
  if (!complete) {
    wait();
    return me.received;
  }
  uint64_t values[32] = {};
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) values[i] = m.fibers[first + i]->value;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    Fiber& other = *m.fibers[first + i];
    std::memcpy(other.received, values, sizeof values);
    other.state = State::ready;
  }
  return me.received;
}

// All threads wait: lets them pass if it is at one barrier, and says what is wrong otherwise.
inline void open_barrier(int live) {
  Machine& m = machine();
  uint64_t sum = 0;
  int waiting = 0;
  const Fiber* one = nullptr;
  for (int t = 0; t < m.threads; ++t) {
    const Fiber& f = *m.fibers[t];
    if (f.state == State::done) continue;
    if (f.state != State::at_block_barrier || (one && f.kind != one->kind))
      throw std::logic_error("emulation: threads wait for each other for ever: a warp operation that not all lanes of "
                             "its mask reach, or barriers of different kinds");
    one = &f, sum += f.value, ++waiting;
  }
  if (waiting != m.threads || live != waiting)
    throw std::logic_error("emulation: " + std::to_string(m.threads - waiting) + " of " + std::to_string(m.threads) +
                           " threads left the kernel while the others wait at __syncthreads");
  m.vote = sum;
  for (int t = 0; t < m.threads; ++t) m.fibers[t]->state = State::ready;
}

inline void run_block(std::vector<int>& order) {
  Machine& m = machine();
  std::shuffle(order.begin(), order.end(), m.order);
  for (int t = 0; t < m.threads; ++t) m.fibers[t]->state = State::ready;
  for (int live = m.threads; live > 0;) {
    bool progress = false;
    for (const int t : order) {
      if (m.fibers[t]->state != State::ready) continue;
      resume(t);
      if (!m.failure.empty()) {
        for (auto& f : m.fibers) f->entered = false;
        throw std::logic_error("emulation: " + std::exchange(m.failure, {}));
      }
      progress = true;
      live -= m.fibers[t]->state == State::done;
    }
    if (!progress) {
      try {
        open_barrier(live);
      } catch (...) {
        for (auto& f : m.fibers) f->entered = false;
        throw;
      }
    }
  }
}

template <class Body>
void run_grid(dim3 grid, dim3 block, Body body) {
  Machine& m = machine();
  const std::lock_guard<std::mutex> lock(m.launching);
  gridDim = grid, blockDim = block;
  m.threads = int(block.x * block.y * block.z);
  while (int(m.fibers.size()) < m.threads) {
    m.fibers.push_back(std::make_unique<Fiber>());
    m.fibers.back()->stack = std::make_unique<char[]>(Fiber::kStack);
  }
  m.body = body;
  std::vector<int> order(m.threads);
  std::iota(order.begin(), order.end(), 0);
  const int64_t blocks = int64_t(grid.x) * grid.y * grid.z, first = int64_t(m.order() % uint64_t(blocks));
  const bool backwards = m.order() & 1;
  for (int64_t k = 0; k < blocks; ++k) {
    const int64_t b = backwards ? (first + blocks - k) % blocks : (first + k) % blocks;
    blockIdx = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
    run_block(order);
  }
  m.body = nullptr;
}

}  // namespace emulation
