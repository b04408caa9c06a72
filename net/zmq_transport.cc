#include "net/zmq_transport.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <zmq.hpp>

#include "net/doorkeeper.h"
#include "net/frame.h"
#include "net/handshake.h"
#include "net/interface.h"
#include "net/lanes.h"
#include "net/poller.h"

namespace sbcnn::net {
namespace {

using std::chrono::milliseconds;

constexpr auto kWatchInterval = milliseconds(100);
constexpr auto kFlushInterval = milliseconds(2);
constexpr auto kLongestPoll = milliseconds(1000);
// Frames looked at before the clock is looked at again, should somebody flood us with garbage.
constexpr int kFramesAtOnce = 64;
constexpr std::size_t kLongestReason = 4096;
// For how long a rank to which news came faster than that asks for more before it falls asleep.
constexpr auto kPatience = std::chrono::microseconds(100);
constexpr std::uint64_t kPullKey = 0, kMonitorKey = 1;  // of descriptors; the rest are lanes'
// Encrypted messages travel in pieces: libzmq ciphers a piece as a whole before it is sent and
// after it has come, so in one piece a long message would keep its thread from all else meanwhile,
// the answers to heartbeats included, and the network idle. One piece takes a chunk of an
// all-to-all.
constexpr std::size_t kPiece = kHeaderBytes + 64 * 1024;

int milliseconds_of(milliseconds t) {
  return int(t.count());
}

// Rounded up, so that a wait of less than a millisecond does not become a busy loop.
milliseconds until(Deadline deadline) {
  const Deadline now = Clock::now();
  if (deadline <= now) {
    return milliseconds(0);
  }
  return deadline - now > kLongestPoll ? kLongestPoll
                                       : std::chrono::ceil<milliseconds>(deadline - now);
}

// Receives without waiting; false when nothing is there. Signals do not count as errors.
bool receive_now(zmq::socket_t& socket, zmq::message_t& frame) {
  while (true) {
    try {
      return socket.recv(frame, zmq::recv_flags::dontwait).has_value();
    } catch (const zmq::error_t& e) {
      if (e.num() != EINTR) {
        throw;
      }
    }
  }
}

std::string seconds_since(Deadline t) {
  const auto tenths = std::chrono::duration_cast<milliseconds>(Clock::now() - t).count() / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

// The connection to one peer.
struct Link {
  // leaving: said goodbye, and its lane may still bring what it sent before.
  enum class State { none, connecting, up, broken, leaving, left };
  State state = State::none;
  Deadline broken_at{};  // or when it said goodbye
  Deadline heard_at{};   // when the last message from there was taken
  zmq::socket_t push, monitor;
};

// For errors: "noticed 0.4 s ago, last message 3.1 s ago".
std::string since(const Link& link) {
  return "noticed " + seconds_since(link.broken_at) + " ago, " +
         (link.heard_at == Deadline{} ? "no message before"
                                      : "last message " + seconds_since(link.heard_at) + " ago");
}

}  // namespace

struct ZmqEndpoint::Bound {
  ZmqOptions options;
  zmq::context_t context;
  // Declared in the order in which they end, last first.
  std::unique_ptr<Doorkeeper> doorkeeper;  // if there are keys
  zmq::socket_t pull{context, zmq::socket_type::pull};
  std::string address;

  std::uint64_t refused() const { return doorkeeper ? doorkeeper->refused() : 0; }
  int port() const {
    return address.starts_with("tcp://") ? std::stoi(address.substr(address.rfind(':') + 1)) : 0;
  }
};

class ZmqTransport final : public Transport {
 public:
  ZmqTransport(std::unique_ptr<ZmqEndpoint::Bound> in, World world);
  ~ZmqTransport() override;

  void await_links(Deadline, const std::function<void()>& check);

  int rank() const noexcept override { return world_.rank; }
  int size() const noexcept override { return int(links_.size()); }
  std::string peer_name(int rank) const override {
    return describe_rank(rank, world_.peers[std::size_t(rank)].host);
  }
  void send(int peer, const Tag& tag, const Payload& body) override {
    send_all(std::span(&peer, 1), tag, body);
  }
  void send_all(std::span<const int> peers, const Tag&, const Payload& body) override;
  std::optional<Message> receive(Deadline) override;
  bool has_left(int peer) const noexcept override {
    return links_[std::size_t(peer)].state == Link::State::left;
  }
  void close() override { end(FrameKind::goodbye, {}); }
  void abort(std::string_view reason) override {
    end(FrameKind::abort, cause_.empty() ? reason.substr(0, kLongestReason) : cause_);
  }
  void set_watch(Watch watch) override { watch_ = std::move(watch); }
  std::uint64_t dropped() const noexcept override { return dropped_ + refused_; }

