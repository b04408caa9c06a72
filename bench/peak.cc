#include "bench/peak.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <limits>
#include <thread>
#include <vector>

#include "bench/peak_loops.h"
#include "core/ports.h"

namespace sbcnn::bench {
namespace {

const PeakLoops& loops_of([[maybe_unused]] const std::string& isa) {
#if defined(__x86_64__)
  return isa == "avx512" ? kPeak_avx512 : isa == "avx2" ? kPeak_avx2 : kPeak_sse2;
#else
  return kPeak_neon;
#endif
}

constexpr int kTries = 32;  // short ones: on a busy machine some are left in peace

// Seconds until f(thread, try) has run on all threads, in the best try.
template <class F>
double least_seconds(int threads, const F& f) {
  double least = std::numeric_limits<double>::infinity();
  std::barrier together(threads);
  const auto run = [&](int thread) {
    for (int i = 0; i < kTries; ++i) {
      const auto begin = Clock::now();
      together.arrive_and_wait();
      f(thread, i);
      together.arrive_and_wait();
      if (thread == 0) {
        least = std::min(least, std::chrono::duration<double>(Clock::now() - begin).count());
      }
    }
  };
  std::vector<std::jthread> others;
  for (int t = 1; t < threads; ++t) {
    others.emplace_back(run, t);
  }
  run(0);
  return least;
}

}  // namespace

Peak measure_peak(const std::string& isa, int threads) {
  const PeakLoops& loops = loops_of(isa);
  std::vector<double> results(std::size_t(threads), 0.0);
  Peak peak;
  constexpr std::size_t kRounds = 100'000;
  double seconds = least_seconds(
      threads, [&](int t, int) { results[std::size_t(t)] = loops.multiply_add(kRounds); });
  peak.gflops = results[0] * threads / seconds * 1e-9;
  // Each try reads other memory, so that it is in no cache but, at most, the last and largest.
  constexpr std::size_t kFloats = 2 << 20;
  const std::vector<float> data(kFloats * std::size_t(kTries * threads), 1.0f);
  seconds = least_seconds(threads, [&](int t, int i) {
    results[std::size_t(t)] =
        double(loops.sum(data.data() + std::size_t(t * kTries + i) * kFloats, kFloats));
  });
  peak.gbytes_per_second = double(kFloats * sizeof(float)) * threads / seconds * 1e-9;
  return peak;
}

}  // namespace sbcnn::bench
