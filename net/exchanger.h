// core's Exchanger on a Communicator: a plan's exchanges as MPI's verbs.
//
// Every Collective is one round of direct messages. It says where segments lie (broadcast,
// allgather, reduce and allreduce send one segment to everybody; the reductions sum what they
// receive, the others store it one after the other), and the counts say who takes part. A rank
// that sends zero floats to a peer sends it no message, and adds nothing to its sums.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "core/ports.h"
#include "net/communicator.h"

namespace sbcnn::net {

// `epoch` numbers the plan, so that messages of an older one are told apart. Used by the
// communicator's thread, and does not outlive it.
class CommExchanger final : public Exchanger {
 public:
  explicit CommExchanger(Communicator& comm, std::uint32_t epoch = 0)
      : comm_(comm), epoch_(epoch) {}

  void start(Frame, int step, Collective, const MessageBuffers&) override;
  void finish(Frame, int step, Deadline) override;
  void announce(std::uint64_t turn, Signal) override;
  Signal await_signal(std::uint64_t turn) override;

 private:
  Communicator& comm_;
  std::uint32_t epoch_;
  std::map<std::pair<Frame, int>, Request> open_;
};

}  // namespace sbcnn::net
