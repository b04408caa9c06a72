// A schedule at work on buffers: what a Request holds. Internal to net.
#pragma once

#include <cstddef>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "net/buffers.h"
#include "net/reduce_op.h"
#include "net/request.h"
#include "net/schedule.h"

namespace sbcnn::net {

struct Station;

// What an operation works on; `type` is that of both buffers, and of `work`.
struct Operands {
  SendBuffer in;
  ReceiveBuffer out;
  ElementType type = ElementType::bytes;
  std::optional<ReduceOp> op;
};

// Sends its first round at once. Known to the station while it exists if it has several, so that it
// goes on whatever this rank waits for.
class Operation {
 public:
  Operation(Communicator&, const Tag&, Schedule, Operands);
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  Communicator& communicator() { return comm_; }
  bool progress();  // true when everything has arrived
  Wait state() const { return {schedule_.verb, tag_, missing()}; }

 private:
  void begin_round();
  bool deliver(std::size_t receive);
  void fold(const Receive&, std::span<const std::byte> body);
  const Send* own_segment(const Receive&) const;  // of the round's sends; null: a message
  std::span<const std::byte> bytes(const Send&) const;
  Tag numbered(std::uint16_t number) const;
  std::vector<int> missing() const;

  Communicator& comm_;
  std::shared_ptr<Station> station_;
  Tag tag_;
  Schedule schedule_;
  Operands on_;
  std::size_t element_;  // bytes of one
  std::vector<std::byte> work_;
  std::size_t round_ = 0;
  std::vector<std::size_t> pending_;  // receives of the round, in order
};

// What the communicators on one transport share. Ranks are the world's.
struct Station {
  std::unique_ptr<Transport> transport;
  std::map<std::pair<int, Tag>, Message> mailbox;
  std::vector<Operation*> operations;  // of several rounds
  std::exception_ptr failure;
  std::string reason;  // of the failure
  std::uint32_t next_communicator = 1;
  bool ended = false;
};

}  // namespace sbcnn::net
