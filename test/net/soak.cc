// Collectives without end: every verb by every algorithm, blocking and several in flight, over
// communicators that come and go, in an order that all ranks draw from one seed.
//
//   sbcnn launch -n 4 -- soak [COLLECTIVES] [SEED]
//
// Every result is checked. At the end no rank may hold more descriptors than after the first tenth,
// nor more memory than kSlack and kSlackEach for every collective since, which is less than the
// smallest block that malloc gives: one that is left behind each time shows.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iterator>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "apps/board.h"
#include "apps/world.h"

namespace {

using namespace sbcnn;
using namespace sbcnn::net;
using Values = std::vector<std::int32_t>;
using CountVector = std::vector<std::size_t>;

constexpr std::int64_t kSlack = 1024 * 1024, kSlackEach = 4;  // bytes

Deadline soon() {
  return Clock::now() + std::chrono::seconds(60);
}

// All ranks draw the same.
class Lots {
 public:
  explicit Lots(std::uint32_t seed) : engine_(seed) {}

  std::size_t below(std::size_t n) { return engine_() % n; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  // Elements: often none or few, at times some KiB, seldom more than a socket takes at once.
  std::size_t count() {
    if (one_in(4000)) {
      return 30'000 + below(50'000);
    }
    constexpr std::array<std::size_t, 8> limits = {1, 2, 8, 8, 32, 32, 256, 1024};
    return below(limits[below(limits.size())]);
  }

 private:
  std::mt19937 engine_;
};

std::int32_t apply(Op op, std::int32_t a, std::int32_t b) {
  switch (op) {
    case Op::sum:
      return std::int32_t(std::uint32_t(a) + std::uint32_t(b));
    case Op::prod:
      return std::int32_t(std::uint32_t(a) * std::uint32_t(b));
    case Op::min:
      return std::min(a, b);
    case Op::max:
      return std::max(a, b);
  }
  return a;
}

// One collective, drawn by lot: its buffers, and what must stand in them when it is complete.
class Call {
 public:
  // `salt` tells contents from those of other communicators, `number` from those of other calls.
  Call(Communicator& comm, std::uint32_t salt, std::uint32_t number)
      : comm_(comm),
        size_(comm.size()),
        me_(comm.rank()),
        salt_(salt + number * 2654435761U),
        tag_{.frame = number} {}

  Request start(Lots&);
  void check() const {
    if (out_ != wanted_) {
      throw std::runtime_error(std::string("wrong result of ") + verb_);
    }
  }

 private:
  // What one rank gives to another, or to all, as if to rank 0.
  void append(Values& to, int from, int whom, std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) {
      to.push_back(std::int32_t(salt_ + std::uint32_t(from * 7919 + whom * 104729) + i));
    }
  }
  Values block(int from, int whom, std::size_t count) const {
    Values values;
    append(values, from, whom, count);
    return values;
  }
  Values folded(Op op, int ranks, std::size_t count) const {
    Values values = block(0, 0, count);
    for (int r = 1; r < ranks; ++r) {
      std::ranges::transform(values, block(r, 0, count), values.begin(),
                             [op](auto a, auto b) { return apply(op, a, b); });
    }
    return values;
  }
  std::size_t total() const { return std::reduce(counts_.begin(), counts_.end()); }

  How how(Verb, Lots&) const;
  Request scatter(int root, const How&);
  Request gather(int root, const How&);
  Request allgather(const How&);
  Request reduce_scatter(Op, const How&);
  Request alltoall(const How&);
  Request neighbor_alltoallv();
  Request sendrecv(int distance);

  Communicator& comm_;
  int size_, me_;
  std::uint32_t salt_;
  Tag tag_;
  const char* verb_ = "";
  std::size_t count_ = 0;
  bool uneven_ = false;
  CountVector counts_;  // by rank: count_, or 0 to 2 times as many
  Values in_, out_, wanted_;
};

// By an algorithm of the verb's or the communicator's own choice, with a tag or without.
How Call::how(Verb verb, Lots& lots) const {
  How how;
  const auto all = algorithms(verb);
  const std::size_t one = lots.below(all.size() + 1);
  if (one < all.size()) {
    how.algorithm = all[one];
  }
  if (lots.one_in(4)) {
    how.tag = tag_;
  }
  return how;
}

