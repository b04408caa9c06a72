#include "core/memory.h"

#include <algorithm>

#include "core/pipeline.h"
#include "core/weight_slice.h"

namespace sbcnn {
namespace {

std::size_t bytes(const WeightShape& shape) {
  return (shape.weight + shape.bias) * sizeof(float);
}

// Of a node's weights; what is mapped comes and goes.
std::size_t bytes_in_memory(const Node& node) {
  std::size_t floats = 0;
  for (const Blob* blob : {&node.weight, &node.bias}) {
    floats += blob->mapped ? 0 : blob->size();
  }
  return floats * sizeof(float);
}

// The largest slice of a step that rank 0 cuts out for anybody else.
std::size_t largest_slice(const Model& model, const Plan& plan, int step) {
  std::size_t most = 0;
  for (int r = 1; r < plan.world; ++r) {
    most = std::max(most, bytes(slice_shape(model, plan, step, r)));
  }
  return most;
}

// Of all steps, or what a window lets through.
std::size_t on_the_way(const Model& model, const Plan& plan, int rank, std::size_t window) {
  std::size_t all = 0;
  for (int s = 0; s < int(plan.steps.size()); ++s) {
    if (std::holds_alternative<Compute>(plan.steps[std::size_t(s)])) {
      all += bytes(slice_shape(model, plan, s, rank));
    }
  }
  return std::min(all, window);
}

// Messages of one exchange by so many frames at once. All frames in flight may wait in the same
// exchange, and for each what a rank sends, or what it receives, is there: of two ranks that
// exchange the same amounts, one holds a message as long as the other does not. And peers may be
// ahead by an exchange.
std::size_t messages_of(const Program& program, const Transfer& t, int in_flight) {
  std::size_t received = 0;
  for (std::size_t q = 0; q < t.receive_counts.size(); ++q) {
    received += int(q) == program.rank ? 0 : t.receive_counts[q] * sizeof(float);
  }
  // What everybody gets is queued once.
  const std::size_t send_buffer = program.locals[std::size_t(t.send)].shape.size() * sizeof(float);
  const std::size_t sent = std::min(t.bytes_sent, send_buffer);
  return std::size_t(in_flight) * std::max(sent, received) + received;
}

}  // namespace

std::size_t RankMemory::peak() const {
  return process + std::max(loading, weights + activations + scratch + messages);
}

RankMemory memory_of(const Model& model, const Plan& plan, const Program& program,
                     const KernelFactory& factory, const MemoryOptions& options) {
  RankMemory m;
  const bool root = program.rank == 0;
  std::size_t left = 0;  // of the model
  for (const Node& node : model.nodes()) {
    left += root ? bytes_in_memory(node) : 0;
  }
  std::size_t window = 0;
  for (int r = root ? 1 : program.rank; r < (root ? plan.world : program.rank + 1); ++r) {
    window += on_the_way(model, plan, r, options.weight_window);
  }
  std::size_t exchange = 0;
  for (int s = 0; s < int(program.actions.size()); ++s) {
    const auto* task = std::get_if<Task>(&program.actions[std::size_t(s)]);
    if (task == nullptr) {
      const auto& transfer = std::get<Transfer>(program.actions[std::size_t(s)]);
      exchange = std::max(exchange, messages_of(program, transfer, options.in_flight));
      continue;
    }
    KernelMemory kernel;
    if (task->spec.output.size() > 0) {
      kernel = factory.memory(task->spec);
    }
    const std::size_t slice = bytes(slice_shape(model, plan, s, program.rank));
    m.scratch = std::max(m.scratch, kernel.scratch);
    const std::size_t sending = root ? largest_slice(model, plan, s) : 0;
    m.loading = std::max(m.loading, left + m.weights + m.scratch + window +
                                        std::max(sending, slice + kernel.weights));
    m.weights += kernel.weights;
    left -= root ? bytes_in_memory(model.node(task->node)) : 0;
  }
  const std::size_t frame = model.shape(model.input()).size() * sizeof(float);
  m.activations = Pipeline::activation_floats(program, options.in_flight) * sizeof(float);
  // On rank 0: those at the door, the next one, and the file that it is read from.
  const std::size_t frames = root ? std::size_t(options.in_flight) + 2 : 0;
  m.messages = exchange + frames * frame;
  return m;
}

}  // namespace sbcnn
