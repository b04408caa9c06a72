#include "net/poller.h"

#include <sched.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace sbcnn::net {
namespace {

[[noreturn]] void fail(const char* what) {
  throw Error(Error::Code::io, std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_.get() < 0) {
    fail("cannot wait for messages");
  }
}

bool Poller::control(int operation, int fd, std::uint64_t key, bool write) {
  Event event{};
  event.events = EPOLLIN | (write ? EPOLLOUT : 0U);
  event.data.u64 = key;
  return ::epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

bool Poller::add(int fd, std::uint64_t key, bool write) {
  return control(EPOLL_CTL_ADD, fd, key, write);
}

void Poller::change(int fd, std::uint64_t key, bool write) {
  if (!control(EPOLL_CTL_MOD, fd, key, write)) {
    fail("cannot wait for a connection");
  }
}

std::span<const Poller::Event> Poller::wait(std::chrono::milliseconds timeout) {
  const int n =
      ::epoll_wait(epoll_.get(), events_.data(), int(events_.size()), int(timeout.count()));
  if (n < 0 && errno != EINTR) {
    fail("cannot wait for messages");
  }
  return std::span(events_).first(n < 0 ? 0 : std::size_t(n));
}

std::span<const Poller::Event> Poller::wait(std::chrono::milliseconds timeout,
                                            std::chrono::microseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  do {
    ::sched_yield();
    if (const auto events = wait(std::chrono::milliseconds(0)); !events.empty()) {
      return events;
    }
  } while (std::chrono::steady_clock::now() < end);
  return wait(timeout);
}

}  // namespace sbcnn::net