Request Call::start(Lots& lots) {
  count_ = lots.count();
  uneven_ = lots.one_in(2);
  for (int r = 0; r < size_; ++r) {
    counts_.push_back(count_ * (uneven_ ? std::size_t(r) % 3 : 1));
  }
  const int root = int(lots.below(std::size_t(size_)));
  const Op op = Op(lots.below(4));
  switch (lots.below(12)) {
    case 0:
      verb_ = "barrier";
      return comm_.ibarrier(lots.one_in(4) ? MaybeTag(tag_) : MaybeTag());
    case 1:
      verb_ = "bcast";
      wanted_ = block(root, 0, count_);
      out_ = me_ == root ? wanted_ : Values(count_);
      return comm_.ibcast(out_, root, how(Verb::bcast, lots));
    case 2:
      return scatter(root, how(Verb::scatter, lots));
    case 3:
      return gather(root, how(Verb::gather, lots));
    case 4:
      return allgather(how(Verb::allgather, lots));
    case 5:
      verb_ = "reduce";
      in_ = block(me_, 0, count_);
      wanted_ = me_ == root ? folded(op, size_, count_) : Values();
      out_.resize(wanted_.size());
      return comm_.ireduce(in_, out_, op, root, how(Verb::reduce, lots));
    case 6:
      verb_ = "allreduce";
      in_ = block(me_, 0, count_);
      wanted_ = folded(op, size_, count_);
      out_.resize(count_);
      return comm_.iallreduce(in_, out_, op, how(Verb::allreduce, lots));
    case 7:
      return reduce_scatter(op, how(Verb::reduce_scatter, lots));
    case 8:
      verb_ = "scan";
      in_ = block(me_, 0, count_);
      wanted_ = folded(op, me_ + 1, count_);
      out_.resize(count_);
      return comm_.iscan(in_, out_, op, how(Verb::scan, lots));
    case 9:
      return alltoall(how(Verb::alltoall, lots));
    case 10:
      return neighbor_alltoallv();
    default:
      return sendrecv(int(lots.below(std::size_t(size_))));
  }
}

Request Call::scatter(int root, const How& how) {
  verb_ = "scatter";
  for (int r = 0; r < size_ && me_ == root; ++r) {
    append(in_, root, r, counts_[std::size_t(r)]);
  }
  wanted_ = block(root, me_, counts_[std::size_t(me_)]);
  out_.resize(wanted_.size());
  return uneven_ ? comm_.iscatterv(in_, counts_, out_, root, how)
                 : comm_.iscatter(in_, out_, root, how);
}

Request Call::gather(int root, const How& how) {
  verb_ = "gather";
  in_ = block(me_, 0, counts_[std::size_t(me_)]);
  for (int r = 0; r < size_ && me_ == root; ++r) {
    append(wanted_, r, 0, counts_[std::size_t(r)]);
  }
  out_.resize(wanted_.size());
  return uneven_ ? comm_.igatherv(in_, out_, counts_, root, how)
                 : comm_.igather(in_, out_, root, how);
}

Request Call::allgather(const How& how) {
  verb_ = "allgather";
  in_ = block(me_, 0, counts_[std::size_t(me_)]);
  for (int r = 0; r < size_; ++r) {
    append(wanted_, r, 0, counts_[std::size_t(r)]);
  }
  out_.resize(wanted_.size());
  return uneven_ ? comm_.iallgatherv(in_, out_, counts_, how) : comm_.iallgather(in_, out_, how);
}

Request Call::reduce_scatter(Op op, const How& how) {
  verb_ = "reduce_scatter";
  in_ = block(me_, 0, total());
  const Values sums = folded(op, size_, total());
  const auto first =
      sums.begin() + std::reduce(counts_.begin(), counts_.begin() + me_, std::ptrdiff_t{0});
  wanted_.assign(first, first + std::ptrdiff_t(counts_[std::size_t(me_)]));
  out_.resize(wanted_.size());
  return comm_.ireduce_scatter(in_, out_, counts_, op, how);
}

Request Call::alltoall(const How& how) {
  verb_ = "alltoall";
  const auto between = [this](int from, int to) {
    return counts_[std::size_t((from + 2 * to) % size_)];
  };
  CountVector sends, receives;
  for (int r = 0; r < size_; ++r) {
    sends.push_back(between(me_, r));
    receives.push_back(between(r, me_));
    append(in_, me_, r, sends.back());
    append(wanted_, r, me_, receives.back());
  }
  out_.resize(wanted_.size());
  return uneven_ ? comm_.ialltoallv(in_, sends, out_, receives, how)
                 : comm_.ialltoall(in_, out_, how);
}

