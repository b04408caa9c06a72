// Simulates all ranks' schedules and compares with what MPI says the collectives do.
//
// Elements are words, and folding puts one after the other: whatever lands in the wrong place, is
// folded twice or in another order than documented, shows.
#include "net/schedule.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "net/algorithms.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;

namespace {

using Words = std::vector<std::string>;
using PerRank = std::vector<Words>;
using CountVector = std::vector<std::size_t>;

constexpr int kLargest = 16;
const std::string kUntouched = "?";

// A world without a network, in which any message that is on its way may come next.
class Simulation {
 public:
  Simulation(std::vector<Schedule> schedules, PerRank in, PerRank out, unsigned seed)
      : random_(seed) {
    for (std::size_t r = 0; r < schedules.size(); ++r) {
      const std::size_t work = schedules[r].extent(Place::work);
      ranks_.push_back({std::move(schedules[r]),
                        std::move(in[r]),
                        std::move(out[r]),
                        Words(work, kUntouched),
                        0,
                        {}});
    }
  }

  PerRank run() {
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      begin_round(int(r));
      progress(int(r));
    }
    while (!flying_.empty()) {
      const auto any = flying_.begin() + std::ptrdiff_t(random_() % flying_.size());
      const Key key = *any;
      flying_.erase(any);
      here_.insert(key);
      progress(std::get<1>(key));
    }
    PerRank result;
    for (Rank& rank : ranks_) {
      REQUIRE(rank.round == rank.schedule.rounds.size());  // else it waits for ever
      result.push_back(std::move(rank.out));
    }
    REQUIRE(mail_.empty());  // else nobody takes it
    return result;
  }

 private:
  using Key = std::tuple<int, int, int>;  // from, to, number
  struct Rank {
    Schedule schedule;
    Words in, out, work;
    std::size_t round;
    std::vector<Receive> pending;
    Words& of(Place b) { return b == Place::in ? in : b == Place::out ? out : work; }
  };

  Words read(int r, const Send& s) {
    const Words& from = ranks_[std::size_t(r)].of(s.from);
    REQUIRE(s.offset + s.count <= from.size());
    const auto begin = from.begin() + std::ptrdiff_t(s.offset);
    return {begin, begin + std::ptrdiff_t(s.count)};
  }

  void begin_round(int r) {
    Rank& rank = ranks_[std::size_t(r)];
    if (rank.round == rank.schedule.rounds.size()) {
      return;
    }
    const Round& round = rank.schedule.rounds[rank.round];
    for (const Send& s : round.sends) {
      const Key key(r, s.peer, s.number);
      REQUIRE(mail_.emplace(key, read(r, s)).second);
      REQUIRE(used_.insert(key).second);
      if (s.peer == r) {
        here_.insert(key);
      } else {
        flying_.push_back(key);
      }
    }
    rank.pending = round.receives;
  }

  bool deliver(int r, const Receive& receive) {
    const Key key(receive.peer, r, receive.number);
    if (!here_.contains(key)) {
      return false;
    }
    here_.erase(key);
    const Words words = std::move(mail_.extract(key).mapped());
    REQUIRE(receive.to != Place::in);
    Words& to = ranks_[std::size_t(r)].of(receive.to);
    REQUIRE(words.size() == receive.count);
    REQUIRE(receive.offset + receive.count <= to.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
      std::string& word = to[receive.offset + i];
      word = receive.fold == Fold::store    ? words[i]
             : receive.fold == Fold::append ? word + words[i]
                                            : words[i] + word;
    }
    return true;
  }

  void progress(int r) {
    Rank& rank = ranks_[std::size_t(r)];
    while (rank.round < rank.schedule.rounds.size()) {
      if (rank.schedule.rounds[rank.round].folds()) {
        while (!rank.pending.empty() && deliver(r, rank.pending.front())) {
          rank.pending.erase(rank.pending.begin());
        }
      } else {
        std::erase_if(rank.pending, [&](const Receive& receive) { return deliver(r, receive); });
      }
      if (!rank.pending.empty()) {
        return;
      }
      ++rank.round;
      begin_round(r);
    }
  }

