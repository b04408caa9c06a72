// Waits for many descriptors at once: epoll, level triggered.
//
// One thread. A descriptor that is closed is forgotten, if it was not duplicated.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <span>

#include "core/descriptor.h"

namespace sbcnn::net {

class Poller {
 public:
  // What an event says of a descriptor: `data.u64` is what it was added with, `events` are epoll's.
  using Event = epoll_event;

  Poller();  // throws Error(io), as all do but add()

  // False if the kernel watches no more of them. `write`: whether to wait until it can be written.
  [[nodiscard]] bool add(int fd, std::uint64_t key, bool write = false);
  void change(int fd, std::uint64_t key, bool write);

  // What is ready, some of it if it is much; empty at the end of `timeout` and after a signal.
  // Valid until the next call.
  std::span<const Event> wait(std::chrono::milliseconds timeout);

  // The same for who thinks that it will not be long: lets other threads have the processor and
  // asks again, for as long as `patience`, before it sleeps. To fall asleep and to be woken takes
  // longer than a small message does. It yields before it asks: what is here already was most often
  // taken.
  std::span<const Event> wait(std::chrono::milliseconds timeout,
                              std::chrono::microseconds patience);

 private:
  bool control(int operation, int fd, std::uint64_t key, bool write);

  Descriptor epoll_;
  std::array<Event, 64> events_{};
};

}  // namespace sbcnn::net
