// Transport over ZeroMQ: one bound PULL, and one connected PUSH for each peer, so every link
// carries messages one way and nothing is acknowledged.
//
// Two phases, for a rank's address is known only after it is bound: listen, tell the others (see
// rendezvous.h), connect. Frames are those of wire.h; whatever else arrives on the port (foreign
// programs, other jobs, garbage) is counted and dropped.
//
// A peer is lost when the connection to it breaks (its process ended: at once) or answers no
// heartbeat (its board or network went down). Then `farewell_grace` is left for a goodbye that
// may still be on its way over the other link.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/transport.h"

namespace sbcnn::net {

struct ZmqOptions {
  // A silent peer is lost after interval + timeout + grace at the latest.
  std::chrono::milliseconds heartbeat_interval{500};
  std::chrono::milliseconds heartbeat_timeout{2500};
  std::chrono::milliseconds farewell_grace{1000};
  std::chrono::milliseconds linger{2000};  // of close() and abort()
  std::uint64_t max_message = 1ULL << 30;  // bytes of one frame; larger ones are not accepted
};

struct Peer {
  std::string endpoint;  // "tcp://192.168.0.7:4711", "tcp://[fe80::1]:4711", "ipc:///run/..."
  std::string host;      // for errors; may be empty
};

// Who takes part in a job, as one rank sees it.
struct World {
  int rank = 0;
  std::uint64_t job = 0;    // random, the same on all ranks
  std::vector<Peer> peers;  // by rank; the own endpoint is not used
};

class ZmqEndpoint {
 public:
  // address: "tcp://*:*" (every interface, a free port), "tcp://192.168.0.7:*", "ipc://*", or a
  // full one. Throws Error(io) when it cannot be bound.
  explicit ZmqEndpoint(const std::string& address, ZmqOptions = {});
  ~ZmqEndpoint();
  ZmqEndpoint(ZmqEndpoint&&) noexcept;
  ZmqEndpoint& operator=(ZmqEndpoint&&) noexcept;

  const std::string& address() const;  // as bound, with the port: "tcp://0.0.0.0:4711"
  int port() const;                    // of tcp; 0 otherwise

  // Connects to every peer; returns when all connections stand. Throws Error(timeout), naming
  // who cannot be reached. `check` is called a few times a second and may throw.
  std::unique_ptr<Transport> connect(World, Deadline, const std::function<void()>& check = {}) &&;

 private:
  struct Bound;
  std::unique_ptr<Bound> bound_;
  friend class ZmqTransport;
};

}  // namespace sbcnn::net
