// Every collective gives what MPI says, over every transport and size of world.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <functional>
#include <thread>

#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;

namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

Floats block(int from, int to, std::size_t count) {
  Floats values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = mark(from, to, i);
  }
  return values;
}

void append(Floats& to, const Floats& more) {
  to.insert(to.end(), more.begin(), more.end());
}

// Addends whose sum depends on the order of addition.
Floats addend(int rank, std::size_t count) {
  Floats values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = (rank % 2 == 0 ? 1e8F : -1e8F) + float(rank) * 0.7F + float(i) * 1.3F;
  }
  return values;
}

Floats sum_in_rank_order(int size, std::size_t count) {
  Floats total = addend(0, count);
  for (int r = 1; r < size; ++r) {
    const Floats next = addend(r, count);
    std::ranges::transform(total, next, total.begin(), std::plus{});
  }
  return total;
}

bool same_bits(const Floats& a, const Floats& b) {
  const auto bits = [](float f) { return std::bit_cast<std::uint32_t>(f); };
  return std::ranges::equal(a, b, {}, bits, bits);
}

}  // namespace

TEST_CASE("barrier: nobody leaves before everybody has come") {
  for (const Kind kind : kKinds) {
    std::atomic<int> here = 0, early = 0;
    const auto thrown = outcomes(make_world(kind, 5), [&](Communicator& comm) {
      for (int round = 1; round <= 20; ++round) {
        ++here;
        comm.barrier(soon());
        early += here < round * comm.size() ? 1 : 0;
      }
    });
    CHECK(early == 0);
    CHECK(std::ranges::count(thrown, "") == 5);
  }
}

TEST_CASE("barrier works in every world") {
  on_every_world([](Communicator& comm) { comm.barrier(soon()); });
}

TEST_CASE("bcast gives everybody the root's floats, from every root") {
  on_every_world([](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root) {
      Floats data = comm.rank() == root ? block(root, 0, 19) : Floats(19, -1.0F);
      comm.bcast(data, root, soon());
      CHECK(data == block(root, 0, 19));
    }
  });
}

TEST_CASE("bcast carries bytes, and nothing at all") {
  on_every_world([](Communicator& comm) {
    Bytes data(13, std::byte(comm.rank() == 0 ? 7 : 0));
    comm.bcast(data, 0, soon());
    CHECK(data == Bytes(13, std::byte(7)));
    Bytes nothing;
    comm.bcast(nothing, 0, soon());
  });
}

TEST_CASE("scatterv gives each rank its block, from every root") {
  on_every_world([](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root) {
      const auto counts = uneven_counts(comm.size(), root);
      Floats in, out(counts[std::size_t(comm.rank())]);
      for (int p = 0; p < comm.size() && comm.rank() == root; ++p) {
        append(in, block(root, p, counts[std::size_t(p)]));
      }
      comm.scatterv(in, counts, out, root, soon());
      CHECK(out == block(root, comm.rank(), out.size()));
    }
  });
}

TEST_CASE("gatherv gives the root all blocks in rank order, at every root") {
  on_every_world([](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root) {
      const auto counts = uneven_counts(comm.size(), root);
      const Floats in = block(comm.rank(), root, counts[std::size_t(comm.rank())]);
      Floats out(comm.rank() == root ? sum(counts) : 0), want;
      for (int p = 0; p < comm.size() && comm.rank() == root; ++p) {
        append(want, block(p, root, counts[std::size_t(p)]));
      }
      comm.gatherv(in, out, counts, root, soon());
      CHECK(out == want);
    }
  });
}

TEST_CASE("allgatherv gives everybody all blocks in rank order") {
  on_every_world([](Communicator& comm) {
    for (int salt = 0; salt < 4; ++salt) {
      const auto counts = uneven_counts(comm.size(), salt);
      Floats out(sum(counts)), want;
      for (int p = 0; p < comm.size(); ++p) {
        append(want, block(p, 9, counts[std::size_t(p)]));
      }
      const Floats in = block(comm.rank(), 9, counts[std::size_t(comm.rank())]);
      comm.allgatherv(in, out, counts, soon());
      CHECK(out == want);
    }
  });
}

TEST_CASE("direct reduce sums in rank order, bit for bit, at every root") {
  on_every_world([](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root) {
      Floats out(comm.rank() == root ? 33 : 0);
      const Floats in = addend(comm.rank(), 33);
      comm.ireduce(in, out, Op::sum, root, Algorithm::direct).wait(soon());
      CHECK(same_bits(out, comm.rank() == root ? sum_in_rank_order(comm.size(), 33) : Floats()));
    }
  });
}

