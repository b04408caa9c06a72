// dup and split: communicators on one transport that do not meet.
#include <doctest/doctest.h>

#include "net/exchanger.h"
#include "net/faulty_transport.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

using Floats = std::vector<float>;

const Tag kTag{.context = Context::user, .frame = 3, .step = 4};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("dup: the same ranks, messages that do not meet the parent's") {
  on_every_world([](Communicator& comm) {
    const auto twin = comm.dup(soon());
    CHECK(twin->rank() == comm.rank());
    CHECK(twin->size() == comm.size());
    CHECK(twin->peer_name(0) == comm.peer_name(0));
    // Under one tag, received in the other order; and verbs in different orders on different ranks.
    const int right = (comm.rank() + 1) % comm.size();
    const int left = (comm.rank() + comm.size() - 1) % comm.size();
    const Floats ours(2, 1.0F), theirs(2, 2.0F);
    Floats a(2), b(2), c(2), d(2);
    comm.send(right, kTag, ours);
    twin->send(right, kTag, theirs);
    twin->irecv(left, kTag, b).wait(soon());
    comm.irecv(left, kTag, a).wait(soon());
    CHECK(a == ours);
    CHECK(b == theirs);
    Request one = comm.rank() % 2 == 0 ? comm.iallreduce(ours, c, Op::max)
                                       : twin->iallreduce(theirs, d, Op::max);
    (comm.rank() % 2 == 0 ? *twin : comm)
        .allreduce(comm.rank() % 2 == 0 ? theirs : ours, comm.rank() % 2 == 0 ? d : c, Op::max,
                   soon());
    one.wait(soon());
    CHECK(c == ours);
    CHECK(d == theirs);
  });
}

TEST_CASE("split: by colour, ordered by key, with ranks that take no part") {
  on_every_world([](Communicator& comm) {
    const int me = comm.rank(), size = comm.size();
    const bool out = me == 2;
    const auto half = comm.split(out ? kUndefined : me % 2, -me, soon());
    REQUIRE((half == nullptr) == out);
    std::vector<int> members;  // from the highest rank down
    for (int r = size - 1; r >= 0; --r) {
      if (r != 2 && r % 2 == me % 2) {
        members.push_back(r);
      }
    }
    if (half) {
      CHECK(half->size() == int(members.size()));
      CHECK(members[std::size_t(half->rank())] == me);
      const std::vector<std::int32_t> mine(1, me);
      std::vector<std::int32_t> all(members.size());
      for (const Algorithm a : algorithms(Verb::allgather)) {
        half->iallgather(mine, all, a).wait(soon());
        CHECK(all == std::vector<std::int32_t>(members.begin(), members.end()));
      }
      half->send(0, kTag, mine);
      for (int p = 0; p < half->size() && half->rank() == 0; ++p) {
        const Message m = half->recv(p, kTag, soon());
        CHECK(m.source == p);
        CHECK(m.tag == kTag);
        CHECK(m.body.size() == 4);
      }
      // And once more, from there.
      const auto single = half->split(half->rank(), 0, soon());
      CHECK(single->size() == 1);
      single->barrier(soon());
    }
    comm.barrier(soon());
    const auto again = comm.dup(soon());
    again->barrier(soon());
  });
}

TEST_CASE("groups made on some ranks only keep numbers apart afterwards") {
  on_every_world([](Communicator& comm) {
    const bool low = comm.rank() < 2;
    const auto some = comm.split(low ? 0 : kUndefined, 0, soon());
    std::vector<std::unique_ptr<Communicator>> many;
    for (int i = 0; i < 3 && some; ++i) {
      many.push_back(some->dup(soon()));
    }
    const auto all = comm.dup(soon());  // its number is free on the ranks of `some` as well
    const Floats ours(1, 7.0F), theirs(1, 9.0F);
    Floats got(1);
    for (int r = 0; r < comm.size(); ++r) {
      all->send(r, kTag, ours);
    }
    for (auto& group : many) {
      group->send(0, kTag, theirs);
    }
    for (int r = 0; r < comm.size(); ++r) {
      all->irecv(r, kTag, got).wait(soon());
      CHECK(got == ours);
    }
    comm.barrier(soon());
  });
}

TEST_CASE("an exchanger works on a duplicate next to one on the parent") {
  on_every_world([](Communicator& comm) {
    const auto twin = comm.dup(soon());
    CommExchanger a(comm), b(*twin);
    const std::vector<std::size_t> counts(std::size_t(comm.size()), 1);
    const Floats x(1, 1.0F), y(1, 2.0F);
    Floats xs(counts.size()), ys(counts.size());
    a.start(0, 0, Collective::allgather, {x, counts, xs, counts});
    b.start(0, 0, Collective::allgather, {y, counts, ys, counts});
    b.finish(0, 0, soon());
    a.finish(0, 0, soon());
    CHECK(xs == Floats(counts.size(), 1.0F));
    CHECK(ys == Floats(counts.size(), 2.0F));
  });
}

