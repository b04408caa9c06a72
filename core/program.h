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

// A value, a message buffer or one peer's part of it, inside the rank's arena. Empty shape: nothing
// of it is here, or nobody writes it because what reads it got it already (see Task).
struct Local {
  Shape shape;
  Border border;
  std::size_t offset = 0;  // floats from the arena's begin
};

// Channels of one Local.
struct Part {
  int local = 0;  // index into Program::locals
  Range channels;
};

struct Copy {
  Part from, to;  // equally many channels
};

// Usually a task writes one whole value. A Conv or Dense whose output only the Transfer right after
// it reads has pieces (see KernelSpec), unless channels go to several peers, pieces were narrow or
// the arena grew: each piece goes where that Transfer would copy it to, into the message for a peer
// or into what the Transfer gives, and the output itself is never stored.
struct Task {
  NodeId node = 0;
  KernelSpec spec;
  std::vector<int> inputs;    // indices into Program::locals
  std::vector<Part> outputs;  // by piece of the spec; one if it has none
};

// The send buffer holds the parcels for all peers one after the other, in rank order, each as
// pixels x channels floats; the receive buffer those from all peers. broadcast, allgather, reduce
// and allreduce carry one and the same parcel for everybody: it stands once in the send buffer.
// What is received of a sum is one parcel, already folded. In scatter, gather, alltoall and local,
// what a rank has for itself is copied directly and counts as zero; in the other collectives it
// travels through the buffers like everybody's.
struct Transfer {
  Collective op = Collective::local;
  int input = 0, output = 0;  // indices into Program::locals, as are the message buffers:
  int send = 0, receive = 0;
  // Before the exchange, from the input into parcels and (what stays here) into the output: empty
  // if the task before has written all of that. After it, from parcels into the output.
  std::vector<Copy> pack, unpack;
  std::vector<std::size_t> send_counts, receive_counts;  // floats, by peer
  std::size_t bytes_sent = 0;                            // to other ranks, per frame
};

using Action = std::variant<Task, Transfer>;

struct Program {
  int rank = 0, world = 1;
  std::vector<Local> locals;    // by buffer of the plan; behind these, what messages need
  std::vector<Action> actions;  // by step of the plan; a Task with an empty output does nothing
  std::size_t arena_size = 0;   // floats that one frame in flight needs
  int input = 0, output = 0;
};

// Channels: a kernel computes whole vectors, of up to 16 floats, so that narrower pieces would cost
// it more than copies cost.
inline constexpr int kNarrowestPiece = 16;

// Output of which some piece would be narrower than `narrowest_piece` is copied instead.
Program make_program(const Model&, const Plan&, int rank, int narrowest_piece = kNarrowestPiece);

// Names what the rank computes: layers and local shapes, in order. Ranks with equal slices have
// equal ones, whatever their number.
std::uint64_t hash_of_tasks(const Program&);

struct RankCost {
  std::size_t macs = 0, weight_bytes = 0, bytes_sent = 0;
};
RankCost cost_of(const Model&, const Plan&, const Program&);

}  // namespace sbcnn
