// Who is there: every rank says its name, in the order of ranks.
//
//   sbcnn launch --hostfile boards.txt -- build/apps/examples/example_hello
//
// The order comes from a chain of messages: a rank speaks when it hears from the one before it.
// (What several processes print at the same time comes out in whole lines, but in any order.)
#include <chrono>
#include <cstdio>
#include <exception>
#include <vector>

#include "apps/world.h"

int main() try {
  const auto world = sbcnn::world();
  const int rank = world->rank();
  const auto deadline = sbcnn::Clock::now() + std::chrono::seconds(30);
  const sbcnn::net::Tag turn{};  // names the message; one for each pair of ranks will do here
  if (rank > 0) {
    world->recv(rank - 1, turn, deadline);
  }
  std::printf("%s of %d says hello\n", world->peer_name(rank).c_str(), world->size());
  std::fflush(stdout);
  if (rank + 1 < world->size()) {
    const std::vector<float> nothing;
    world->send(rank + 1, turn, nothing);
  }
  world->barrier(deadline);  // nobody leaves while others wait
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "hello: %s\n", e.what());
  return 1;
}
