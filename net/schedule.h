// Collectives as data: what one rank sends, receives and folds, in rounds.
//
// A Schedule is a value, computed by a pure function of (rank, size, counts), so that it can be
// printed, compared and simulated without a network. Counts and offsets are in elements.
//
// Data collectives use the direct algorithm: one round, in which each rank sends every segment
// straight to whom it is for, first to its right neighbour (rank + 1), so that all links carry
// something at once. The barrier is the dissemination algorithm (Hensgen, Finkel and Manber,
// 1988). A segment whose peer is the rank itself is a local copy. Segments of no elements do not
// travel; the barrier's do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sbcnn::net {

struct Segment {
  int peer = 0;
  std::size_t offset = 0, count = 0;
  friend bool operator==(const Segment&, const Segment&) = default;
};

// add: the first received segment is stored, the others are added to it, in the order in which
// they are listed: a sum is the same, bit for bit, whatever arrives first.
enum class Fold : std::uint8_t { copy, add };

struct Round {
  std::vector<Segment> sends;     // offsets into the send buffer, in sending order
  std::vector<Segment> receives;  // offsets into the receive buffer
  Fold fold = Fold::copy;
  friend bool operator==(const Round&, const Round&) = default;
};

struct Schedule {
  std::string_view verb;  // MPI's name, for errors; a literal
  std::vector<Round> rounds;

  std::size_t send_extent() const;  // elements that the buffers need
  std::size_t receive_extent() const;
  friend bool operator==(const Schedule&, const Schedule&) = default;
};

using Counts = std::span<const std::size_t>;  // elements by peer

// Where the segments lie in the send buffer: one after the other in rank order, or one segment for
// everybody at its begin. And in the receive buffer: one after the other, or summed into one.
enum class SendForm : std::uint8_t { packed, shared };
enum class ReceiveForm : std::uint8_t { packed, summed };

// Every one-round collective: all others are this with special counts. Ranks that send nothing
// contribute nothing to a sum. `sends[q]` on rank p equals `receives[p]` on rank q.
Schedule direct(std::string_view verb, int rank, SendForm, Counts sends, ReceiveForm,
                Counts receives);

Schedule barrier(int rank, int size);
Schedule bcast(int rank, int size, int root, std::size_t count);  // in place
Schedule scatterv(int rank, int root, Counts counts);             // counts: known everywhere
Schedule gatherv(int rank, int root, Counts counts);
Schedule allgatherv(int rank, Counts counts);
Schedule reduce(int rank, int size, int root, std::size_t count);
Schedule allreduce(int rank, int size, std::size_t count);
Schedule reduce_scatter(int rank, Counts counts);  // counts: what each rank keeps
Schedule alltoallv(int rank, Counts sends, Counts receives);

}  // namespace sbcnn::net
