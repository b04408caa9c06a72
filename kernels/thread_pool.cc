#include "kernels/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "kernels/flush_to_zero.h"

namespace sbcnn::kernels {
namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` is no longer `old`. Layers follow each other within microseconds, and a
// sleeping thread needs tens of them to wake; beyond that the core is better left to others.
std::uint32_t await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  using SpinClock = std::chrono::steady_clock;
  constexpr std::chrono::microseconds kSpinning{200};
  constexpr int kPausesPerLook = 32;
  const auto begin = SpinClock::now();
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      const std::uint32_t now = value.load(std::memory_order_acquire);
      if (now != old) {
        return now;
      }
      pause();
    }
  } while (SpinClock::now() - begin < kSpinning);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

int first_of(std::uint64_t tasks) {
  return int(tasks >> 32);
}

int end_of(std::uint64_t tasks) {
  return int(tasks & 0xffffffff);
}

}  // namespace

void ThreadPool::Queue::fill(int first, int end) {
  tasks.store(std::uint64_t(first) << 32 | std::uint64_t(end), std::memory_order_relaxed);
}

int ThreadPool::Queue::pop_front() {
  std::uint64_t now = tasks.load(std::memory_order_relaxed);
  while (first_of(now) < end_of(now)) {
    if (tasks.compare_exchange_weak(now, now + (std::uint64_t(1) << 32),
                                    std::memory_order_relaxed)) {
      return first_of(now);
    }
  }
  return -1;
}

int ThreadPool::Queue::pop_back() {
  std::uint64_t now = tasks.load(std::memory_order_relaxed);
  while (first_of(now) < end_of(now)) {
    if (tasks.compare_exchange_weak(now, now - 1, std::memory_order_relaxed)) {
      return end_of(now) - 1;
    }
  }
  return -1;
}

ThreadPool::ThreadPool(int threads) : queues_(std::size_t(std::max(threads, 1))) {
  require(threads >= 1, "ThreadPool: wants at least one thread");
  workers_.reserve(std::size_t(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) {
      workers_.emplace_back([this, i] { work(i); });
    }
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

// The caller waits only for workers that joined: one that sleeps on, because its core is busy with
// something else, holds nobody up. A worker joins (inside_) before it looks whether the loop is
// open, and the caller closes it before it looks who is inside; in the one order of all seq_cst
// operations, one of them sees the other.
void ThreadPool::run(int tasks, Call each, const void* f) {
  call_ = each;
  f_ = f;
  for (int i = 0, first = 0; i < threads(); ++i) {
    const int end = int(std::int64_t(tasks) * (i + 1) / threads());
    queues_[std::size_t(i)].fill(first, end);
    first = end;
  }
  open_.store(true);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  take_tasks(0);
  open_.store(false);
  while (const std::uint32_t left = inside_.load()) {
    await_change(inside_, left);
  }
}

void ThreadPool::take_tasks(int thread) {
  Queue& own = queues_[std::size_t(thread)];
  for (int task = own.pop_front(); task >= 0; task = own.pop_front()) {
    call_(f_, task, thread);
  }
  for (int i = 1; i < threads(); ++i) {
    Queue& other = queues_[std::size_t((thread + i) % threads())];
    for (int task = other.pop_back(); task >= 0; task = other.pop_back()) {
      call_(f_, task, thread);
    }
  }
}

void ThreadPool::work(int thread) {
  const FlushToZero flush;
  std::uint32_t round = 0;
  while (true) {
    round = await_change(round_, round);
    if (stopping_.load(std::memory_order_relaxed)) {
      return;
    }
    inside_.fetch_add(1);
    if (open_.load()) {
      take_tasks(thread);
    }
    if (inside_.fetch_sub(1) == 1) {
      inside_.notify_all();
    }
  }
}

}  // namespace sbcnn::kernels
