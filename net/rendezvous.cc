#include "net/rendezvous.h"

#include <algorithm>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <zmq.hpp>

#include "net/doorkeeper.h"
#include "net/interface.h"
#include "net/secret.h"

namespace sbcnn::net {
namespace {

using std::chrono::milliseconds;

constexpr auto kCheckInterval = milliseconds(100);
constexpr auto kLateGuests = milliseconds(500);
constexpr int kLingerMilliseconds = 1000;
constexpr std::int64_t kLargestHello = 16 * 1024;
constexpr std::int64_t kLargestAnswer = 8 * 1024 * 1024;  // kLargestWorld addresses and names

std::span<const std::byte> bytes_of(const zmq::message_t& frame) {
  return {frame.data<std::byte>(), frame.size()};
}

zmq::message_t frame_of(const Handshake& handshake) {
  const auto bytes = encode(handshake);
  return zmq::message_t(bytes.data(), bytes.size());
}

// All parts of the next message; empty when there is none yet. Waits a moment for it.
std::vector<zmq::message_t> next_message(zmq::socket_t& socket, Deadline deadline) {
  std::vector<zmq::message_t> parts;
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
  try {
    zmq::poll(&item, 1, std::clamp<milliseconds>(left, milliseconds(0), kCheckInterval));
    do {
      zmq::message_t part;
      if (!socket.recv(part, zmq::recv_flags::dontwait)) {
        return {};
      }
      parts.push_back(std::move(part));
    } while (parts.back().more());
  } catch (const zmq::error_t& e) {
    if (e.num() == EINTR) {
      return {};
    }
    throw;
  }
  return parts;
}

ZmqOptions with_keys(ZmqOptions options, const std::string& secret) {
  options.keys = keys_of(secret);
  return options;
}

std::uint64_t random_number() {
  std::random_device source;
  std::uniform_int_distribution<std::uint64_t> any;
  return any(source);
}

}  // namespace

class Rendezvous::Impl {
 public:
  explicit Impl(RendezvousOptions options);

  int port() const { return port_; }
  std::uint64_t ignored() const { return ignored_ + (doorkeeper_ ? doorkeeper_->refused() : 0); }
  std::unique_ptr<Transport> accept(Deadline, const Check&);

 private:
  struct Guest {
    std::string identity;  // of its socket, for the answer
    Peer peer;
  };

  // A Hello that knows our token, and the identity of its socket; nullopt after a moment.
  std::optional<std::pair<std::string, Hello>> next_hello(Deadline);
  void await_guests(Deadline, const Check&);
  void admit(std::string identity, Hello);
  bool complete() const;
  std::string objection(const Hello&) const;
  std::string name(int rank, const std::string& host) const;
  void answer(const std::string& identity, const Handshake&);
  void refuse_all(const std::string& reason);
  [[noreturn]] void throw_missing() const;

