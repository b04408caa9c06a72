#include "net/algorithms.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"

namespace sbcnn::net {
namespace {

using CountVector = std::vector<std::size_t>;

constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

// `value` at `rank`, zero elsewhere.
CountVector only(int size, int rank, std::size_t value) {
  CountVector counts(std::size_t(size), 0);
  counts[std::size_t(rank)] = value;
  return counts;
}

CountVector all(int size, std::size_t value) {
  return CountVector(std::size_t(size), value);
}

void check(Verb verb, Algorithm algorithm, int rank, std::size_t size, int root = 0) {
  require(std::ranges::count(algorithms(verb), algorithm) == 1,
          "schedule: the verb has no such algorithm");
  require(0 <= rank && std::size_t(rank) < size, "schedule: the rank is not in its world");
  require(0 <= root && std::size_t(root) < size, "schedule: the root is no rank of the world");
}

// Rounds of a growing schedule. Empty segments are left out on both sides.
class Builder {
 public:
  Builder(std::string_view verb, int rank) : rank_(rank) { schedule_.verb = verb; }

  Builder& round() {
    schedule_.rounds.emplace_back();
    return *this;
  }
  Builder& send(int peer, Place from, std::size_t offset, std::size_t count) {
    if (count != 0) {
      schedule_.rounds.back().sends.push_back({peer, offset, count, from});
    }
    return *this;
  }
  Builder& receive(int peer, Place to, std::size_t offset, std::size_t count,
                   Fold fold = Fold::store) {
    if (count != 0) {
      schedule_.rounds.back().receives.push_back({peer, offset, count, to, fold});
    }
    return *this;
  }
  // From one's own buffer to another. Sent first or last, as the caller puts it.
  Builder& copy(Place from, std::size_t begin, Place to, std::size_t offset, std::size_t count,
                Fold fold = Fold::store) {
    return send(rank_, from, begin, count).receive(rank_, to, offset, count, fold);
  }
  Schedule done() {
    number_messages(schedule_);
    return std::move(schedule_);
  }

 private:
  int rank_;
  Schedule schedule_;
};

CountVector offsets_of(Counts counts) {
  CountVector offsets(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), offsets.begin() + 1);
  return offsets;
}

struct Piece {
  std::size_t offset = 0, count = 0;
};

// Blocks of all ranks one after the other; runs of them that may go around the end.
class Blocks {
 public:
  explicit Blocks(Counts counts) : size_(counts.size()), offsets_(offsets_of(counts)) {}

  std::size_t wrap(std::size_t block) const { return block % size_; }
  std::size_t offset(std::size_t block) const { return offsets_[wrap(block)]; }
  std::size_t count(std::size_t block) const {
    return offsets_[wrap(block) + 1] - offsets_[wrap(block)];
  }
  // Elements of `n` blocks, at most all, from `first`.
  std::size_t count(std::size_t first, std::size_t n) const {
    std::size_t total = 0;
    for (const Piece& p : pieces(first, n)) {
      total += p.count;
    }
    return total;
  }

  // The same as one piece or, around the end, two.
  std::vector<Piece> pieces(std::size_t first, std::size_t n) const {
    first = wrap(first);
    const std::size_t end = std::min(first + n, size_);
    std::vector<Piece> some = {{offsets_[first], offsets_[end] - offsets_[first]}};
    if (first + n > size_) {
      some.push_back({0, offsets_[first + n - size_]});
    }
    return some;
  }

