// The two ports of core: local arithmetic and data movement. `kernels` implements the first,
// `net` the second; neither knows the other.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/layer.h"
#include "core/plan.h"

namespace sbcnn {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

// --- arithmetic ------------------------------------------------------------------------------

// Output channels `outputs` are computed from input channels `inputs` (local ranges).
struct Block {
  Range inputs, outputs;
  friend bool operator==(const Block&, const Block&) = default;
};

// A layer as one rank runs it: everything is local, ranks and groups are out of sight.
//   Conv: `blocks` cover every output channel once and replace the layer's `groups`; each is a
//     dense convolution, and all read the same number of input channels.
//   Slice: `blocks` say which channels are copied where.
//   Flatten: copies in storage order (row, column, channel), for the plan renames the channels.
//   Conv and Dense: `pieces`, unless empty, cut the output's channels into ranges that are stored
//     apart, each in a view of its own (a message for each peer, say).
//   Others: `blocks` is empty. ChannelShuffle is a renaming and never gets here.
struct KernelSpec {
  Layer layer;
  std::vector<Shape> inputs;
  Shape output;
  std::vector<Block> blocks;
  std::vector<Range> pieces = {};
};

// Conv: weight [output.channels][channels of a block][kernel.height][kernel.width].
// Dense: [output.channels][input.channels]. ScaleShift: [channels]. bias may be empty (zero).
struct Weights {
  std::vector<float> weight, bias;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  // inputs[0] has at least required_border(layer, inputs[0].shape()) zeros around it, and no gaps
  // between its pixels if the layer is a Conv. Otherwise views may be strided. They do not overlap
  // the output. `outputs` has one view for each of the spec's pieces, one if these are empty.
  // One call at a time per KernelFactory.
  virtual void run(std::span<const View<const float>> inputs,
                   std::span<const View<float>> outputs) const noexcept = 0;
  void run(std::span<const View<const float>> inputs, View<float> output) const noexcept {
    run(inputs, std::span<const View<float>>(&output, 1));
  }
  // How it computes, for people: "winograd4". Empty if there is but one way.
  virtual std::string_view method() const { return {}; }
};

// Bytes behind a kernel: its packed weights, and scratch memory that all kernels of a factory
// share, so that of these the largest counts.
struct KernelMemory {
  std::size_t weights = 0, scratch = 0;
};

class KernelFactory {
 public:
  virtual ~KernelFactory() = default;
  // What `make` would take; needs no weights.
  virtual KernelMemory memory(const KernelSpec&) const = 0;
  // Packs the weights once and lets go of them. The factory outlives its kernels (they share its
  // threads and scratch memory).
  virtual std::unique_ptr<Kernel> make(const KernelSpec&, Weights) = 0;
};

// --- data movement ---------------------------------------------------------------------------

using Frame = std::uint32_t;  // number of a frame in the stream; wraps

// What rank 0 tells all ranks whenever their common schedule reaches an empty slot.
enum class Signal : std::uint8_t { frame, bubble, stop };

// What one rank gives to and takes from a collective; offsets follow from the counts, which are
// floats by peer (see Transfer in program.h).
struct MessageBuffers {
  std::span<const float> send;
  std::span<const std::size_t> send_counts;
  std::span<float> receive;
  std::span<const std::size_t> receive_counts;
};

class Exchanger {
 public:
  virtual ~Exchanger() = default;
  // Queues what is to be sent, by copy, and returns. The send buffer stays untouched by others
  // until finish if the rank sends something to itself, else it may be used again at once; nothing
  // is written to the receive buffer before finish.
  virtual void start(Frame, int step, Collective, const MessageBuffers&) = 0;
  // Waits until everything that this rank receives is in the receive buffer. Sums are folded in
  // rank order. Throws Error(timeout | peer_lost | protocol), naming rank and step.
  virtual void finish(Frame, int step, Deadline) = 0;
  // Rank 0 only; reaches every other rank in order.
  virtual void announce(std::uint64_t turn, Signal) = 0;
  // Other ranks; waits for as long as rank 0 is alive.
  virtual Signal await_signal(std::uint64_t turn) = 0;
};

}  // namespace sbcnn
