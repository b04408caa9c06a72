#include "kernels/thread_pool.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace {

using sbcnn::kernels::ThreadPool;

TEST_CASE("ThreadPool runs every task once, in loops of any length") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const int tasks : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> count(static_cast<std::size_t>(tasks));
      pool.parallel_for(tasks, [&](int i) { ++count[std::size_t(i)]; });
      for (const auto& c : count) {
        CHECK(c == 1);
      }
    }
  }
}

TEST_CASE("ThreadPool: what tasks wrote is there when the loop returns, many loops in a row") {
  ThreadPool pool(4);
  std::vector<int> values(64, 0);
  for (int round = 1; round <= 2000; ++round) {
    pool.parallel_for(64, [&](int i) { values[std::size_t(i)] += i; });
    REQUIRE(values[63] == 63 * round);
  }
}

TEST_CASE("ThreadPool wakes workers that fell asleep") {
  ThreadPool pool(3);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> sum{0};
    pool.parallel_for(10, [&](int i) { sum += i; });
    CHECK(sum == 45);
  }
}

TEST_CASE("ThreadPool of one thread runs tasks on the caller, in order") {
  ThreadPool pool(1);
  std::vector<int> order;
  const auto self = std::this_thread::get_id();
  pool.parallel_for(5, [&](int i) {
    CHECK(std::this_thread::get_id() == self);
    order.push_back(i);
  });
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("ThreadPool spreads long tasks over threads") {
  ThreadPool pool(2);
  std::atomic<int> running{0};
  std::atomic<bool> together{false};
  pool.parallel_for(2, [&](int) {
    ++running;
    for (int i = 0; i < 2000 && running < 2; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    together = together || running == 2;
  });
  CHECK(together);
}

TEST_CASE("ThreadPool: others take over what a slow thread has not begun") {
  constexpr int kTasks = 9;
  for (const int slow : {0, 3, 6}) {  // the first task of each thread
    ThreadPool pool(3);
    std::atomic<int> done{0};
    std::atomic<bool> taken_over{false};
    pool.parallel_for(kTasks, [&](int i) {
      for (int wait = 0; i == slow && wait < 5000 && !taken_over; ++wait) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        taken_over = done == kTasks - 1;
      }
      ++done;
    });
    CHECK(taken_over);
    CHECK(done == kTasks);
  }
}

TEST_CASE("ThreadPool: while all are busy, each thread has a run of tasks in order") {
  constexpr int kThreads = 4, kTasks = 4 * 3;
  ThreadPool pool(kThreads);
  std::array<std::atomic<int>, kTasks> thread_of{};
  std::array<std::atomic<int>, 3> arrived{};
  pool.parallel_for(kTasks, [&](int i, int thread) {
    thread_of[std::size_t(i)] = thread;
    // The k-th tasks of all threads wait for each other, so that nobody runs ahead and steals.
    auto& here = arrived[std::size_t(i % 3)];
    ++here;
    for (int wait = 0; wait < 5000 && here < kThreads; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (int i = 0; i < kTasks; ++i) {
    CHECK(thread_of[std::size_t(i)] == i / 3);
  }
}

TEST_CASE("ThreadPool: tells each task its thread, and no two tasks at a time the same") {
  constexpr int kThreads = 4, kTasks = 2000;
  ThreadPool pool(kThreads);
  std::array<std::atomic<int>, kThreads> inside{};
  std::atomic<int> wrong{0}, done{0};
  pool.parallel_for(kTasks, [&](int, int thread) {
    if (thread < 0 || thread >= kThreads) {
      ++wrong;
      return;
    }
    wrong += inside[std::size_t(thread)]++ == 0 ? 0 : 1;
    --inside[std::size_t(thread)];
    ++done;
  });
  CHECK(wrong == 0);
  CHECK(done == kTasks);
}

}  // namespace