  std::mt19937 random_;
  std::vector<Rank> ranks_;
  std::map<Key, Words> mail_;  // sent, not taken
  std::vector<Key> flying_;
  std::set<Key> here_, used_;
};

// Two orders of arrival, the same result.
template <class Make>
PerRank simulate(int size, const PerRank& in, const PerRank& out, Make make) {
  std::vector<Schedule> schedules;
  for (int r = 0; r < size; ++r) {
    schedules.push_back(make(r));
  }
  const PerRank result = Simulation(schedules, in, out, unsigned(size)).run();
  REQUIRE(Simulation(schedules, in, out, unsigned(size) + 100).run() == result);
  return result;
}

std::string word(int from, int to, std::size_t i) {
  return "(" + std::to_string(from) + ">" + std::to_string(to) + ":" + std::to_string(i) + ")";
}

Words block(int from, int to, std::size_t count) {
  Words words;
  for (std::size_t i = 0; i < count; ++i) {
    words.push_back(word(from, to, i));
  }
  return words;
}

void append(Words& to, const Words& more) {
  to.insert(to.end(), more.begin(), more.end());
}

Words empty(std::size_t count) {
  return Words(count, kUntouched);
}

PerRank each(int size, const Words& words) {
  return PerRank(std::size_t(size), words);
}

// One after the other.
Words folded(const std::vector<int>& ranks, std::size_t count) {
  Words words(count);
  for (const int r : ranks) {
    for (std::size_t i = 0; i < count; ++i) {
      words[i] += word(r, r, i);
    }
  }
  return words;
}

std::vector<int> ranks_from(int first, int size) {
  std::vector<int> ranks;
  for (int i = 0; i < size; ++i) {
    ranks.push_back((first + i) % size);
  }
  return ranks;
}

PerRank addends(int size, std::size_t count) {
  PerRank in;
  for (int r = 0; r < size; ++r) {
    in.push_back(block(r, r, count));
  }
  return in;
}

// Calls f(algorithm, size, counts): even, uneven, all zero, and one rank alone with something.
template <class F>
void for_all(Verb verb, F f) {
  for (const Algorithm algorithm : algorithms(verb)) {
    for (int size = 1; size <= kLargest; ++size) {
      const std::size_t n = std::size_t(size);
      CountVector alone(n, 0);
      alone.back() = 5;
      for (const CountVector& counts : {CountVector(n, 3), uneven_counts(size, 1),
                                        uneven_counts(size, 2), CountVector(n, 0), alone}) {
        INFO(name(verb), " by ", name(algorithm), ", ", size, " ranks");
        f(algorithm, size, counts);
      }
    }
  }
}

// Every root of small worlds; the first, a middle and the last one of larger ones.
std::vector<int> roots(int size) {
  std::vector<int> some = {0, size / 2, size - 1};
  return size <= 6 ? ranks_from(0, size) : some;
}

}  // namespace

TEST_CASE("schedules of bcast") {
  for_all(Verb::bcast, [](Algorithm a, int size, const CountVector& counts) {
    for (const int root : roots(size)) {
      PerRank data = each(size, empty(counts[0]));
      data[std::size_t(root)] = block(root, 0, counts[0]);
      const PerRank out = simulate(size, each(size, {}), data,
                                   [&](int r) { return bcast(a, r, size, root, counts[0]); });
      CHECK(out == each(size, block(root, 0, counts[0])));
    }
  });
}

TEST_CASE("schedules of scatterv") {
  for_all(Verb::scatter, [](Algorithm a, int size, const CountVector& counts) {
    for (const int root : roots(size)) {
      PerRank in = each(size, {}), out, want;
      for (int r = 0; r < size; ++r) {
        const std::size_t count = counts[std::size_t(r)];
        append(in[std::size_t(root)], block(root, r, count));
        out.push_back(empty(count));
        want.push_back(block(root, r, count));
      }
      CHECK(simulate(size, in, out, [&](int r) { return scatterv(a, r, root, counts); }) == want);
    }
  });
}