 private:
  void connect(int peer);
  void watch(zmq::socket_t&, std::uint64_t key);
  static void push(Link&, zmq::message_t, bool more = false);
  void invite_to_lanes();
  void follow_to_lane(int peer, std::span<const std::byte> invitation);
  void note_ended_lanes();
  std::optional<WireFrame> collect(zmq::message_t first);
  std::optional<WireFrame> next_frame();
  std::optional<Message> take();
  bool is_ours(const Header&) const;
  void note_farewell(const Header&, std::span<const std::byte> payload);
  void read_monitors();
  void check_door();
  Deadline end_of_grace(const Link&) const;
  void resume_grace();
  void check_grace();
  void look(milliseconds);
  void wait(Deadline);
  void say(FrameKind farewell, std::string_view reason);
  void end(std::optional<FrameKind> farewell, std::string_view reason);

  std::unique_ptr<ZmqEndpoint::Bound> in_;
  World world_;
  // Our goodbye, which ZeroMQ reads until it has been handed to the network, and whether that
  // is done, by peer. They outlive the context.
  std::vector<std::byte> farewell_;
  std::vector<std::atomic<bool>> said_;
  // A second context: it is ended first, which waits until our goodbyes are on their way, while
  // peers still find our end of the other links open.
  zmq::context_t out_context_;
  std::vector<Link> links_;
  // What libzmq's descriptors tell are changes: once they have told, its sockets are emptied.
  Poller poller_;
  Lanes lanes_;
  bool emptied_ = false;  // the PULL has nothing more
  bool soon_ = false;     // the last thing to wait for came at once
  Deadline looked_at_ = Clock::now();
  std::optional<Error> failure_;
  std::string cause_;          // what the first abort of a peer said
  bool news_ = false;          // a peer has left since receive() returned
  std::uint64_t dropped_ = 0;  // frames
  std::uint64_t refused_ = 0;  // connections
  bool told_ = false;          // of the first of those
  Watch watch_;
  Deadline next_watch_{};
  bool ended_ = false;
};

ZmqTransport::ZmqTransport(std::unique_ptr<ZmqEndpoint::Bound> in, World world)
    : in_(std::move(in)),
      world_(std::move(world)),
      said_(world_.peers.size()),
      links_(world_.peers.size()),
      lanes_(world_.rank, int(world_.peers.size()), world_.job, in_->options.keys.has_value(),
             poller_) {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank()) {
      connect(peer);
      watch(links_[std::size_t(peer)].monitor, kMonitorKey);
    }
  }
}

ZmqTransport::~ZmqTransport() {
  try {
    end(std::nullopt, {});
  } catch (const zmq::error_t&) {  // the sockets close by themselves
  }
}

