// Under every fault a collective ends: with the right result, or with an Error that names a rank.
#include <doctest/doctest.h>

#include <thread>

#include "net/faulty_transport.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

using Floats = std::vector<float>;

constexpr int kSize = 4;

// A bit of everything, for a few frames, several of them in flight. Throws std::logic_error on a
// wrong result.
void work(Communicator& comm, milliseconds limit) {
  const std::size_t n = std::size_t(comm.size());
  const std::vector<std::size_t> counts(n, 5);
  const auto want = [](bool right) {
    if (!right) {
      throw std::logic_error("wrong result");
    }
  };
  for (int round = 0; round < 4; ++round) {
    const Floats mine(5, float(round * 10 + comm.rank())), many(5 * n, float(comm.rank()));
    Floats total(5), all(5 * n), parts(5), mixed(5 * n);
    Request a = comm.iallreduce(mine, total, Op::sum);
    Request b = comm.iallgatherv(mine, all, counts);
    Request c = comm.ireduce_scatter(many, parts, counts, Op::sum);
    Request d = comm.ialltoallv(many, counts, mixed, counts);
    d.wait(in(limit));
    b.wait(in(limit));
    c.wait(in(limit));
    a.wait(in(limit));
    want(total[4] == float(4 * round * 10 + 6));
    want(parts[0] == 6.0F);
    for (int p = 0; p < comm.size(); ++p) {
      want(all[std::size_t(p) * 5] == float(round * 10 + p));
      want(mixed[std::size_t(p) * 5 + 4] == float(p));
    }
    if (round == 1) {  // in chunks, in step
      constexpr std::size_t kLong = 60'000;
      Floats given(kLong * n), taken(kLong * n);
      for (std::size_t i = 0; i < given.size(); ++i) {
        given[i] = float(comm.rank() * 1'000'000) + float(i);
      }
      comm.ialltoall(given, taken, Algorithm::pairwise).wait(in(limit));
      for (std::size_t i = 0; i < taken.size(); ++i) {
        want(taken[i] ==
             float(i / kLong * 1'000'000) + float(std::size_t(comm.rank()) * kLong + i % kLong));
      }
    }
    Floats data(3, comm.rank() == round ? 9.0F : 0.0F);
    comm.bcast(data, round, in(limit));
    want(data == Floats(3, 9.0F));
    comm.barrier(in(limit));
  }
}

// Runs work() with faults on one rank, or on all if `rank` is -1.
std::vector<std::string> suffer(Kind kind, int rank, Faults faults, milliseconds limit) {
  auto ranks = make_world(kind, kSize);
  for (int r = 0; r < kSize; ++r) {
    if (rank == -1 || rank == r) {
      faults.seed += std::uint64_t(r);
      ranks[std::size_t(r)] = with_faults(std::move(ranks[std::size_t(r)]), faults);
    }
  }
  return outcomes(std::move(ranks), [limit](Communicator& comm) { work(comm, limit); });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("faults: delays and new orders change no result") {
  for (const Kind kind : {Kind::inproc, Kind::tcp}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      const auto thrown =
          suffer(kind, -1, {.seed = seed * 100, .longest_delay = microseconds(3000)}, seconds(60));
      CHECK(thrown == std::vector<std::string>(kSize));
    }
  }
}

TEST_CASE("faults: duplicates give the right result or are named") {
  int named = 0, right = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const auto thrown =
        suffer(Kind::inproc, 1,
               {.seed = seed * 100, .longest_delay = microseconds(300), .duplicate_percent = 1},
               seconds(60));
    for (const auto& error : thrown) {
      right += error.empty() ? 1 : 0;
      named += contains(error, "sent a message twice") ? 1 : 0;
    }
  }
  CHECK(right + named == 30 * kSize);
  CHECK(named > 0);
  CHECK(right > 0);
}

TEST_CASE("faults: a rank that dies at any message is named by all others") {
  for (const Kind kind : {Kind::inproc, Kind::tcp}) {
    for (int at = 0; at < 100; at += kind == Kind::inproc ? 7 : 33) {
      const auto thrown = suffer(kind, 2, {.die_at = at}, seconds(60));
      CAPTURE(at);
      for (const int r : {0, 1, 3}) {
        INFO(thrown[std::size_t(r)]);
        CHECK(contains(thrown[std::size_t(r)], "rank 2 (board2) is lost"));
      }
      CHECK(contains(thrown[2], "rank 2 dies"));
    }
  }
}

TEST_CASE("faults: a rank that falls silent is named, in place and time") {
  for (int from = 0; from < 60; from += 11) {
    const auto thrown = suffer(Kind::inproc, 1, {.mute_from = from}, milliseconds(400));
    CAPTURE(from);
    int names = 0;
    for (const int r : {0, 2, 3}) {
      INFO(thrown[std::size_t(r)]);
      CHECK(contains(thrown[std::size_t(r)], "sent nothing to"));
      names += contains(thrown[std::size_t(r)], "rank 1 (board1)") ? 1 : 0;
    }
    CHECK(names >= 1);
  }
}

TEST_CASE("faults: a single message that vanishes ends in an error everywhere") {
  for (int at = 0; at < 60; at += 13) {
    const auto thrown = suffer(Kind::inproc, 3, {.drop_at = at}, milliseconds(400));
    CAPTURE(at);
    for (const auto& error : thrown) {
      CHECK(contains(error, "rank "));
    }
  }
}

TEST_CASE("faults: a message of the wrong size is named by all") {
  for (int at = 0; at < 60; at += 13) {
    const auto thrown = suffer(Kind::inproc, 3, {.truncate_at = at}, seconds(60));
    CAPTURE(at);
    for (const auto& error : thrown) {
      CHECK(contains(error, "rank 3 (board3) sent"));
      CHECK(contains(error, "were expected"));
    }
  }
}

TEST_CASE("faults: a connection that breaks ends the job on every rank") {
  for (int at = 0; at < 60; at += 13) {
    const auto thrown = suffer(Kind::inproc, 0, {.lose_at = at}, seconds(60));
    CAPTURE(at);
    for (const auto& error : thrown) {
      CHECK(contains(error, "is lost"));
    }
    CHECK(thrown[1].substr(0, 16) == thrown[0].substr(0, 16));
  }
}

TEST_CASE("faults: the same seed gives the same run") {
  const auto run = [](std::uint64_t seed) {
    auto ranks = make_world(Kind::inproc, 3);
    const auto slow = with_faults(std::move(ranks[0]), {.seed = seed, .duplicate_percent = 50});
    std::vector<std::pair<int, std::uint32_t>> order;
    for (std::uint32_t i = 0; i < 20; ++i) {
      for (const std::size_t r : {1U, 2U}) {
        ranks[r]->send(0, {.frame = i}, {});
      }
    }
    while (auto m = slow->receive(in(milliseconds(20)))) {
      order.emplace_back(m->source, m->tag.frame);
    }
    return order;
  };
  CHECK(run(5) == run(5));
  CHECK(run(5) != run(6));
}