TEST_CASE("schedules of gatherv") {
  for_all(Verb::gather, [](Algorithm a, int size, const CountVector& counts) {
    for (const int root : roots(size)) {
      PerRank in, out = each(size, {}), want = each(size, {});
      out[std::size_t(root)] = empty(sum(counts));
      for (int r = 0; r < size; ++r) {
        in.push_back(block(r, root, counts[std::size_t(r)]));
        append(want[std::size_t(root)], in.back());
      }
      CHECK(simulate(size, in, out, [&](int r) { return gatherv(a, r, root, counts); }) == want);
    }
  });
}

TEST_CASE("schedules of allgatherv") {
  for_all(Verb::allgather, [](Algorithm a, int size, const CountVector& counts) {
    PerRank in;
    Words whole;
    for (int r = 0; r < size; ++r) {
      in.push_back(block(r, 0, counts[std::size_t(r)]));
      append(whole, in.back());
    }
    const PerRank out = each(size, empty(sum(counts)));
    CHECK(simulate(size, in, out, [&](int r) { return allgatherv(a, r, counts); }) ==
          each(size, whole));
  });
}

TEST_CASE("schedules of alltoallv, also where ranks choose differently") {
  for (const int mixed : {0, 1, 2}) {  // 2: each rank its own
    for (int size = 1; size <= kLargest; ++size) {
      for (int salt = 0; salt < 4; ++salt) {
        const auto count = [&](int from, int to) {
          return salt == 3 ? 0 : std::size_t((from * 3 + to * (salt + 1)) % 4);
        };
        PerRank in, out, want;
        for (int r = 0; r < size; ++r) {
          Words sent, received;
          for (int p = 0; p < size; ++p) {
            append(sent, block(r, p, count(r, p)));
            append(received, block(p, r, count(p, r)));
          }
          in.push_back(sent);
          out.push_back(empty(received.size()));
          want.push_back(received);
        }
        CAPTURE(size);
        CAPTURE(mixed);
        for (const std::size_t chunk : {1, 2, 5}) {
          CAPTURE(chunk);
          CHECK(simulate(size, in, out, [&](int r) {
                  CountVector sends, receives;
                  for (int p = 0; p < size; ++p) {
                    sends.push_back(count(r, p));
                    receives.push_back(count(p, r));
                  }
                  const bool pairs = mixed == 2 ? r % 3 == 1 : mixed == 1;
                  return alltoallv(pairs ? Algorithm::pairwise : Algorithm::direct, r, sends,
                                   receives, chunk);
                }) == want);
        }
      }
    }
  }
}

TEST_CASE("schedules of reduce fold in rank order, whatever the root") {
  for_all(Verb::reduce, [](Algorithm a, int size, const CountVector& counts) {
    const std::size_t total = sum(counts);
    for (const int root : roots(size)) {
      PerRank out = each(size, {}), want = each(size, {});
      out[std::size_t(root)] = empty(total);
      want[std::size_t(root)] = folded(ranks_from(0, size), total);
      CHECK(simulate(size, addends(size, total), out,
                     [&](int r) { return reduce(a, r, size, root, total); }) == want);
    }
  });
}

TEST_CASE(
    "schedules of allreduce fold in rank order; a ring's blocks from their owner's right on") {
  for_all(Verb::allreduce, [](Algorithm a, int size, const CountVector& counts) {
    for (const std::size_t total : {sum(counts), std::size_t(1), std::size_t(size) + 3}) {
      Words want = folded(ranks_from(0, size), total);
      if (a == Algorithm::ring) {
        std::size_t at = 0;
        for (int b = 0; b < size; ++b) {
          const std::size_t n = std::size_t(size);
          const std::size_t end = at + total / n + (std::size_t(b) < total % n ? 1 : 0);
          const Words turned = folded(ranks_from(b + 1, size), total);
          for (; at < end; ++at) {
            want[at] = turned[at];
          }
        }
      }
      CHECK(simulate(size, addends(size, total), each(size, empty(total)),
                     [&](int r) { return allreduce(a, r, size, total); }) == each(size, want));
    }
  });
}

