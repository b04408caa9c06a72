#include "net/inproc.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace sbcnn::net {
namespace {

constexpr auto kWatchInterval = std::chrono::milliseconds(100);

enum class Event { message, goodbye, abort, lost };

struct Item {
  Event event = Event::message;
  Message message;     // its source is set for every event
  std::string reason;  // of an abort
};

struct Inbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Item> items;
  bool joined = false;
  bool closed = false;  // its rank is gone: nothing is queued any more
};

}  // namespace

struct Hub::State {
  State(int size, std::vector<std::string> names)
      : inboxes(std::size_t(size)), hosts(std::move(names)) {}
  std::deque<Inbox> inboxes;
  std::vector<std::string> hosts;
};

class InprocTransport final : public Transport {
 public:
  InprocTransport(std::shared_ptr<Hub::State> hub, int rank)
      : hub_(std::move(hub)), rank_(rank), left_(hub_->inboxes.size()) {}
  ~InprocTransport() override { leave(Event::lost, {}); }

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return int(hub_->inboxes.size()); }
  std::string peer_name(int rank) const override {
    return describe_rank(rank, hub_->hosts.empty() ? "" : hub_->hosts[std::size_t(rank)]);
  }

  void send(int peer, const Tag& tag, const Payload& body) override {
    require(0 <= peer && peer < size() && peer != rank_, "Transport::send: no such peer");
    require(!closed_, "Transport::send after close");
    Item item;
    item.message = {rank_, tag, body.bytes, body.owner};
    if (body.owner == nullptr) {
      const auto copy =
          std::make_shared<std::vector<std::byte>>(body.bytes.begin(), body.bytes.end());
      item.message.body = *copy;
      item.message.owner = copy;
    }
    push(peer, std::move(item));
  }

  std::optional<Message> receive(Deadline deadline) override {
    require(!closed_, "Transport::receive after close");
    while (true) {
      if (failure_) {
        throw *failure_;
      }
      if (auto item = next(deadline)) {
        if (item->event == Event::message) {
          return std::move(item->message);
        }
        if (note(*item)) {
          return std::nullopt;
        }
      } else if (watch_ && Clock::now() >= next_watch_) {
        next_watch_ = Clock::now() + kWatchInterval;
        watch_();
      } else if (Clock::now() >= deadline) {
        return std::nullopt;
      }
    }
  }

  bool has_left(int peer) const noexcept override { return left_[std::size_t(peer)]; }
  void close() override { leave(Event::goodbye, {}); }
  void abort(std::string_view reason) override {
    leave(Event::abort, cause_.empty() ? std::string(reason) : cause_);
  }
  void set_watch(Watch watch) override { watch_ = std::move(watch); }
  std::uint64_t dropped() const noexcept override { return 0; }

 private:
  // Waits for the deadline, but no longer than until the watch is due.
  std::optional<Item> next(Deadline deadline) {
    Inbox& inbox = hub_->inboxes[std::size_t(rank_)];
    const Deadline until =
        std::min(deadline, watch_ ? next_watch_ : Clock::now() + std::chrono::hours(1));
    std::unique_lock lock(inbox.mutex);
    if (!inbox.arrived.wait_until(lock, until, [&] { return !inbox.items.empty(); })) {
      return std::nullopt;
    }
    Item item = std::move(inbox.items.front());
    inbox.items.pop_front();
    return item;
  }

  // True if a peer has left, false if something is wrong.
  bool note(const Item& item) {
    const int source = item.message.source;
    if (item.event == Event::goodbye) {
      left_[std::size_t(source)] = true;
      return true;
    }
    if (item.event == Event::abort) {
      cause_ = item.reason;
      failure_ = abort_error(cause_, peer_name(source));
    } else {
      failure_ = lost_error(peer_name(source));
    }
    return false;
  }

  void push(int peer, Item item) {
    Inbox& inbox = hub_->inboxes[std::size_t(peer)];
    {
      const std::lock_guard lock(inbox.mutex);
      if (inbox.closed) {
        return;
      }
      inbox.items.push_back(std::move(item));
    }
    inbox.arrived.notify_one();
  }

  void leave(Event how, const std::string& reason) {
    if (std::exchange(closed_, true)) {
      return;
    }
    Inbox& own = hub_->inboxes[std::size_t(rank_)];
    {
      const std::lock_guard lock(own.mutex);
      own.closed = true;
      own.items.clear();
    }
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != rank_) {
        Item item;
        item.event = how;
        item.message.source = rank_;
        item.reason = reason;
        push(peer, std::move(item));
      }
    }
  }

  std::shared_ptr<Hub::State> hub_;
  int rank_;
  std::vector<bool> left_;
  std::optional<Error> failure_;
  std::string cause_;  // what the first abort of a peer said
  bool closed_ = false;
  Watch watch_;
  Deadline next_watch_{};
};

Hub::Hub(int size, std::vector<std::string> hosts) {
  require(size > 0, "Hub: a world has at least one rank");
  require(hosts.empty() || hosts.size() == std::size_t(size), "Hub: one host name a rank");
  state_ = std::make_shared<State>(size, std::move(hosts));
}

std::unique_ptr<Transport> Hub::join(int rank) {
  require(0 <= rank && std::size_t(rank) < state_->inboxes.size(), "Hub::join: no such rank");
  Inbox& inbox = state_->inboxes[std::size_t(rank)];
  {
    const std::lock_guard lock(inbox.mutex);
    require(!std::exchange(inbox.joined, true), "Hub::join: the rank has joined already");
  }
  return std::make_unique<InprocTransport>(state_, rank);
}

}  // namespace sbcnn::net
