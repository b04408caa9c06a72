// The algorithms behind each verb, as schedules, and which of them to take.
//
// direct: one round, in which every segment goes straight to whom it is for.
//
// pairwise, for alltoall: first with rank XOR 1, then XOR 2 and so on where the size is a power of
// two, else to rank + k and from rank - k (Thakur, Rabenseifner and Gropp, 2005). In chunks: a rank
// sends a chunk when it has received its own share, all but the last two chunks, of what precedes
// it in this order. So ranks keep in step, and each port serves one sender at a time. As a share
// precedes in the same order on all ranks, none waits in a circle, whatever the counts.
//
// ring: allgather and reduce_scatter pass blocks on to the right neighbour; allreduce is the
// second and then the first (Patarasuk and Yuan, 2009).
//
// recursive_doubling: about log2(size) rounds, in which what a rank knows doubles. allreduce
// meets rank XOR 2^k; of a size that is no power of two, the first ranks are paired up before and
// told the result afterwards (Thakur, Rabenseifner and Gropp, 2005). allgather is the
// concatenation of Bruck et al. (1997), barrier the dissemination of Hensgen, Finkel and Manber
// (1988), scan that of Hillis and Steele (1986).
//
// binomial: a tree, in which rank v, counted from the root, has the children v + 2^k for all 2^k
// below v's lowest bit.
//
// A fold's operands are in rank order, and in these brackets:
//   direct              ((0 op 1) op 2) op ...
//   binomial            each rank's own, then its children's results, the nearest first. The tree
//                       is rank 0's whatever the root is, so that all roots get the same bits;
//                       another root gets them from rank 0.
//   recursive_doubling  neighbouring runs of ranks, lower op higher; all ranks get the same bits.
//   ring                not in rank order: block b begins with rank b + 1 and goes up and around
//                       to b, so the operation must be commutative.
//
// Rounds after the first wait for the rank to be in some call (request.h). What is to hide behind
// computation is best sent directly.
//
// Counts, roots and the algorithm are the same on every rank. Of alltoall the counts differ, and
// so may the algorithm, for direct and pairwise cut their segments alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "net/schedule.h"

namespace sbcnn::net {

// With their v forms.
enum class Verb : std::uint8_t {
  barrier,
  bcast,
  scatter,
  gather,
  allgather,
  reduce,
  allreduce,
  reduce_scatter,
  scan,
  alltoall,
};
enum class Algorithm : std::uint8_t { direct, pairwise, ring, recursive_doubling, binomial };
std::string_view name(Verb);
std::string_view name(Algorithm);

bool folds(Verb);  // whether it reduces

// All that a verb has; the first is taken if none is cheaper.
std::span<const Algorithm> algorithms(Verb);

// What a message costs. The same values on every rank, or they choose differently.
struct Link {
  double latency = 100e-6;          // seconds from a send to its receive
  double message_cost = 20e-6;      // seconds that a rank is busy with each
  double bytes_per_second = 117e6;  // one way, of one rank's port
  // What a switch holds for one port: where several ranks send more than this to one at once,
  // packets are lost and time with them. A guess, in `choose` worth a quarter.
  double port_buffer = 96 * 1024;
};

// What an alltoall sends in one message at most. Two of them are under way, so they have to last
// for as long as it takes to answer, and should be few bytes at a switch's port.
std::size_t chunk_bytes(const Link&);

// Seconds, by counting rounds and the bytes of the busiest port. `bytes`: of the whole vector for
// bcast, reduce, allreduce and scan; else of one rank's block, the mean if they differ.
double cost(Verb, Algorithm, std::size_t bytes, int size, const Link& = {});

// The cheapest by `cost`; direct if it is as cheap. `commutative`: the reduction.
Algorithm choose(Verb, std::size_t bytes, int size, const Link& = {}, bool commutative = true);

// An algorithm that the verb has not is a caller's mistake; so are counts and roots that cannot be.
Schedule barrier(int rank, int size);
Schedule bcast(Algorithm, int rank, int size, int root, std::size_t count);  // `out` only
Schedule scatterv(Algorithm, int rank, int root, Counts);
Schedule gatherv(Algorithm, int rank, int root, Counts);
Schedule allgatherv(Algorithm, int rank, Counts);
Schedule reduce(Algorithm, int rank, int size, int root, std::size_t count);
Schedule allreduce(Algorithm, int rank, int size, std::size_t count);
Schedule reduce_scatter(Algorithm, int rank, Counts);             // counts: what each rank keeps
Schedule scan(Algorithm, int rank, int size, std::size_t count);  // inclusive
// Counts to and from each peer. `chunk`: the most elements that travel in one message.
Schedule alltoallv(Algorithm, int rank, Counts sends, Counts receives, std::size_t chunk);

// Elements to or from a rank; a rank may be listed more than once.
struct Neighbor {
  int rank = 0;
  std::size_t count = 0;
};
// Segments one after the other as listed, sent in this order.
Schedule neighbor_alltoallv(int rank, int size, std::span<const Neighbor> sends,
                            std::span<const Neighbor> receives);

}  // namespace sbcnn::net