TEST_CASE("schedules of reduce_scatter") {
  for_all(Verb::reduce_scatter, [](Algorithm a, int size, const CountVector& counts) {
    const std::size_t total = sum(counts);
    PerRank out, want;
    std::size_t at = 0;
    for (int r = 0; r < size; ++r) {
      const std::size_t count = counts[std::size_t(r)];
      const Words whole = folded(ranks_from(a == Algorithm::ring ? r + 1 : 0, size), total);
      const auto begin = whole.begin() + std::ptrdiff_t(at);
      want.emplace_back(begin, begin + std::ptrdiff_t(count));
      out.push_back(empty(count));
      at += count;
    }
    CHECK(simulate(size, addends(size, total), out,
                   [&](int r) { return reduce_scatter(a, r, counts); }) == want);
  });
}

TEST_CASE("schedules of scan give each rank the fold up to itself") {
  for_all(Verb::scan, [](Algorithm a, int size, const CountVector& counts) {
    PerRank want;
    for (int r = 0; r < size; ++r) {
      want.push_back(folded(ranks_from(0, r + 1), counts[0]));
    }
    CHECK(simulate(size, addends(size, counts[0]), each(size, empty(counts[0])),
                   [&](int r) { return scan(a, r, size, counts[0]); }) == want);
  });
}

TEST_CASE("schedules of neighbor_alltoallv, with a neighbour twice and oneself") {
  for (int size = 1; size <= kLargest; ++size) {
    const auto right = [&](int r, int by) { return (r + by) % size; };
    PerRank in, out, want;
    std::vector<std::vector<Neighbor>> sends, receives;
    for (int r = 0; r < size; ++r) {
      const int from = right(r, size - 1), back = right(r, 1);
      // Two to the right, one back to the left, one to oneself, and nothing to somebody.
      sends.push_back({{right(r, 1), 2}, {from, 1}, {r, 3}, {right(r, 1), 4}, {0, 0}});
      in.push_back({});
      append(in.back(), block(r, 1, 2));
      append(in.back(), block(r, 2, 1));
      append(in.back(), block(r, 3, 3));
      append(in.back(), block(r, 4, 4));
      receives.push_back({{from, 2}, {back, 1}, {r, 3}, {from, 4}});
      out.push_back(empty(10));
      want.push_back({});
      append(want.back(), block(from, 1, 2));
      append(want.back(), block(back, 2, 1));
      append(want.back(), block(r, 3, 3));
      append(want.back(), block(from, 4, 4));
    }
    if (size <= 2) {
      // Left and right are one rank: its messages come in the order in which it lists them.
      continue;
    }
    CAPTURE(size);
    CHECK(simulate(size, in, out, [&](int r) {
            return neighbor_alltoallv(r, size, sends[std::size_t(r)], receives[std::size_t(r)]);
          }) == want);
  }
}

TEST_CASE("a sum takes addends only from ranks that have one") {
  // Ranks 1 and 3 of 4 hold addends; rank 0 wants the sum and has none.
  const PerRank out =
      simulate(4, {{}, {"a", "b"}, {}, {"c", "d"}}, {empty(2), {}, {}, {}}, [](int r) {
        CountVector sends(4, 0), receives(4, 0);
        sends[0] = r % 2 == 1 ? 2 : 0;
        if (r == 0) {
          receives = {0, 2, 0, 2};
        }
        return direct("reduce", r, SendForm::shared, sends, ReceiveForm::summed, receives);
      });
  CHECK(out[0] == Words{"ac", "bd"});
}

