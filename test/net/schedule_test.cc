// Simulates all ranks' schedules and compares with what MPI says the collectives do.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include <utility>

#include "core/error.h"
#include "net/schedule.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;

namespace {

using Floats = std::vector<float>;
using PerRank = std::vector<Floats>;
using CountVector = std::vector<std::size_t>;

constexpr int kLargest = 16;
constexpr float kUntouched = -7;

// Runs all schedules, round by round. Fails the test if a message is sent that nobody takes, is
// missing, or has another size than its receiver expects.
PerRank simulate(const std::vector<Schedule>& schedules, PerRank in, PerRank out,
                 bool in_place = false) {
  const std::size_t size = schedules.size();
  for (std::size_t round = 0; round < schedules[0].rounds.size(); ++round) {
    std::map<std::pair<int, int>, Floats> mail;
    for (std::size_t r = 0; r < size; ++r) {
      const Floats& source = in_place ? out[r] : in[r];
      for (const Segment& b : schedules[r].rounds[round].sends) {
        REQUIRE(b.offset + b.count <= source.size());
        const auto from = source.begin() + std::ptrdiff_t(b.offset);
        const bool fresh =
            mail.try_emplace({int(r), b.peer}, from, from + std::ptrdiff_t(b.count)).second;
        REQUIRE(fresh);
      }
    }
    for (std::size_t r = 0; r < size; ++r) {
      const Round& mine = schedules[r].rounds[round];
      for (std::size_t i = 0; i < mine.receives.size(); ++i) {
        const Segment& b = mine.receives[i];
        auto message = mail.extract({b.peer, int(r)});
        REQUIRE(!message.empty());
        REQUIRE(message.mapped().size() == b.count);
        REQUIRE(b.offset + b.count <= out[r].size());
        for (std::size_t k = 0; k < b.count; ++k) {
          float& to = out[r][b.offset + k];
          to = mine.fold == Fold::add && i > 0 ? to + message.mapped()[k] : message.mapped()[k];
        }
      }
    }
    REQUIRE(mail.empty());
  }
  return out;
}

template <class Make>
std::vector<Schedule> all_ranks(int size, Make make) {
  std::vector<Schedule> schedules;
  for (int r = 0; r < size; ++r) {
    schedules.push_back(make(r));
  }
  return schedules;
}

Floats block(int from, int to, std::size_t count) {
  Floats values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(mark(from, to, i));
  }
  return values;
}

void append(Floats& to, const Floats& more) {
  to.insert(to.end(), more.begin(), more.end());
}

PerRank nothing(int size) {
  return PerRank(static_cast<std::size_t>(size));
}

Floats empty(std::size_t count) {
  return Floats(count, kUntouched);
}

// Calls f(size, counts): even, uneven, all zero, and one rank alone with something.
template <class F>
void for_counts(F f) {
  for (int size = 1; size <= kLargest; ++size) {
    const std::size_t n = std::size_t(size);
    CountVector alone(n, 0);
    alone.back() = 5;
    for (const CountVector& counts : {CountVector(n, 3), uneven_counts(size, 1),
                                      uneven_counts(size, 2), CountVector(n, 0), alone}) {
      CAPTURE(size);
      f(size, counts);
    }
  }
}

// Every root of small worlds; the first, a middle and the last one of larger ones.
std::vector<int> roots(int size) {
  std::vector<int> some = {0, size / 2, size - 1};
  if (size <= 5) {
    some.clear();
    for (int r = 0; r < size; ++r) {
      some.push_back(r);
    }
  }
  return some;
}

}  // namespace

TEST_CASE("schedule of bcast") {
  for_counts([](int size, const CountVector& counts) {
    for (const int root : roots(size)) {
      PerRank data(std::size_t(size), empty(counts[0]));
      data[std::size_t(root)] = block(root, 0, counts[0]);
      const auto schedules =
          all_ranks(size, [&](int r) { return bcast(r, size, root, counts[0]); });
      const PerRank out = simulate(schedules, {}, data, true);
      CHECK(out == PerRank(std::size_t(size), block(root, 0, counts[0])));
    }
  });
}

TEST_CASE("schedule of scatterv") {
  for_counts([](int size, const CountVector& counts) {
    for (const int root : roots(size)) {
      PerRank in = nothing(size), out, want;
      for (int r = 0; r < size; ++r) {
        const std::size_t count = counts[std::size_t(r)];
        append(in[std::size_t(root)], block(root, r, count));
        out.push_back(empty(count));
        want.push_back(block(root, r, count));
      }
      const auto schedules = all_ranks(size, [&](int r) { return scatterv(r, root, counts); });
      CHECK(simulate(schedules, in, out) == want);
    }
  });
}

TEST_CASE("schedule of gatherv") {
  for_counts([](int size, const CountVector& counts) {
    for (const int root : roots(size)) {
      PerRank in, out = nothing(size), want = nothing(size);
      out[std::size_t(root)] = empty(sum(counts));
      for (int r = 0; r < size; ++r) {
        in.push_back(block(r, root, counts[std::size_t(r)]));
        append(want[std::size_t(root)], in.back());
      }
      const auto schedules = all_ranks(size, [&](int r) { return gatherv(r, root, counts); });
      CHECK(simulate(schedules, in, out) == want);
    }
  });
}

