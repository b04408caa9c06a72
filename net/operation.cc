#include "net/operation.h"

#include <algorithm>
#include <cstring>

#include "net/communicator.h"

namespace sbcnn::net {

Operation::Operation(Communicator& comm, const Tag& tag, Schedule schedule, Operands operands)
    : comm_(comm),
      station_(comm.station_),
      tag_(tag),
      schedule_(std::move(schedule)),
      on_(std::move(operands)),
      element_(size_of(on_.type)),
      work_(schedule_.extent(Place::work) * element_) {
  begin_round();
  if (schedule_.rounds.size() > 1) {
    station_->operations.push_back(this);
  }
}

Operation::~Operation() {
  std::erase(station_->operations, this);
}

std::span<const std::byte> Operation::bytes(const Send& s) const {
  const std::span<const std::byte> from = s.from == Place::in    ? on_.in.bytes
                                          : s.from == Place::out ? on_.out.bytes
                                                                 : std::span(work_);
  return from.subspan(s.offset * element_, s.count * element_);
}

Tag Operation::numbered(std::uint16_t number) const {
  Tag tag = tag_;
  tag.round = number;
  return tag;
}

void Operation::begin_round() {
  pending_.clear();
  if (round_ == schedule_.rounds.size()) {
    return;
  }
  const Round& round = schedule_.rounds[round_];
  std::vector<int> peers;  // that get the same segment
  for (std::size_t i = 0; i < round.sends.size(); ++i) {
    const Send& s = round.sends[i];
    if (s.peer != comm_.rank()) {
      peers.push_back(s.peer);
    }
    const Send* const next = i + 1 < round.sends.size() ? &round.sends[i + 1] : nullptr;
    if (next != nullptr && next->from == s.from && next->offset == s.offset &&
        next->count == s.count && next->number == s.number) {
      continue;
    }
    if (!peers.empty()) {
      comm_.post(peers, numbered(s.number),
                 {bytes(s), s.from == Place::in ? on_.in.owner : nullptr});
      peers.clear();
    }
  }
  for (std::size_t i = 0; i < round.receives.size(); ++i) {
    pending_.push_back(i);
  }
}

// Stores are taken as they come, a round that folds in order.
bool Operation::progress() {
  while (round_ < schedule_.rounds.size()) {
    if (schedule_.rounds[round_].folds()) {
      const auto blocked = std::ranges::find_if_not(pending_, [&](auto i) { return deliver(i); });
      pending_.erase(pending_.begin(), blocked);
    } else {
      std::erase_if(pending_, [&](auto i) { return deliver(i); });
    }
    if (!pending_.empty()) {
      return false;
    }
    ++round_;
    begin_round();
  }
  return true;
}

bool Operation::deliver(std::size_t receive) {
  const Receive& r = schedule_.rounds[round_].receives[receive];
  if (const Send* own = own_segment(r)) {
    fold(r, bytes(*own));
    return true;
  }
  const auto message = comm_.take(r.peer, numbered(r.number));
  if (!message) {
    return false;
  }
  if (message->body.size() != r.count * element_) {
    comm_.fail({Error::Code::protocol, comm_.peer_name(r.peer) + " sent " +
                                           std::to_string(message->body.size()) + " bytes where " +
                                           std::to_string(r.count * element_) +
                                           " were expected, in the " + state().place() +
                                           ": do both run the same version?"});
  }
  fold(r, message->body);
  return true;
}

void Operation::fold(const Receive& r, std::span<const std::byte> body) {
  if (body.empty()) {
    return;
  }
  const auto to = (r.to == Place::out ? on_.out.bytes : std::span(work_))
                      .subspan(r.offset * element_, body.size());
  if (r.fold == Fold::store) {
    std::memmove(to.data(), body.data(), body.size());
    return;
  }
  try {
    on_.op->fold(on_.type, to, body, r.fold == Fold::prepend);
  } catch (const std::exception& e) {  // of the user's function
    comm_.fail({Error::Code::usage, comm_.peer_name(comm_.rank()) + " cannot reduce, in the " +
                                        state().place() + ": " + e.what()});
  }
}

const Send* Operation::own_segment(const Receive& r) const {
  if (r.peer != comm_.rank()) {
    return nullptr;
  }
  const auto& sends = schedule_.rounds[round_].sends;
  const auto own = std::ranges::find_if(
      sends, [&](const Send& s) { return s.peer == r.peer && s.number == r.number; });
  return own == sends.end() ? nullptr : &*own;
}

std::vector<int> Operation::missing() const {
  std::vector<int> peers;
  for (const std::size_t i : pending_) {
    const Receive& r = schedule_.rounds[round_].receives[i];
    if (own_segment(r) == nullptr && comm_.mail(r.peer, numbered(r.number)) == nullptr &&
        std::ranges::find(peers, r.peer) == peers.end()) {
      peers.push_back(r.peer);
    }
  }
  return peers;
}

}  // namespace sbcnn::net