TEST_CASE("direct allreduce gives everybody the bits of rank order") {
  on_every_world([](Communicator& comm) {
    for (const std::size_t count : {0U, 1U, 50U, 20'001U}) {
      const Floats in = addend(comm.rank(), count);
      Floats out(count);
      comm.iallreduce(in, out, Op::sum, Algorithm::direct).wait(soon());
      CHECK(same_bits(out, sum_in_rank_order(comm.size(), count)));
    }
  });
}

TEST_CASE("direct reduce_scatter gives each rank its part of the sum") {
  on_every_world([](Communicator& comm) {
    const auto counts = uneven_counts(comm.size(), 1);
    const Floats total = sum_in_rank_order(comm.size(), sum(counts));
    std::size_t begin = 0;
    for (int p = 0; p < comm.rank(); ++p) {
      begin += counts[std::size_t(p)];
    }
    const Floats in = addend(comm.rank(), sum(counts));
    Floats out(counts[std::size_t(comm.rank())]);
    comm.ireduce_scatter(in, out, counts, Op::sum, Algorithm::direct).wait(soon());
    const auto from = total.begin() + std::ptrdiff_t(begin);
    CHECK(same_bits(out, Floats(from, from + std::ptrdiff_t(out.size()))));
  });
}

TEST_CASE("alltoallv brings each block to its rank") {
  on_every_world([](Communicator& comm) {
    const int me = comm.rank();
    const auto count = [&](int from, int to) { return std::size_t((from * 3 + to * 2) % 5) * 11; };
    std::vector<std::size_t> sends, receives;
    Floats in, want;
    for (int p = 0; p < comm.size(); ++p) {
      sends.push_back(count(me, p));
      receives.push_back(count(p, me));
      append(in, block(me, p, sends.back()));
      append(want, block(p, me, receives.back()));
    }
    Floats out(sum(receives));
    comm.alltoallv(in, sends, out, receives, soon());
    CHECK(out == want);
  });
}

TEST_CASE("large messages arrive whole") {
  on_every_world([](Communicator& comm) {
    const std::size_t count = 300'000;
    const std::vector<std::size_t> counts(std::size_t(comm.size()), count);
    Floats out(sum(counts)), want;
    for (int p = 0; p < comm.size(); ++p) {
      append(want, block(p, 3, count));
    }
    const Floats in = block(comm.rank(), 3, count);
    comm.allgatherv(in, out, counts, soon());
    CHECK(out == want);
  });
}

TEST_CASE("send and recv pass messages around a ring, and to oneself") {
  on_every_world([](Communicator& comm) {
    const int size = comm.size(), me = comm.rank();
    const Tag tag{.context = Context::user, .frame = 5};
    const Floats out = block(me, 1, 9);
    Floats in(9);
    comm.send((me + 1) % size, tag, out);
    comm.irecv((me + size - 1) % size, tag, in).wait(soon());
    CHECK(in == block((me + size - 1) % size, 1, 9));
  });
}

TEST_CASE("recv takes a message of any size") {
  on_every_world([](Communicator& comm) {
    for (const std::size_t bytes : {0U, 1U, 33U, 9'000U}) {
      const Tag tag{.context = Context::user, .frame = std::uint32_t(bytes)};
      const Bytes out(bytes, std::byte(comm.rank()));
      for (int p = 0; p < comm.size(); ++p) {
        comm.send(p, tag, out);
      }
      for (int p = 0; p < comm.size(); ++p) {
        const Message m = comm.recv(p, tag, soon());
        CHECK(Bytes(m.body.begin(), m.body.end()) == Bytes(bytes, std::byte(p)));
      }
    }
  });
}

TEST_CASE("requests under tags may be started and finished in any order") {
  on_every_world([](Communicator& comm) {
    const auto tag = [](int step) {
      return Tag{.context = Context::data, .frame = 1, .step = std::uint16_t(step)};
    };
    const std::vector<std::size_t> counts(std::size_t(comm.size()), 4);
    std::vector<Floats> ins, outs(6, Floats(sum(counts)));
    for (int step = 0; step < 6; ++step) {
      ins.push_back(block(comm.rank(), step, 4));
    }
    std::vector<Request> requests;
    std::vector<int> steps;
    for (int i = 0; i < 6; ++i) {  // each rank in an order of its own
      steps.push_back((i + comm.rank()) % 6);
      const std::size_t at = std::size_t(steps.back());
      requests.push_back(comm.iallgatherv(ins[at], outs[at], counts, tag(steps.back())));
    }
    for (int i = 5; i >= 0; --i) {
      requests[std::size_t(i)].wait(soon());
    }
    for (int step = 0; step < 6; ++step) {
      Floats want;
      for (int p = 0; p < comm.size(); ++p) {
        append(want, block(p, step, 4));
      }
      CHECK(outs[std::size_t(step)] == want);
    }
  });
}

TEST_CASE("test() completes without waiting") {
  on_every_world([](Communicator& comm) {
    const Floats in = addend(comm.rank(), 3);
    Floats out(3);
    Request request = comm.iallreduce(in, out, Op::sum, Algorithm::direct);
    const Deadline deadline = soon();
    while (!request.test() && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(same_bits(out, sum_in_rank_order(comm.size(), 3)));
    CHECK(request.test());
  });
}