// To the next two ranks, from the two before.
Request Call::neighbor_alltoallv() {
  verb_ = "neighbor_alltoallv";
  std::vector<Neighbor> sends, receives;
  for (const int distance : {1, 2}) {
    const std::size_t count = count_ * std::size_t(distance);
    const int to = (me_ + distance) % size_, from = (me_ + 2 * size_ - distance) % size_;
    sends.push_back({to, count});
    receives.push_back({from, count});
    append(in_, me_, to, count);
    append(wanted_, from, me_, count);
  }
  out_.resize(wanted_.size());
  return comm_.ineighbor_alltoallv(in_, sends, out_, receives);
}

Request Call::sendrecv(int distance) {
  verb_ = "sendrecv";
  const int to = (me_ + distance) % size_, from = (me_ + size_ - distance) % size_;
  in_ = block(me_, to, count_);
  wanted_ = block(from, me_, count_);
  out_.resize(count_);
  return comm_.isendrecv(in_, to, out_, from, tag_);
}

class Soak {
 public:
  Soak(Communicator& world, std::uint32_t seed) : world_(world), lots_(seed) { renew(); }

  void run(std::uint32_t calls) {
    for (const std::uint32_t end = number_ + calls; number_ < end;) {
      if (lots_.one_in(100)) {
        renew();
      }
      // One alone is what a blocking verb does.
      const std::size_t in_flight = lots_.one_in(2) ? 1 : 2 + lots_.below(7);
      step(std::min<std::size_t>(in_flight, end - number_));
    }
  }

 private:
  void renew() {
    copy_ = world_.dup(soon());
    half_ = world_.split(world_.rank() % 2, -world_.rank(), soon());
  }

  void step(std::size_t in_flight) {
    std::vector<Call> calls;
    std::vector<Request> requests;
    calls.reserve(in_flight);  // they stay where they are
    while (calls.size() < in_flight) {
      const std::size_t which = lots_.below(4);
      Communicator& comm = which == 0 ? *copy_ : which == 1 ? *half_ : world_;
      const std::uint32_t salt = which == 0   ? 0
                                 : which == 1 ? 2 + std::uint32_t(world_.rank() % 2)
                                              : 1;
      requests.push_back(calls.emplace_back(comm, salt, number_++).start(lots_));
    }
    if (lots_.one_in(2)) {
      wait_all(requests, soon());
    } else {
      while (wait_any(requests, soon())) {
      }
    }
    std::ranges::for_each(calls, &Call::check);
  }

  Communicator& world_;
  std::unique_ptr<Communicator> copy_, half_;
  Lots lots_;
  std::uint32_t number_ = 0;  // of calls so far
};

struct Usage {
  std::int32_t kib = 0, descriptors = 0;
};

// Of this process, when nothing is under way and malloc has given back what it kept for later.
Usage usage(Communicator& world) {
  world.barrier(soon());
  apps::give_memory_back();
  using Files = std::filesystem::directory_iterator;
  return {std::int32_t(apps::resident_memory_of_self() / 1024),
          std::int32_t(std::distance(Files("/proc/self/fd"), Files()))};
}

bool grew(const Usage& before, const Usage& after, std::uint32_t calls) {
  return after.descriptors != before.descriptors ||
         (after.kib - before.kib) * std::int64_t{1024} > kSlack + kSlackEach * calls;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto calls = std::uint32_t(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000);
  const auto seed = std::uint32_t(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1);
  if (calls < 10) {
    throw std::runtime_error("how many collectives? A number from 10");
  }
  const auto world = sbcnn::world();
  const auto begin = Clock::now();
  Soak soak(*world, seed);
  const std::uint32_t warm_up = calls / 10;
  soak.run(warm_up);
  const Usage before = usage(*world);
  soak.run(calls - warm_up);
  const Usage after = usage(*world);
  const std::chrono::duration<double> took = Clock::now() - begin;

  const std::array mine = {before.kib, after.kib, before.descriptors, after.descriptors};
  Values all(mine.size() * std::size_t(world->size()));
  world->allgather(mine, all, soon());
  if (world->rank() == 0) {
    std::printf("%u collectives over %d ranks in %.1f s\n", calls, world->size(), took.count());
    for (std::size_t i = 0; i < all.size(); i += mine.size()) {
      std::printf("rank %zu: resident %d -> %d KiB, descriptors %d -> %d\n", i / mine.size(),
                  all[i], all[i + 1], all[i + 2], all[i + 3]);
    }
    std::fflush(stdout);
  }
  if (grew(before, after, calls - warm_up)) {
    std::fprintf(stderr, "soak: rank %d has grown\n", world->rank());
    return 1;
  }
  if (world->rank() == 0) {
    std::puts("test cases: 1 | 1 passed");  // for tools/count_tests.py
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "soak: %s\n", e.what());
  return 1;
}
