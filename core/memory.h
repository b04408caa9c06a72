// What the memory of one rank goes to, worked out beforehand.
//
// The parts are those that grow with the network. What a process takes in any case (its libraries,
// its threads, the network's connections) is not among them; whoever knows adds it.
#pragma once

#include <cstddef>

#include "core/program.h"

namespace sbcnn {

// Bytes, all of them resident at the same time at most.
struct RankMemory {
  std::size_t weights = 0;      // as the kernels pack them
  std::size_t activations = 0;  // of all frames in flight, message buffers included
  std::size_t scratch = 0;      // of the kernels
  std::size_t messages = 0;  // that are queued or have come early; on rank 0 frames that wait, too
  // While weights come in: those packed so far, slices on their way, and on rank 0 what is left of
  // a model that was read into memory.
  std::size_t loading = 0;
  std::size_t process = 0;  // in any case

  std::size_t peak() const;
};

struct MemoryOptions {
  int in_flight = 2;
  std::size_t weight_window = 0;  // bytes of weights under way to one rank
};

// `model` may be a skeleton; if it holds weights that lie in memory, they count on rank 0.
RankMemory memory_of(const Model& model, const Plan&, const Program&, const KernelFactory&,
                     const MemoryOptions&);

}  // namespace sbcnn
