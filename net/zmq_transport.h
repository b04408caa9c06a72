// Transport over ZeroMQ: one bound PULL, and one connected PUSH for each peer, so every link
// carries messages one way and nothing is acknowledged. Over TCP, messages of at most 32 KiB go by
// a lane, a connection that the ranks' own threads serve (lane.h), where there is one that has
// room: libzmq's threads make everything else come and go while a rank computes, but a small
// message is there before they are awake.
//
// Two phases, for a rank's address is known only after it is bound: listen, tell the others (see
// rendezvous.h), connect. Lanes come about by themselves after that. Frames are those of wire.h;
// whatever else arrives on the port (foreign programs, other jobs, garbage) is counted and dropped.
// With keys the ports hear nobody but the job's ranks, and everything is encrypted (see secret.h,
// cipher.h); connections they refused are counted, too.
//
// Copies: one on the way out, into libzmq's message, which all peers that get it share; none if the
// payload is shared (transport.h), though encryption copies as it ciphers. On the way in none: a
// Message is libzmq's. Encrypted ones of more than 64 KiB travel in pieces, which are put together
// on arrival, one copy. Of lanes see there.
//
// Waiting: a rank sleeps until the kernel has news. Only when the last news came within 100 us of
// waiting it asks again for as long, and yields the processor in between, before it sleeps; so it
// does not busy a processor unless it is about to be served.
//
// A peer is lost when the connection to it breaks (its process ended: at once), when it answers no
// heartbeat (its process is frozen, its board or network down), or when what was sent to it is not
// taken in for as long (the same, while a long message is under way: heartbeats queue up behind
// it). libzmq's thread answers heartbeats, so a rank that computes is not lost, and only the
// sending end of a link asks: the receiving end of a long message over a slow link hears nothing
// else for as long as that takes. How far a heartbeat can be behind data in the kernel is what
// `send_buffer` bounds. Then `farewell_grace` is left for a goodbye that may still be on its way
// over the other link; every message from that peer begins it anew.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/secret.h"
#include "net/transport.h"

namespace sbcnn::net {

struct ZmqOptions {
  // A silent peer is lost after interval + timeout + grace at the latest.
  std::chrono::milliseconds heartbeat_interval{200};
  std::chrono::milliseconds heartbeat_timeout{1200};
  std::chrono::milliseconds farewell_grace{400};
  // Bytes for each link, of which the kernel takes twice; 0: as many as it likes, which is several
  // megabytes. Times peers over the slowest link's speed it has to stay below the timeout: 16 ranks
  // at 100 Mbit/s need 0.3 s.
  int send_buffer = 128 * 1024;
  std::chrono::milliseconds linger{2000};  // of close() and abort()
  std::uint64_t max_message = 1ULL << 30;  // bytes of one frame; larger ones are not accepted
  bool lanes = true;                       // small messages have a way of their own (lanes.h)
  // Of the job. None: nothing is encrypted, and whoever reaches the port is heard.
  std::optional<CurveKeys> keys = {};
  // Gets a line for people when the port turned somebody away for the first time; on the thread
  // that waits on the Transport.
  std::function<void(const std::string&)> on_refusal = {};
};

struct Peer {
  std::string endpoint;  // "tcp://192.168.0.7:4711", "tcp://[fe80::1]:4711", "ipc:///run/..."
  std::string host;      // for errors; may be empty

  friend bool operator==(const Peer&, const Peer&) = default;
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
