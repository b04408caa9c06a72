#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "net/communicator.h"

namespace sbcnn::net {
namespace {

constexpr int kSteps = 15;  // of each kind, but for the long ones
constexpr int kAtOnce = 8;  // messages that tell what each costs
constexpr int kLongSteps = 3;
// Bytes: 15 ms at 100 Mbit/s. A link on which that takes less than kLongEnough gets more.
constexpr std::size_t kLong = 192 * 1024, kLonger = 8 * kLong;
constexpr double kLongEnough = 8e-3;               // seconds
constexpr double kSlowest = 1e3, kFastest = 1e12;  // bytes a second, whatever the clock says

double seconds_of(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

// Every rank sends `messages` to its right neighbour and takes as many from its left one, so that
// all ports are busy in both directions.
class Ring {
 public:
  Ring(Communicator& comm, std::size_t bytes, int messages)
      : comm_(comm), in_(bytes), out_(bytes * std::size_t(messages)) {
    const int size = comm.size(), rank = comm.rank();
    schedule_.verb = "measuring of the link";
    schedule_.rounds.resize(1);
    for (int m = 0; m < messages; ++m) {
      schedule_.rounds[0].sends.push_back({.peer = (rank + 1) % size, .count = bytes});
      schedule_.rounds[0].receives.push_back(
          {.peer = (rank + size - 1) % size, .offset = std::size_t(m) * bytes, .count = bytes});
    }
    number_messages(schedule_);
  }

  // Seconds of a step, the mean of some: a single one may find its message there already, but a
  // neighbour that is ahead has to wait in the end.
  double time(int steps, Deadline deadline) {
    const Deadline begin = Clock::now();
    for (int i = 0; i < steps; ++i) {
      comm_.start(schedule_, in_, out_).wait(deadline);
    }
    return seconds_of(Clock::now() - begin) / steps;
  }

 private:
  Communicator& comm_;
  std::vector<std::byte> in_, out_;
  Schedule schedule_;
};

}  // namespace

Link Communicator::measure_link(Deadline deadline) {
  Link link;
  if (size() == 1) {
    return link;
  }
  // What the slowest of all ranks says, the same for all: what they choose hangs on it.
  const auto slowest = [&](double mine) {
    const std::array<float, 1> in = {float(mine)};
    std::array<float, 1> out{};
    iallreduce(in, out, Op::max, Algorithm::direct).wait(deadline);
    return double(out[0]);
  };
  barrier(deadline);
  link.latency = slowest(Ring(*this, 1, 1).time(kSteps, deadline));
  const double several = slowest(Ring(*this, 1, kAtOnce).time(kSteps, deadline));
  link.message_cost = std::max(0.0, (several - link.latency) / (kAtOnce - 1));
  std::size_t bytes = kLong;
  double transfer = slowest(Ring(*this, bytes, 1).time(kLongSteps, deadline));
  if (transfer < kLongEnough) {
    bytes = kLonger;
    transfer = slowest(Ring(*this, bytes, 1).time(kLongSteps, deadline));
  }
  link.bytes_per_second =
      std::clamp(double(bytes) / std::max(transfer - link.latency, 1e-9), kSlowest, kFastest);
  measured_ = link;
  return link;
}

}  // namespace sbcnn::net
