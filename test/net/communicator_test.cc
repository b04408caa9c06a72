// What a communicator does when something is wrong.
#include <doctest/doctest.h>

#include <functional>
#include <stdexcept>
#include <thread>

#include "net/communicator.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

using Floats = std::vector<float>;

const Tag kTag{.context = Context::data, .frame = 17, .step = 5};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("timeout: says who is waited for, by whom, in which frame and step") {
  const auto thrown = outcomes(make_world(Kind::inproc, 4), [](Communicator& comm) {
    Floats mine(3), out(12);
    const std::vector<std::size_t> counts(4, 3);
    if (comm.rank() == 0) {
      comm.iallgatherv(mine, out, counts, kTag).wait(in(milliseconds(300)));
    } else if (comm.rank() == 2) {
      (void)comm.iallgatherv(mine, out, counts, kTag);
      std::this_thread::sleep_for(milliseconds(1500));
    } else {
      std::this_thread::sleep_for(milliseconds(1500));
    }
  });
  CHECK(contains(thrown[0], "rank 1 (board1), rank 3 (board3) sent nothing to rank 0 (board0)"));
  CHECK(contains(thrown[0], "allgatherv of frame 17, step 5"));
}

TEST_CASE("a wrong size is a protocol error that names the peer") {
  for (const Kind kind : kKinds) {
    const auto thrown = outcomes(make_world(kind, 2), [](Communicator& comm) {
      Floats data(comm.rank() == 0 ? 8 : 7);
      comm.ibcast(data, 1, kTag).wait(soon());
      comm.recv(1 - comm.rank(), {}, soon());  // rank 1 learns why
    });
    CHECK(contains(thrown[0], "rank 1 (board1) sent 28 bytes where 32 were expected"));
    CHECK(contains(thrown[0], "frame 17, step 5"));
    CHECK(contains(thrown[1], "sent 28 bytes where 32 were expected"));
  }
}

TEST_CASE("a second message under one tag is a protocol error that names the peer") {
  const auto thrown = outcomes(make_world(Kind::inproc, 2), [](Communicator& comm) {
    const Floats data(3);
    if (comm.rank() == 1) {
      comm.send(0, kTag, data);
      comm.send(0, kTag, data);
    }
    comm.recv(1 - comm.rank(), {}, soon());
  });
  CHECK(contains(thrown[0], "rank 1 (board1) sent a message twice (frame 17, step 5)"));
}

TEST_CASE("after an error every call throws it again, at once") {
  for (const Kind kind : kKinds) {
    auto ranks = make_world(kind, 2);
    Communicator comm(std::move(ranks[0]));
    Floats data(4);
    Request old = comm.ibcast(data, 1);
    const std::string first = error_of([&] { comm.recv(1, kTag, in(milliseconds(50))); });
    REQUIRE(contains(first, "rank 1 (board1) sent nothing"));
    CHECK(error_of([&] { comm.recv(1, kTag, soon()); }) == first);
    CHECK(error_of([&] { comm.barrier(soon()); }) == first);
    CHECK(error_of([&] { comm.send(1, kTag, data); }) == first);
    CHECK(error_of([&] { old.wait(soon()); }) == first);
    CHECK(error_of([&] { old.test(); }) == first);
  }
}

TEST_CASE("a lost peer fails everybody's collectives, by name") {
  for (const Kind kind : kKinds) {
    auto ranks = make_world(kind, 3);
    ranks[1].reset();
    std::vector<std::string> thrown(3);
    std::vector<std::thread> threads;
    for (const std::size_t r : {0U, 2U}) {
      threads.emplace_back([&, r] {
        Communicator comm(std::move(ranks[r]));
        Floats data(5), out(5);
        thrown[r] = error_of([&] { comm.iallreduce(data, out, Op::sum, kTag).wait(soon()); });
      });
    }
    for (auto& t : threads) {
      t.join();
    }
    for (const std::size_t r : {0U, 2U}) {
      CHECK(contains(thrown[r], "rank 1 (board1) is lost"));
      CHECK(contains(thrown[r], "frame 17, step 5"));
    }
  }
}

TEST_CASE("waiting for a peer that has ended is an error; not waiting is none") {
  for (const Kind kind : kKinds) {
    const auto thrown = outcomes(make_world(kind, 3), [](Communicator& comm) {
      const Floats data(2);
      Floats got(2);
      if (comm.rank() == 2) {
        return;  // says goodbye
      }
      comm.send(1 - comm.rank(), kTag, data);
      comm.irecv(1 - comm.rank(), kTag, got).wait(soon());
      if (comm.rank() == 0) {
        comm.irecv(2, kTag, got).wait(soon());
      }
    });
    CHECK(contains(thrown[0], "rank 2 (board2) has ended"));
    CHECK(contains(thrown[0], "recv of frame 17, step 5"));
    CHECK(thrown[1] == "");
    CHECK(thrown[2] == "");
  }
}