TEST_CASE("schedule of allgatherv") {
  for_counts([](int size, const CountVector& counts) {
    PerRank in;
    Floats whole;
    for (int r = 0; r < size; ++r) {
      in.push_back(block(r, 0, counts[std::size_t(r)]));
      append(whole, in.back());
    }
    const auto schedules = all_ranks(size, [&](int r) { return allgatherv(r, counts); });
    const PerRank out(std::size_t(size), empty(sum(counts)));
    CHECK(simulate(schedules, in, out) == PerRank(std::size_t(size), whole));
  });
}

TEST_CASE("schedule of alltoallv") {
  for (int size = 1; size <= kLargest; ++size) {
    for (int salt = 0; salt < 3; ++salt) {
      const auto count = [&](int from, int to) {
        return std::size_t((from * 3 + to * (salt + 1)) % 4);
      };
      PerRank in, out, want;
      for (int r = 0; r < size; ++r) {
        Floats sent, received;
        for (int p = 0; p < size; ++p) {
          append(sent, block(r, p, count(r, p)));
          append(received, block(p, r, count(p, r)));
        }
        in.push_back(sent);
        out.push_back(empty(received.size()));
        want.push_back(received);
      }
      const auto schedules = all_ranks(size, [&](int r) {
        CountVector sends, receives;
        for (int p = 0; p < size; ++p) {
          sends.push_back(count(r, p));
          receives.push_back(count(p, r));
        }
        return alltoallv(r, sends, receives);
      });
      CAPTURE(size);
      CHECK(simulate(schedules, in, out) == want);
    }
  }
}

TEST_CASE("schedules of reduce, allreduce and reduce_scatter add in rank order") {
  for_counts([](int size, const CountVector& counts) {
    const std::size_t total = sum(counts);
    PerRank in;
    Floats want = block(0, 0, total);
    for (int r = 0; r < size; ++r) {
      in.push_back(block(r, r, total));
      for (std::size_t i = 0; i < total && r > 0; ++i) {
        want[i] += in.back()[i];
      }
    }
    for (const int root : roots(size)) {
      PerRank out = nothing(size), only_root = nothing(size);
      out[std::size_t(root)] = empty(total);
      only_root[std::size_t(root)] = want;
      const auto schedules = all_ranks(size, [&](int r) { return reduce(r, size, root, total); });
      CHECK(simulate(schedules, in, out) == only_root);
    }
    const PerRank everywhere(std::size_t(size), want), out(std::size_t(size), empty(total));
    const auto all = all_ranks(size, [&](int r) { return allreduce(r, size, total); });
    CHECK(simulate(all, in, out) == everywhere);

    PerRank parts, part_out;
    auto at = want.begin();
    for (const std::size_t count : counts) {
      parts.emplace_back(at, at + std::ptrdiff_t(count));
      part_out.push_back(empty(count));
      at += std::ptrdiff_t(count);
    }
    const auto scattered = all_ranks(size, [&](int r) { return reduce_scatter(r, counts); });
    CHECK(simulate(scattered, in, part_out) == parts);
  });
}

TEST_CASE("a sum takes addends only from ranks that have one") {
  // Ranks 1 and 3 of 4 hold addends; rank 0 wants the sum and has none.
  const auto schedules = all_ranks(4, [](int r) {
    CountVector sends(4, 0), receives(4, 0);
    sends[0] = r % 2 == 1 ? 2 : 0;
    if (r == 0) {
      receives = {0, 2, 0, 2};
    }
    return direct("reduce", r, SendForm::shared, sends, ReceiveForm::summed, receives);
  });
  const PerRank out = simulate(schedules, {{}, {1, 2}, {}, {10, 20}}, {empty(2), {}, {}, {}});
  CHECK(out[0] == Floats{11, 22});
}

TEST_CASE("schedule of the barrier: everybody's coming reaches everybody") {
  for (int size = 1; size <= kLargest; ++size) {
    const auto schedules = all_ranks(size, [&](int r) { return barrier(r, size); });
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
        REQUIRE(schedules[to].rounds[round].receives == std::vector<Segment>{{int(r), 0, 0}});
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

TEST_CASE("ranks begin with different receivers") {
  for (int size = 2; size <= kLargest; ++size) {
    const CountVector counts(std::size_t(size), 1);
    for (int r = 0; r < size; ++r) {
      const Schedule s = alltoallv(r, counts, counts);
      CHECK(s.rounds[0].sends.front().peer == (r + 1) % size);
      CHECK(s.rounds[0].sends.back().peer == r);
    }
  }
}

TEST_CASE("counts that cannot be are a caller's mistake") {
  const CountVector one(1, 1), two(2, 1), other = {1, 2};
  CHECK_THROWS_AS(alltoallv(0, one, two), ContractViolation);
  CHECK_THROWS_AS(alltoallv(2, two, two), ContractViolation);
  CHECK_THROWS_AS(alltoallv(1, two, other), ContractViolation);
  CHECK_THROWS_AS(direct("sum", 0, SendForm::packed, two, ReceiveForm::summed, other),
                  ContractViolation);
}
