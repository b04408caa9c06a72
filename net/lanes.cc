#include "net/lanes.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include "core/error.h"
#include "net/secret.h"

namespace sbcnn::net {
namespace {

constexpr std::size_t kMostKnocks = 64;
constexpr int kBacklog = 128;
constexpr std::size_t kScratch = 16 * 1024;  // for small messages; long ones go past it
constexpr std::size_t kRankBytes = 4;        // in clear, before the first hello
constexpr std::size_t kInvitationBytes = 2 + kTokenBytes + 2 * kCipherKeyBytes;

using Address = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// Null if it is none.
Address numeric(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const bool good = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) == 0;
  return {good ? found : nullptr, freeaddrinfo};
}

Descriptor socket_for(const addrinfo& address) {
  return Descriptor(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

std::uint16_t port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return 0;
  }
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::array<std::byte, kRankBytes> bytes_of(int rank) {
  std::array<std::byte, kRankBytes> bytes{};
  for (std::size_t i = 0; i < kRankBytes; ++i) {
    bytes[i] = std::byte(unsigned(rank) >> (8 * i));
  }
  return bytes;
}

std::uint32_t rank_of(std::span<const std::byte> bytes) {
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < kRankBytes; ++i) {
    rank |= std::uint32_t(bytes[i]) << (8 * i);
  }
  return rank;
}

}  // namespace

