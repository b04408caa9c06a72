// Buffers of MPI's verbs, and Request: a verb in progress (see communicator.h).
#pragma once

#include <cstddef>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "net/schedule.h"
#include "net/transport.h"

namespace sbcnn::net {

// Floats or bytes in a row that outlive the expression: a temporary vector does not compile.
template <class R>
concept Elements = std::ranges::contiguous_range<R> && std::ranges::borrowed_range<R> &&
    (std::is_same_v<std::ranges::range_value_t<R>, float> ||
     std::is_same_v<std::ranges::range_value_t<R>, std::byte>);
template <class R>
concept WritableElements =
    Elements<R> && !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>;

// MPI's (buffer, count, datatype) in one value; converts from spans, vectors and arrays.
struct SendBuffer {
  SendBuffer() = default;
  template <Elements R>
  SendBuffer(R&& r)  // NOLINT(google-explicit-constructor)
      : bytes(std::as_bytes(std::span(r))), element(sizeof(*std::ranges::data(r))) {}
  std::span<const std::byte> bytes;
  std::size_t element = 1;  // bytes of one
};
struct ReceiveBuffer {
  ReceiveBuffer() = default;
  template <WritableElements R>
  ReceiveBuffer(R&& r)  // NOLINT(google-explicit-constructor)
      : bytes(std::as_writable_bytes(std::span(r))), element(sizeof(*std::ranges::data(r))) {}
  std::span<std::byte> bytes;
  std::size_t element = 1;
};

// Where in the program a rank waits, and for whom; for errors.
struct Wait {
  std::string_view verb;
  Tag tag;
  std::vector<int> missing;   // peers
  std::string place() const;  // "allgatherv of frame 3, step 5"
};

class Communicator;

// A verb in progress. Buffers are touched only inside start, test and wait, on the caller's
// thread: dropping a Request leaves no write behind (its messages stay in the mailbox). Does not
// outlive its Communicator.
class [[nodiscard]] Request {
 public:
  Request(Request&&) = default;
  Request& operator=(Request&&) = default;

  bool test();          // true when complete; never waits
  void wait(Deadline);  // Error(timeout) says for whom it waited

 private:
  friend class Communicator;
  Request(Communicator&, const Tag&, Schedule, SendBuffer, ReceiveBuffer);
  void begin_round();
  bool progress();
  bool deliver(std::size_t receive);
  void fold(std::size_t receive, std::span<const std::byte> body);
  const Segment* own_segment() const;  // of the round's sends; null: nothing to itself
  std::vector<int> missing() const;
  Wait state() const { return {schedule_.verb, tag_, missing()}; }

  Communicator* comm_;
  Tag tag_;
  Schedule schedule_;
  SendBuffer in_;
  ReceiveBuffer out_;
  std::size_t round_ = 0;
  std::vector<std::size_t> pending_;  // receives of the round, in order
};

}  // namespace sbcnn::net
