// Request: a verb in progress (see communicator.h).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/transport.h"

namespace sbcnn::net {

class Communicator;
class Operation;

// Where in the program a rank waits, and for whom; for errors.
struct Wait {
  std::string_view verb;
  Tag tag;
  std::vector<int> missing;   // peers
  std::string place() const;  // "allgatherv of frame 3, step 5"
};

// Move-only. Does not outlive its Communicator.
//
// Buffers are touched on the caller's thread alone: inside start, test and wait, and, for
// algorithms of several rounds, inside every call of any communicator on the same transport, which
// all go on with what is in flight. Dropping a Request leaves no write behind; its messages stay in
// the mailbox, and of several rounds the rank sends no later ones, so that others may wait in vain.
class [[nodiscard]] Request {
 public:
  Request(Request&&) noexcept;
  Request& operator=(Request&&) noexcept;
  ~Request();

  bool test();          // true when complete; never waits
  void wait(Deadline);  // Error(timeout) says for whom it waited
  // Until test or wait, or wait_any, has told that it is complete.
  bool active() const { return operation_ != nullptr; }

 private:
  friend class Communicator;
  friend std::optional<std::size_t> wait_any(std::span<Request>, Deadline);
  explicit Request(std::unique_ptr<Operation>);

  std::unique_ptr<Operation> operation_;
};

// All of them; the first that is not complete at the deadline is named.
void wait_all(std::span<Request>, Deadline);
// The index of one that is complete, from then on inactive; inactive ones are passed over. Nothing
// if all are inactive. All belong to communicators on one transport.
std::optional<std::size_t> wait_any(std::span<Request>, Deadline);

}  // namespace sbcnn::net
