#include "net/faulty_transport.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

namespace sbcnn::net {
namespace {

class FaultyTransport final : public Transport {
 public:
  FaultyTransport(std::unique_ptr<Transport> inner, const Faults& faults)
      : inner_(std::move(inner)),
        faults_(faults),
        random_(faults.seed),
        rank_(inner_->rank()),
        size_(inner_->size()),
        streams_(std::size_t(size_)) {}

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  std::string peer_name(int rank) const override {
    return inner_ ? inner_->peer_name(rank) : describe_rank(rank, {});
  }
  bool has_left(int peer) const noexcept override {
    return streams_[std::size_t(peer)].empty() && inner_ && inner_->has_left(peer);
  }
  void close() override {
    if (inner_) {
      inner_->close();
    }
  }
  void abort(std::string_view reason) override {
    if (inner_) {
      inner_->abort(reason);
    }
  }
  void set_watch(Watch watch) override {
    if (inner_) {
      inner_->set_watch(std::move(watch));
    }
  }
  std::uint64_t dropped() const noexcept override { return inner_ ? inner_->dropped() : 0; }

  void send(int peer, const Tag& tag, const Payload& body) override {
    maybe_die();
    const int number = sent_++;
    if (number == faults_.drop_at || (faults_.mute_from && number >= *faults_.mute_from)) {
      return;
    }
    if (number == faults_.truncate_at) {
      const std::byte extra{0};
      const auto bytes = body.bytes;
      inner_->send(peer, tag, bytes.empty() ? std::span(&extra, 1) : bytes.first(bytes.size() - 1));
      return;
    }
    inner_->send(peer, tag, body);
  }

  std::optional<Message> receive(Deadline deadline) override {
    maybe_die(0);
    while (true) {
      while (auto message = inner_->receive(Clock::now())) {
        delay(std::move(*message));
      }
      if (auto message = release()) {
        maybe_die();
        if (received_++ == faults_.lose_at) {
          throw lost_error(peer_name(message->source));
        }
        return message;
      }
      const Deadline now = Clock::now();
      if (now >= deadline || leavers() > std::exchange(known_leavers_, leavers())) {
        return std::nullopt;
      }
      // A floor keeps a due time that has just passed from becoming a busy loop.
      const Deadline next = std::max(next_due(), now + std::chrono::microseconds(100));
      if (auto message = inner_->receive(std::min(deadline, next))) {
        delay(std::move(*message));
      }
    }
  }

 private:
  struct Late {
    Message message;
    Deadline due;
  };

  void maybe_die(int count = 1) {
    if (faults_.die_at && handled_ >= *faults_.die_at) {
      inner_.reset();
    }
    handled_ += count;
    if (!inner_) {
      throw Error(Error::Code::io, "rank " + std::to_string(rank_) + " dies, as it was told to");
    }
  }

  void delay(Message message) {
    auto& stream = streams_[std::size_t(message.source)];
    std::uniform_int_distribution<std::int64_t> any(0, faults_.longest_delay.count());
    const Deadline due = Clock::now() + std::chrono::microseconds(any(random_));
    const bool twice =
        std::uniform_int_distribution<int>(0, 99)(random_) < faults_.duplicate_percent;
    stream.push_back({message, due});
    if (twice) {
      stream.push_back({std::move(message), due + std::chrono::microseconds(any(random_))});
    }
  }

  // One of the messages that are due, drawn at random.
  std::optional<Message> release() {
    const Deadline now = Clock::now();
    std::vector<std::pair<std::size_t, std::size_t>> ready;  // sender, which of its messages
    for (std::size_t s = 0; s < streams_.size(); ++s) {
      for (std::size_t i = 0; i < streams_[s].size(); ++i) {
        if (streams_[s][i].due <= now) {
          ready.emplace_back(s, i);
        }
      }
    }
    if (ready.empty()) {
      return std::nullopt;
    }
    const auto [s, i] =
        ready[std::uniform_int_distribution<std::size_t>(0, ready.size() - 1)(random_)];
    Message message = std::move(streams_[s][i].message);
    streams_[s].erase(streams_[s].begin() + std::ptrdiff_t(i));
    return message;
  }

  int leavers() const {
    int count = 0;
    for (int peer = 0; peer < size_; ++peer) {
      count += peer != rank_ && has_left(peer) ? 1 : 0;
    }
    return count;
  }

  Deadline next_due() const {
    Deadline next = Deadline::max();
    for (const auto& stream : streams_) {
      for (const Late& late : stream) {
        next = std::min(next, late.due);
      }
    }
    return next;
  }

  std::unique_ptr<Transport> inner_;  // null: dead
  Faults faults_;
  std::mt19937_64 random_;
  int rank_, size_;
  std::vector<std::vector<Late>> streams_;  // by sender
  int known_leavers_ = 0;
  int sent_ = 0, received_ = 0, handled_ = 0;
};

}  // namespace

std::unique_ptr<Transport> with_faults(std::unique_ptr<Transport> inner, const Faults& faults) {
  return std::make_unique<FaultyTransport>(std::move(inner), faults);
}

}  // namespace sbcnn::net