  RendezvousOptions options_;
  // In this order, for they end in the reverse one.
  zmq::context_t context_;
  std::unique_ptr<Doorkeeper> doorkeeper_;  // if there are keys
  zmq::socket_t router_{context_, zmq::socket_type::router};
  ZmqEndpoint data_;
  int port_ = 0;
  std::vector<std::optional<Guest>> guests_;  // by rank
  std::uint64_t ignored_ = 0;
};

Rendezvous::Impl::Impl(RendezvousOptions options)
    : options_(std::move(options)),
      data_("tcp://" + options_.bind + ":*", with_keys(options_.transport, options_.token)),
      guests_(std::size_t(options_.size)) {
  const std::string address =
      "tcp://" + options_.bind + ":" + (options_.port == 0 ? "*" : std::to_string(options_.port));
  router_.set(zmq::sockopt::linger, kLingerMilliseconds);
  router_.set(zmq::sockopt::ipv6, true);
  router_.set(zmq::sockopt::maxmsgsize, kLargestHello);
  router_.set(zmq::sockopt::handshake_ivl, int(kHandshakeTimeout.count()));
  if (const auto keys = keys_of(options_.token)) {
    doorkeeper_ = std::make_unique<Doorkeeper>(context_, router_, *keys);
  }
  try {
    router_.bind(address);
    const std::string bound = router_.get(zmq::sockopt::last_endpoint);
    port_ = std::stoi(bound.substr(bound.rfind(':') + 1));
  } catch (const zmq::error_t& e) {
    throw Error(Error::Code::io,
                "cannot listen on '" + address + "': " + e.what() + "; is the port taken?");
  }
}

std::unique_ptr<Transport> Rendezvous::Impl::accept(Deadline deadline, const Check& check) {
  try {
    await_guests(deadline, check);
  } catch (const std::exception& e) {
    refuse_all(e.what());
    throw;
  }
  Welcome welcome{random_number(), {{kWildcard + std::to_string(data_.port()), {}}}};
  if (!options_.hosts.empty()) {
    welcome.peers[0].host = options_.hosts[0];
  }
  for (std::size_t rank = 1; rank < guests_.size(); ++rank) {
    welcome.peers.push_back(guests_[rank]->peer);
  }
  for (std::size_t rank = 1; rank < guests_.size(); ++rank) {
    answer(guests_[rank]->identity, welcome);
  }
  return std::move(data_).connect({0, welcome.job, welcome.peers}, deadline, check);
}

void Rendezvous::Impl::await_guests(Deadline deadline, const Check& check) {
  while (!complete()) {
    if (check) {
      check();
    }
    if (doorkeeper_ && doorkeeper_->first_refusal() && options_.transport.on_refusal) {
      options_.transport.on_refusal(refusal_text(port_));
    }
    if (Clock::now() >= deadline) {
      throw_missing();
    }
    if (auto hello = next_hello(deadline)) {
      admit(std::move(hello->first), std::move(hello->second));
    }
  }
}

std::optional<std::pair<std::string, Hello>> Rendezvous::Impl::next_hello(Deadline deadline) {
  const auto parts = next_message(router_, deadline);
  if (parts.empty()) {
    return std::nullopt;
  }
  auto message = parts.size() == 2 ? decode_handshake(bytes_of(parts[1])) : std::nullopt;
  auto* const hello = message ? std::get_if<Hello>(&*message) : nullptr;
  const std::string token = token_of(options_.token);
  if (hello == nullptr || !equal_in_constant_time(std::as_bytes(std::span(token)),
                                                  std::as_bytes(std::span(hello->token)))) {
    ++ignored_;
    return std::nullopt;
  }
  return std::pair(parts[0].to_string(), std::move(*hello));
}

bool Rendezvous::Impl::complete() const {
  return std::all_of(guests_.begin() + 1, guests_.end(),
                     [](const auto& guest) { return guest.has_value(); });
}

void Rendezvous::Impl::admit(std::string identity, Hello hello) {
  const std::string reason = objection(hello);
  if (!reason.empty()) {
    answer(identity, Refusal{reason});
    throw Error(Error::Code::protocol, reason);
  }
  const std::size_t rank = std::size_t(hello.rank);
  const std::string host = options_.hosts.empty() ? hello.host : options_.hosts[rank];
  guests_[rank] = Guest{std::move(identity), {std::move(hello.endpoint), host}};
}

// Why this rank cannot take part; empty if it can.
std::string Rendezvous::Impl::objection(const Hello& hello) const {
  const bool known = hello.rank >= 0 && std::size_t(hello.rank) < options_.hosts.size();
  const std::string& host = known ? options_.hosts[std::size_t(hello.rank)] : hello.host;
  const std::string who =
      "rank " + std::to_string(hello.rank) + (host.empty() ? "" : " on " + host);
  if (hello.protocol != options_.protocol) {
    return who + " runs sbcnn protocol " + std::to_string(hello.protocol) + ", " + name(0, {}) +
           " runs protocol " + std::to_string(options_.protocol) +
           (options_.version.empty() ? "" : " (version " + options_.version + ")") +
           ": install the same version on both";
  }
  if (hello.size != options_.size) {
    return who + " expects a world of " + std::to_string(hello.size) + " ranks, " + name(0, {}) +
           " one of " + std::to_string(options_.size) + ": start both from one job";
  }
  if (hello.rank < 1 || hello.rank >= options_.size) {
    return who + " is outside the world of " + std::to_string(options_.size) + " ranks";
  }
  const auto& taken = guests_[std::size_t(hello.rank)];
  if (taken) {
    return who + " joins, but rank " + std::to_string(hello.rank) + " has joined already, from " +
           taken->peer.endpoint + ": give each process a rank of its own";
  }
  if (!is_endpoint(hello.endpoint)) {
    return who + " says it listens on '" + hello.endpoint + "', which is no TCP address";
  }
  return {};
}

std::string Rendezvous::Impl::name(int rank, const std::string& host) const {
  return describe_rank(rank, options_.hosts.empty() ? host : options_.hosts[std::size_t(rank)]);
}

void Rendezvous::Impl::answer(const std::string& identity, const Handshake& handshake) {
  try {
    zmq::message_t address(identity.data(), identity.size()), frame = frame_of(handshake);
    if (router_.send(address, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) {
      router_.send(frame, zmq::send_flags::dontwait);
    }
  } catch (const zmq::error_t&) {  // whoever asked is gone again
  }
}

// Tells the reason to everybody who is here, and to whoever comes a moment later.
void Rendezvous::Impl::refuse_all(const std::string& reason) {
  std::size_t told = 0;
  for (const auto& guest : guests_) {
    if (guest) {
      answer(guest->identity, Refusal{reason});
      ++told;
    }
  }
  const Deadline deadline = Clock::now() + kLateGuests;
  while (told + 1 < guests_.size() && Clock::now() < deadline) {
    if (const auto hello = next_hello(deadline)) {
      answer(hello->first, Refusal{reason});
      ++told;
    }
  }
}

void Rendezvous::Impl::throw_missing() const {
  std::string names;
  for (std::size_t rank = 1; rank < guests_.size(); ++rank) {
    if (!guests_[rank]) {
      names += (names.empty() ? "" : ", ") + name(int(rank), {});
    }
  }
  throw Error(Error::Code::timeout,
              names + " did not join in time: is sbcnn running there, and can it reach port " +
                  std::to_string(port_) + " of this board?");
}

Rendezvous::Rendezvous(RendezvousOptions options) {
  require(options.size >= 1 && std::size_t(options.size) <= kLargestWorld,
          "Rendezvous: size out of range");
  require(options.hosts.empty() || options.hosts.size() == std::size_t(options.size),
          "Rendezvous: one host name a rank");
  require(options.token.size() <= kLongestText, "Rendezvous: the token is too long");
  impl_ = std::make_unique<Impl>(std::move(options));
}

Rendezvous::~Rendezvous() = default;
int Rendezvous::port() const {
  return impl_->port();
}
std::uint64_t Rendezvous::ignored() const {
  return impl_->ignored();
}
std::string Rendezvous::endpoint(const std::string& host) const {
  return host_and_port(host, port());
}
std::unique_ptr<Transport> Rendezvous::accept(Deadline deadline, const Check& check) {
  return impl_->accept(deadline, check);
}

namespace {

// Rank 0's answer to our hello; nullopt at the deadline.
std::optional<Handshake> ask(const JoinOptions& options, const Route& route,
                             const std::string& endpoint, Deadline deadline, const Check& check) {
  zmq::context_t context;
  zmq::socket_t dealer(context, zmq::socket_type::dealer);
  dealer.set(zmq::sockopt::linger, 0);
  dealer.set(zmq::sockopt::ipv6, true);
  dealer.set(zmq::sockopt::maxmsgsize, kLargestAnswer);
  if (const auto keys = keys_of(options.token)) {
    become_client(dealer, *keys);
  }
  const int port = split_host_and_port(options.root).port;
  try {
    dealer.connect("tcp://" + host_and_port(route.remote, port));
  } catch (const zmq::error_t& e) {
    throw Error(Error::Code::io, "cannot connect to rank 0 at " + options.root + ": " + e.what());
  }
  dealer.send(frame_of(Hello{options.protocol, token_of(options.token), options.rank, options.host,
                             options.version, options.size, endpoint}),
              zmq::send_flags::none);
  while (Clock::now() < deadline) {
    if (check) {
      check();
    }
    const auto parts = next_message(dealer, deadline);
    auto answer = parts.size() == 1 ? decode_handshake(bytes_of(parts[0])) : std::nullopt;
    if (answer && !std::holds_alternative<Hello>(*answer)) {
      return answer;
    }
  }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<Transport> join(const JoinOptions& options, Deadline deadline, const Check& check) {
  require(options.token.size() <= kLongestText, "join: the token is too long");
  const std::string self = describe_rank(options.rank, options.host);
  Route route = route_to(split_host_and_port(options.root).host);
  route.local = local_address_towards(route.remote, options.iface);
  const std::string bind = host_and_port(route.local, 0);
  ZmqEndpoint data("tcp://" + bind.substr(0, bind.rfind(':')) + ":*",
                   with_keys(options.transport, options.token));
  const std::string endpoint = "tcp://" + host_and_port(route.local, data.port());
  auto answer = ask(options, route, endpoint, deadline, check);
  if (!answer) {
    throw Error(Error::Code::timeout, "rank 0 at " + options.root + " did not answer " + self +
                                          " in time: is a firewall in between, or is this of "
                                          "another job?");
  }
  if (const auto* refusal = std::get_if<Refusal>(&*answer)) {
    throw Error(Error::Code::protocol,
                "rank 0 at " + options.root + " refused " + self + ": " + refusal->reason);
  }
  auto world =
      world_of(std::move(std::get<Welcome>(*answer)), options.rank, options.size, route.remote);
  if (!world) {
    throw Error(Error::Code::protocol, "rank 0 at " + options.root +
                                           " sent a list of addresses that makes no sense: install "
                                           "the same version on both");
  }
  return std::move(data).connect(std::move(*world), deadline, check);
}

}  // namespace sbcnn::net
