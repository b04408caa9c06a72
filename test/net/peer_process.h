// Ranks in processes of their own, which can be killed; and raw bytes for a port.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "net/communicator.h"

namespace sbcnn::net::test {

// What the two sides agree on.
inline constexpr const char* kPeerToken = "peer process";
inline constexpr Tag kPeerRequest{.context = Context::control};

// Rank 0 of a world whose other ranks are processes. They answer each barrier until rank 0 ends;
// the destructor kills what is left.
class PeerWorld {
 public:
  explicit PeerWorld(int size, const std::string& secret = kPeerToken);
  ~PeerWorld();
  PeerWorld(const PeerWorld&) = delete;
  PeerWorld& operator=(const PeerWorld&) = delete;

  Communicator& comm() { return *comm_; }
  void signal(int rank, int number) const { kill(children_[std::size_t(rank - 1)], number); }

  pid_t process(int rank) const { return children_[std::size_t(rank - 1)]; }
  // What made that rank end; empty if it has not at the deadline.
  std::string last_words(int rank, Deadline);

  enum Request { compute };  // spins without looking at the network
  void ask(int rank, Request, std::chrono::milliseconds);

 private:
  std::vector<pid_t> children_;
  std::vector<int> outputs_;  // of theirs
  std::unique_ptr<Communicator> comm_;
};

// Connects to a local port, writes, waits a moment, hangs up.
void send_raw(int port, const std::string& bytes);

}  // namespace sbcnn::net::test
