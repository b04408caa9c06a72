// Every verb, type, operation and algorithm gives MPI's result, over every transport and size of
// world.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <thread>
#include <type_traits>

#include "net/faulty_transport.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::microseconds;
using std::chrono::milliseconds;

namespace {

using Floats = std::vector<float>;
using CountVector = std::vector<std::size_t>;

const Tag kTag{.context = Context::user, .frame = 3, .step = 4};

template <class T>
T made(int from, int to, std::size_t i) {
  const int value = (from * 31 + to * 7 + int(i)) % 101;
  if constexpr (std::is_same_v<T, Half>) {
    return Half{std::uint16_t(value)};
  } else {
    return T(value);
  }
}

template <class T>
std::vector<T> block(int from, int to, std::size_t count) {
  std::vector<T> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(made<T>(from, to, i));
  }
  return values;
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

bool same_bits(const Floats& a, const Floats& b) {
  const auto bits = [](float f) { return std::bit_cast<std::uint32_t>(f); };
  return std::ranges::equal(a, b, {}, bits, bits);
}

// All verbs that move elements, each by every algorithm; throws std::logic_error on a wrong result.
template <class T>
void move_everything(Communicator& comm, std::size_t count, Deadline deadline) {
  using Values = std::vector<T>;
  const int size = comm.size(), me = comm.rank(), root = size / 2;
  const std::size_t n = std::size_t(size);
  const auto want = [](bool right, const char* what) {
    if (!right) {
      throw std::logic_error(what);
    }
  };
  Values from_root, to_me, all;
  CountVector counts;
  for (int p = 0; p < size; ++p) {
    append(from_root, block<T>(root, p, count));
    append(to_me, block<T>(p, me, count));
    append(all, block<T>(p, 0, count));
    counts.push_back(count * std::size_t(p % 3));
  }
  for (const Algorithm a : algorithms(Verb::bcast)) {
    Values data = me == root ? block<T>(root, 0, count) : Values(count);
    comm.ibcast(data, root, a).wait(deadline);
    want(data == block<T>(root, 0, count), "bcast");
  }
  for (const Algorithm a : algorithms(Verb::scatter)) {
    Values out(count), part(counts[std::size_t(me)]), in;
    comm.iscatter(me == root ? std::span<const T>(from_root) : std::span<const T>(), out, root, a)
        .wait(deadline);
    want(out == block<T>(root, me, count), "scatter");
    for (int p = 0; p < size; ++p) {
      append(in, block<T>(root, p, counts[std::size_t(p)]));
    }
    comm.iscatterv(in, counts, part, root, a).wait(deadline);
    want(part == block<T>(root, me, part.size()), "scatterv");
  }
  for (const Algorithm a : algorithms(Verb::gather)) {
    const Values in = block<T>(me, 0, count);
    Values out(me == root ? count * n : 0);
    comm.igather(in, out, root, a).wait(deadline);
    want(out == (me == root ? all : Values()), "gather");
  }
  for (const Algorithm a : algorithms(Verb::allgather)) {
    const Values in = block<T>(me, 0, count);
    Values out(count * n);
    comm.iallgather(in, out, a).wait(deadline);
    want(out == all, "allgather");
  }
  for (const Algorithm a : algorithms(Verb::alltoall)) {
    Values in, out(count * n);
    for (int p = 0; p < size; ++p) {
      append(in, block<T>(me, p, count));
    }
    comm.ialltoall(in, out, a).wait(deadline);
    want(out == to_me, "alltoall");
  }
}

template <class T>
T apply(Op op, T a, T b) {
  switch (op) {
    case Op::sum:
      return T(a + b);
    case Op::prod:
      return T(a * b);
    case Op::min:
      return std::min(a, b);
    case Op::max:
      return std::max(a, b);
  }
  return a;
}

// All reductions by every algorithm, of numbers small enough for every order to give the same.
template <class T>
void reduce_everything(Communicator& comm, std::size_t count, Deadline deadline) {
  const int size = comm.size(), me = comm.rank(), root = size - 1;
  const std::size_t n = std::size_t(size);
  const auto addend = [&](int r, std::size_t total) {
    std::vector<T> values;
    for (std::size_t i = 0; i < total; ++i) {
      values.push_back(T((r + int(i)) % 3 == 0 ? 2 : -1));
    }
    return values;
  };
  const auto fold = [&](Op op, int ranks, std::size_t total) {
    std::vector<T> values = addend(0, total);
    for (int r = 1; r < ranks; ++r) {
      std::ranges::transform(values, addend(r, total), values.begin(),
                             [op](T a, T b) { return apply(op, a, b); });
    }
    return values;
  };
  const auto want = [](bool right, const char* what) {
    if (!right) {
      throw std::logic_error(what);
    }
  };
  for (const Op op : {Op::sum, Op::min, Op::max, Op::prod}) {
    const auto in = addend(me, count);
    for (const Algorithm a : algorithms(Verb::reduce)) {
      std::vector<T> out(me == root ? count : 0);
      comm.ireduce(in, out, op, root, a).wait(deadline);
      want(me != root || out == fold(op, size, count), "reduce");
    }
    for (const Algorithm a : algorithms(Verb::allreduce)) {
      std::vector<T> out(count);
      comm.iallreduce(in, out, op, a).wait(deadline);
      want(out == fold(op, size, count), "allreduce");
    }
    for (const Algorithm a : algorithms(Verb::scan)) {
      std::vector<T> out(count);
      comm.iscan(in, out, op, a).wait(deadline);
      want(out == fold(op, me + 1, count), "scan");
    }
    for (const Algorithm a : algorithms(Verb::reduce_scatter)) {
      const CountVector counts(n, count);
      const auto many = addend(me, count * n), whole = fold(op, size, count * n);
      std::vector<T> out(count);
      comm.ireduce_scatter(many, out, counts, op, a).wait(deadline);
      want(std::ranges::equal(out, std::span(whole).subspan(count * std::size_t(me), count)),
           "reduce_scatter");
    }
  }
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

template <class In, class Out>
concept Reducible = requires(Communicator& comm, In&& in, Out&& out) {
  comm.iallreduce(std::forward<In>(in), std::forward<Out>(out), Op::sum);
};
template <class In, class Out>
concept Exchangeable = requires(Communicator& comm, In&& in, Out&& out) {
  comm.ialltoall(std::forward<In>(in), std::forward<Out>(out));
};
template <class T, class F>
concept Combines = requires(F f) {
  ReduceOp::of<T>(f);
};

template <class Body>
void on_inproc(int size, Body body) {
  const auto thrown = outcomes(make_world(Kind::inproc, size), body);
  CHECK(thrown == std::vector<std::string>(std::size_t(size)));
}

}  // namespace

TEST_CASE("every verb that moves, by every algorithm, with every type") {
  on_every_world([](Communicator& comm) {
    for (const std::size_t count : {0U, 1U, 7U}) {
      move_everything<float>(comm, count, soon());
      move_everything<Half>(comm, count, soon());
      move_everything<std::int8_t>(comm, count, soon());
      move_everything<std::int32_t>(comm, count, soon());
      move_everything<std::byte>(comm, count, soon());
    }
    move_everything<float>(comm, 5'000, soon());
  });
}

TEST_CASE("every reduction, by every algorithm, with every type and operation") {
  on_every_world([](Communicator& comm) {
    for (const std::size_t count : {0U, 1U, 9U}) {
      reduce_everything<float>(comm, count, soon());
      reduce_everything<std::int32_t>(comm, count, soon());
      reduce_everything<std::int8_t>(comm, count, soon());
    }
  });
}

TEST_CASE("a function of one's own is folded in rank order") {
  on_every_world([](Communicator& comm) {
    // 2x2 matrices packed into an int do not commute: (a, b) stands for x -> a x + b modulo 251.
    const ReduceOp then = ReduceOp::of<std::int32_t>([](std::int32_t f, std::int32_t g) {
      return (f / 251 * (g / 251)) % 251 * 251 + (g / 251 * (f % 251) + g % 251) % 251;
    });
    const auto mine = [](int r) { return std::int32_t((r + 2) * 251 + 3 * r + 1); };
    std::int32_t want = mine(0);
    for (int r = 1; r < comm.size(); ++r) {
      const std::int32_t g = mine(r);
      want = (want / 251 * (g / 251)) % 251 * 251 + (g / 251 * (want % 251) + g % 251) % 251;
    }
    const std::vector<std::int32_t> in(3, mine(comm.rank()));
    for (const Algorithm a : {Algorithm::direct, Algorithm::recursive_doubling}) {
      std::vector<std::int32_t> out(3);
      comm.iallreduce(in, out, then, a).wait(soon());
      CHECK(out == std::vector<std::int32_t>(3, want));
    }
    for (int root = 0; root < comm.size(); ++root) {
      std::vector<std::int32_t> out(3);
      comm.ireduce(in, out, then, root, Algorithm::binomial).wait(soon());
      CHECK((comm.rank() != root || out[2] == want));
    }
  });
}

TEST_CASE("integers wrap around, and min and max drop NaN") {
  on_inproc(2, [](Communicator& comm) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<std::int32_t> high(1, std::numeric_limits<std::int32_t>::max());
    std::vector<std::int32_t> sum(1);
    comm.allreduce(high, sum, Op::sum, soon());
    CHECK(sum[0] == -2);
    const std::vector<std::int8_t> small(1, std::int8_t(100));
    std::vector<std::int8_t> product(1);
    comm.allreduce(small, product, Op::prod, soon());
    CHECK(product[0] == std::int8_t(10'000 % 256));
    const Floats mixed = {comm.rank() == 0 ? nan : 1.0F, comm.rank() == 0 ? 1.0F : nan};
    Floats out(2);
    for (const Op op : {Op::min, Op::max}) {
      comm.allreduce(mixed, out, op, soon());
      CHECK(out == Floats{1.0F, 1.0F});
    }
  });
}

TEST_CASE(
    "the same world and algorithm give the same bits, on all ranks and whatever comes first") {
  for (const Algorithm a : algorithms(Verb::allreduce)) {
    std::vector<Floats> results;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      auto ranks = make_world(Kind::inproc, 6);
      for (auto& rank : ranks) {
        rank = with_faults(std::move(rank), {.seed = seed, .longest_delay = microseconds(2000)});
      }
      std::vector<Floats> out(6, Floats(40));
      const auto thrown = outcomes(std::move(ranks), [&](Communicator& comm) {
        Floats in(40);
        for (std::size_t i = 0; i < in.size(); ++i) {
          in[i] = (comm.rank() % 2 == 0 ? 1e8F : -1e8F) + float(comm.rank()) * 0.7F + float(i);
        }
        comm.iallreduce(in, out[std::size_t(comm.rank())], Op::sum, a).wait(soon());
      });
      CHECK(thrown == std::vector<std::string>(6));
      append(results, out);
    }
    for (const Floats& result : results) {
      CHECK(same_bits(result, results[0]));
    }
  }
}

TEST_CASE("sendrecv turns a ring, and exchanges with oneself") {
  on_every_world([](Communicator& comm) {
    const int size = comm.size(), me = comm.rank();
    const int right = (me + 1) % size, left = (me + size - 1) % size;
    const Floats out = block<float>(me, 1, 5);
    Floats in(5);
    comm.sendrecv(out, right, in, left, kTag, soon());
    CHECK(in == block<float>(left, 1, 5));
  });
}

TEST_CASE("probe finds a message and leaves it; from any source the lowest rank's") {
  on_every_world([](Communicator& comm) {
    const int me = comm.rank();
    const Tag later{.context = Context::user, .frame = 9};
    CHECK_FALSE(comm.iprobe(comm.size() - 1, later).has_value());
    const Floats out = block<float>(me, 0, std::size_t(me) + 1);
    comm.send(0, kTag, out);
    for (int p = 0; p < comm.size() && me == 0; ++p) {
      const Status one = comm.probe(p, kTag, soon());
      CHECK(one.source == p);
      CHECK(one.bytes == 4 * (std::size_t(p) + 1));
    }
    for (int p = 0; p < comm.size() && me == 0; ++p) {
      const auto any = comm.iprobe(kAnySource, kTag);
      REQUIRE(any.has_value());
      CHECK(any->source == p);
      CHECK(comm.recv(any->source, kTag, soon()).body.size() == any->bytes);
    }
    comm.barrier(soon());
  });
}

TEST_CASE("probe ends where nothing will come") {
  const auto thrown = outcomes(make_world(Kind::inproc, 3), [](Communicator& comm) {
    if (comm.rank() == 0) {
      comm.probe(kAnySource, kTag, soon());
    }
  });
  CHECK(contains(thrown[0], "has ended"));
  auto ranks = make_world(Kind::inproc, 2);
  Communicator comm(std::move(ranks[0]));
  CHECK(contains(error_of([&] { comm.probe(1, kTag, in(milliseconds(30))); }),
                 "rank 1 (board1) sent nothing to rank 0 (board0)"));
}

TEST_CASE("wait_all and wait_any") {
  on_every_world([](Communicator& comm) {
    const int me = comm.rank(), size = comm.size();
    const auto tag = [](int i) { return Tag{.frame = std::uint32_t(i)}; };
    std::vector<Floats> in(std::size_t(size), Floats(2));
    std::vector<Request> requests;
    for (int p = 0; p < size; ++p) {
      requests.push_back(comm.irecv(p, tag(p), in[std::size_t(p)]));
    }
    const Floats sent(2, float(me));
    for (int p = size - 1; p >= 0; --p) {
      comm.send(p, tag(me), sent);
    }
    std::vector<bool> done(std::size_t(size), false);
    for (int i = 0; i < size; ++i) {
      const auto which = wait_any(requests, soon());
      REQUIRE(which.has_value());
      CHECK_FALSE(done[*which]);
      CHECK_FALSE(requests[*which].active());
      done[*which] = true;
    }
    CHECK_FALSE(wait_any(requests, soon()).has_value());
    for (int p = 0; p < size; ++p) {
      CHECK(in[std::size_t(p)] == Floats(2, float(p)));
    }
    std::vector<Floats> totals(5, Floats(3));
    const Floats mine(3, float(me));
    std::vector<Request> sums;
    for (Floats& total : totals) {
      sums.push_back(comm.iallreduce(mine, total, Op::sum));
    }
    wait_all(sums, soon());
    CHECK(totals == std::vector<Floats>(5, Floats(3, float(size * (size - 1) / 2))));
  });
}

TEST_CASE("wait_any takes what comes, and names who is missing at the deadline") {
  const auto thrown = outcomes(make_world(Kind::inproc, 3), [](Communicator& comm) {
    const Floats out(1, 5.0F);
    Floats first(1), second(1);
    if (comm.rank() != 0) {
      if (comm.rank() == 2) {
        comm.send(0, kTag, out);
      }
      comm.recv(0, kTag, soon());
      return;
    }
    std::vector<Request> requests;
    requests.push_back(comm.irecv(1, kTag, first));
    requests.push_back(comm.irecv(2, kTag, second));
    CHECK(wait_any(requests, soon()) == 1U);
    CHECK(second[0] == 5.0F);
    wait_any(requests, in(milliseconds(50)));
  });
  CHECK(contains(thrown[0], "rank 1 (board1) sent nothing to rank 0 (board0)"));
}

// A rank that waits for one verb goes on with the others, else two of several rounds that ranks
// wait for in different orders would never end.
TEST_CASE("algorithms of several rounds go on while others are waited for") {
  on_every_world([](Communicator& comm) {
    const int me = comm.rank();
    const Floats mine(30, float(me));
    std::vector<Floats> out(4, Floats(30));
    std::vector<Request> requests;
    for (std::size_t i = 0; i < 4; ++i) {
      requests.push_back(comm.iallreduce(
          mine, out[i], Op::sum, i % 2 == 0 ? Algorithm::ring : Algorithm::recursive_doubling));
    }
    for (std::size_t i = 0; i < 4; ++i) {
      requests[(i + std::size_t(me)) % 4].wait(soon());
    }
    comm.send((me + 1) % comm.size(), kTag, mine);
    comm.recv((me + comm.size() - 1) % comm.size(), kTag, soon());
    CHECK(out == std::vector<Floats>(4, Floats(30, float(comm.size() * (comm.size() - 1) / 2))));
  });
}

TEST_CASE("neighbor_alltoallv among some, a neighbour listed twice, others with none") {
  on_every_world([](Communicator& comm) {
    const int me = comm.rank(), last = comm.size() - 1;
    std::vector<Neighbor> to, from;
    Floats in, want;
    if (me == 0) {
      to = {{last, 2}, {last, 3}};
      in = {1, 2, 3, 4, 5};
    }
    if (me == last) {
      from = {{0, 2}, {0, 3}};
      want = {1, 2, 3, 4, 5};
    }
    Floats out(want.size());
    comm.neighbor_alltoallv(in, to, out, from, soon());
    CHECK(out == want);
  });
}

TEST_CASE("algorithms: a call's, else the communicator's, else the chooser's") {
  on_every_world([](Communicator& comm) {
    comm.set_algorithm(Verb::allreduce, Algorithm::ring);
    comm.set_link({.latency = 1.0});
    const Floats in(10, 1.0F);
    Floats out(10);
    comm.allreduce(in, out, Op::max, soon());
    CHECK(out == in);
    const ReduceOp first = ReduceOp::of<float>([](float a, float) { return a; });
    CHECK_THROWS_AS((void)comm.iallreduce(in, out, first), ContractViolation);
    comm.set_algorithm(Verb::allreduce, {});
    comm.allreduce(in, out, first, soon());
    CHECK_THROWS_AS(comm.set_algorithm(Verb::bcast, Algorithm::ring), ContractViolation);
    CHECK_THROWS_AS((void)comm.ibcast(out, 0, Algorithm::ring), ContractViolation);
    comm.barrier(soon());
  });
}

TEST_CASE("a shared buffer that is none has no elements") {
  CHECK(SendBuffer(std::shared_ptr<Floats>()).count() == 0);
  CHECK(SendBuffer(std::make_shared<Floats>(3)).count() == 3);
}

TEST_CASE("shared buffers give the same results, and nobody holds them in the end") {
  constexpr std::size_t kEach = 40'000;  // floats: longer than a chunk
  on_every_world([](Communicator& comm) {
    const int size = comm.size(), rank = comm.rank();
    for (const Algorithm algorithm : algorithms(Verb::alltoall)) {
      Floats sent, wanted, out(kEach * std::size_t(size));
      for (int peer = 0; peer < size; ++peer) {
        append(sent, block<float>(rank, peer, kEach));
        append(wanted, block<float>(peer, rank, kEach));
      }
      const auto in = std::make_shared<const Floats>(std::move(sent));
      comm.ialltoall(in, out, algorithm).wait(soon());
      CHECK(out == wanted);
      Floats sum(in->size());
      comm.iallreduce(in, sum, Op::sum).wait(soon());
      for (const Deadline end = soon(); in.use_count() > 1 && Clock::now() < end;) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      CHECK(in.use_count() == 1);
    }
    comm.barrier(soon());
  });
}

TEST_CASE("what a type can refuse does not compile") {
  static_assert(std::convertible_to<Floats&, SendBuffer>);
  static_assert(std::convertible_to<std::vector<Half>&, SendBuffer>);
  static_assert(std::convertible_to<const std::array<std::int32_t, 3>&, SendBuffer>);
  static_assert(!std::convertible_to<Floats, SendBuffer>);
  static_assert(!std::convertible_to<Floats, ReceiveBuffer>);
  static_assert(!std::convertible_to<const Floats&, ReceiveBuffer>);
  static_assert(!std::convertible_to<std::span<const float>, ReceiveBuffer>);
  static_assert(!std::convertible_to<std::vector<double>&, SendBuffer>);
  static_assert(!std::convertible_to<std::vector<std::int64_t>&, ReceiveBuffer>);
  static_assert(std::convertible_to<std::vector<std::int8_t>&, Addends>);
  static_assert(!std::convertible_to<std::vector<Half>&, Addends>);
  static_assert(!std::convertible_to<std::vector<std::byte>&, Addends>);
  static_assert(!std::convertible_to<std::vector<std::byte>&, Totals>);
  static_assert(!std::convertible_to<const Floats&, Totals>);
  static_assert(!std::convertible_to<Floats, Addends>);
  static_assert(std::convertible_to<std::shared_ptr<Floats>, SendBuffer>);
  static_assert(std::convertible_to<std::shared_ptr<const std::vector<Half>>, SendBuffer>);
  static_assert(!std::convertible_to<std::shared_ptr<std::vector<double>>, SendBuffer>);
  static_assert(!std::convertible_to<std::shared_ptr<std::span<float>>, SendBuffer>);
  static_assert(!std::convertible_to<std::shared_ptr<Floats>, ReceiveBuffer>);
  static_assert(std::convertible_to<std::shared_ptr<Floats>, Addends>);
  static_assert(!std::convertible_to<std::shared_ptr<std::vector<Half>>, Addends>);
  static_assert(!std::copyable<Request> && std::movable<Request>);
  static_assert(!std::copyable<Communicator>);
  static_assert(Reducible<Floats&, Floats&>);
  static_assert(Reducible<std::span<const std::int32_t>, std::vector<std::int32_t>&>);
  static_assert(!Reducible<std::vector<Half>&, std::vector<Half>&>);
  static_assert(!Reducible<std::vector<std::byte>&, std::vector<std::byte>&>);
  static_assert(!Reducible<Floats, Floats&>);
  static_assert(!Reducible<Floats&, const Floats&>);
  static_assert(Exchangeable<std::vector<Half>&, std::vector<Half>&>);
  static_assert(!Exchangeable<Floats, Floats&>);
  static_assert(!Exchangeable<Floats&, const Floats&>);
  static_assert(!Exchangeable<std::vector<double>&, std::vector<double>&>);
  static_assert(Combines<float, std::plus<float>>);
  static_assert(!Combines<Half, std::plus<>>);
  static_assert(!Combines<float, std::negate<float>>);
}

TEST_CASE("misuse is a caller's mistake, before anything is sent") {
  on_inproc(2, [](Communicator& comm) {
    Floats two(2), three(3), four(4);
    std::vector<std::int32_t> ints(2);
    const CountVector short_counts = {2}, counts = {2, 2};
    const auto refused = [](auto call) {
      const std::string error = error_of(call);
      CHECK_MESSAGE(error != "", "not refused");
      return error;
    };
    CHECK(contains(refused([&] { (void)comm.iallreduce(two, two, Op::sum); }), "overlap"));
    CHECK(contains(refused([&] { comm.iallgather(std::span(four).first(2), four).wait(soon()); }),
                   "overlap"));
    CHECK(contains(refused([&] { (void)comm.ialltoall(four, four); }), "overlap"));
    CHECK(contains(refused([&] { (void)comm.isendrecv(two, 0, two, 0, kTag); }), "overlap"));
    CHECK(contains(refused([&] { (void)comm.iallreduce(two, ints, Op::sum); }), "type"));
    CHECK(contains(refused([&] {
                     (void)comm.iallreduce(ints, ints,
                                           ReduceOp::of<float>([](float a, float) { return a; }));
                   }),
                   "overlap"));
    std::vector<std::int32_t> more(2);
    CHECK(contains(refused([&] {
                     (void)comm.iallreduce(ints, more,
                                           ReduceOp::of<float>([](float a, float) { return a; }));
                   }),
                   "operation does not take"));
    CHECK(contains(refused([&] { (void)comm.ibcast(two, 2); }), "root"));
    CHECK(contains(refused([&] { (void)comm.iscatter(four, two, -1); }), "root"));
    CHECK(contains(refused([&] { (void)comm.iallgatherv(two, four, short_counts); }), "counts"));
    CHECK(contains(refused([&] { (void)comm.ialltoallv(two, counts, four, counts); }), "smaller"));
    CHECK(contains(refused([&] { (void)comm.iallgather(two, three); }), "times their number"));
    CHECK(contains(refused([&] { (void)comm.ialltoall(three, two); }), "multiple of the size"));
    CHECK(contains(refused([&] { comm.send(2, kTag, two); }), "peer"));
    CHECK(contains(refused([&] { (void)comm.irecv(-1, kTag, two); }), "peer"));
    CHECK(contains(refused([&] { comm.send(0, {.epoch = 1U << 16}, two); }), "16 bits"));
    CHECK(contains(refused([&] { comm.send(0, {.context = Context::automatic}, two); }),
                   "automatic"));
    comm.barrier(soon());  // nothing was sent, nothing failed
  });
}

TEST_CASE("ranks that call different verbs, roots, types or algorithms are told at once") {
  struct Difference {
    const char* what;
    std::function<void(Communicator&, bool)> call;
  };
  const std::vector<Difference> differences = {
      {"verb",
       [](Communicator& comm, bool odd) {
         Floats in(4), out(4);
         odd ? comm.alltoall(in, out, soon()) : comm.allreduce(in, out, Op::sum, soon());
       }},
      {"type",
       [](Communicator& comm, bool odd) {
         Floats in(4), out(4);
         std::vector<std::int32_t> ints(4), others(4);
         odd ? comm.alltoall(in, out, soon()) : comm.alltoall(ints, others, soon());
       }},
      {"operation",
       [](Communicator& comm, bool odd) {
         Floats in(4), out(4);
         comm.allreduce(in, out, odd ? Op::min : Op::max, soon());
       }},
      {"algorithm", [](Communicator& comm, bool odd) {
         Floats in(4), out(4);
         comm.iallreduce(in, out, Op::sum, odd ? Algorithm::ring : Algorithm::recursive_doubling)
             .wait(soon());
       }}};
  for (const Difference& difference : differences) {
    INFO(difference.what);
    const auto begin = Clock::now();
    const auto thrown = outcomes(make_world(Kind::inproc, 2), [&](Communicator& comm) {
      difference.call(comm, comm.rank() == 1);
      comm.barrier(soon());
    });
    CHECK(Clock::now() - begin < std::chrono::seconds(10));
    for (const std::string& error : thrown) {
      INFO(error);
      CHECK(contains(error, "not in the same"));
    }
  }
  const auto thrown = outcomes(make_world(Kind::inproc, 3), [&](Communicator& comm) {
    Floats data(4);
    comm.bcast(data, comm.rank() == 2 ? 1 : 0, soon());
    comm.barrier(soon());
  });
  CHECK(contains(thrown[2], "rank 0 (board0) is not in the same bcast number 0"));
}

TEST_CASE("a function that throws ends the communicator, by name") {
  const auto thrown = outcomes(make_world(Kind::inproc, 2), [](Communicator& comm) {
    const ReduceOp bad =
        ReduceOp::of<float>([](float, float) -> float { throw std::runtime_error("no sum"); });
    const Floats in(2);
    Floats out(2);
    comm.allreduce(in, out, bad, soon());
  });
  CHECK(contains(thrown[0], "cannot reduce, in the allreduce number 0: no sum"));
  CHECK(contains(thrown[1], "no sum"));
}

namespace {

// Every verb by every algorithm, under faults on one rank, or on all if `rank` is -1.
std::vector<std::string> suffer(Kind kind, int rank, Faults faults, milliseconds limit) {
  auto ranks = make_world(kind, 5);
  for (int r = 0; r < 5; ++r) {
    if (rank == -1 || rank == r) {
      faults.seed += std::uint64_t(r);
      ranks[std::size_t(r)] = with_faults(std::move(ranks[std::size_t(r)]), faults);
    }
  }
  return outcomes(std::move(ranks), [limit](Communicator& comm) {
    move_everything<std::int32_t>(comm, 3, in(limit));
    reduce_everything<float>(comm, 3, in(limit));
    comm.barrier(in(limit));
  });
}

constexpr milliseconds kPatience(60'000);

}  // namespace

TEST_CASE("verbs under delays and new orders give the right result") {
  for (const Kind kind : {Kind::inproc, Kind::tcp}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const auto thrown =
          suffer(kind, -1, {.seed = seed * 100, .longest_delay = microseconds(1000)}, kPatience);
      CHECK(thrown == std::vector<std::string>(5));
    }
  }
}

TEST_CASE("verbs with a duplicate give the right result or name it") {
  int named = 0, right = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto thrown =
        suffer(Kind::inproc, 1,
               {.seed = seed * 100, .longest_delay = microseconds(200), .duplicate_percent = 1},
               kPatience);
    for (const auto& error : thrown) {
      INFO(error);
      CHECK((error.empty() || contains(error, "sent a message twice")));
      (error.empty() ? right : named) += 1;
    }
  }
  CHECK(named > 0);
  CHECK(right > 0);
}

TEST_CASE("verbs with a rank that dies at any message name it everywhere") {
  for (int at = 0; at < 240; at += 9) {
    const auto thrown = suffer(Kind::inproc, 3, {.die_at = at}, kPatience);
    CAPTURE(at);
    for (const int r : {0, 1, 2, 4}) {
      INFO(thrown[std::size_t(r)]);
      CHECK(contains(thrown[std::size_t(r)], "rank 3 (board3) is lost"));
    }
  }
}

TEST_CASE("verbs with a message that vanishes, or loses a byte, end in an error everywhere") {
  for (int at = 0; at < 120; at += 11) {
    CAPTURE(at);
    for (const auto& error : suffer(Kind::inproc, 1, {.drop_at = at}, milliseconds(300))) {
      CHECK(contains(error, "rank "));
    }
    for (const auto& error : suffer(Kind::inproc, 1, {.truncate_at = at}, kPatience)) {
      INFO(error);
      CHECK(contains(error, "were expected"));
    }
  }
}
