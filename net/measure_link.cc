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
constexpr std::size_t kLong = 192 * 1024;          // bytes; 15 ms at 100 Mbit/s
constexpr double kSlowest = 1e3, kFastest = 1e12;  // bytes a second, whatever the clock says

double seconds_of(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
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

  // Seconds of a step, the median of some. Neighbours hold each other in step.
  double time(int steps, Deadline deadline) {
    std::vector<double> times;
    for (int i = 0; i < steps; ++i) {
      const Deadline begin = Clock::now();
      comm_.start(schedule_, in_, out_).wait(deadline);
      times.push_back(seconds_of(Clock::now() - begin));
    }
    return median(times);
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
  barrier(deadline);
  link.latency = Ring(*this, 1, 1).time(kSteps, deadline);
  const double several = Ring(*this, 1, kAtOnce).time(kSteps, deadline);
  link.message_cost = std::max(0.0, (several - link.latency) / (kAtOnce - 1));
  const double transfer = Ring(*this, kLong, 1).time(kLongSteps, deadline) - link.latency;
  link.bytes_per_second = std::clamp(double(kLong) / std::max(transfer, 1e-9), kSlowest, kFastest);
  // The slowest of all ranks, and the same for all: what they choose hangs on it.
  const std::array<float, 3> mine = {float(link.latency), float(link.message_cost),
                                     -float(link.bytes_per_second)};
  std::array<float, 3> worst{};
  iallreduce(mine, worst, Op::max, Algorithm::direct).wait(deadline);
  link.latency = double(worst[0]);
  link.message_cost = double(worst[1]);
  link.bytes_per_second = -double(worst[2]);
  measured_ = link;
  return link;
}

}  // namespace sbcnn::net
