// A Transport with a bad day: for testing what stands on top of it.
//
// Delays, and which of the messages that are due comes first, are drawn from `seed`. Faults strike
// at a count of messages, so that a run can be repeated.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "net/transport.h"

namespace sbcnn::net {

struct Faults {
  std::uint64_t seed = 1;
  std::chrono::microseconds longest_delay{0};  // of what is received
  int duplicate_percent = 0;                   // of what is received, sent again a little later
  // Which message, counted from 0, the fault strikes:
  std::optional<int> die_at = {};     // sent or received: this rank throws, and is gone for others
  std::optional<int> mute_from = {};  // sent: this one and all later ones vanish
  std::optional<int> drop_at = {};    // sent: this one vanishes
  std::optional<int> truncate_at = {};  // sent: loses its last byte; an empty one gains one
  std::optional<int> lose_at = {};      // received: instead, the connection to its sender breaks
};

std::unique_ptr<Transport> with_faults(std::unique_ptr<Transport>, const Faults&);

}  // namespace sbcnn::net
