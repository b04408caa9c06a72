// What transport.h promises, held against every transport.
#include <doctest/doctest.h>

#include <atomic>
#include <ctime>
#include <numeric>
#include <thread>

#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

Tag tag(std::uint32_t frame) {
  return {.context = Context::user, .frame = frame};
}

std::vector<std::byte> bytes(std::size_t count, int value) {
  return std::vector<std::byte>(count, std::byte(value));
}

// What receive() throws within `limit`; messages before that are dropped.
std::string error_of(Transport& transport, milliseconds limit = seconds(30)) {
  const Deadline deadline = in(limit);
  try {
    while (Clock::now() < deadline) {
      if (!transport.receive(deadline)) {
        return "nothing thrown";
      }
    }
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing thrown";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

double process_cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

template <class F>
void on_every_transport(int size, F f) {
  for (const Kind kind : kKinds) {
    INFO("over ", name_of(kind));
    auto world = make_world(kind, size);
    f(world);
  }
}

using Ranks = std::vector<std::unique_ptr<Transport>>;

}  // namespace

TEST_CASE("transport: a message arrives with its sender, tag and bytes") {
  on_every_transport(3, [](Ranks& ranks) {
    const Tag sent{Context::control, 0xfffffffe, 0xfffffffd, 0xfffc, 0xfffb};
    // 65496 and a multiple of 65536 more: where encrypted messages fill their pieces.
    for (const std::size_t count :
         {0U, 1U, 100U, 8'191U, 65'495U, 65'496U, 65'497U, 131'032U, 131'033U, 100'000U}) {
      auto body = bytes(count, 42);
      for (std::size_t i = 0; i < count; i += 1'000) {
        body[i] = std::byte(i / 1'000);
      }
      ranks[2]->send(0, sent, body);
      const auto m = ranks[0]->receive(soon());
      REQUIRE(m.has_value());
      CHECK(m->source == 2);
      CHECK(m->tag == sent);
      CHECK(std::vector(m->body.begin(), m->body.end()) == body);
    }
  });
}

TEST_CASE("transport: messages arrive once each, and a goodbye after them, whatever way they go") {
  on_every_transport(3, [](Ranks& ranks) {
    std::vector<std::vector<int>> seen(3, std::vector<int>(500));
    for (int part = 0; part < 5; ++part) {  // lanes come about in between
      for (std::uint32_t i = 0; i < 100; ++i) {
        ranks[1]->send(0, tag(std::uint32_t(part) * 100 + i), bytes(i * 997 % 70'000, 1));
        ranks[2]->send(0, tag(std::uint32_t(part) * 100 + i), bytes(i, 1));
      }
      for (const std::size_t r : {1U, 2U}) {
        CHECK(!ranks[r]->receive(in(milliseconds(1))));
      }
      for (int i = 0; i < 150; ++i) {  // the rest later
        const auto m = ranks[0]->receive(soon());
        REQUIRE(m.has_value());
        ++seen[std::size_t(m->source)][m->tag.frame];
        CHECK(m->body.size() ==
              (m->source == 1 ? m->tag.frame % 100 * 997 % 70'000 : m->tag.frame % 100));
      }
    }
    std::thread leaves([&] { ranks[1]->close(); });
    ranks[2]->close();
    while (!ranks[0]->has_left(1) || !ranks[0]->has_left(2)) {
      if (const auto m = ranks[0]->receive(soon())) {
        ++seen[std::size_t(m->source)][m->tag.frame];
      }
    }
    leaves.join();
    CHECK(!ranks[0]->receive(in(milliseconds(10))));
    CHECK(seen[1] == std::vector<int>(500, 1));
    CHECK(seen[2] == std::vector<int>(500, 1));
  });
}

TEST_CASE("transport: a message outlives later ones and the next receive") {
  on_every_transport(2, [](Ranks& ranks) {
    ranks[1]->send(0, tag(1), bytes(50, 1));
    ranks[1]->send(0, tag(2), bytes(50, 2));
    const auto first = ranks[0]->receive(soon());
    const auto second = ranks[0]->receive(soon());
    REQUIRE((first && second));
    CHECK(first->body[49] == std::byte(1));
    CHECK(second->body[49] == std::byte(2));
  });
}

TEST_CASE("transport: sending does not wait for the receiver") {
  on_every_transport(2, [](Ranks& ranks) {
    const std::size_t count = 20, size = 2'000'000;  // beyond what kernels buffer
    for (std::uint32_t i = 0; i < count; ++i) {
      ranks[1]->send(0, tag(i), bytes(size, int(i)));
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto m = ranks[0]->receive(soon());
      REQUIRE(m.has_value());
      CHECK(m->body.size() == size);
      CHECK(m->body.back() == std::byte(i));
    }
  });
}

TEST_CASE("transport: receive gives up at its deadline, and takes what is there after it") {
  on_every_transport(2, [](Ranks& ranks) {
    const auto begin = Clock::now();
    CHECK(!ranks[0]->receive(in(milliseconds(80))));
    CHECK(Clock::now() - begin >= milliseconds(79));
    CHECK(!ranks[0]->receive(Clock::now() - seconds(1)));
    ranks[1]->send(0, tag(1), {});
    const Deadline limit = soon();
    std::optional<Message> m;
    while (!m && Clock::now() < limit) {
      m = ranks[0]->receive(Clock::now() - seconds(1));
    }
    CHECK(m.has_value());
  });
}

TEST_CASE("transport: a peer that vanishes is named, with its host, and stays lost") {
  on_every_transport(3, [](Ranks& ranks) {
    ranks[2].reset();
    for (const int rank : {0, 1, 0}) {
      const std::string error = error_of(*ranks[std::size_t(rank)]);
      CHECK(contains(error, "rank 2 (board2) is lost"));
    }
  });
}

TEST_CASE("transport: what a peer sent before it vanished still arrives") {
  on_every_transport(2, [](Ranks& ranks) {
    ranks[1]->send(0, tag(7), bytes(3, 3));
    const auto m = ranks[0]->receive(soon());
    REQUIRE(m.has_value());
    ranks[1].reset();
    CHECK(contains(error_of(*ranks[0]), "rank 1 (board1) is lost"));
  });
}

TEST_CASE("transport: a peer that closes has left, and nobody is troubled") {
  on_every_transport(3, [](Ranks& ranks) {
    ranks[2]->send(0, tag(7), bytes(3, 3));
    ranks[2]->close();
    ranks[2].reset();
    const auto m = ranks[0]->receive(soon());
    REQUIRE(m.has_value());
    CHECK(m->tag.frame == 7);
    const Deadline limit = soon();
    while (!ranks[0]->has_left(2) && Clock::now() < limit) {
      CHECK(!ranks[0]->receive(in(milliseconds(10))));
    }
    CHECK(ranks[0]->has_left(2));
    CHECK(!ranks[0]->has_left(1));
    CHECK(!ranks[0]->receive(in(milliseconds(1500))));  // longer than a goodbye may take
    ranks[0]->send(2, tag(8), bytes(10, 1));            // to nobody
    ranks[1]->send(0, tag(9), {});
    CHECK(ranks[0]->receive(soon())->tag.frame == 9);
  });
}

TEST_CASE("transport: what was sent before close arrives, however much it is") {
  on_every_transport(2, [](Ranks& ranks) {
    std::thread sender([&] {
      for (std::uint32_t i = 0; i < 10; ++i) {
        ranks[1]->send(0, tag(i), bytes(1'000'000, 1));
      }
      ranks[1]->close();
    });
    for (std::uint32_t i = 0; i < 10; ++i) {
      const auto m = ranks[0]->receive(soon());
      REQUIRE(m.has_value());
      CHECK(m->tag.frame == i);
    }
    sender.join();
  });
}

TEST_CASE("transport: many ranks that close at once do not wait for each other") {
  on_every_transport(7, [](Ranks& ranks) {
    const auto begin = Clock::now();
    std::vector<std::thread> threads;
    for (auto& rank : ranks) {
      threads.emplace_back([&rank] { rank->close(); });
    }
    for (auto& t : threads) {
      t.join();
    }
    CHECK(Clock::now() - begin < seconds(10));
  });
}

TEST_CASE("transport: an abort reaches everybody with its reason, through others too") {
  on_every_transport(4, [](Ranks& ranks) {
    ranks[3]->abort("rank 3 (board3) ran out of memory");
    for (std::size_t rank = 0; rank < 3; ++rank) {
      const std::string error = error_of(*ranks[rank]);
      CHECK(contains(error, "rank 3 (board3) ran out of memory"));
      ranks[rank]->abort(error);  // passes on the cause, not a chain of quotations
    }
  });
}

TEST_CASE("transport: who gives up because of an abort passes on its cause") {
  on_every_transport(3, [](Ranks& ranks) {
    ranks[2]->abort("the disk is full");
    const std::string first = error_of(*ranks[1]);
    ranks[1]->abort("something else: " + first);
    const std::string second = error_of(*ranks[0]);
    CHECK(contains(second, "the disk is full"));
    CHECK(!contains(second, "something else"));
  });
}

TEST_CASE("transport: the watch is called while receive waits, and may throw") {
  on_every_transport(2, [](Ranks& ranks) {
    int calls = 0;
    ranks[0]->set_watch([&] { ++calls; });
    CHECK(!ranks[0]->receive(in(milliseconds(1000))));
    CHECK(calls >= 3);
    CHECK(calls <= 15);
    ranks[0]->set_watch([] { throw Error(Error::Code::peer_lost, "child 3 died"); });
    CHECK(error_of(*ranks[0]) == "child 3 died");
  });
}

TEST_CASE("transport: waiting costs no CPU") {
  on_every_transport(4, [](Ranks& ranks) {
    for (auto& rank : ranks) {
      rank->set_watch([] {});
    }
    const double before = process_cpu_seconds();
    std::vector<std::thread> threads;
    for (auto& rank : ranks) {
      threads.emplace_back([&rank] { rank->receive(in(seconds(2))); });
    }
    for (auto& t : threads) {
      t.join();
    }
    const double share = (process_cpu_seconds() - before) / (2.0 * 4);
    MESSAGE("CPU of a waiting rank: ", share * 100, " %");
    CHECK(share < 0.01);
  });
}

TEST_CASE("transport: names of ranks") {
  CHECK(describe_rank(2, "pi3") == "rank 2 (pi3)");
  CHECK(describe_rank(2, "") == "rank 2");
}
