// A ring: a block of floats goes round all ranks, and each adds its rank to it.
//
//   sbcnn launch --hostfile boards.txt -- build/apps/examples/example_ring [LAPS] [FLOATS]
//
// Every rank receives before it sends, but rank 0, which begins. Rank 0 prints the mean time of a
// hop and checks the sum: after L laps of N ranks every float is L * N * (N - 1) / 2.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "apps/world.h"

namespace {

// Laps count as frames do: a tag is used once between two ranks.
sbcnn::net::Tag tag_of(int lap) {
  return {.context = sbcnn::net::Context::user, .frame = std::uint32_t(lap)};
}

}  // namespace

int main(int argc, char** argv) try {
  const int laps = argc > 1 ? std::atoi(argv[1]) : 10;
  const int floats = argc > 2 ? std::atoi(argv[2]) : 1000;
  if (laps < 1 || floats < 1) {
    std::fprintf(stderr, "ring: give numbers of laps and floats\n");
    return 2;
  }
  const auto world = sbcnn::world();
  const int rank = world->rank();
  const int size = world->size();
  const int next = (rank + 1) % size;
  const int previous = (rank + size - 1) % size;
  std::vector<float> block(std::size_t(floats), 0.0F);
  const auto begin = sbcnn::Clock::now();
  for (int lap = 0; lap < laps; ++lap) {
    const auto deadline = sbcnn::Clock::now() + std::chrono::seconds(30);
    if (rank == 0) {
      world->send(next, tag_of(lap), block);
    }
    world->irecv(previous, tag_of(lap), block).wait(deadline);
    if (rank != 0) {
      for (float& value : block) {
        value += float(rank);
      }
      world->send(next, tag_of(lap), block);
    }
  }
  if (rank == 0) {
    const std::chrono::duration<double, std::micro> took = sbcnn::Clock::now() - begin;
    const float expected = float(laps * size * (size - 1) / 2);
    std::printf("%d laps over %d ranks: %.1f us a hop, every float is %g\n", laps, size,
                took.count() / (laps * size), double(block[0]));
    for (const float value : block) {
      if (value != expected) {
        std::fprintf(stderr, "ring: %g instead of %g\n", double(value), double(expected));
        return 1;
      }
    }
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "ring: %s\n", e.what());
  return 1;
}
