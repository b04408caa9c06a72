// A few threads that split one loop among them.
//
// The caller is one of the threads: a pool of one starts none and costs nothing. Between loops the
// others spin for some microseconds, then sleep.
//
// Each thread has an equal run of the tasks as its own and takes them in order, so that from layer
// to layer it finds in its caches what it left there. A thread that has finished takes over the
// last tasks of others. Who runs a task is left to chance in that, so its result must not depend on
// it; then results are the same for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace sbcnn::kernels {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // the caller included; at least 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return int(workers_.size()) + 1; }

  // Calls f(i), or f(i, thread) with 0 <= thread < threads(), once for each 0 <= i < tasks and
  // returns when all are done. f must not throw. One loop at a time; not from within a task.
  template <class F>
  void parallel_for(int tasks, const F& f) {
    if (workers_.empty() || tasks <= 1) {
      for (int i = 0; i < tasks; ++i) {
        call(f, i, 0);
      }
      return;
    }
    run(
        tasks, [](const void* g, int i, int thread) { call(*static_cast<const F*>(g), i, thread); },
        &f);
  }

 private:
  using Call = void (*)(const void* f, int i, int thread);

  template <class F>
  static void call(const F& f, int i, int thread) {
    if constexpr (std::is_invocable_v<const F&, int, int>) {
      f(i, thread);
    } else {
      f(i);
    }
  }

  // Tasks not yet taken of those that are one thread's own: first and end, in one word so that the
  // owner and thieves agree.
  struct alignas(64) Queue {
    std::atomic<std::uint64_t> tasks{0};
    void fill(int first, int end);
    int pop_front();  // -1: empty
    int pop_back();
  };

  void run(int tasks, Call, const void* f);
  void take_tasks(int thread);
  void work(int thread);
  void stop();

  std::vector<std::thread> workers_;
  std::vector<Queue> queues_;  // by thread
  Call call_ = nullptr;        // the loop in progress; written before it is open
  const void* f_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> round_{0};   // counts loops
  alignas(64) std::atomic<std::uint32_t> inside_{0};  // workers that may be at its tasks
  std::atomic<bool> open_{false};
  std::atomic<bool> stopping_{false};
};

}  // namespace sbcnn::kernels
