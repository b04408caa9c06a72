// A parameter sweep: rank 0 scatters parameters, everybody computes its share, rank 0 gathers.
//
//   sbcnn launch --hostfile boards.txt -- build/apps/examples/example_sweep [POINTS]
//
// What is swept here: the growth rate r of the logistic map x <- r x (1 - x), and what is computed
// for each r is its Lyapunov exponent, the mean of log |r (1 - 2 x)| along the orbit: negative
// where the orbit settles down, positive where it is chaotic. Put your own function there.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <vector>

#include "apps/world.h"

namespace {

float lyapunov_exponent(float r) {
  constexpr int kSettle = 1000, kSteps = 20000;
  double x = 0.3;
  double sum = 0;
  for (int i = 0; i < kSettle + kSteps; ++i) {
    x = double(r) * x * (1 - x);
    if (i >= kSettle) {
      sum += std::log(std::max(1e-12, std::abs(double(r) * (1 - 2 * x))));
    }
  }
  return float(sum / kSteps);
}

}  // namespace

int main(int argc, char** argv) try {
  const int points = argc > 1 ? std::atoi(argv[1]) : 101;
  if (points < 2) {
    std::fprintf(stderr, "sweep: give 2 points or more\n");
    return 2;
  }
  const auto world = sbcnn::world();
  const int rank = world->rank();
  const int size = world->size();
  const auto deadline = sbcnn::Clock::now() + std::chrono::seconds(300);

  // Shares that differ by one at most: scatterv takes any counts, the same on all ranks.
  std::vector<std::size_t> counts;
  for (int r = 0; r < size; ++r) {
    counts.push_back(std::size_t((r + 1) * long(points) / size - r * long(points) / size));
  }
  std::vector<float> all;  // on rank 0 alone
  if (rank == 0) {
    for (int i = 0; i < points; ++i) {
      all.push_back(2.8F + 1.2F * float(i) / float(points - 1));
    }
  }
  std::vector<float> mine(counts[std::size_t(rank)]);
  world->scatterv(all, counts, mine, 0, deadline);
  std::vector<float> result;
  for (const float r : mine) {
    result.push_back(lyapunov_exponent(r));
  }
  std::vector<float> results(rank == 0 ? std::size_t(points) : 0);
  world->gatherv(result, results, counts, 0, deadline);

  if (rank == 0) {
    int chaotic = 0;
    for (int i = 0; i < points; ++i) {
      std::printf("%.4f %+.4f\n", double(all[std::size_t(i)]), double(results[std::size_t(i)]));
      chaotic += results[std::size_t(i)] > 0.01F ? 1 : 0;
    }
    std::printf("%d points over %d ranks, %d chaotic\n", points, size, chaotic);
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "sweep: %s\n", e.what());
  return 1;
}