TEST_CASE("a failure fails all relatives, and errors say whose wait it was") {
  auto ranks = make_world(Kind::inproc, 3);
  std::string first, parent, sibling;
  std::vector<std::string> thrown = outcomes(std::move(ranks), [&](Communicator& comm) {
    const auto twin = comm.dup(soon());
    const auto pair = comm.split(comm.rank() == 0 ? 0 : 1, 0, soon());
    if (comm.rank() == 0) {
      comm.recv(1, kTag, soon());
    }
    if (comm.rank() == 1) {  // rank 2 of the world is rank 1 of the pair
      first = error_of([&] { pair->recv(1, kTag, in(milliseconds(50))); });
      parent = error_of([&] { comm.barrier(soon()); });
      sibling = error_of([&] { twin->dup(soon()); });
    } else {
      twin->barrier(soon());
    }
  });
  CHECK(contains(first, "rank 2 (board2) sent nothing to rank 1 (board1)"));
  CHECK(contains(first, "of communicator 2"));
  CHECK(parent == first);
  CHECK(sibling == first);
  CHECK(contains(thrown[0], "rank 2 (board2) sent nothing to rank 1 (board1)"));
  CHECK(contains(thrown[2], "rank 2 (board2) sent nothing to rank 1 (board1)"));
}

TEST_CASE("the owner's end is everybody's; a duplicate's end is its own") {
  auto ranks = make_world(Kind::inproc, 1);
  auto comm = std::make_unique<Communicator>(std::move(ranks[0]));
  auto twin = comm->dup(soon());
  auto other = comm->dup(soon());
  twin->close();
  CHECK_THROWS_AS(twin->barrier(soon()), ContractViolation);
  twin.reset();
  other->barrier(soon());
  comm->barrier(soon());
  comm.reset();
  CHECK_THROWS_AS(other->barrier(soon()), ContractViolation);
  CHECK_THROWS_AS((void)other->peer_name(0), ContractViolation);
}

TEST_CASE("abort of a duplicate ends the job") {
  const auto thrown = outcomes(make_world(Kind::inproc, 2), [](Communicator& comm) {
    const auto twin = comm.dup(soon());
    if (comm.rank() == 1) {
      twin->abort("rank 1 (board1): no camera");
      return;
    }
    comm.recv(1, kTag, soon());
  });
  CHECK(contains(thrown[0], "no camera"));
}

TEST_CASE("more communicators than there are numbers is an error that says so") {
  const auto thrown = outcomes(make_world(Kind::inproc, 1), [](Communicator& comm) {
    for (int i = 0; i < 65'535; ++i) {
      (void)comm.dup(soon());
    }
    CHECK(contains(error_of([&] { (void)comm.dup(soon()); }), "65535 were made already"));
  });
  CHECK(thrown[0] == "");
}

TEST_CASE("groups under delays and deaths: the right result or a named error") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    auto ranks = make_world(Kind::inproc, 5);
    const bool dies = seed > 4;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      Faults faults{.seed = seed * 10 + r, .longest_delay = microseconds(500)};
      if (dies && r == 3) {
        faults.die_at = int(seed) * 3;
      }
      ranks[r] = with_faults(std::move(ranks[r]), faults);
    }
    const auto thrown = outcomes(std::move(ranks), [](Communicator& comm) {
      const auto rows = comm.split(comm.rank() % 2, 0, soon());
      const Floats mine(4, float(comm.rank()));
      Floats total(4), whole(4);
      for (int i = 0; i < 5; ++i) {
        Request all = comm.iallreduce(mine, whole, Op::sum, Algorithm::ring);
        rows->iallreduce(mine, total, Op::sum, Algorithm::recursive_doubling).wait(soon());
        all.wait(soon());
        if (total[3] != (comm.rank() % 2 == 0 ? 6.0F : 4.0F) || whole[3] != 10.0F) {
          throw std::logic_error("wrong result");
        }
      }
      comm.barrier(soon());
    });
    for (std::size_t r = 0; r < thrown.size(); ++r) {
      INFO(thrown[r]);
      CHECK((dies && r != 3 ? contains(thrown[r], "rank 3 (board3) is lost")
                            : dies || thrown[r].empty()));
    }
  }
}