void ZmqTransport::connect(int peer) {
  Link& link = links_[std::size_t(peer)];
  const ZmqOptions& options = in_->options;
  const std::string& endpoint = world_.peers[std::size_t(peer)].endpoint;
  link.push = zmq::socket_t(out_context_, zmq::socket_type::push);
  link.push.set(zmq::sockopt::sndhwm, 0);
  link.push.set(zmq::sockopt::ipv6, true);
  link.push.set(zmq::sockopt::reconnect_ivl, 100);
  link.push.set(zmq::sockopt::reconnect_ivl_max, 2000);
  if (options.keys) {
    become_client(link.push, *options.keys);
  }
  link.push.set(zmq::sockopt::heartbeat_ivl, milliseconds_of(options.heartbeat_interval));
  link.push.set(zmq::sockopt::heartbeat_timeout, milliseconds_of(options.heartbeat_timeout));
  // TCP_USER_TIMEOUT: also counts while the peer's window is shut.
  link.push.set(zmq::sockopt::tcp_maxrt, milliseconds_of(options.heartbeat_timeout));
  if (options.send_buffer > 0) {
    link.push.set(zmq::sockopt::sndbuf, options.send_buffer);
  }
  const std::string monitor = "inproc://monitor-" + std::to_string(peer);
  if (zmq_socket_monitor(link.push.handle(), monitor.c_str(),
                         ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0) {
    throw Error(Error::Code::io, "cannot watch the connection to " + peer_name(peer) + ": " +
                                     zmq_strerror(zmq_errno()));
  }
  link.monitor = zmq::socket_t(out_context_, zmq::socket_type::pair);
  link.monitor.set(zmq::sockopt::linger, 0);
  link.monitor.connect(monitor);
  link.state = Link::State::connecting;
  try {
    link.push.connect(endpoint);
  } catch (const zmq::error_t& e) {
    throw Error(Error::Code::protocol,
                peer_name(peer) + " cannot be connected to at '" + endpoint + "': " + e.what());
  }
}

void ZmqTransport::watch(zmq::socket_t& socket, std::uint64_t key) {
  if (!poller_.add(int(socket.get(zmq::sockopt::fd)), key)) {
    throw Error(Error::Code::io, "cannot wait for a connection: the system is out of resources");
  }
}

void ZmqTransport::await_links(Deadline deadline, const std::function<void()>& check) {
  const auto connecting = [](const Link& link) { return link.state == Link::State::connecting; };
  read_monitors();  // from here on their descriptors tell
  while (std::ranges::any_of(links_, connecting)) {
    if (check) {
      check();
    }
    if (Clock::now() >= deadline) {
      const int peer = int(std::ranges::find_if(links_, connecting) - links_.begin());
      throw Error(Error::Code::timeout, peer_name(rank()) + " cannot reach " + peer_name(peer) +
                                            " at " + world_.peers[std::size_t(peer)].endpoint +
                                            ": is a firewall or another network in between?");
    }
    poller_.wait(std::min(until(deadline), kWatchInterval));
    read_monitors();
    check_door();
  }
  watch(in_->pull, kPullKey);
  invite_to_lanes();
}

// On TCP alone: elsewhere a switch of threads is the least of costs.
void ZmqTransport::invite_to_lanes() {
  if (!in_->options.lanes || !is_endpoint(in_->address)) {
    return;
  }
  const std::string address = split_host_and_port(in_->address).host;
  for (int peer = 0; peer < rank(); ++peer) {
    if (const auto invitation = lanes_.invite(peer, address)) {
      const auto payload = encode(*invitation);
      for (zmq::message_t& part : parts_of(
               {FrameKind::invitation, std::uint32_t(rank()), world_.job, {}}, payload, kPiece)) {
        push(links_[std::size_t(peer)], std::move(part));
      }
    }
  }
}

void ZmqTransport::follow_to_lane(int peer, std::span<const std::byte> payload) {
  const auto invitation = decode_invitation(payload);
  const std::string& endpoint = world_.peers[std::size_t(peer)].endpoint;
  if (invitation && in_->options.lanes && is_endpoint(endpoint)) {
    lanes_.follow(peer, split_host_and_port(endpoint).host, *invitation);
  }
}

// To be called when all that came by lanes was taken.
void ZmqTransport::note_ended_lanes() {
  while (const auto ended = lanes_.next_ended()) {
    Link& link = links_[std::size_t(ended->peer)];
    if (link.state == Link::State::leaving) {
      link.state = Link::State::left;
      news_ = true;
    } else if (link.state == Link::State::up && ended->broken) {
      link.state = Link::State::broken;
      link.broken_at = Clock::now();
    }
  }
}

void ZmqTransport::push(Link& link, zmq::message_t frame, bool more) {
  const auto flags = more ? zmq::send_flags::sndmore : zmq::send_flags::none;
  while (true) {
    try {
      // The queue is unbounded: this fails only for want of memory, by an exception.
      require(link.push.send(frame, flags | zmq::send_flags::dontwait).has_value(),
              "ZmqTransport: an unbounded queue is full");
      return;
    } catch (const zmq::error_t& e) {
      if (e.num() != EINTR) {
        throw Error(Error::Code::io, std::string("ZeroMQ cannot send: ") + e.what());
      }
    }
  }
}

void ZmqTransport::send_all(std::span<const int> peers, const Tag& tag, const Payload& body) {
  require(!ended_, "Transport::send after close");
  require(body.bytes.size() <= in_->options.max_message - kHeaderBytes,
          "Transport::send: larger than the largest message; send it in parts");
  const Header header{FrameKind::message, std::uint32_t(rank()), world_.job, tag};
  std::vector<zmq::message_t> parts;  // made for the first peer that gets them
  for (const int peer : peers) {
    require(0 <= peer && peer < size() && peer != rank(), "Transport::send: no such peer");
    Link& link = links_[std::size_t(peer)];
    if (link.state == Link::State::left || link.state == Link::State::leaving ||
        lanes_.send(peer, header, body.bytes)) {
      continue;
    }
    if (parts.empty()) {
      parts = parts_of(header, body,
                       in_->options.keys ? kPiece : std::numeric_limits<std::size_t>::max());
    }
    for (zmq::message_t& part : parts) {
      zmq::message_t shared;
      shared.copy(part);  // counts references
      push(link, std::move(shared), &part != &parts.back());
    }
  }
}

std::optional<Message> ZmqTransport::receive(Deadline deadline) {
  require(!ended_, "Transport::receive after close");
  resume_grace();
  while (true) {
    if (failure_) {
      throw *failure_;
    }
    auto message = take();
    if (message || std::exchange(news_, false)) {
      return message;
    }
    if (watch_ && Clock::now() >= next_watch_) {
      next_watch_ = Clock::now() + kWatchInterval;
      watch_();
    }
    const bool over = Clock::now() >= deadline;
    wait(deadline);  // looks at the sockets in any case
    check_door();
    check_grace();
    if (over && !failure_) {
      return take();
    }
  }
}

// The next frame of a peer, if one is here; drops what is foreign.
std::optional<WireFrame> ZmqTransport::next_frame() {
  for (int i = 0; i < kFramesAtOnce; ++i) {
    if (auto frame = lanes_.next()) {
      return frame;
    }
    note_ended_lanes();
    zmq::message_t first;
    emptied_ = emptied_ || !receive_now(in_->pull, first);
    if (emptied_) {
      return std::nullopt;
    }
    auto frame = collect(std::move(first));
    if (frame && is_ours(frame->header)) {
      return frame;
    }
    ++dropped_;
  }
  return std::nullopt;
}

// The next message of a peer, if one is here. Takes note of goodbyes and invitations.
std::optional<Message> ZmqTransport::take() {
  while (!failure_) {
    auto frame = next_frame();
    if (!frame) {
      return std::nullopt;
    }
    const Header& header = frame->header;
    Link& link = links_[header.source];
    link.heard_at = Clock::now();
    link.broken_at = std::max(link.broken_at, link.heard_at);
    if (header.kind == FrameKind::message) {
      return Message{int(header.source), header.tag, frame->payload, std::move(frame->owner)};
    }
    if (header.kind == FrameKind::invitation) {
      follow_to_lane(int(header.source), frame->payload);
    } else {
      note_farewell(header, frame->payload);
    }
  }
  return std::nullopt;
}

// A frame out of its first part and those that follow, which are all here; nullopt if it has more
// than a rank would send, or is larger than the largest message.
std::optional<WireFrame> ZmqTransport::collect(zmq::message_t first) {
  const std::size_t most = in_->options.keys ? std::numeric_limits<std::size_t>::max() : 2;
  std::size_t size = first.size();
  bool more = first.more(), good = true;
  std::vector<zmq::message_t> parts;
  parts.push_back(std::move(first));
  while (more) {
    zmq::message_t part;
    if (!receive_now(in_->pull, part)) {
      return std::nullopt;
    }
    more = part.more();
    size += part.size();
    good = good && size <= in_->options.max_message && parts.size() < most;
    if (good) {
      parts.push_back(std::move(part));
    }
  }
  return good ? frame_of(std::move(parts)) : std::nullopt;
}

bool ZmqTransport::is_ours(const Header& header) const {
  return header.job == world_.job && header.source < links_.size() &&
         int(header.source) != rank() && header.kind != FrameKind::hello;
}

void ZmqTransport::note_farewell(const Header& header, std::span<const std::byte> payload) {
  const int peer = int(header.source);
  Link& link = links_[header.source];
  if (header.kind == FrameKind::goodbye && lanes_.open(peer)) {
    link.state = Link::State::leaving;
    link.broken_at = Clock::now();
    return;
  }
  link.state = Link::State::left;
  news_ = header.kind == FrameKind::goodbye;
  if (header.kind == FrameKind::abort) {
    payload = payload.first(std::min(payload.size(), kLongestReason));
    cause_.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
    failure_ = abort_error(cause_, peer_name(peer));
  }
}

void ZmqTransport::read_monitors() {
  for (Link& link : links_) {
    zmq::message_t event, address;
    while (link.monitor && receive_now(link.monitor, event)) {
      if (event.more()) {
        receive_now(link.monitor, address);
      }
      std::uint16_t number = 0;
      if (event.size() < sizeof number) {
        continue;
      }
      std::memcpy(&number, event.data(), sizeof number);
      if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED && link.state == Link::State::connecting) {
        link.state = Link::State::up;
      } else if (number == ZMQ_EVENT_DISCONNECTED && link.state == Link::State::up) {
        link.state = Link::State::broken;
        link.broken_at = Clock::now();
      }
    }
  }
}