 private:
  std::size_t size_;
  CountVector offsets_;
};

// A rank in a binomial tree whose root is 0; its subtree is v, v + 1, ...
struct Twig {
  std::size_t parent = 0, width = 0;  // width: of the subtree
  std::vector<std::size_t> children;  // nearest first
};

Twig twig(std::size_t v, std::size_t size) {
  Twig t;
  const std::size_t low = v == 0 ? std::bit_ceil(size) : v & (~v + 1);
  t.parent = v - (v == 0 ? 0 : low);
  t.width = std::min(low, size - v);
  for (std::size_t step = 1; step < low && v + step < size; step *= 2) {
    t.children.push_back(v + step);
  }
  return t;
}

// The same tree upwards: what was sent is received.
Schedule reversed(Schedule schedule, std::string_view verb) {
  const auto swapped = [](Place b) {
    return b == Place::work ? b : b == Place::in ? Place::out : Place::in;
  };
  schedule.verb = verb;
  std::ranges::reverse(schedule.rounds);
  for (Round& round : schedule.rounds) {
    Round back;
    for (const Send& s : round.sends) {
      back.receives.push_back({s.peer, s.offset, s.count, swapped(s.from)});
    }
    for (const Receive& r : round.receives) {
      back.sends.push_back({r.peer, r.offset, r.count, swapped(r.to)});
    }
    round = std::move(back);
  }
  number_messages(schedule);
  return schedule;
}

Schedule binomial_scatterv(int rank, int root, Counts counts) {
  const std::size_t size = counts.size();
  const Blocks blocks(counts);
  const std::size_t v = blocks.wrap(std::size_t(rank) + size - std::size_t(root));
  const auto real = [&](std::size_t w) { return blocks.wrap(w + std::size_t(root)); };
  const Twig tree = twig(v, size);
  Builder b("scatterv", rank);
  if (v != 0) {  // what the subtree gets, in the order of the tree
    b.round();
    std::size_t at = 0;
    for (const auto& piece : blocks.pieces(real(v), tree.width)) {
      b.receive(int(real(tree.parent)), Place::work, at, piece.count);
      at += piece.count;
    }
  }
  b.round();
  for (auto child = tree.children.rbegin(); child != tree.children.rend(); ++child) {
    std::size_t at = v == 0 ? 0 : blocks.count(real(v), *child - v);
    for (const auto& piece : blocks.pieces(real(*child), twig(*child, size).width)) {
      v == 0 ? b.send(int(real(*child)), Place::in, piece.offset, piece.count)
             : b.send(int(real(*child)), Place::work, at, piece.count);
      at += piece.count;
    }
  }
  const std::size_t own = counts[std::size_t(rank)];
  v == 0 ? b.copy(Place::in, blocks.offset(std::size_t(rank)), Place::out, 0, own)
         : b.copy(Place::work, 0, Place::out, 0, own);
  return b.done();
}

Schedule ring_allgatherv(int rank, Counts counts) {
  const std::size_t size = counts.size(), me = std::size_t(rank);
  const Blocks blocks(counts);
  const int right = int(blocks.wrap(me + 1)), left = int(blocks.wrap(me + size - 1));
  Builder b("allgatherv", rank);
  for (std::size_t k = 0; k + 1 < size; ++k) {
    const std::size_t sent = me + size - k, received = me + size - k - 1;
    b.round();
    k == 0 ? b.send(right, Place::in, 0, blocks.count(sent))
           : b.send(right, Place::out, blocks.offset(sent), blocks.count(sent));
    b.receive(left, Place::out, blocks.offset(received), blocks.count(received));
  }
  b.round().copy(Place::in, 0, Place::out, blocks.offset(me), blocks.count(me));
  return b.done();
}

Schedule doubling_allgatherv(int rank, Counts counts) {
  const std::size_t size = counts.size(), me = std::size_t(rank);
  const Blocks blocks(counts);
  Builder b("allgatherv", rank);
  b.round().copy(Place::in, 0, Place::out, blocks.offset(me), blocks.count(me));
  for (std::size_t known = 1; known < size; known *= 2) {
    const std::size_t more = std::min(known, size - known);
    b.round();
    for (const auto& piece : blocks.pieces(me, more)) {
      b.send(int(blocks.wrap(me + size - known)), Place::out, piece.offset, piece.count);
    }
    for (const auto& piece : blocks.pieces(me + known, more)) {
      b.receive(int(blocks.wrap(me + known)), Place::out, piece.offset, piece.count);
    }
  }
  return b.done();
}

// A rank's way through the ring: in round k it passes block rank - 1 - k on, and adds itself to
// block rank - 2 - k. `to(round)` says where that sum is kept.
template <class To>
void ring_reduce(Builder& b, int rank, const Blocks& blocks, std::size_t size, To to) {
  const std::size_t me = std::size_t(rank);
  const int right = int(blocks.wrap(me + 1)), left = int(blocks.wrap(me + size - 1));
  for (std::size_t k = 0; k + 1 < size; ++k) {
    const std::size_t sent = me + 2 * size - 1 - k, summed = sent - 1;
    b.round();
    if (k == 0) {
      b.send(right, Place::in, blocks.offset(sent), blocks.count(sent));
    } else {
      const auto [from, offset] = to(k - 1, sent);
      b.send(right, from, offset, blocks.count(sent));
    }
    const auto [into, offset] = to(k, summed);
    b.copy(Place::in, blocks.offset(summed), into, offset, blocks.count(summed));
    b.receive(left, into, offset, blocks.count(summed), Fold::prepend);
  }
}

Schedule ring_reduce_scatter(int rank, Counts counts) {
  const std::size_t size = counts.size(), me = std::size_t(rank);
  const Blocks blocks(counts);
  Builder b("reduce_scatter", rank);
  if (size == 1) {
    b.round().copy(Place::in, 0, Place::out, 0, counts[0]);
  }
  ring_reduce(b, rank, blocks, size, [&](std::size_t, std::size_t block) {
    return std::pair(blocks.wrap(block) == me ? Place::out : Place::work, std::size_t(0));
  });
  return b.done();
}

Schedule ring_allreduce(int rank, int world, std::size_t count) {
  const std::size_t size = std::size_t(world), me = std::size_t(rank);
  CountVector counts;
  for (std::size_t r = 0; r < size; ++r) {
    counts.push_back(count / size + (r < count % size ? 1 : 0));
  }
  const Blocks blocks(counts);
  Builder b("allreduce", rank);
  if (size == 1) {
    b.round().copy(Place::in, 0, Place::out, 0, count);
  }
  ring_reduce(b, rank, blocks, size, [&](std::size_t, std::size_t block) {
    return std::pair(Place::out, blocks.offset(block));
  });
  for (std::size_t k = 0; k + 1 < size; ++k) {
    const std::size_t sent = me + size - k, received = me + size - k - 1;
    b.round();
    b.send(int(blocks.wrap(me + 1)), Place::out, blocks.offset(sent), blocks.count(sent));
    b.receive(int(blocks.wrap(me + size - 1)), Place::out, blocks.offset(received),
              blocks.count(received));
  }
  return b.done();
}

Schedule doubling_allreduce(int rank, int size, std::size_t count) {
  const int power = int(std::bit_floor(unsigned(size))), extra = size - power;
  Builder b("allreduce", rank);
  const bool paired = rank < 2 * extra;
  if (paired && rank % 2 == 0) {  // the right neighbour goes for both
    b.round().send(rank + 1, Place::in, 0, count);
    b.round().receive(rank + 1, Place::out, 0, count);
    return b.done();
  }
  b.round().copy(Place::in, 0, Place::out, 0, count);
  if (paired) {
    b.receive(rank - 1, Place::out, 0, count, Fold::prepend);
  }
  const int place = paired ? rank / 2 : rank - extra;
  for (int distance = 1; distance < power; distance *= 2) {
    const int other = place ^ distance;
    const int partner = other < extra ? 2 * other + 1 : other + extra;
    b.round().send(partner, Place::out, 0, count);
    b.receive(partner, Place::out, 0, count, other < place ? Fold::prepend : Fold::append);
  }
  if (paired) {
    b.round().send(rank - 1, Place::out, 0, count);
  }
  return b.done();
}

Schedule binomial_reduce(int rank, int size, int root, std::size_t count) {
  const Twig tree = twig(std::size_t(rank), std::size_t(size));
  const Place sum = rank == 0 && root == 0 ? Place::out : Place::work;
  Builder b("reduce", rank);
  b.round();
  const bool leaf = tree.children.empty();
  if (!leaf || rank == 0) {
    b.copy(Place::in, 0, sum, 0, count);
  }
  for (const std::size_t child : tree.children) {
    b.receive(int(child), sum, 0, count, Fold::append);
  }
  b.round();
  if (rank != 0) {
    b.send(int(tree.parent), leaf ? Place::in : sum, 0, count);
  } else if (root != 0) {
    b.send(root, sum, 0, count);
  }
  if (root != 0 && rank == root) {
    b.receive(0, Place::out, 0, count);
  }
  return b.done();
}

// A segment in pieces of at most `chunk`, or in as many as can be numbered. Both ends cut it alike.
std::vector<Piece> cut(Piece segment, std::size_t chunk) {
  constexpr std::size_t kMost = std::numeric_limits<std::uint16_t>::max();
  chunk = std::max(chunk, segment.count / kMost + 1);
  std::vector<Piece> pieces;
  for (std::size_t at = 0; at < segment.count; at += chunk) {
    pieces.push_back({segment.offset + at, std::min(chunk, segment.count - at)});
  }
  return pieces;
}

// What a rank sends and receives at a time in an all-to-all; one of both may be empty.
struct Turn {
  std::size_t target = 0, source = 0;
  Piece sent, received;
  std::size_t size() const { return std::max(sent.count, received.count); }
};

std::vector<Turn> turns_of(Algorithm algorithm, std::size_t me, Counts sends, Counts receives,
                           std::size_t chunk) {
  const std::size_t size = sends.size();
  const bool pairs = algorithm == Algorithm::pairwise && std::has_single_bit(size);
  const CountVector from = offsets_of(sends), to = offsets_of(receives);
  std::vector<Turn> turns;
  for (std::size_t k = 1; k < size; ++k) {
    const std::size_t target = pairs ? me ^ k : (me + k) % size;
    const std::size_t source = pairs ? me ^ k : (me + size - k) % size;
    const std::vector<Piece> out = cut({from[target], sends[target]}, chunk);
    const std::vector<Piece> in = cut({to[source], receives[source]}, chunk);
    for (std::size_t i = 0; i < std::max(out.size(), in.size()); ++i) {
      turns.push_back(
          {target, source, i < out.size() ? out[i] : Piece(), i < in.size() ? in[i] : Piece()});
    }
  }
  return turns;
}

}  // namespace

