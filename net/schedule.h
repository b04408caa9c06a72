// Collectives as data: what one rank sends, receives and folds, in rounds.
//
// A Schedule is a value, computed by a pure function of (rank, size, counts), so that it can be
// printed, compared and simulated without a network. Counts and offsets are in elements.
//
// A round begins by queueing all its sends, in their order, from the rank's buffers: what it is
// given (`in`), what it gives (`out`), and `work`, which the schedule has to itself and whose
// contents are undefined at first. It ends when all its receives are stored, and then the next
// begins. Receives that only store are taken as they come; a round that folds takes all of its
// receives in the order in which they are listed, so that a result is the same, bit for bit,
// whatever arrives first. A send whose peer is the rank itself is a local copy, and its receive is
// in the same round. Ranks need not have the same number of rounds. Messages between two ranks are
// told apart by their number, not by the round.
//
// Segments of no elements do not travel; the barrier's do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sbcnn::net {

enum class Place : std::uint8_t { in, out, work };

struct Send {
  int peer = 0;
  std::size_t offset = 0, count = 0;
  Place from = Place::in;
  std::uint16_t number = 0;  // of messages before it to the same peer
  friend bool operator==(const Send&, const Send&) = default;
};

enum class Fold : std::uint8_t {
  store,    // to = message
  append,   // to = op(to, message): the message is of higher ranks
  prepend,  // to = op(message, to): of lower ranks
};

struct Receive {
  int peer = 0;
  std::size_t offset = 0, count = 0;
  Place to = Place::out;  // never `in`
  Fold fold = Fold::store;
  std::uint16_t number = 0;  // of messages before it from the same peer
  friend bool operator==(const Receive&, const Receive&) = default;
};

struct Round {
  std::vector<Send> sends;
  std::vector<Receive> receives;

  bool folds() const;
  friend bool operator==(const Round&, const Round&) = default;
};

struct Schedule {
  std::string_view verb;  // MPI's name, for errors; a literal
  std::vector<Round> rounds;

  std::size_t extent(Place) const;  // elements that it needs
  bool folds() const;
  friend bool operator==(const Schedule&, const Schedule&) = default;
};

// Numbers the messages to and from each peer, in the order of the rounds.
void number_messages(Schedule&);

using Counts = std::span<const std::size_t>;  // elements by peer

// Where the segments lie in the send buffer: one after the other in rank order, or one segment for
// everybody at its begin. And in the receive buffer: one after the other, or summed into one.
enum class SendForm : std::uint8_t { packed, shared };
enum class ReceiveForm : std::uint8_t { packed, summed };

// Every one-round collective by direct messages: each rank sends every segment straight to whom it
// is for, first to its right neighbour (rank + 1), so that all links carry something at once. Ranks
// that send nothing contribute nothing to a sum. `sends[q]` on rank p equals `receives[p]` on
// rank q.
Schedule direct(std::string_view verb, int rank, SendForm, Counts sends, ReceiveForm,
                Counts receives);

}  // namespace sbcnn::net
