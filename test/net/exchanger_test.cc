// The Exchanger port on a communicator: every Collective, with ranks that take no part.
#include <doctest/doctest.h>

#include <algorithm>

#include "net/exchanger.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::milliseconds;

namespace {

using Floats = std::vector<float>;
using CountVector = std::vector<std::size_t>;

struct Sides {
  Floats send, receive;
  CountVector send_counts, receive_counts;
};

Floats exchange(CommExchanger& exchanger, Frame frame, int step, Collective op, Sides sides) {
  exchanger.start(frame, step, op,
                  {sides.send, sides.send_counts, sides.receive, sides.receive_counts});
  exchanger.finish(frame, step, soon());
  return sides.receive;
}

// `count(from, to)` floats travel; `packed`: a segment for each peer, else one for all.
template <class Count>
Sides sides_of(const Communicator& comm, Count count, bool packed, bool summed) {
  Sides s;
  for (int p = 0; p < comm.size(); ++p) {
    s.send_counts.push_back(count(comm.rank(), p));
    s.receive_counts.push_back(count(p, comm.rank()));
  }
  const std::size_t most = *std::max_element(s.send_counts.begin(), s.send_counts.end());
  for (int p = 0; p < comm.size() && packed; ++p) {
    for (std::size_t i = 0; i < s.send_counts[std::size_t(p)]; ++i) {
      s.send.push_back(mark(comm.rank(), p, i));
    }
  }
  for (std::size_t i = 0; i < most && !packed; ++i) {
    s.send.push_back(mark(comm.rank(), 0, i));
  }
  const std::size_t largest = *std::max_element(s.receive_counts.begin(), s.receive_counts.end());
  s.receive.assign(summed ? largest : sum(s.receive_counts), -1.0F);
  return s;
}

template <class Count>
Floats expected(const Communicator& comm, Count count, bool packed, bool summed) {
  Floats want;
  for (int p = 0; p < comm.size(); ++p) {
    const std::size_t n = count(p, comm.rank());
    for (std::size_t i = 0; i < n; ++i) {
      const float value = mark(p, packed ? comm.rank() : 0, i);
      if (summed && want.size() > i && want.size() >= n) {
        want[i] += value;
      } else {
        want.push_back(value);
      }
    }
  }
  return want;
}

template <class Count>
void check(Collective op, Count count, bool packed, bool summed) {
  on_every_world([&](Communicator& comm) {
    CommExchanger exchanger(comm);
    const Sides sides = sides_of(comm, count, packed, summed);
    for (Frame frame = 0; frame < 3; ++frame) {
      CHECK(exchange(exchanger, frame, 2, op, sides) == expected(comm, count, packed, summed));
    }
  });
}

}  // namespace

TEST_CASE("exchanger: local copies") {
  check(
      Collective::local, [](int from, int to) { return std::size_t(from == to ? 6 : 0); }, true,
      false);
}

TEST_CASE("exchanger: broadcast, to some ranks and not to others") {
  check(
      Collective::broadcast,
      [](int from, int to) { return std::size_t(from == 0 && to != 1 ? 9 : 0); }, false, false);
}

TEST_CASE("exchanger: scatter, uneven, one rank without work") {
  check(
      Collective::scatter,
      [](int from, int to) { return std::size_t(from == 0 ? (to == 2 ? 0 : to + 1) : 0); }, true,
      false);
}

TEST_CASE("exchanger: gather") {
  check(
      Collective::gather,
      [](int from, int to) { return std::size_t(to == 0 ? (from == 1 ? 0 : from + 2) : 0); }, true,
      false);
}

TEST_CASE("exchanger: allgather among those who want it") {
  check(
      Collective::allgather,
      [](int from, int to) { return std::size_t(to == 3 ? 0 : (from * 2) % 5); }, false, false);
}

TEST_CASE("exchanger: alltoall") {
  check(
      Collective::alltoall, [](int from, int to) { return std::size_t((from * 3 + to * 2) % 5); },
      true, false);
}

TEST_CASE("exchanger: reduce adds only what ranks with work hold") {
  check(
      Collective::reduce,
      [](int from, int to) { return std::size_t(to == 0 && from != 1 ? 4 : 0); }, false, true);
  check(
      Collective::reduce,  // the root itself holds nothing
      [](int from, int to) { return std::size_t(to == 0 && from != 0 ? 4 : 0); }, false, true);
}

