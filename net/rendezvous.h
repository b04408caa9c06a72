// How the processes of a job become a world.
//
// Rank 0 listens on a port; every other rank connects there and says Hello: who it is, on which
// address its Transport listens, which version it is, and the secret token of the job. When all
// are there, rank 0 answers with everybody's address and a random job number, and all connect to
// all. A rank that does not fit is refused with the reason, and so is then everybody else: both
// sides end with an Error that names rank and host.
//
//   rank 0:  Rendezvous meeting({.size = 4, .token = t});
//            ... start the others with meeting.endpoint(address) and the token ...
//            auto transport = meeting.accept(deadline);
//   others:  auto transport = join({.root = endpoint, .rank = 2, .size = 4, .token = t}, deadline);
//
// `token` is the job's secret (see secret.h), from make_secret or any text of our own. If there are
// keys in it, the meeting and the world are encrypted, and only ranks of the job can connect.
// Whoever does not know the token is not answered at all, and counted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/handshake.h"
#include "net/transport.h"
#include "net/zmq_transport.h"

namespace sbcnn::net {

// Called a few times a second while waiting; may throw, which ends the wait.
using Check = std::function<void()>;

struct RendezvousOptions {
  int size = 1;
  std::string bind = "*";    // interface, by address; "*": all
  int port = 0;              // 0: a free one
  std::string token = {};    // at most kLongestText bytes; goes before transport.keys
  std::string version = {};  // of the software; for messages
  std::uint32_t protocol = kProtocolVersion;
  std::vector<std::string> hosts = {};  // names of the boards by rank, for messages; may be empty
  ZmqOptions transport = {};
};

class Rendezvous {
 public:
  // Throws Error(io) when the port cannot be had.
  explicit Rendezvous(RendezvousOptions);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  int port() const;
  // "host:port" for JoinOptions::root. `host` is this board's name or address, and the same one
  // for all ranks; not a loopback address when some ranks are on other boards.
  std::string endpoint(const std::string& host) const;

  // Once. Throws Error(timeout) naming who is missing, Error(protocol) naming who does not fit.
  std::unique_ptr<Transport> accept(Deadline, const Check& = {});

  std::uint64_t ignored() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct JoinOptions {
  std::string root = {};  // what Rendezvous::endpoint gave
  int rank = 1, size = 2;
  std::string token = {};
  std::string host = {};     // the name of this board, for messages
  std::string iface = {};    // where to listen, see select_address; empty: on the way to rank 0
  std::string version = {};  // of the software; for messages
  std::uint32_t protocol = kProtocolVersion;
  ZmqOptions transport = {};
};

// Throws Error(protocol) with rank 0's reason when
// it is refused, Error(timeout) when rank 0 does not answer, Error(io) when it cannot be found.
std::unique_ptr<Transport> join(const JoinOptions&, Deadline, const Check& = {});

}  // namespace sbcnn::net
