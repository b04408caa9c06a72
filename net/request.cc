#include "net/request.h"

#include "net/communicator.h"
#include "net/operation.h"

namespace sbcnn::net {

Request::Request(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
Request::Request(Request&&) noexcept = default;
Request& Request::operator=(Request&&) noexcept = default;
Request::~Request() = default;

bool Request::test() {
  if (!operation_) {
    return true;
  }
  Communicator& comm = operation_->communicator();
  comm.check();
  while (!operation_->progress()) {
    const Wait wait = operation_->state();
    if (!comm.pump(Clock::now(), wait)) {
      comm.check_missing(wait);
      return false;
    }
  }
  operation_.reset();
  return true;
}

void Request::wait(Deadline deadline) {
  if (!operation_) {
    return;
  }
  Communicator& comm = operation_->communicator();
  comm.check();
  const Deadline begin = Clock::now();
  while (!operation_->progress()) {
    comm.await(operation_->state(), begin, deadline);
  }
  operation_.reset();
}

void wait_all(std::span<Request> requests, Deadline deadline) {
  for (Request& request : requests) {
    request.wait(deadline);
  }
}

std::optional<std::size_t> wait_any(std::span<Request> requests, Deadline deadline) {
  const Deadline begin = Clock::now();
  while (true) {
    Communicator* comm = nullptr;
    Wait wait;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      auto& operation = requests[i].operation_;
      if (!operation) {
        continue;
      }
      Communicator& own = operation->communicator();
      require(comm == nullptr || comm->shares_transport(own),
              "wait_any: requests of communicators on different transports");
      own.check();
      if (operation->progress()) {
        operation.reset();
        return i;
      }
      if (comm == nullptr) {
        comm = &own;
        wait = operation->state();
      }
    }
    if (comm == nullptr) {
      return std::nullopt;
    }
    for (const Request& request : requests) {  // one that never completes is an error at once
      if (request.operation_) {
        request.operation_->communicator().check_missing(request.operation_->state());
      }
    }
    comm->await(wait, begin, deadline);
  }
}

std::string Wait::place() const {
  std::string text(verb);
  const std::uint32_t communicator = tag.epoch >> kEpochBits;
  const std::string of =
      communicator == 0 ? "" : " of communicator " + std::to_string(communicator);
  switch (tag.context) {
    case Context::automatic:
      return text + " number " + std::to_string(tag.frame) + of;
    case Context::control:
      return text + " of signal " + std::to_string(tag.frame) + of;
    case Context::data:
    case Context::user:
      break;
  }
  return text + " of frame " + std::to_string(tag.frame) + ", step " + std::to_string(tag.step) +
         of;
}

}  // namespace sbcnn::net