TEST_CASE("schedule of the barrier: everybody's coming reaches everybody") {
  for (int size = 1; size <= kLargest; ++size) {
    std::vector<Schedule> schedules;
    for (int r = 0; r < size; ++r) {
      schedules.push_back(barrier(r, size));
    }
    const std::size_t n = std::size_t(size);
    std::vector<std::vector<bool>> knows(n, std::vector<bool>(n));
    for (std::size_t r = 0; r < knows.size(); ++r) {
      knows[r][r] = true;
    }
    for (std::size_t round = 0; round < schedules[0].rounds.size(); ++round) {
      const auto before = knows;
      for (std::size_t r = 0; r < knows.size(); ++r) {
        const auto& sends = schedules[r].rounds[round].sends;
        REQUIRE(sends.size() == 1);
        const std::size_t to = std::size_t(sends[0].peer);
        const auto& receives = schedules[to].rounds[round].receives;
        REQUIRE(receives.size() == 1);
        REQUIRE(receives[0].peer == int(r));
        REQUIRE(receives[0].number == sends[0].number);
        for (std::size_t k = 0; k < knows.size(); ++k) {
          knows[to][k] = knows[to][k] || before[r][k];
        }
      }
    }
    for (const auto& known : knows) {
      CHECK(std::find(known.begin(), known.end(), false) == known.end());
    }
  }
}

TEST_CASE("ranks begin with different receivers, and in pairs nobody has two at a time") {
  constexpr std::size_t kChunk = 4, kCount = 10;  // so three messages a peer
  for (int size = 2; size <= kLargest; ++size) {
    const CountVector counts(std::size_t(size), kCount);
    std::vector<std::vector<Send>> pairs;  // of each rank, in their order
    for (int r = 0; r < size; ++r) {
      const Schedule s = alltoallv(Algorithm::direct, r, counts, counts, kChunk);
      CHECK(s.rounds.size() == 1);
      CHECK(s.rounds[0].sends.front().peer == (r + 1) % size);
      CHECK(s.rounds[0].sends.back().peer == r);
      std::vector<Send>& sends = pairs.emplace_back();
      for (const Round& round : alltoallv(Algorithm::pairwise, r, counts, counts, kChunk).rounds) {
        sends.insert(sends.end(), round.sends.begin(), round.sends.end());
      }
      REQUIRE(sends.size() == std::size_t(size - 1) * 3 + 1);
    }
    for (std::size_t i = 0; i < pairs[0].size(); ++i) {
      std::set<int> targets;
      for (const auto& sends : pairs) {
        CHECK(sends[i].count <= (sends[i].peer == sends.back().peer ? kCount : kChunk));
        targets.insert(sends[i].peer);
      }
      CHECK(targets.size() == std::size_t(size));
    }
  }
}

TEST_CASE("in pairs of equal counts a rank is ahead by two chunks at most") {
  std::mt19937 random(1);
  for (int size = 2; size <= kLargest; ++size) {
    constexpr std::size_t kChunk = 4;
    const CountVector counts(std::size_t(size), random() % 20);
    const int rank = int(random() % unsigned(size));
    const Schedule s = alltoallv(Algorithm::pairwise, rank, counts, counts, kChunk);
    std::size_t ahead = 0;
    for (const Round& round : s.rounds) {
      for (const Send& send : round.sends) {
        ahead += send.peer == rank ? 0 : send.count;
      }
      CHECK(ahead <= 2 * kChunk);
      for (const Receive& receive : round.receives) {
        ahead -= receive.peer == rank ? 0 : receive.count;
      }
    }
  }
}