std::vector<std::byte> encode(const Invitation& i) {
  std::vector<std::byte> bytes;
  bytes.reserve(kInvitationBytes);
  bytes.push_back(std::byte(i.port & 0xff));
  bytes.push_back(std::byte(i.port >> 8));
  for (const std::span<const std::byte> part :
       {std::span<const std::byte>(i.token), std::span<const std::byte>(i.to_host),
        std::span<const std::byte>(i.to_guest)}) {
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

std::optional<Invitation> decode_invitation(std::span<const std::byte> bytes) {
  if (bytes.size() != kInvitationBytes) {
    return std::nullopt;
  }
  Invitation i;
  i.port = std::uint16_t(unsigned(bytes[0]) | unsigned(bytes[1]) << 8);
  bytes = bytes.subspan(2);
  for (const std::span<std::byte> part :
       {std::span<std::byte>(i.token), std::span<std::byte>(i.to_host),
        std::span<std::byte>(i.to_guest)}) {
    std::ranges::copy(bytes.first(part.size()), part.begin());
    bytes = bytes.subspan(part.size());
  }
  return i.port == 0 ? std::nullopt : std::optional(i);
}

// Keys: one for each rank, then the door's, then those of who knocks.
Lanes::Lanes(int rank, int size, std::uint64_t job, bool sealed, Poller& poller)
    : rank_(rank),
      job_(job),
      sealed_(sealed),
      poller_(poller),
      slots_(std::size_t(size)),
      next_key_(kFirstKey + slots_.size() + 1) {}

// --- how a lane comes to be ----------------------------------------------------------------------

std::optional<LaneKeys> Lanes::keys(const Invitation& i, bool host) const {
  return sealed_ ? std::optional(host ? LaneKeys{i.to_guest, i.to_host}
                                      : LaneKeys{i.to_host, i.to_guest})
                 : std::nullopt;
}

std::size_t Lanes::hello_bytes() const {
  return kRankBytes + kLengthBytes + kHeaderBytes + kTokenBytes + (sealed_ ? kTagBytes : 0);
}

Header Lanes::header(FrameKind kind, int source) const {
  return {kind, std::uint32_t(source), job_, {}, 0};
}

bool Lanes::is_hello(const WireFrame& frame, int peer) const {
  Header wanted = header(FrameKind::hello, peer);
  wanted.payload = kTokenBytes;
  return frame.header == wanted &&
         equal_in_constant_time(frame.payload, slots_[std::size_t(peer)].invitation.token);
}

std::optional<Invitation> Lanes::invite(int guest, const std::string& address) {
  Slot& slot = slots_[std::size_t(guest)];
  require(slot.state == Slot::State::none, "Lanes: a rank is invited once");
  if (port_ == 0) {
    const Address at = numeric(address, 0);
    Descriptor door = at ? socket_for(*at) : Descriptor();
    const int no = 0;
    if (door.get() < 0 ||
        (at->ai_family == AF_INET6 &&
         ::setsockopt(door.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) != 0) ||
        ::bind(door.get(), at->ai_addr, at->ai_addrlen) != 0 ||
        ::listen(door.get(), kBacklog) != 0 ||
        !poller_.add(door.get(), kFirstKey + slots_.size())) {
      return std::nullopt;
    }
    port_ = port_of(door.get());
    door_ = std::move(door);
  }
  slot.state = Slot::State::invited;
  slot.invitation.port = port_;
  fill_random(slot.invitation.token);
  if (sealed_) {
    fill_random(slot.invitation.to_host);
    fill_random(slot.invitation.to_guest);
  }
  ++awaited_;
  return slot.invitation;
}

void Lanes::follow(int host, const std::string& address, const Invitation& invitation) {
  Slot& slot = slots_[std::size_t(host)];
  if (slot.state != Slot::State::none || host <= rank_ || finished_) {
    return;
  }
  slot.state = Slot::State::over;
  const Address at = numeric(address, invitation.port);
  Descriptor fd = at ? socket_for(*at) : Descriptor();
  if (fd.get() < 0 ||
      (::connect(fd.get(), at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS) ||
      !poller_.add(fd.get(), kFirstKey + std::size_t(host), true)) {
    return;
  }
  slot.waits_to_write = true;
  slot.state = Slot::State::connecting;
  slot.invitation = invitation;
  slot.lane.emplace(std::move(fd), keys(invitation, false));
}

// The guest's side: the connection stands.
void Lanes::greet(int peer) {
  Slot& slot = slots_[std::size_t(peer)];
  int error = 0;
  socklen_t size = sizeof error;
  const int fd = slot.lane->descriptor();
  const auto mine = bytes_of(rank_);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0 ||
      ::send(fd, mine.data(), mine.size(), MSG_NOSIGNAL) != ssize_t(mine.size()) ||
      !slot.lane->send(header(FrameKind::hello, rank_), slot.invitation.token)) {
    end(peer);
    return;
  }
  slot.state = Slot::State::greeting;
  wait_to_write(peer);
}

void Lanes::open_door() {
  for (std::size_t i = 0; i < kMostKnocks; ++i) {
    Descriptor fd(::accept4(door_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    const bool good = fd.get() >= 0 && poller_.add(fd.get(), next_key_);
    if (!good) {
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ECONNABORTED) {
        door_.reset();  // no descriptors left, and it would tell us for ever
      }
      return;
    }
    knocks_.emplace(next_key_++, Knock{std::move(fd), {}});
    if (knocks_.size() > kMostKnocks) {
      knocks_.erase(knocks_.begin());
      ++refused_;
    }
  }
}

void Lanes::hear(Knocks::iterator at) {
  Knock& knock = at->second;
  const std::size_t have = knock.hello.size();
  knock.hello.resize(hello_bytes());
  const ssize_t n = ::recv(knock.fd.get(), knock.hello.data() + have, hello_bytes() - have, 0);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    knock.hello.resize(have);
    return;
  }
  knock.hello.resize(have + std::size_t(std::max<ssize_t>(n, 0)));
  if (n > 0 && knock.hello.size() < hello_bytes()) {
    return;
  }
  const bool silent = n <= 0 && have == 0;  // it only looked whether somebody listens
  if (!silent && (n <= 0 || !admit(knock))) {
    ++refused_;
  }
  knocks_.erase(at);
  if (awaited_ == 0) {
    close_door();
  }
}

void Lanes::close_door() {
  door_.reset();
  knocks_.clear();
}

// The host's side: a hello is whole. True when the connection has become a lane.
bool Lanes::admit(Knock& knock) {
  const std::uint32_t guest = rank_of(knock.hello);
  if (guest >= slots_.size() || slots_[guest].state != Slot::State::invited) {
    return false;
  }
  Slot& slot = slots_[guest];
  Lane lane(std::move(knock.fd), keys(slot.invitation, true));
  std::deque<WireFrame> frames;
  lane.take(std::span(knock.hello).subspan(kRankBytes), frames);
  if (lane.ended() || frames.size() != 1 || !is_hello(frames.front(), int(guest)) ||
      !lane.send(header(FrameKind::hello, rank_), slot.invitation.token)) {
    return false;
  }
  slot.lane = std::move(lane);
  slot.invitation = {};
  slot.state = Slot::State::up;
  slot.waits_to_write = slot.lane->blocked();
  poller_.change(slot.lane->descriptor(), kFirstKey + guest, slot.waits_to_write);
  --awaited_;
  return true;
}

// --- lanes in use --------------------------------------------------------------------------------

bool Lanes::send(int peer, const Header& h, std::span<const std::byte> body) {
  Slot& slot = slots_[std::size_t(peer)];
  if (slot.state != Slot::State::up || !slot.lane->send(h, body)) {
    return false;
  }
  wait_to_write(peer);
  return true;
}

void Lanes::wait_to_write(int peer) {
  Slot& slot = slots_[std::size_t(peer)];
  if (slot.lane->blocked() != slot.waits_to_write) {
    slot.waits_to_write = !slot.waits_to_write;
    poller_.change(slot.lane->descriptor(), kFirstKey + std::size_t(peer), slot.waits_to_write);
  }
}

std::optional<WireFrame> Lanes::next() {
  if (arrived_.empty()) {
    return std::nullopt;
  }
  WireFrame frame = std::move(arrived_.front());
  arrived_.pop_front();
  return frame;
}

bool Lanes::open(int peer) const {
  const Slot::State state = slots_[std::size_t(peer)].state;
  return state == Slot::State::connecting || state == Slot::State::greeting ||
         state == Slot::State::up || state == Slot::State::closing;
}

std::optional<Lanes::Ended> Lanes::next_ended() {
  if (ended_.empty()) {
    return std::nullopt;
  }
  const Ended ended = ended_.front();
  ended_.pop_front();
  return ended;
}

void Lanes::receive(int peer) {
  Slot& slot = slots_[std::size_t(peer)];
  scratch_.resize(kScratch);
  std::deque<WireFrame> frames;
  slot.lane->receive(scratch_, frames);
  bool good = true;
  for (WireFrame& frame : frames) {
    good = good && accept(peer, std::move(frame));
  }
  if (!good || slot.lane->ended()) {
    end(peer);
  }
}

// Whether that is what this peer may say now.
bool Lanes::accept(int peer, WireFrame frame) {
  Slot& slot = slots_[std::size_t(peer)];
  if (slot.state == Slot::State::greeting) {
    const bool good = is_hello(frame, peer);
    slot.invitation = {};
    slot.state = good ? Slot::State::up : slot.state;
    return good;
  }
  const Header& h = frame.header;
  if (int(h.source) != peer || h.job != job_ || slot.state != Slot::State::up) {
    return false;
  }
  if (h.kind == FrameKind::goodbye) {
    slot.state = Slot::State::closing;
    return true;
  }
  const bool message = h.kind == FrameKind::message;
  if (message) {
    arrived_.push_back(std::move(frame));
  }
  return message;
}

void Lanes::end(int peer) {
  Slot& slot = slots_[std::size_t(peer)];
  ended_.push_back({peer, slot.state == Slot::State::up && !finished_});
  slot.state = Slot::State::over;
  slot.lane.reset();
}

void Lanes::serve(const Poller::Event& event) {
  const std::uint64_t key = event.data.u64 - kFirstKey;
  if (key < slots_.size()) {
    serve(int(key), event.events);
  } else if (key == slots_.size()) {
    open_door();
  } else if (const auto knock = knocks_.find(event.data.u64); knock != knocks_.end()) {
    hear(knock);
  }
}

void Lanes::serve(int peer, std::uint32_t events) {
  Slot& slot = slots_[std::size_t(peer)];
  if (!slot.lane) {
    return;
  }
  if (slot.state == Slot::State::connecting) {
    greet(peer);
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    slot.lane->flush();
    wait_to_write(peer);
  }
  if ((events & ~std::uint32_t(EPOLLOUT)) != 0) {
    receive(peer);
  }
}

void Lanes::finish() {
  finished_ = true;
  close_door();
  for (std::size_t peer = 0; peer < slots_.size(); ++peer) {
    Slot& slot = slots_[peer];
    if (slot.state == Slot::State::connecting) {
      end(int(peer));
    } else if (slot.lane) {
      slot.lane->finish(header(FrameKind::goodbye, rank_));
      wait_to_write(int(peer));
    }
  }
}

bool Lanes::delivered() const {
  return std::ranges::all_of(slots_,
                             [](const Slot& slot) { return !slot.lane || slot.lane->delivered(); });
}

}  // namespace sbcnn::net
