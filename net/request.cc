#include "net/request.h"

#include <algorithm>
#include <cstring>

#include "net/communicator.h"

namespace sbcnn::net {

Request::Request(Communicator& comm, const Tag& tag, Schedule schedule, SendBuffer in,
                 ReceiveBuffer out)
    : comm_(&comm), tag_(tag), schedule_(std::move(schedule)), in_(in), out_(out) {
  begin_round();
}

void Request::begin_round() {
  pending_.clear();
  if (round_ == schedule_.rounds.size()) {
    return;
  }
  const Round& round = schedule_.rounds[round_];
  tag_.round = std::uint16_t(round_);
  std::vector<int> peers;  // that get the same segment
  for (std::size_t i = 0; i < round.sends.size(); ++i) {
    const Segment& b = round.sends[i];
    if (b.peer != comm_->rank()) {
      peers.push_back(b.peer);
    }
    const Segment* const next = i + 1 < round.sends.size() ? &round.sends[i + 1] : nullptr;
    if (next != nullptr && next->offset == b.offset && next->count == b.count) {
      continue;
    }
    if (!peers.empty()) {
      comm_->post(peers, tag_, in_.bytes.subspan(b.offset * in_.element, b.count * in_.element));
      peers.clear();
    }
  }
  for (std::size_t i = 0; i < round.receives.size(); ++i) {
    pending_.push_back(i);
  }
}

bool Request::test() {
  comm_->check();
  while (!progress()) {
    const Wait wait = state();
    if (!comm_->pump(Clock::now(), wait)) {
      comm_->check_leavers(wait);
      return false;
    }
  }
  return true;
}

void Request::wait(Deadline deadline) {
  comm_->check();
  const Deadline begin = Clock::now();
  while (!progress()) {
    comm_->await(state(), begin, deadline);
  }
}

// True when everything has arrived. Copies are taken as they come, addends in order.
bool Request::progress() {
  while (round_ < schedule_.rounds.size()) {
    if (schedule_.rounds[round_].fold == Fold::add) {
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

bool Request::deliver(std::size_t receive) {
  const Segment& b = schedule_.rounds[round_].receives[receive];
  const Segment* own = b.peer == comm_->rank() ? own_segment() : nullptr;
  if (own != nullptr) {
    fold(receive, in_.bytes.subspan(own->offset * in_.element, own->count * in_.element));
    return true;
  }
  const auto message = comm_->take(b.peer, tag_);
  if (!message) {
    return false;
  }
  if (message->body.size() != b.count * out_.element) {
    comm_->fail({Error::Code::protocol, comm_->peer_name(b.peer) + " sent " +
                                            std::to_string(message->body.size()) + " bytes where " +
                                            std::to_string(b.count * out_.element) +
                                            " were expected, in the " + state().place() +
                                            ": do both run the same version?"});
  }
  fold(receive, message->body);
  return true;
}

void Request::fold(std::size_t receive, std::span<const std::byte> body) {
  const Round& round = schedule_.rounds[round_];
  std::byte* out = out_.bytes.data() + round.receives[receive].offset * out_.element;
  if (body.empty()) {
    return;
  }
  if (round.fold == Fold::copy || receive == 0) {
    std::memmove(out, body.data(), body.size());
    return;
  }
  // `out` was given as floats; the body of a message may begin at any address.
  float* sum = reinterpret_cast<float*>(out);
  for (std::size_t i = 0; i < body.size() / sizeof(float); ++i) {
    float addend = 0;
    std::memcpy(&addend, body.data() + i * sizeof(float), sizeof addend);
    sum[i] += addend;
  }
}

const Segment* Request::own_segment() const {
  const auto& sends = schedule_.rounds[round_].sends;
  const auto own = std::ranges::find(sends, comm_->rank(), &Segment::peer);
  return own == sends.end() ? nullptr : &*own;
}

std::vector<int> Request::missing() const {
  std::vector<int> peers;
  for (const std::size_t i : pending_) {
    const int peer = schedule_.rounds[round_].receives[i].peer;
    const bool here = peer == comm_->rank() && own_segment() != nullptr;
    if (!here && !comm_->has_mail(peer, tag_)) {
      peers.push_back(peer);
    }
  }
  return peers;
}

std::string Wait::place() const {
  std::string text(verb);
  switch (tag.context) {
    case Context::automatic:
      return text + " number " + std::to_string(tag.frame);
    case Context::control:
      return text + " of signal " + std::to_string(tag.frame);
    case Context::data:
    case Context::user:
      break;
  }
  return text + " of frame " + std::to_string(tag.frame) + ", step " + std::to_string(tag.step);
}

}  // namespace sbcnn::net
