// Which algorithms a verb has, what they cost, and which of them to take.
#include <algorithm>
#include <array>
#include <bit>

#include "core/error.h"
#include "net/algorithms.h"

namespace sbcnn::net {
namespace {

constexpr double kIncast = 1.25;
constexpr double kAsCheap = 0.999;  // of the same cost, but for rounding

}  // namespace

std::string_view name(Verb verb) {
  constexpr std::array<std::string_view, 10> kNames = {
      "barrier", "bcast",     "scatter",        "gather", "allgather",
      "reduce",  "allreduce", "reduce_scatter", "scan",   "alltoall"};
  return kNames.at(std::size_t(verb));
}

std::string_view name(Algorithm algorithm) {
  constexpr std::array<std::string_view, 5> kNames = {"direct", "pairwise", "ring",
                                                      "recursive_doubling", "binomial"};
  return kNames.at(std::size_t(algorithm));
}

bool folds(Verb verb) {
  return verb == Verb::reduce || verb == Verb::allreduce || verb == Verb::reduce_scatter ||
         verb == Verb::scan;
}

std::span<const Algorithm> algorithms(Verb verb) {
  using enum Algorithm;
  static constexpr std::array kBarrier = {recursive_doubling};
  static constexpr std::array kTree = {direct, binomial};
  static constexpr std::array kGather = {direct, ring, recursive_doubling};
  static constexpr std::array kRing = {direct, ring};
  static constexpr std::array kDoubling = {direct, recursive_doubling};
  static constexpr std::array kPairs = {direct, pairwise};
  switch (verb) {
    case Verb::barrier:
      return kBarrier;
    case Verb::bcast:
    case Verb::scatter:
    case Verb::gather:
    case Verb::reduce:
      return kTree;
    case Verb::allgather:
    case Verb::allreduce:
      return kGather;
    case Verb::reduce_scatter:
      return kRing;
    case Verb::scan:
      return kDoubling;
    case Verb::alltoall:
      return kPairs;
  }
  throw ContractViolation("algorithms: no such verb");
}

// Measured with both on links of 100 and 940 Mbit/s (docs/collectives.md).
std::size_t chunk_bytes(const Link& link) {
  constexpr std::size_t kShort = 32 * 1024, kLong = 64 * 1024;
  return double(kShort) > 8 * link.latency * link.bytes_per_second ? kShort : kLong;
}

double cost(Verb verb, Algorithm algorithm, std::size_t bytes, int size, const Link& link) {
  const double others = size - 1, doublings = std::bit_width(unsigned(size - 1));
  const double start = link.latency + link.message_cost;  // of a round with one message
  const double transfer = double(bytes) / link.bytes_per_second;
  switch (algorithm) {
    case Algorithm::direct: {
      const bool many_to_one = verb != Verb::bcast && verb != Verb::scatter;
      const bool lossy = many_to_one && others > 1 && others * double(bytes) > link.port_buffer;
      return link.latency + others * (link.message_cost + transfer * (lossy ? kIncast : 1.0));
    }
    case Algorithm::pairwise: {  // what a rank is not ahead with waits once for somebody's share
      const bool paced = others * double(bytes) > 2 * double(chunk_bytes(link));
      return link.latency + others * (link.message_cost + transfer) + (paced ? link.latency : 0);
    }
    case Algorithm::ring:
      return verb == Verb::allreduce ? 2 * others * (start + transfer / size)
                                     : others * (start + transfer);
    case Algorithm::recursive_doubling: {
      if (verb == Verb::allgather) {
        return doublings * start + others * transfer;
      }
      const bool odd = verb == Verb::allreduce && !std::has_single_bit(unsigned(size));
      return (doublings + (odd ? 1 : 0)) * (start + transfer);
    }
    case Algorithm::binomial:
      return verb == Verb::scatter || verb == Verb::gather ? doublings * start + others * transfer
                                                           : doublings * (start + transfer);
  }
  throw ContractViolation("cost: no such algorithm");
}

Algorithm choose(Verb verb, std::size_t bytes, int size, const Link& link, bool commutative) {
  const auto candidates = algorithms(verb);
  Algorithm best = candidates.front();
  if (size == 1) {
    return best;  // nothing travels
  }
  for (const Algorithm a : candidates.subspan(1)) {
    const bool fits = commutative || !folds(verb) || a != Algorithm::ring;
    if (fits && cost(verb, a, bytes, size, link) < kAsCheap * cost(verb, best, bytes, size, link)) {
      best = a;
    }
  }
  return best;
}

}  // namespace sbcnn::net