Schedule barrier(int rank, int size) {
  check(Verb::barrier, Algorithm::recursive_doubling, rank, std::size_t(size));
  Schedule schedule{"barrier", {}};
  for (int distance = 1; distance < size; distance *= 2) {
    Round round;
    round.sends = {{.peer = (rank + distance) % size}};
    round.receives = {{.peer = (rank - distance + size) % size}};
    schedule.rounds.push_back(round);
  }
  number_messages(schedule);
  return schedule;
}

Schedule bcast(Algorithm algorithm, int rank, int size, int root, std::size_t count) {
  check(Verb::bcast, algorithm, rank, std::size_t(size), root);
  const auto n = std::size_t(size);
  const std::size_t v = (std::size_t(rank) + n - std::size_t(root)) % n;
  const auto real = [&](std::size_t w) { return int((w + std::size_t(root)) % n); };
  Twig tree = twig(v, n);
  if (algorithm == Algorithm::direct) {
    tree.parent = 0;
    tree.children.clear();
    for (std::size_t w = n - 1; v == 0 && w > 0; --w) {
      tree.children.push_back(w);
    }
  }
  Builder b("bcast", rank);
  if (v != 0) {
    b.round().receive(real(tree.parent), Place::out, 0, count);
  }
  b.round();
  for (auto child = tree.children.rbegin(); child != tree.children.rend(); ++child) {
    b.send(real(*child), Place::out, 0, count);
  }
  return b.done();
}

