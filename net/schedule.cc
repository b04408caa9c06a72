#include "net/schedule.h"

#include <algorithm>

#include "core/error.h"

namespace sbcnn::net {
namespace {

using CountVector = std::vector<std::size_t>;

// `value` at `rank`, zero elsewhere.
CountVector only(int size, int rank, std::size_t value) {
  CountVector counts(std::size_t(size), 0);
  counts[std::size_t(rank)] = value;
  return counts;
}

CountVector all(int size, std::size_t value) {
  return CountVector(std::size_t(size), value);
}

std::size_t extent(const std::vector<Round>& rounds, std::vector<Segment> Round::*segments) {
  std::size_t end = 0;
  for (const Round& round : rounds) {
    for (const Segment& b : round.*segments) {
      end = std::max(end, b.offset + b.count);
    }
  }
  return end;
}

// The non-empty segments in rank order; `stacked`: one after the other, else all at the begin.
std::vector<Segment> segments_of(Counts counts, bool stacked) {
  std::vector<Segment> segments;
  std::size_t offset = 0;
  for (std::size_t peer = 0; peer < counts.size(); ++peer) {
    if (counts[peer] != 0) {
      segments.push_back({int(peer), offset, counts[peer]});
      offset += stacked ? counts[peer] : 0;
    }
  }
  return segments;
}

// The same segments, from the right neighbour on; the rank's own comes last.
void rotate_to(std::vector<Segment>& segments, int rank) {
  const auto first =
      std::ranges::find_if(segments, [rank](const Segment& b) { return b.peer > rank; });
  std::rotate(segments.begin(), first, segments.end());
}

}  // namespace

std::size_t Schedule::send_extent() const {
  return extent(rounds, &Round::sends);
}
std::size_t Schedule::receive_extent() const {
  return extent(rounds, &Round::receives);
}

Schedule direct(std::string_view verb, int rank, SendForm send_form, Counts sends,
                ReceiveForm receive_form, Counts receives) {
  require(sends.size() == receives.size() && 0 <= rank && std::size_t(rank) < sends.size(),
          "schedule: counts of every rank of the world are wanted");
  require(sends[std::size_t(rank)] == receives[std::size_t(rank)],
          "schedule: a rank takes from itself what it gives to itself");
  Round round;
  round.sends = segments_of(sends, send_form == SendForm::packed);
  rotate_to(round.sends, rank);
  round.receives = segments_of(receives, receive_form == ReceiveForm::packed);
  if (receive_form == ReceiveForm::summed) {
    round.fold = Fold::add;
    for (const Segment& b : round.receives) {
      require(b.count == round.receives.front().count, "schedule: addends differ in size");
    }
  } else {
    rotate_to(round.receives, rank);
  }
  return {verb, {round}};
}

Schedule barrier(int rank, int size) {
  Schedule schedule{"barrier", {}};
  for (int distance = 1; distance < size; distance *= 2) {
    Round round;
    round.sends = {{(rank + distance) % size, 0, 0}};
    round.receives = {{(rank - distance + size) % size, 0, 0}};
    schedule.rounds.push_back(round);
  }
  return schedule;
}

Schedule bcast(int rank, int size, int root, std::size_t count) {
  CountVector sends = rank == root ? all(size, count) : all(size, 0);
  sends[std::size_t(rank)] = 0;
  const CountVector receives = only(size, root, rank == root ? 0 : count);
  return direct("bcast", rank, SendForm::shared, sends, ReceiveForm::packed, receives);
}

Schedule scatterv(int rank, int root, Counts counts) {
  const int size = int(counts.size());
  const CountVector sends = rank == root ? CountVector(counts.begin(), counts.end()) : all(size, 0);
  const CountVector receives = only(size, root, counts[std::size_t(rank)]);
  return direct("scatterv", rank, SendForm::packed, sends, ReceiveForm::packed, receives);
}

Schedule gatherv(int rank, int root, Counts counts) {
  const int size = int(counts.size());
  const CountVector sends = only(size, root, counts[std::size_t(rank)]);
  const CountVector receives =
      rank == root ? CountVector(counts.begin(), counts.end()) : all(size, 0);
  return direct("gatherv", rank, SendForm::packed, sends, ReceiveForm::packed, receives);
}

Schedule allgatherv(int rank, Counts counts) {
  const CountVector sends = all(int(counts.size()), counts[std::size_t(rank)]);
  return direct("allgatherv", rank, SendForm::shared, sends, ReceiveForm::packed, counts);
}

Schedule reduce(int rank, int size, int root, std::size_t count) {
  const CountVector sends = only(size, root, count);
  const CountVector receives = all(size, rank == root ? count : 0);
  return direct("reduce", rank, SendForm::packed, sends, ReceiveForm::summed, receives);
}

Schedule allreduce(int rank, int size, std::size_t count) {
  const CountVector counts = all(size, count);
  return direct("allreduce", rank, SendForm::shared, counts, ReceiveForm::summed, counts);
}

Schedule reduce_scatter(int rank, Counts counts) {
  const CountVector receives = all(int(counts.size()), counts[std::size_t(rank)]);
  return direct("reduce_scatter", rank, SendForm::packed, counts, ReceiveForm::summed, receives);
}

Schedule alltoallv(int rank, Counts sends, Counts receives) {
  return direct("alltoallv", rank, SendForm::packed, sends, ReceiveForm::packed, receives);
}

}  // namespace sbcnn::net
