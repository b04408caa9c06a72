// Ranks as threads of one process, with the loss semantics of transport.h. For tests, and for
// embedding several ranks in one program.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/transport.h"

namespace sbcnn::net {

// One queue a rank. Thread-safe; transports may outlive it.
class Hub {
 public:
  // `hosts`, by rank, name the ranks in errors; empty: no host names.
  explicit Hub(int size, std::vector<std::string> hosts = {});
  // Once for each rank.
  std::unique_ptr<Transport> join(int rank);

 private:
  friend class InprocTransport;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sbcnn::net