TEST_CASE("what a rank sends to another in chunks is never more than can be numbered") {
  const CountVector counts(2, 1'000'000);
  const Schedule s = alltoallv(Algorithm::direct, 0, counts, counts, 1);
  CHECK(s.rounds[0].sends.size() == 62'500 + 1);  // of 16, and the rank's own
  CHECK(s.rounds[0].sends.front().count == 16);
}

TEST_CASE("the chooser: direct between two, doubling for little, rings and pairs for much") {
  constexpr std::size_t kLittle = 64, kMuch = 1 << 20;
  for (const Verb verb : {Verb::bcast, Verb::scatter, Verb::gather, Verb::allgather, Verb::reduce,
                          Verb::allreduce, Verb::reduce_scatter, Verb::scan, Verb::alltoall}) {
    for (int size = 1; size <= kLargest; ++size) {
      for (const std::size_t bytes : {std::size_t(0), kLittle, kMuch}) {
        const Algorithm a = choose(verb, bytes, size);
        CHECK(std::ranges::count(algorithms(verb), a) == 1);
        CHECK((size > 2 || a == Algorithm::direct));
        for (const Algorithm other : algorithms(verb)) {
          CHECK(
              (size == 1 || cost(verb, a, bytes, size) <= 1.001 * cost(verb, other, bytes, size)));
        }
      }
    }
  }
  CHECK(choose(Verb::bcast, kMuch, 16) == Algorithm::binomial);
  CHECK(choose(Verb::bcast, kMuch, 4) == Algorithm::binomial);
  CHECK(choose(Verb::bcast, kLittle, 4) == Algorithm::direct);
  CHECK(choose(Verb::allreduce, kMuch, 4) == Algorithm::ring);
  CHECK(choose(Verb::allreduce, kMuch, 16) == Algorithm::ring);
  CHECK(choose(Verb::allreduce, kMuch, 16, {}, false) != Algorithm::ring);
  CHECK(choose(Verb::allreduce, kMuch, 16, {.latency = 1.0}) == Algorithm::direct);
  CHECK(choose(Verb::alltoall, kMuch, 8) == Algorithm::pairwise);
  CHECK(choose(Verb::alltoall, kLittle, 8) == Algorithm::direct);
  CHECK(choose(Verb::alltoall, 75'000, 4) == Algorithm::pairwise);
  CHECK(choose(Verb::alltoall, 18'432, 4) == Algorithm::direct);
  CHECK(choose(Verb::alltoall, kMuch, 2) == Algorithm::direct);  // one sender a port
  CHECK(choose(Verb::barrier, 0, 8) == Algorithm::recursive_doubling);
}

TEST_CASE("chunks are short where a link is slow, and last for long enough where it is fast") {
  CHECK(chunk_bytes({.latency = 300e-6, .bytes_per_second = 12e6}) == 32 * 1024);
  CHECK(chunk_bytes({.latency = 300e-6, .bytes_per_second = 112e6}) == 64 * 1024);
  CHECK(chunk_bytes({.latency = 3e-3, .bytes_per_second = 10e6}) == 64 * 1024);
}

TEST_CASE("counts, roots and algorithms that cannot be are a caller's mistake") {
  const CountVector one(1, 1), two(2, 1), other = {1, 2};
  for (const Algorithm a : algorithms(Verb::alltoall)) {
    CHECK_THROWS_AS(alltoallv(a, 0, one, two, 1), ContractViolation);
    CHECK_THROWS_AS(alltoallv(a, 2, two, two, 1), ContractViolation);
    CHECK_THROWS_AS(alltoallv(a, 1, two, other, 1), ContractViolation);
    CHECK_THROWS_AS(alltoallv(a, 0, two, two, 0), ContractViolation);
  }
  CHECK_THROWS_AS(direct("sum", 0, SendForm::packed, two, ReceiveForm::summed, other),
                  ContractViolation);
  for (const Algorithm a : algorithms(Verb::bcast)) {
    for (const int root : {-1, 2}) {
      CHECK_THROWS_AS(bcast(a, 0, 2, root, 3), ContractViolation);
      CHECK_THROWS_AS(reduce(a, 0, 2, root, 3), ContractViolation);
      CHECK_THROWS_AS(scatterv(a, 0, root, two), ContractViolation);
      CHECK_THROWS_AS(gatherv(a, 0, root, two), ContractViolation);
    }
  }
  CHECK_THROWS_AS(bcast(Algorithm::ring, 0, 2, 0, 3), ContractViolation);
  const std::vector<Neighbor> stranger = {{2, 1}}, self = {{0, 1}};
  CHECK_THROWS_AS(neighbor_alltoallv(0, 2, stranger, {}), ContractViolation);
  CHECK_THROWS_AS(neighbor_alltoallv(0, 2, {}, stranger), ContractViolation);
  CHECK_THROWS_AS(neighbor_alltoallv(0, 2, self, {}), ContractViolation);
}