// Counts who was turned away at the ports, and tells of the first.
void ZmqTransport::check_door() {
  refused_ = in_->refused() + lanes_.refused();
  if (told_ || !in_->doorkeeper || !in_->options.on_refusal) {
    return;
  }
  const bool here = in_->doorkeeper->first_refusal();
  told_ = here || lanes_.refused() > 0;
  if (told_) {
    in_->options.on_refusal(refusal_text(here ? in_->port() : lanes_.port()));
  }
}

// How long we wait for the goodbye of a peer whose link broke, and for the end of a lane whose peer
// said goodbye, as long as that itself waits until all is delivered.
Deadline ZmqTransport::end_of_grace(const Link& link) const {
  return link.state == Link::State::broken    ? link.broken_at + in_->options.farewell_grace
         : link.state == Link::State::leaving ? link.broken_at + in_->options.linger
                                              : Deadline::max();
}

// Time in which nobody listened does not count: a goodbye may have come in it.
void ZmqTransport::resume_grace() {
  for (Link& link : links_) {
    if (link.state == Link::State::broken || link.state == Link::State::leaving) {
      link.broken_at = std::max(link.broken_at, link.broken_at + (Clock::now() - looked_at_));
    }
  }
}

// A broken link whose peer has not said goodbye in time is a lost peer. And who said goodbye, but
// does not close its lane, has left.
void ZmqTransport::check_grace() {
  const Deadline now = Clock::now();
  for (std::size_t peer = 0; peer < links_.size() && !failure_; ++peer) {
    const Link& link = links_[peer];
    if (now < end_of_grace(link)) {
      continue;
    }
    if (link.state == Link::State::broken) {
      failure_ = lost_error(peer_name(int(peer)), since(link));
    } else if (link.state == Link::State::leaving) {
      lanes_.end(int(peer));
    }
  }
}

