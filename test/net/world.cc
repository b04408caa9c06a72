#include "world.h"

#include <doctest/doctest.h>

#include <numeric>
#include <thread>

#include "net/inproc.h"

namespace sbcnn::net::test {

std::string name_of(Kind kind) {
  switch (kind) {
    case Kind::inproc:
      return "inproc";
    case Kind::tcp:
      return "tcp";
    case Kind::ipc:
      return "ipc";
    case Kind::curve:
      return "tcp with CURVE";
  }
  return "";
}

Deadline in(std::chrono::milliseconds t) {
  return Clock::now() + t;
}

std::vector<std::unique_ptr<Transport>> make_world(Kind kind, int size, ZmqOptions options) {
  std::vector<std::string> hosts;
  for (int r = 0; r < size; ++r) {
    hosts.push_back("board" + std::to_string(r));
  }
  std::vector<std::unique_ptr<Transport>> ranks;
  if (kind == Kind::inproc) {
    Hub hub(size, hosts);
    for (int r = 0; r < size; ++r) {
      ranks.push_back(hub.join(r));
    }
    return ranks;
  }
  if (kind == Kind::curve) {
    options.keys = keys_of(make_secret(Security::curve));
  }
  std::vector<ZmqEndpoint> endpoints;
  World world{0, 0x5eed, {}};
  for (int r = 0; r < size; ++r) {
    endpoints.emplace_back(kind == Kind::ipc ? "ipc://*" : "tcp://127.0.0.1:*", options);
    world.peers.push_back({endpoints.back().address(), hosts[std::size_t(r)]});
  }
  for (int r = 0; r < size; ++r) {
    world.rank = r;
    ranks.push_back(std::move(endpoints[std::size_t(r)]).connect(world, soon()));
  }
  return ranks;
}

std::vector<std::string> outcomes(std::vector<std::unique_ptr<Transport>> ranks, const Body& body) {
  std::vector<std::string> thrown(ranks.size());
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    threads.emplace_back([&, r] {
      try {
        Communicator comm(std::move(ranks[r]));
        body(comm);
      } catch (const std::exception& e) {
        thrown[r] = e.what();
      }
    });
  }
  for (auto& t : threads) {
    t.join();
  }
  return thrown;
}

void on_every_world(const Body& body) {
  for (const Kind kind : kKinds) {
    for (const int size : {1, 2, 3, 4, 7}) {
      INFO("over ", name_of(kind), " with ", size, " ranks");
      const auto thrown = outcomes(make_world(kind, size), body);
      for (int r = 0; r < size; ++r) {
        INFO("rank ", r);
        CHECK(thrown[std::size_t(r)] == "");
      }
    }
  }
}

std::vector<std::size_t> uneven_counts(int size, int salt) {
  std::vector<std::size_t> counts;
  for (int r = 0; r < size; ++r) {
    counts.push_back(std::size_t((r * 5 + salt * 3) % 4) * std::size_t(7 + salt));
  }
  return counts;
}

std::size_t sum(const std::vector<std::size_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t(0));
}

}  // namespace sbcnn::net::test
