#include "bench/collectives.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace sbcnn::bench {
namespace {

using net::Algorithm;
using net::Communicator;
using net::How;
using net::Op;
using net::Verb;

constexpr int kWarmUp = 2, kFewest = 5, kMost = 2000;  // repetitions
constexpr int kRoot = 0;

// One verb of one size: buffers, and how to call it. Values are small whole numbers, so that sums
// of them are exact in any order.
class Call {
 public:
  Call(Communicator& comm, Verb verb, std::size_t bytes, std::chrono::seconds timeout)
      : comm_(comm), verb_(verb), timeout_(timeout) {
    const std::size_t count = bytes / sizeof(float), all = count * std::size_t(comm.size());
    const bool root = comm.rank() == kRoot;
    counts_.assign(std::size_t(comm.size()), count);
    switch (verb) {
      case Verb::barrier:
        break;
      case Verb::bcast:
        out_.resize(count);
        break;
      case Verb::scatter:
        in_.resize(root ? all : 0);
        out_.resize(count);
        break;
      case Verb::gather:
        in_.resize(count);
        out_.resize(root ? all : 0);
        break;
      case Verb::allgather:
        in_.resize(count);
        out_.resize(all);
        break;
      case Verb::reduce_scatter:
        in_.resize(all);
        out_.resize(count);
        break;
      case Verb::alltoall:
        in_.resize(all);
        out_.resize(all);
        break;
      case Verb::reduce:
      case Verb::allreduce:
      case Verb::scan:
        in_.resize(count);
        out_.resize(count);
        break;
    }
    for (std::size_t i = 0; i < in_.size(); ++i) {
      in_[i] = float((std::size_t(comm.rank()) * 31 + i * 7) % 256);
    }
  }

  void run(std::optional<Algorithm> algorithm) {
    How how;
    how.algorithm = algorithm;
    const Deadline deadline = Clock::now() + timeout_;
    const auto request = [&] {
      switch (verb_) {
        case Verb::barrier:
          return comm_.ibarrier();
        case Verb::bcast:
          return comm_.ibcast(out_, kRoot, how);
        case Verb::scatter:
          return comm_.iscatter(in_, out_, kRoot, how);
        case Verb::gather:
          return comm_.igather(in_, out_, kRoot, how);
        case Verb::allgather:
          return comm_.iallgather(in_, out_, how);
        case Verb::reduce:
          return comm_.ireduce(in_, out_, Op::sum, kRoot, how);
        case Verb::allreduce:
          return comm_.iallreduce(in_, out_, Op::sum, how);
        case Verb::reduce_scatter:
          return comm_.ireduce_scatter(in_, out_, counts_, Op::sum, how);
        case Verb::scan:
          return comm_.iscan(in_, out_, Op::sum, how);
        case Verb::alltoall:
          return comm_.ialltoall(in_, out_, how);
      }
      throw ContractViolation("no such verb");
    };
    request().wait(deadline);
  }

  // What one run leaves behind, from the same beginning.
  std::vector<float> result(std::optional<Algorithm> algorithm) {
    std::ranges::fill(out_, -1.0f);
    if (verb_ == Verb::bcast && comm_.rank() == kRoot) {
      for (std::size_t i = 0; i < out_.size(); ++i) {
        out_[i] = float(i % 256);
      }
    }
    run(algorithm);
    return verb_ == Verb::reduce && comm_.rank() != kRoot ? std::vector<float>() : out_;
  }

  // Seconds until the slowest rank is done, the same on all ranks.
  double repetition(std::optional<Algorithm> algorithm) {
    comm_.barrier(Clock::now() + timeout_);
    const auto begin = Clock::now();
    run(algorithm);
    const std::chrono::duration<float> mine = Clock::now() - begin;
    return slowest(mine.count());
  }

  double slowest(float mine) {
    const float in[] = {mine};
    float out[1];
    comm_.allreduce(in, out, Op::max, Clock::now() + timeout_);
    return double(out[0]);
  }