// Waits until something happens, for so long at most, and sees to it; the PULL's news are left to
// take().
void ZmqTransport::look(milliseconds timeout) {
  const bool patient = soon_ && timeout > milliseconds(0);
  const Deadline begin = Clock::now();
  const auto events = patient ? poller_.wait(timeout, kPatience) : poller_.wait(timeout);
  looked_at_ = Clock::now();
  soon_ = !events.empty() && looked_at_ - begin < kPatience;
  emptied_ = emptied_ && !events.empty();
  bool monitors = false;
  for (const Poller::Event& event : events) {
    if (event.data.u64 == kPullKey) {
      emptied_ = false;
    } else if (event.data.u64 == kMonitorKey) {
      monitors = true;
    } else {
      lanes_.serve(event);
    }
  }
  if (monitors) {
    read_monitors();
  }
}

// Until something happens, or it is time to look at the clock again.
void ZmqTransport::wait(Deadline deadline) {
  Deadline next = watch_ ? std::min(deadline, next_watch_) : deadline;
  for (const Link& link : links_) {
    next = std::min(next, end_of_grace(link));
  }
  look(emptied_ ? until(next) : milliseconds(0));
}

// Says goodbye on every link that stands, and waits until the words are on their way.
void ZmqTransport::say(FrameKind farewell, std::string_view reason) {
  farewell_.resize(kHeaderBytes + reason.size());
  encode({farewell, std::uint32_t(rank()), world_.job, {}, reason.size()},
         std::span(farewell_).first<kHeaderBytes>());
  std::ranges::copy(std::as_bytes(std::span(reason)), farewell_.begin() + kHeaderBytes);
  const Deadline deadline = Clock::now() + in_->options.linger;
  const auto listen = [this, deadline](milliseconds timeout) {
    look(timeout);
    while (Clock::now() < deadline &&
           take()) {  // to the goodbyes of others: who has left need not be told
    }
  };
  read_monitors();
  listen(milliseconds(0));
  lanes_.finish();
  for (std::size_t peer = 0; peer < links_.size(); ++peer) {
    if (links_[peer].state == Link::State::up) {
      const auto release = [](void*, void* said) {  // on ZeroMQ's thread
        static_cast<std::atomic<bool>*>(said)->store(true);
      };
      push(links_[peer], {farewell_.data(), farewell_.size(), release, &said_[peer]});
    }
  }
  // ZeroMQ's linger alone would wait in vain for a peer that closes at the same time.
  const auto done = [this] {
    bool all = lanes_.delivered();
    for (std::size_t peer = 0; peer < links_.size(); ++peer) {
      all = all && (links_[peer].state != Link::State::up || said_[peer].load());
    }
    return all;
  };
  while (!done() && Clock::now() < deadline) {
    listen(std::min(until(deadline), kFlushInterval));
  }
}

