#include "net/schedule.h"

#include <algorithm>
#include <limits>
#include <map>

#include "core/error.h"

namespace sbcnn::net {
namespace {

// The non-empty segments in rank order; `stacked`: one after the other, else all at the begin.
template <class Segment>
std::vector<Segment> segments_of(Counts counts, bool stacked) {
  std::vector<Segment> segments;
  std::size_t offset = 0;
  for (std::size_t peer = 0; peer < counts.size(); ++peer) {
    if (counts[peer] != 0) {
      segments.push_back({.peer = int(peer), .offset = offset, .count = counts[peer]});
      offset += stacked ? counts[peer] : 0;
    }
  }
  return segments;
}

// The same segments, from the right neighbour on; the rank's own comes last.
template <class Segment>
void rotate_to(std::vector<Segment>& segments, int rank) {
  const auto first =
      std::ranges::find_if(segments, [rank](const Segment& s) { return s.peer > rank; });
  std::rotate(segments.begin(), first, segments.end());
}

std::uint16_t next(std::map<int, std::size_t>& messages, int peer) {
  const std::size_t number = messages[peer]++;
  require(number <= std::numeric_limits<std::uint16_t>::max(),
          "schedule: too many messages between two ranks");
  return std::uint16_t(number);
}

}  // namespace

bool Round::folds() const {
  return std::ranges::any_of(receives, [](const Receive& r) { return r.fold != Fold::store; });
}

bool Schedule::folds() const {
  return std::ranges::any_of(rounds, &Round::folds);
}

std::size_t Schedule::extent(Place buffer) const {
  std::size_t end = 0;
  for (const Round& round : rounds) {
    for (const Send& s : round.sends) {
      end = s.from == buffer ? std::max(end, s.offset + s.count) : end;
    }
    for (const Receive& r : round.receives) {
      end = r.to == buffer ? std::max(end, r.offset + r.count) : end;
    }
  }
  return end;
}

void number_messages(Schedule& schedule) {
  std::map<int, std::size_t> sent, received;
  for (Round& round : schedule.rounds) {
    for (Send& s : round.sends) {
      s.number = next(sent, s.peer);
    }
    for (Receive& r : round.receives) {
      r.number = next(received, r.peer);
    }
  }
}

Schedule direct(std::string_view verb, int rank, SendForm send_form, Counts sends,
                ReceiveForm receive_form, Counts receives) {
  require(sends.size() == receives.size() && 0 <= rank && std::size_t(rank) < sends.size(),
          "schedule: counts of every rank of the world are wanted");
  require(sends[std::size_t(rank)] == receives[std::size_t(rank)],
          "schedule: a rank takes from itself what it gives to itself");
  Round round;
  round.sends = segments_of<Send>(sends, send_form == SendForm::packed);
  rotate_to(round.sends, rank);
  round.receives = segments_of<Receive>(receives, receive_form == ReceiveForm::packed);
  if (receive_form == ReceiveForm::summed) {
    for (Receive& r : round.receives) {
      require(r.count == round.receives.front().count, "schedule: addends differ in size");
      r.fold = &r == &round.receives.front() ? Fold::store : Fold::append;
    }
  } else {
    rotate_to(round.receives, rank);
  }
  return {verb, {std::move(round)}};
}

}  // namespace sbcnn::net