Schedule scatterv(Algorithm algorithm, int rank, int root, Counts counts) {
  check(Verb::scatter, algorithm, rank, counts.size(), root);
  if (algorithm == Algorithm::binomial) {
    return binomial_scatterv(rank, root, counts);
  }
  const int size = int(counts.size());
  const CountVector sends = rank == root ? CountVector(counts.begin(), counts.end()) : all(size, 0);
  const CountVector receives = only(size, root, counts[std::size_t(rank)]);
  return direct("scatterv", rank, SendForm::packed, sends, ReceiveForm::packed, receives);
}

Schedule gatherv(Algorithm algorithm, int rank, int root, Counts counts) {
  check(Verb::gather, algorithm, rank, counts.size(), root);
  if (algorithm == Algorithm::binomial) {
    return reversed(binomial_scatterv(rank, root, counts), "gatherv");
  }
  const int size = int(counts.size());
  const CountVector sends = only(size, root, counts[std::size_t(rank)]);
  const CountVector receives =
      rank == root ? CountVector(counts.begin(), counts.end()) : all(size, 0);
  return direct("gatherv", rank, SendForm::packed, sends, ReceiveForm::packed, receives);
}

Schedule allgatherv(Algorithm algorithm, int rank, Counts counts) {
  check(Verb::allgather, algorithm, rank, counts.size());
  if (algorithm == Algorithm::ring) {
    return ring_allgatherv(rank, counts);
  }
  if (algorithm == Algorithm::recursive_doubling) {
    return doubling_allgatherv(rank, counts);
  }
  const CountVector sends = all(int(counts.size()), counts[std::size_t(rank)]);
  return direct("allgatherv", rank, SendForm::shared, sends, ReceiveForm::packed, counts);
}

Schedule reduce(Algorithm algorithm, int rank, int size, int root, std::size_t count) {
  check(Verb::reduce, algorithm, rank, std::size_t(size), root);
  if (algorithm == Algorithm::binomial) {
    return binomial_reduce(rank, size, root, count);
  }
  const CountVector sends = only(size, root, count);
  const CountVector receives = all(size, rank == root ? count : 0);
  return direct("reduce", rank, SendForm::packed, sends, ReceiveForm::summed, receives);
}

