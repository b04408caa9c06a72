// Times the verbs of a communicator: each with all its algorithms, over message sizes.
//
// A repetition is timed from behind a barrier until the slowest rank is done. Before, every
// algorithm's result is compared with that of the direct one. All ranks of the world call
// time_collectives alike; rows are for rank 0.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/communicator.h"

namespace sbcnn::bench {

struct CollectivesOptions {
  std::vector<net::Verb> verbs;
  std::optional<net::Algorithm> algorithm;  // none: all that a verb has
  bool chosen = false;                      // only what the communicator chooses by itself
  // Multiples of 4: of the whole vector for bcast, reduce, allreduce and scan; else of the block
  // between a pair of ranks. The barrier has none.
  std::vector<std::size_t> bytes;
  double seconds = 0.3;              // about, for a row
  std::chrono::seconds timeout{60};  // of one repetition
};

struct CollectiveRow {
  net::Verb verb{};
  std::optional<net::Algorithm> algorithm;  // none: chosen
  int ranks = 1;
  std::size_t bytes = 0;
  int repetitions = 0;
  double min_us = 0, p50_us = 0, p99_us = 0, max_us = 0;
  // What the rank that has most to send or to receive must move, in the median time.
  double goodput_mbit = 0;
  // Processor time of all threads of the rank that had most, a repetition, with the barrier before
  // it and the agreement on its time after it.
  double cpu_us = 0;
};

std::string_view algorithm_name(const CollectiveRow&);

// Throws Error(protocol) when a result is wrong. `on_row` is called after each row.
std::vector<CollectiveRow> time_collectives(
    net::Communicator&, const CollectivesOptions&,
    const std::function<void(const CollectiveRow&)>& on_row = {});

// {"rows": [{"collective", "algorithm", "transport", "ranks", "bytes_per_pair", "repetitions",
//            "min_us", "p50_us", "p99_us", "max_us", "goodput_mbit", "cpu_us", "link_mbit"}]}
// link_mbit: as told; null if nobody told.
std::string json(const std::vector<CollectiveRow>&, const std::string& transport,
                 std::optional<double> link_mbit);

}  // namespace sbcnn::bench
