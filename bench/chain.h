// The convolutions of one network on one side, made ready to run in network order.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/side.h"

namespace sbcnn::bench {

// Seconds that pass, or those that the calling thread ran: on a busy machine the latter repeat
// better, but they miss what other threads do.
enum class TimeBy { wall, thread };

struct ChainSpec {
  const Side* side = nullptr;
  std::vector<std::string> algorithms;  // by step
};

class Chain {
 public:
  // Opens the side; the steps follow, in order.
  explicit Chain(const ChainSpec& spec) : spec_(spec), factory_(spec.side->open()) {}

  // Where the step's algorithm does not apply, the side's first computes it, so that what comes
  // before and after finds the caches as it would in use; applies() is then false.
  void add(const PlacedConv&, const Weights&);

  // Runs the network once; seconds by step.
  std::vector<double> run(TimeBy);

  const Side& side() const { return *spec_.side; }
  const std::string& asked(std::size_t step) const { return spec_.algorithms[step]; }
  bool applies(std::size_t step) const { return applies_[step] != 0; }
  const BoundConv& conv(std::size_t step) const { return *convs_[step]; }

 private:
  ChainSpec spec_;
  std::unique_ptr<ConvFactory> factory_;
  std::vector<std::unique_ptr<BoundConv>> convs_;
  std::vector<char> applies_;
};

// Equal weights and inputs for all; each step has weights of its own.
std::vector<Chain> build_chains(const Network&, std::span<const ChainSpec>);

// The chains take turns, `rounds` times; each runs once untimed before its timed run, as a stream
// of frames would. seconds[chain][step][round].
using ChainTimes = std::vector<std::vector<std::vector<double>>>;
ChainTimes time_in_turns(std::span<Chain>, int rounds, TimeBy);

// Weights as He et al. initialise them, which keeps values within bounds from layer to layer.
Weights random_weights(const KernelSpec&, unsigned seed);
// A value as it comes out of ReLU.
Tensor random_input(const Shape&, unsigned seed);

}  // namespace sbcnn::bench