TEST_CASE("exchanger: allreduce adds only what ranks with work hold") {
  check(
      Collective::allreduce, [](int from, int) { return std::size_t(from == 2 ? 0 : 4); }, false,
      true);
}

TEST_CASE("exchanger: reduce_scatter, uneven") {
  check(
      Collective::reduce_scatter,
      [](int from, int to) { return std::size_t(from == 2 ? 0 : to % 3 * 2); }, true, true);
}

TEST_CASE("exchanger: frames and steps overlap in any order") {
  on_every_world([](Communicator& comm) {
    CommExchanger exchanger(comm);
    const CountVector counts(std::size_t(comm.size()), 2);
    std::vector<Floats> ins, outs;
    for (int i = 0; i < 8; ++i) {
      ins.emplace_back(2, float(i * 100 + comm.rank()));
      outs.emplace_back(2 * std::size_t(comm.size()));
    }
    for (std::size_t i = 0; i < 8; ++i) {
      exchanger.start(Frame(i / 4), int(i % 4), Collective::allgather,
                      {ins[i], counts, outs[i], counts});
    }
    for (std::size_t i = 8; i-- > 0;) {
      exchanger.finish(Frame(i / 4), int(i % 4), soon());
      CHECK(outs[i].back() == float(int(i) * 100 + comm.size() - 1));
    }
  });
}

TEST_CASE("exchanger: signals reach every rank in order") {
  on_every_world([](Communicator& comm) {
    CommExchanger exchanger(comm, 3);
    for (std::uint64_t turn = 0xfffffffeULL; turn < 0x100000003ULL; ++turn) {
      const Signal signal = turn % 3 == 0   ? Signal::frame
                            : turn % 3 == 1 ? Signal::bubble
                                            : Signal::stop;
      if (comm.rank() == 0) {
        exchanger.announce(turn, signal);
      } else {
        CHECK(exchanger.await_signal(turn) == signal);
      }
    }
  });
}

TEST_CASE("exchanger: messages of another plan's epoch are not taken for this one's") {
  const auto thrown = outcomes(make_world(Kind::inproc, 2), [](Communicator& comm) {
    CommExchanger before(comm, 1), now(comm, 2);
    const CountVector counts = {1, 1};
    const Floats old(1, 1.0F), fresh(1, 2.0F);
    Floats out(2), unused(2);
    if (comm.rank() == 1) {
      before.start(0, 0, Collective::allgather, {old, counts, unused, counts});
    }
    now.start(0, 0, Collective::allgather, {fresh, counts, out, counts});
    now.finish(0, 0, soon());
    CHECK(out == Floats(2, 2.0F));
    comm.barrier(soon());
  });
  CHECK(thrown[0] + thrown[1] == "");
}

TEST_CASE("exchanger: a rank that waits for a signal sees rank 0 end") {
  for (const Kind kind : kKinds) {
    const auto thrown = outcomes(make_world(kind, 2), [](Communicator& comm) {
      CommExchanger exchanger(comm);
      if (comm.rank() == 1) {
        exchanger.await_signal(4);
      }
    });
    CHECK(thrown[1].find("rank 0 (board0) has ended") != std::string::npos);
    CHECK(thrown[1].find("signal 4") != std::string::npos);
  }
}

TEST_CASE("exchanger: misuse is a caller's mistake") {
  auto ranks = make_world(Kind::inproc, 2);
  Communicator comm(std::move(ranks[0]));
  CommExchanger exchanger(comm);
  const CountVector counts = {1, 1};
  const Floats in(1);
  Floats out(2);
  CHECK_THROWS_AS(exchanger.finish(0, 0, soon()), ContractViolation);
  CHECK_THROWS_AS(exchanger.await_signal(0), ContractViolation);
  CHECK_THROWS_AS(exchanger.start(0, 1 << 16, Collective::allgather, {in, counts, out, counts}),
                  ContractViolation);
  exchanger.start(0, 0, Collective::allgather, {in, counts, out, counts});
  CHECK_THROWS_AS(exchanger.start(0, 0, Collective::allgather, {in, counts, out, counts}),
                  ContractViolation);
}
