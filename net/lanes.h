// The lanes (lane.h) of one rank, one to each peer, and how they come to be.
//
// Each pair of ranks has a connection of libzmq's already. Over that, encrypted if the job is, the
// higher rank invites the lower one: it tells on which port it listens, and what nobody else knows:
// a token and, in an encrypted job, a key for each direction. The lower rank connects there and
// says hello with the token; the higher one answers with a hello of its own. From then on both may
// use the lane. Nobody waits for that: until then, and should it never come about, messages go by
// libzmq.
//
// An end that hears anything else closes the connection. Whoever connects to the port without
// an invitation holds a descriptor and no memory, and of such connections the oldest gives way when
// there are too many; once all who are invited are here, the port is closed.
//
// One thread; nothing here waits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/lane.h"
#include "net/poller.h"

namespace sbcnn::net {

inline constexpr std::size_t kTokenBytes = 32;

struct Invitation {
  std::uint16_t port = 0;
  std::array<std::byte, kTokenBytes> token{};
  CipherKey to_host{}, to_guest{};  // zeros in a plain job; the host is who invites

  friend bool operator==(const Invitation&, const Invitation&) = default;
};
std::vector<std::byte> encode(const Invitation&);
std::optional<Invitation> decode_invitation(std::span<const std::byte>);

class Lanes {
 public:
  // `sealed`: the job is encrypted. Adds its descriptors to the Poller, with keys from kFirstKey
  // on; serve() gets what that tells of them.
  static constexpr std::uint64_t kFirstKey = 1ULL << 32;
  Lanes(int rank, int size, std::uint64_t job, bool sealed, Poller&);
  void serve(const Poller::Event&);

  // What to send to a lower rank; listens at `address` (numeric) from then on. nullopt if that
  // cannot be.
  std::optional<Invitation> invite(int guest, const std::string& address);
  // Follows the invitation of a higher rank whose board has that address; once for each.
  void follow(int host, const std::string& address, const Invitation&);

  // Sends by the peer's lane; false if it has none or that declines.
  bool send(int peer, const Header&, std::span<const std::byte> body);
  // What the peer sent by its lane, in its order.
  std::optional<WireFrame> next();

  // Whether something may still come by the peer's lane.
  bool open(int peer) const;
  // A peer whose lane has ended, or will not come about; each is told once. `broken`: what it sent
  // may be lost.
  struct Ended {
    int peer = 0;
    bool broken = false;
  };
  std::optional<Ended> next_ended();
  void end(int peer);

  // Says that nothing follows; what was sent is still delivered. No further lane comes about.
  void finish();
  bool delivered() const;

  // Connections of who had no invitation, and on which port.
  std::uint64_t refused() const { return refused_; }
  int port() const { return port_; }

 private:
  struct Slot {
    // closing: the peer said that nothing follows.
    enum class State { none, invited, connecting, greeting, up, closing, over };
    State state = State::none;
    Invitation invitation;  // until somebody has come with it
    std::optional<Lane> lane;
    bool waits_to_write = false;
  };
  struct Knock {
    Descriptor fd;
    std::vector<std::byte> hello;
  };
  using Knocks = std::map<std::uint64_t, Knock>;  // by key, the oldest first

  std::optional<LaneKeys> keys(const Invitation&, bool host) const;
  std::size_t hello_bytes() const;
  Header header(FrameKind, int source) const;
  bool is_hello(const WireFrame&, int peer) const;
  void open_door();
  void close_door();
  void hear(Knocks::iterator);
  bool admit(Knock&);
  void serve(int peer, std::uint32_t events);
  void greet(int peer);
  void receive(int peer);
  bool accept(int peer, WireFrame);
  void wait_to_write(int peer);

  int rank_;
  std::uint64_t job_;
  bool sealed_;
  Poller& poller_;
  std::vector<Slot> slots_;  // by rank
  Descriptor door_;
  std::uint16_t port_ = 0;
  int awaited_ = 0;  // guests that have not come
  Knocks knocks_;
  std::uint64_t next_key_;
  bool finished_ = false;
  std::deque<WireFrame> arrived_;
  std::deque<Ended> ended_;
  std::vector<std::byte> scratch_;
  std::uint64_t refused_ = 0;
};

}  // namespace sbcnn::net
