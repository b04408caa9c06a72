// The plan: one network over several ranks as a straight list of steps, each of which
// computes or exchanges.
//
// A Plan is the same on every rank and speaks of all of them; program.h cuts out what one rank
// does. `make_plan` is a pure function in integer arithmetic: the same model and cluster give
// the same plan on any machine, so counts, tags and orders are never negotiated on the wire.
// A handshake compares `hash` once.
//
// The one idea behind it: a Layout says, for each rank, which channels of a value the rank holds
// *and in which order it stores them*. A channel shuffle then moves nothing: it only renames the
// channels that lie in storage. The next layer states which channels it wants together, the
// planner inserts the one exchange that bridges have and want, and weights are cut in the order
// in which the channels arrived. So every permutation ends up folded into neighbouring weights.
//
// Partitioning follows Du et al., TPDS 2021 (DeCNN): convolutions by channel group (scheme 1),
// fully connected layers by input (scheme 2). Convolutions that groups do not decouple are split
// by output channel (Coates et al., ICML 2013).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/layout.h"
#include "core/model.h"

namespace sbcnn {

// Relative speed of each rank; a rank of weight 0 computes nothing (rank 0 may be one that
// only feeds frames and collects results). At least one weight is positive.
struct Cluster {
  std::vector<int> weights;

  static Cluster equal(int size) { return {std::vector<int>(std::size_t(size), 1)}; }
  int size() const { return int(weights.size()); }
};

// A value of the model in one layout. Buffers that only rename channels share storage.
struct Buffer {
  Value value = 0;
  Layout layout;
  Border border;    // zeros around it that readers rely on
  int storage = 0;  // the buffer whose memory this one names; its own index if none
};

struct Compute {
  NodeId node = 0;
  std::vector<int> inputs;  // buffers
  int output = 0;
};

struct Exchange {
  Collective op = Collective::local;
  int input = 0, output = 0;  // buffers
};

using Step = std::variant<Compute, Exchange>;

struct Plan {
  int world = 1;
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  int input = 0, output = 0;  // buffers; both whole on rank 0, in the model's channel order

  // The channels of a buffer that a rank holds, in its storage order.
  const Channels& held(int buffer, int rank) const {
    return buffers[std::size_t(buffer)].layout.held[std::size_t(rank)];
  }
  std::uint64_t hash() const;
  std::vector<int> idle_ranks() const;  // have weight, yet nothing to compute
  std::vector<int> weights;             // the cluster's
};

// Throws Error(usage) when the cluster has no rank that computes.
Plan make_plan(const Model&, const Cluster&);

}  // namespace sbcnn
