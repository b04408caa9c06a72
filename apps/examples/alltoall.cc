// All-to-all: transposes a matrix whose rows are spread over the ranks.
//
//   sbcnn launch --hostfile boards.txt -- build/apps/examples/example_alltoall [ROWS_OF_EACH_RANK]
//
// With R rows on each of N ranks the matrix is N*R x N*R. Each rank sends to each peer the R x R
// block in which its rows meet the peer's columns, already transposed, and puts the blocks that
// it gets side by side: rows of the transposed matrix. No rank ever holds more than its part.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "apps/world.h"

namespace {

float element(int row, int column) {
  return float(row) * 0.5F + float(column) * 3.0F;
}

}  // namespace

int main(int argc, char** argv) try {
  const int rows = argc > 1 ? std::atoi(argv[1]) : 64;
  if (rows < 1 || rows > 4096) {
    std::fprintf(stderr, "alltoall: give 1 to 4096 rows\n");
    return 2;
  }
  const auto world = sbcnn::world();
  const int size = world->size();
  const int first = world->rank() * rows;  // of our rows
  const std::size_t block = std::size_t(rows) * std::size_t(rows);
  std::vector<float> out;  // block after block, in the order of ranks
  for (int peer = 0; peer < size; ++peer) {
    for (int column = peer * rows; column < (peer + 1) * rows; ++column) {
      for (int row = first; row < first + rows; ++row) {
        out.push_back(element(row, column));
      }
    }
  }
  std::vector<float> in(out.size());
  const std::vector<std::size_t> counts(std::size_t(size), block);
  const auto begin = sbcnn::Clock::now();
  world->alltoallv(out, counts, in, counts, begin + std::chrono::seconds(60));
  const std::chrono::duration<double, std::milli> took = sbcnn::Clock::now() - begin;

  // Our row i of the transposed matrix is column first + i of the matrix.
  std::vector<float> wrong(1, 0.0F);
  for (int i = 0; i < rows; ++i) {
    for (int k = 0; k < size * rows; ++k) {
      const std::size_t at = std::size_t(k / rows) * block + std::size_t(i) * std::size_t(rows) +
                             std::size_t(k % rows);
      wrong[0] += in[at] == element(k, first + i) ? 0.0F : 1.0F;
    }
  }
  std::vector<float> all_wrong(1);
  world->allreduce(wrong, all_wrong, sbcnn::Clock::now() + std::chrono::seconds(30));
  if (world->rank() == 0) {
    std::printf("%d x %d matrix over %d ranks transposed in %.2f ms, %g elements wrong\n",
                size * rows, size * rows, size, took.count(), double(all_wrong[0]));
  }
  return all_wrong[0] == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "alltoall: %s\n", e.what());
  return 1;
}
