// What one rank does of a plan: local shapes, local layers, what goes to and comes from whom.
// Pure functions of (model skeleton, plan, rank).
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "core/plan.h"
#include "core/ports.h"

namespace sbcnn {

// Storage of one buffer inside the rank's arena. Empty shape: nothing of it is here.
struct Local {
  Shape shape;
  Border border;
  std::size_t offset = 0;  // floats from the arena's begin
};

struct Task {
  NodeId node = 0;
  KernelSpec spec;
  std::vector<int> inputs;  // indices into Program::locals
  int output = 0;
};

// Channels that travel between this rank and one peer, as local ranges in message order.
struct Parcel {
  std::vector<Range> channels;
  int count = 0;  // channels in all
};

// Message buffers hold the parcels of all peers one after the other, in rank order, each as
// pixels x count floats. broadcast, allgather, reduce and allreduce carry one and the same parcel
// for everybody: it stands once in the send buffer. In scatter, gather, alltoall and local, what a
// rank has for itself is copied directly (`own_from` to `own_to`) and counts as zero; in the
// other collectives it travels through the buffers like everybody's.
struct Transfer {
  Collective op = Collective::local;
  int input = 0, output = 0;            // indices into Program::locals
  std::vector<Parcel> sends, receives;  // by peer
  Parcel own_from, own_to;              // what stays here: from the input, to the output
  std::vector<std::size_t> send_counts, receive_counts;  // floats, by peer
  std::size_t send_offset = 0, send_size = 0;            // message buffers in the arena, in floats
  std::size_t receive_offset = 0, receive_size = 0;
  std::size_t bytes_sent = 0;  // to other ranks, per frame
};

using Action = std::variant<Task, Transfer>;

struct Program {
  int rank = 0, world = 1;
  std::vector<Local> locals;    // by buffer of the plan
  std::vector<Action> actions;  // by step of the plan; a Task with an empty output does nothing
  std::size_t arena_size = 0;   // floats that one frame in flight needs
  int input = 0, output = 0;
};

Program make_program(const Model&, const Plan&, int rank);

// Names what the rank computes: layers and local shapes, in order. Ranks with equal slices have
// equal ones, whatever their number.
std::uint64_t hash_of_tasks(const Program&);

// The part of a node's weights that `rank` needs, in its storage order. Rank 0 cuts slices for
// everybody out of the model it read.
Weights slice_weights(const Model&, const Plan&, int step, int rank);
// Its size, from a skeleton.
WeightShape slice_shape(const Model&, const Plan&, int step, int rank);

struct RankCost {
  std::size_t macs = 0, weight_bytes = 0, bytes_sent = 0;
};
RankCost cost_of(const Model&, const Plan&, const Program&);

}  // namespace sbcnn
