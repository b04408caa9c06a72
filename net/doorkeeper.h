// Who may connect to a listening socket of a job that is encrypted (see secret.h).
//
// libzmq's side of a handshake ends by asking a handler in the same context whether it likes the
// client's key (ZAP, RFC 27). Doorkeeper is that handler: it admits the job's key and no other. It
// also counts the connections that came to nothing before that or because of it: programs that talk
// no ZeroMQ or no CURVE, and wrong keys on either side. Whoever is turned away leaves nothing
// behind; who connects and says nothing is hung up on after kHandshakeTimeout. Until then it holds
// a descriptor: who opens more connections in that time than a process may have files keeps new
// peers out and libzmq's thread busy, but changes no message.
//
// One thread for each context, asleep unless somebody knocks; none for each peer. It has to be a
// thread, for a rank that computes must still let in a peer that connects.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "net/secret.h"

namespace zmq {
class context_t;
class socket_t;
}  // namespace zmq

namespace sbcnn::net {

inline constexpr std::chrono::milliseconds kHandshakeTimeout{5000};

class Doorkeeper {
 public:
  // Makes the socket, which must not be bound yet, a CURVE server. It is closed before the
  // Doorkeeper ends, the context after. Throws Error(io).
  Doorkeeper(zmq::context_t&, zmq::socket_t&, const CurveKeys&);
  ~Doorkeeper();
  Doorkeeper(Doorkeeper&&) = delete;

  std::uint64_t refused() const;  // connections; any thread
  // True once, when somebody was turned away for the first time. One thread.
  bool first_refusal();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  bool told_ = false;
};

// Whether a ZAP request, in the parts in which libzmq sends it, is of who has the job's key, given
// as 32 bytes. A pure function.
bool may_enter(std::span<const std::string_view> request, std::string_view key);

// Makes a socket, which must not be connected yet, a CURVE client of the job.
void become_client(zmq::socket_t&, const CurveKeys&);

// What to tell people then: "a program without this job's key ...".
std::string refusal_text(int port);

}  // namespace sbcnn::net