 private:
  Communicator& comm_;
  Verb verb_;
  std::chrono::seconds timeout_;
  std::vector<float> in_, out_;
  std::vector<std::size_t> counts_;
};

// Bytes that the busiest rank sends or receives at least.
double least_bytes(Verb verb, std::size_t bytes, int ranks) {
  switch (verb) {
    case Verb::barrier:
      return 0;
    case Verb::bcast:
    case Verb::reduce:
    case Verb::allreduce:
    case Verb::scan:
      return ranks > 1 ? double(bytes) : 0;
    case Verb::scatter:
    case Verb::gather:
    case Verb::allgather:
    case Verb::reduce_scatter:
    case Verb::alltoall:
      return double(bytes) * double(ranks - 1);
  }
  throw ContractViolation("no such verb");
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[std::size_t(std::lround(q * double(sorted.size() - 1)))];
}

// Of all threads of this process.
double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

CollectiveRow time_row(Communicator& comm, Call& call, Verb verb,
                       std::optional<Algorithm> algorithm, std::size_t bytes, double seconds) {
  double once = 0;  // barrier and agreement included: for a small message they take longest
  for (int i = 0; i < kWarmUp; ++i) {
    const auto begin = Clock::now();
    call.repetition(algorithm);
    once = call.slowest(std::chrono::duration<float>(Clock::now() - begin).count());
  }
  CollectiveRow row{verb, algorithm, comm.size(), bytes};
  row.repetitions = int(std::clamp(seconds / std::max(once, 1e-9), double(kFewest), double(kMost)));
  std::vector<double> times;
  const double begin = cpu_seconds();
  for (int i = 0; i < row.repetitions; ++i) {
    times.push_back(call.repetition(algorithm) * 1e6);
  }
  row.cpu_us = call.slowest(float((cpu_seconds() - begin) / row.repetitions)) * 1e6;
  std::ranges::sort(times);
  row.min_us = times.front();
  row.p50_us = quantile(times, 0.5);
  row.p99_us = quantile(times, 0.99);
  row.max_us = times.back();
  row.goodput_mbit = least_bytes(verb, bytes, comm.size()) * 8 / row.p50_us;
  return row;
}

}  // namespace

std::string_view algorithm_name(const CollectiveRow& row) {
  return row.algorithm ? name(*row.algorithm) : "chosen";
}

std::vector<CollectiveRow> time_collectives(
    Communicator& comm, const CollectivesOptions& options,
    const std::function<void(const CollectiveRow&)>& on_row) {
  std::vector<CollectiveRow> rows;
  for (const Verb verb : options.verbs) {
    const std::vector<std::size_t> sizes =
        verb == Verb::barrier ? std::vector<std::size_t>{0} : options.bytes;
    for (const std::size_t bytes : sizes) {
      require(bytes % sizeof(float) == 0, "time_collectives: sizes are multiples of 4 bytes");
      Call call(comm, verb, bytes, options.timeout);
      const std::vector<float> right = call.result(net::algorithms(verb).front());
      std::vector<std::optional<Algorithm>> candidates;
      if (options.chosen) {
        candidates.emplace_back();
      } else {
        for (const Algorithm a : net::algorithms(verb)) {
          if (!options.algorithm || a == *options.algorithm) {
            candidates.emplace_back(a);
          }
        }
      }
      for (const std::optional<Algorithm> algorithm : candidates) {
        if (call.slowest(call.result(algorithm) == right ? 0.0f : 1.0f) != 0) {
          throw Error(Error::Code::protocol,
                      std::string(name(verb)) + " by " +
                          std::string(algorithm_name({verb, algorithm})) + " of " +
                          std::to_string(bytes) + " bytes differs from what " +
                          std::string(name(net::algorithms(verb).front())) + " gives");
        }
        rows.push_back(time_row(comm, call, verb, algorithm, bytes, options.seconds));
        if (on_row) {
          on_row(rows.back());
        }
      }
    }
  }
  return rows;
}

std::string json(const std::vector<CollectiveRow>& rows, const std::string& transport,
                 std::optional<double> link_mbit) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const CollectiveRow& r : rows) {
    nlohmann::ordered_json row = {{"collective", name(r.verb)},
                                  {"algorithm", algorithm_name(r)},
                                  {"transport", transport},
                                  {"ranks", r.ranks},
                                  {"bytes_per_pair", r.bytes},
                                  {"repetitions", r.repetitions},
                                  {"min_us", r.min_us},
                                  {"p50_us", r.p50_us},
                                  {"p99_us", r.p99_us},
                                  {"max_us", r.max_us},
                                  {"goodput_mbit", r.goodput_mbit},
                                  {"cpu_us", r.cpu_us}};
    row["link_mbit"] = link_mbit ? nlohmann::ordered_json(*link_mbit) : nlohmann::ordered_json();
    all.push_back(std::move(row));
  }
  return nlohmann::ordered_json{{"rows", std::move(all)}}.dump(1) + "\n";
}

}  // namespace sbcnn::bench
