#include "apps/ranks.h"

#include <algorithm>
#include <optional>

namespace sbcnn::apps {
namespace {

// Ranks that compute on the board of `rank`.
int slots_of(const std::vector<RankHost>& ranks, const RankHost& rank) {
  return int(std::ranges::count_if(ranks, [&](const RankHost& r) {
    return r.weight > 0 && r.local == rank.local && (r.local || r.host.name == rank.host.name);
  }));
}

}  // namespace

std::vector<RankHost> place_ranks(const SessionOptions& o) {
  if (o.hostfile.empty()) {
    return place_ranks_here(std::max(1, o.ranks));
  }
  const auto ranks = o.ranks > 0 ? std::optional(o.ranks) : std::nullopt;
  return place_ranks(read_hostfile(o.hostfile), ranks, o.hostfile.string());
}

Cluster cluster_of(const std::vector<RankHost>& ranks) {
  Cluster cluster;
  for (const RankHost& r : ranks) {
    cluster.weights.push_back(r.weight);
  }
  return cluster;
}

ComputeWishes wishes_for(const std::vector<RankHost>& ranks, int rank, const SessionOptions& o) {
  const RankHost& at = ranks[std::size_t(rank)];
  ComputeWishes w;
  w.threads = at.host.threads > 0 ? at.host.threads : o.threads;
  w.slots = std::max(1, slots_of(ranks, at));
  w.isa = at.weight > 0 ? o.isa : std::nullopt;
  w.precision = o.precision;
  w.reference = o.reference_kernels;
  w.tune = o.tune;
  w.cache = o.cache.empty() ? o.cache : std::filesystem::absolute(o.cache);
  return w;
}

}  // namespace sbcnn::apps