TEST_CASE("polling for a peer that has ended ends in an error as well") {
  const auto thrown = outcomes(make_world(Kind::tcp, 2), [](Communicator& comm) {
    Floats got(2);
    if (comm.rank() == 0) {
      Request request = comm.irecv(1, kTag, got);
      const Deadline limit = soon();
      while (!request.test() && Clock::now() < limit) {
        std::this_thread::sleep_for(milliseconds(5));
      }
    }
  });
  CHECK(contains(thrown[0], "rank 1 (board1) has ended"));
}

TEST_CASE("a rank that fails tells the others why") {
  for (const Kind kind : kKinds) {
    const auto thrown = outcomes(make_world(kind, 3), [](Communicator& comm) {
      if (comm.rank() == 1) {
        comm.abort("rank 1 (board1): the camera is gone");
        return;
      }
      comm.recv(2 - comm.rank(), kTag, soon());
    });
    CHECK(contains(thrown[0], "the camera is gone"));
    CHECK(contains(thrown[2], "the camera is gone"));
  }
}

TEST_CASE("a rank that unwinds does not leave the others waiting") {
  for (const Kind kind : kKinds) {
    const auto thrown = outcomes(make_world(kind, 2), [](Communicator& comm) {
      if (comm.rank() == 1) {
        throw std::runtime_error("bad luck");
      }
      comm.recv(1, kTag, soon());
    });
    CHECK(contains(thrown[0], "rank 1 (board1) ended after an error"));
    CHECK(thrown[1] == "bad luck");
  }
}

TEST_CASE("the watch ends a wait, and the communicator") {
  auto ranks = make_world(Kind::tcp, 2);
  Communicator comm(std::move(ranks[0]));
  comm.set_watch([] { throw Error(Error::Code::peer_lost, "rank 1 (pi3) exited with status 3"); });
  const auto begin = Clock::now();
  const std::string error = error_of([&] { comm.recv(1, kTag, soon()); });
  CHECK(contains(error, "rank 1 (pi3) exited with status 3"));
  CHECK(Clock::now() - begin < seconds(5));
  CHECK(error_of([&] { comm.barrier(soon()); }) == error);
}

TEST_CASE("buffers that are too small and used tags are a caller's mistake") {
  auto ranks = make_world(Kind::inproc, 1);
  Communicator comm(std::move(ranks[0]));
  Floats small(2), big(3);
  const std::vector<std::size_t> counts = {3};
  CHECK_THROWS_AS((void)comm.iallgatherv(small, big, counts), ContractViolation);
  CHECK_THROWS_AS((void)comm.iallgatherv(big, small, counts), ContractViolation);
  comm.send(0, kTag, small);
  CHECK_THROWS_AS(comm.send(0, kTag, small), ContractViolation);
  comm.barrier(soon());  // still usable
  comm.close();
  CHECK_THROWS_AS(comm.barrier(soon()), ContractViolation);
}

TEST_CASE("a request can be moved and dropped") {
  const auto thrown = outcomes(make_world(Kind::tcp, 2), [](Communicator& comm) {
    Floats in(3, 1.0F), out(3), dropped(3);
    Request a = comm.iallreduce(in, out, Op::sum);
    { Request b = comm.iallreduce(in, dropped, Op::sum); }
    Request c = std::move(a);
    c.wait(soon());
    CHECK(out == Floats(3, 2.0F));
    CHECK(dropped == Floats(3, 0.0F));
    comm.barrier(soon());
    CHECK(dropped == Floats(3, 0.0F));
  });
  CHECK(thrown[0] + thrown[1] == "");
}

TEST_CASE("many frames in flight, finished out of order") {
  for (const Kind kind : kKinds) {
    const auto thrown = outcomes(make_world(kind, 4), [](Communicator& comm) {
      constexpr int kFrames = 40;
      std::vector<Floats> ins, outs(kFrames, Floats(100));
      for (int f = 0; f < kFrames; ++f) {
        ins.emplace_back(100, float(f * 10 + comm.rank()));
      }
      std::vector<Request> requests;
      for (std::uint32_t f = 0; f < kFrames; ++f) {
        requests.push_back(
            comm.iallreduce(ins[f], outs[f], Op::sum, Tag{.context = Context::data, .frame = f}));
      }
      for (int f = kFrames - 1; f >= 0; --f) {
        requests[std::size_t(f)].wait(soon());
        CHECK(outs[std::size_t(f)][99] == float(4 * f * 10 + 6));
      }
    });
    CHECK(thrown == std::vector<std::string>(4));
  }
}
