// What `sbcnn-bench kernels` found, as tables and as JSON. Nothing here prints: strings come back.
#pragma once

#include <string>
#include <vector>

#include "bench/compare.h"
#include "bench/peak.h"

namespace sbcnn::bench {

struct Report {
  std::string machine, isa;
  int threads = 1, rounds = 1;
  TimeBy time_by = TimeBy::wall;
  Peak peak;
  std::vector<std::string> peers_missing;  // "NAME: why"
  std::vector<NetworkResult> networks;
};

// One network: a line for each kind of layer, times in ms.
std::string table(const NetworkResult&);
// All networks and families, a line each, and what was missing.
std::string summary(const Report&);

// {"machine", "isa", "threads", "rounds", "time": "wall" | "thread", "peak_gflops",
// "read_gbytes_per_second",
//  "networks": [{"name", "family", "isa", "threads", "ours_ms", "ours_min_ms", "best_peer",
//                "best_peer_ms", "ratio", "paired_ratio": [quartile, median, quartile], "sides":
//                {NAME: {"ms", "min_ms", "quartiles_ms": [2], "largest_error"}}}],
//  "families": [{"name", "networks": [NAME], "ours_ms", "best_peer_ms", "ratio"}],
//  "layers": [{"network", "layer", "count", "algorithm", "ours_gflops", "best_peer",
//              "best_peer_algorithm", "best_peer_gflops", "ratio", "gflop", "mbytes", "ours_ms",
//              "ours_min_ms", "candidates": [{"side", "algorithm", "ms", "min_ms"}]}],
//  "peers_missing": [NAME: why]}
// ratio: time of the best peer over ours. GFLOP/s count a direct convolution's operations, so
// those of Winograd's algorithms are "effective". Without peers, what they would give is null.
std::string json(const Report&);

}  // namespace sbcnn::bench