Schedule allreduce(Algorithm algorithm, int rank, int size, std::size_t count) {
  check(Verb::allreduce, algorithm, rank, std::size_t(size));
  if (algorithm == Algorithm::ring) {
    return ring_allreduce(rank, size, count);
  }
  if (algorithm == Algorithm::recursive_doubling) {
    return doubling_allreduce(rank, size, count);
  }
  const CountVector counts = all(size, count);
  return direct("allreduce", rank, SendForm::shared, counts, ReceiveForm::summed, counts);
}

Schedule reduce_scatter(Algorithm algorithm, int rank, Counts counts) {
  check(Verb::reduce_scatter, algorithm, rank, counts.size());
  if (algorithm == Algorithm::ring) {
    return ring_reduce_scatter(rank, counts);
  }
  const CountVector receives = all(int(counts.size()), counts[std::size_t(rank)]);
  return direct("reduce_scatter", rank, SendForm::packed, counts, ReceiveForm::summed, receives);
}

Schedule scan(Algorithm algorithm, int rank, int size, std::size_t count) {
  check(Verb::scan, algorithm, rank, std::size_t(size));
  if (algorithm == Algorithm::direct) {
    CountVector sends = all(size, 0), receives = all(size, 0);
    std::fill(sends.begin() + rank, sends.end(), count);
    std::fill(receives.begin(), receives.begin() + rank + 1, count);
    return direct("scan", rank, SendForm::shared, sends, ReceiveForm::summed, receives);
  }
  Builder b("scan", rank);
  b.round().copy(Place::in, 0, Place::out, 0, count);
  for (int distance = 1; distance < size; distance *= 2) {
    b.round();
    if (rank + distance < size) {
      b.send(rank + distance, Place::out, 0, count);
    }
    if (rank >= distance) {
      b.receive(rank - distance, Place::out, 0, count, Fold::prepend);
    }
  }
  return b.done();
}

Schedule alltoallv(Algorithm algorithm, int rank, Counts sends, Counts receives,
                   std::size_t chunk) {
  check(Verb::alltoall, algorithm, rank, sends.size());
  const std::size_t me = std::size_t(rank);
  require(receives.size() == sends.size(),
          "schedule: counts of every rank of the world are wanted");
  require(sends[me] == receives[me], "schedule: a rank takes from itself what it gives to itself");
  require(0 < chunk && chunk <= kUnbounded / 2, "schedule: no such chunk");
  const std::vector<Turn> turns = turns_of(algorithm, me, sends, receives, chunk);
  const std::size_t window = algorithm == Algorithm::pairwise ? 2 * chunk : kUnbounded;
  Builder b("alltoallv", rank);
  b.round();
  std::size_t next = 0, ahead = 0;
  for (std::size_t now = 0; now < turns.size(); ++now) {
    for (; next < turns.size() && (next == now || ahead + turns[next].size() <= window); ++next) {
      ahead += turns[next].size();
      b.send(int(turns[next].target), Place::in, turns[next].sent.offset, turns[next].sent.count);
    }
    b.receive(int(turns[now].source), Place::out, turns[now].received.offset,
              turns[now].received.count);
    ahead -= turns[now].size();
    if (next < turns.size()) {
      b.round();  // else the rest is taken as it comes
    }
  }
  const std::size_t from = std::reduce(sends.begin(), sends.begin() + rank, std::size_t(0));
  const std::size_t to = std::reduce(receives.begin(), receives.begin() + rank, std::size_t(0));
  b.copy(Place::in, from, Place::out, to, sends[me]);
  return b.done();
}

Schedule neighbor_alltoallv(int rank, int size, std::span<const Neighbor> sends,
                            std::span<const Neighbor> receives) {
  Builder b("neighbor_alltoallv", rank);
  b.round();
  CountVector given, taken;  // by the rank to itself
  std::size_t offset = 0;
  for (const Neighbor& n : sends) {
    require(0 <= n.rank && n.rank < size, "schedule: a neighbor is no rank of the world");
    b.send(n.rank, Place::in, offset, n.count);
    offset += n.count;
    given.insert(given.end(), n.rank == rank && n.count != 0 ? 1 : 0, n.count);
  }
  offset = 0;
  for (const Neighbor& n : receives) {
    require(0 <= n.rank && n.rank < size, "schedule: a neighbor is no rank of the world");
    b.receive(n.rank, Place::out, offset, n.count);
    offset += n.count;
    taken.insert(taken.end(), n.rank == rank && n.count != 0 ? 1 : 0, n.count);
  }
  require(given == taken, "schedule: a rank takes from itself what it gives to itself");
  return b.done();
}

}  // namespace sbcnn::net
