// What ranks find out about their links, and what hangs on it.
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <vector>

#include "net/faulty_transport.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;

TEST_CASE("all ranks find the same link, in every world") {
  on_every_world([](Communicator& comm) {
    const Link link = comm.measure_link(soon());
    const std::array<float, 3> mine = {float(link.latency), float(link.message_cost),
                                       float(link.bytes_per_second)};
    std::vector<float> all(3 * std::size_t(comm.size()));
    comm.allgather(mine, all, soon());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i] == mine[i % 3]);
    }
    CHECK(link.latency > 0);
    CHECK(link.message_cost >= 0);
    CHECK(link.bytes_per_second >= 1e3);
  });
}

TEST_CASE("a slow link is seen to be slow, and reductions keep their bits") {
  constexpr int kSize = 7;
  constexpr std::size_t kCount = 50'000;
  // Over a link as this one seems to be, another algorithm would be taken.
  REQUIRE(choose(Verb::allreduce, kCount * sizeof(float), kSize) !=
          choose(Verb::allreduce, kCount * sizeof(float), kSize,
                 {.latency = 1e-3, .message_cost = 0, .bytes_per_second = 1e12}));
  auto world = make_world(Kind::inproc, kSize);
  for (auto& transport : world) {
    transport =
        with_faults(std::move(transport), {.longest_delay = std::chrono::microseconds(6'000)});
  }
  const auto errors = outcomes(std::move(world), [](Communicator& comm) {
    std::vector<float> in(kCount), before(kCount), after(kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      in[i] = 1.0f / float(std::size_t(comm.rank()) * 7 + i % 1000 + 1);
    }
    comm.allreduce(in, before, soon());
    const Link link = comm.measure_link(soon());
    CHECK(link.latency > 0.5e-3);
    CHECK(link.latency < 20e-3);
    comm.allreduce(in, after, soon());
    CHECK(after == before);
  });
  CHECK(errors == std::vector<std::string>(kSize));
}
