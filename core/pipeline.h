// Runs one rank's program over a stream of frames, several of them in flight.
//
// Every rank walks the same list of turns. In turn t slot t mod in_flight goes on: it finishes the
// exchange that it waits for, computes up to its next exchange and starts that. So the exchange of
// one frame hides behind the computation of the others (inter-sample parallelism, DeCNN scheme 3).
// When the schedule reaches an empty slot, rank 0 says whether a new frame enters there, and the
// others follow its word: the order is computed, not raced for. Sends only queue, and a rank
// waits only for what its peers send on reaching the same turn, so no wait cycle exists.
//
// A Pipeline owns its kernels and all activation memory and allocates nothing per frame. One
// thread runs it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/page_array.h"
#include "core/ports.h"
#include "core/program.h"

namespace sbcnn {

struct PipelineOptions {
  int in_flight = 2;
  std::chrono::milliseconds step_timeout{30'000};
};

// Rank 0's side of the stream.
class Feed {
 public:
  virtual ~Feed() = default;
  // Called when a slot is empty. `frame`: the next frame was written to `input`; `bubble`: none is
  // there yet; `stop`: there will be none any more. If nothing is in flight (`idle`), waits
  // rather than giving bubbles; gives `stop` only then.
  virtual Signal next(bool idle, View<float> input) = 0;
  // The network's output for the oldest frame that was not delivered yet.
  virtual void deliver(View<const float> output) = 0;
};

// Gives the weights of a Compute step; called once for each, in step order.
using WeightSource = std::function<Weights(int step)>;

class Pipeline {
 public:
  Pipeline(Program, KernelFactory&, Exchanger&, const WeightSource&, PipelineOptions = {});

  // Takes the memory for activations. run does, if nobody did: a caller may want to let go of what
  // it read weights from first.
  void reserve();
  // Serves frames until rank 0's feed says stop. `feed` is given on rank 0 and nowhere else.
  void run(Feed* feed);

  const Program& program() const { return program_; }

  // What a Pipeline takes for activations and messages of all frames in flight.
  static std::size_t activation_floats(const Program&, int in_flight);

 private:
  struct Slot {
    bool busy = false;
    bool waiting = false;  // the Transfer at `action` has been started
    Frame frame = 0;
    std::size_t action = 0;
    float* arena = nullptr;  // its part of arenas_
  };

  Signal admit(std::uint64_t turn, Feed*, Slot&);
  bool advance(Slot&);  // true when the frame is through
  void compute(const Slot&, std::size_t action);
  void start(const Slot&, int step);
  void finish(const Slot&, int step);
  View<float> local(const Slot&, int index) const;
  View<float> part(const Slot&, const Part&) const;
  void copy_all(const Slot&, const std::vector<Copy>&) const;
  MessageBuffers messages(const Slot&, const Transfer&) const;

  Program program_;
  Exchanger& exchanger_;
  PipelineOptions options_;
  std::vector<std::unique_ptr<Kernel>> kernels_;  // by action; null where nothing is computed
  PageArray<float> arenas_;                       // of all slots
  std::vector<Slot> slots_;
  std::vector<View<const float>> inputs_;  // of the kernel that runs
  std::vector<View<float>> outputs_;
  Frame next_frame_ = 0;
};

}  // namespace sbcnn
