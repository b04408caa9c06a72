// The port of net: tagged messages between the ranks of one job.
//
// Every message arrives once. A message may overtake others, also of the same sender, for small
// ones may travel another way than large ones: tags tell them apart. A Transport belongs to one
// thread. `send` queues, so it never waits for the peer; queues are unbounded, for a pipeline
// bounds what it has in flight.
//
// How a peer ends:
//   close()        says goodbye to everybody. Peers go on; `has_left` tells whoever wants
//                  something from it. The last thing that arrives from that peer.
//   abort(reason)  tells everybody why; their receive() throws the reason.
//   destroyed without either, killed, unplugged: peers' receive() throws Error(peer_lost) that
//                  names the rank and its host, and goes on throwing it.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/ports.h"

namespace sbcnn::net {

// Who numbers the messages, so that numbers of different origin never meet.
enum class Context : std::uint8_t {
  data,       // exchanges of a plan
  control,    // signals of the schedule
  user,       // whatever the program sends by hand
  automatic,  // collectives that were given no tag: numbered by the communicator
};
inline constexpr int kContexts = 4;

// Names one message between two ranks; equal on both sides by construction, and used once.
struct Tag {
  Context context = Context::user;
  std::uint32_t epoch = 0;  // of the plan; its upper half is the communicator's number
  std::uint32_t frame = 0;
  std::uint16_t step = 0;
  std::uint16_t round = 0;  // of a verb's messages between two ranks

  friend auto operator<=>(const Tag&, const Tag&) = default;
};

// `body` stays valid for as long as `owner` does and may begin at any address: copy floats out
// of it with memcpy.
struct Message {
  int source = -1;
  Tag tag;
  std::span<const std::byte> body;
  std::shared_ptr<const void> owner;
};

// What is sent. Without an owner it is copied before `send` returns. With one it may be sent from
// where it lies: then it does not change while others hold the owner, whose last reference may go
// on a thread of libzmq.
struct Payload {
  Payload() = default;
  template <std::convertible_to<std::span<const std::byte>> B>
  Payload(const B& b) : bytes(b) {}  // NOLINT(google-explicit-constructor)
  Payload(std::span<const std::byte> b, std::shared_ptr<const void> o)
      : bytes(b), owner(std::move(o)) {}
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

class Transport {
 public:
  // Called at least every 100 ms while receive() waits; may throw through it.
  using Watch = std::function<void()>;

  virtual ~Transport() = default;
  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  virtual std::string peer_name(int rank) const = 0;  // "rank 2 (pi3)"

  // `peer` is another rank. What is sent to a peer that has left is dropped.
  virtual void send(int peer, const Tag&, const Payload& body) = 0;
  // The same to each of several peers. What is queued may be one copy for all of them.
  virtual void send_all(std::span<const int> peers, const Tag& tag, const Payload& body) {
    for (const int peer : peers) {
      send(peer, tag, body);
    }
  }
  // The next message from anybody; nullopt when there is none at the deadline, which may lie in
  // the past, and before that when a peer has just left. Throws Error(peer_lost).
  virtual std::optional<Message> receive(Deadline) = 0;

  virtual bool has_left(int peer) const noexcept = 0;
  // Both wait a bounded time until everything is on its way; then only the destructor may follow.
  virtual void close() = 0;
  virtual void abort(std::string_view reason) = 0;

  virtual void set_watch(Watch) = 0;
  // Frames from outside the job that were dropped, and malformed ones.
  virtual std::uint64_t dropped() const noexcept = 0;
};

// How error messages call a rank: "rank 2 (pi3)", or "rank 2" without a host name.
std::string describe_rank(int rank, std::string_view host);

// Thrown by receive() when `peer` sent abort(reason), and when its connection broke; `when` says
// since when, where that is known.
Error abort_error(const std::string& reason, const std::string& peer_name);
Error lost_error(const std::string& peer_name, const std::string& when = {});

}  // namespace sbcnn::net