void ZmqTransport::end(std::optional<FrameKind> farewell, std::string_view reason) {
  if (std::exchange(ended_, true)) {
    return;
  }
  if (farewell) {
    say(*farewell, reason);
  }
  for (Link& link : links_) {
    if (link.push) {
      const bool wanted = farewell && link.state == Link::State::up;
      link.push.set(zmq::sockopt::linger, wanted ? milliseconds_of(in_->options.linger) : 0);
      zmq_socket_monitor(link.push.handle(), nullptr, 0);
    }
    link.monitor.close();
    link.push.close();
  }
  out_context_.close();
  in_->pull.close();
  in_->doorkeeper.reset();
  in_->context.close();
}

ZmqEndpoint::ZmqEndpoint(const std::string& address, ZmqOptions options)
    : bound_(std::make_unique<Bound>()) {
  bound_->options = std::move(options);
  try {
    if (bound_->options.keys) {
      bound_->doorkeeper =
          std::make_unique<Doorkeeper>(bound_->context, bound_->pull, *bound_->options.keys);
    }
    bound_->pull.set(zmq::sockopt::linger, 0);
    bound_->pull.set(zmq::sockopt::rcvhwm, 0);
    bound_->pull.set(zmq::sockopt::ipv6, true);
    bound_->pull.set(zmq::sockopt::handshake_ivl, milliseconds_of(kHandshakeTimeout));
    bound_->pull.set(zmq::sockopt::maxmsgsize, std::int64_t(bound_->options.max_message));
    bound_->pull.bind(address);
    bound_->address = bound_->pull.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& e) {
    throw Error(Error::Code::io, "cannot listen on '" + address + "': " + e.what());
  }
}

ZmqEndpoint::~ZmqEndpoint() = default;
ZmqEndpoint::ZmqEndpoint(ZmqEndpoint&&) noexcept = default;
ZmqEndpoint& ZmqEndpoint::operator=(ZmqEndpoint&&) noexcept = default;

const std::string& ZmqEndpoint::address() const {
  return bound_->address;
}

int ZmqEndpoint::port() const {
  return bound_->port();
}

std::unique_ptr<Transport> ZmqEndpoint::connect(World world, Deadline deadline,
                                                const std::function<void()>& check) && {
  require(bound_ != nullptr, "ZmqEndpoint: connected already");
  require(0 <= world.rank && std::size_t(world.rank) < world.peers.size(),
          "ZmqEndpoint: the rank is not in its world");
  auto transport = std::make_unique<ZmqTransport>(std::move(bound_), std::move(world));
  try {
    transport->await_links(deadline, check);
  } catch (const Error& e) {
    transport->abort(e.what());
    throw;
  }
  return transport;
}

}  // namespace sbcnn::net
