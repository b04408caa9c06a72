// The port to what is compared: our kernels and other libraries, a "side" each.
//
// A side gets every convolution with its weights ahead of time and may lay them out as it likes;
// then the convolutions of one network run in order, many times. One thread at a time uses a side.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/networks.h"
#include "core/ports.h"

namespace sbcnn::bench {

struct SideOptions {
  int threads = 1;
  std::string isa;  // the best that a side may use, as kernels::name_of spells it
};

// A convolution of `spec` that lies among a network's buffers.
struct PlacedConv {
  KernelSpec spec;
  Place input, output;
};

// A convolution that is ready to run: it holds its weights, and buffers in the side's own layout.
class BoundConv {
 public:
  virtual ~BoundConv() = default;
  virtual void run() = 0;
  virtual std::string algorithm() const = 0;  // what it computes with
  virtual void write_input(View<const float>) = 0;
  virtual void read_output(View<float>) = 0;
};

// Makes the convolutions of one network, which share buffers: those of equal `Place`.
class ConvFactory {
 public:
  virtual ~ConvFactory() = default;
  // Null if `algorithm` cannot compute the layer. The factory outlives what it made.
  virtual std::unique_ptr<BoundConv> make(const PlacedConv&, const Weights&,
                                          const std::string& algorithm) = 0;
};

class Side {
 public:
  virtual ~Side() = default;
  virtual std::string name() const = 0;
  // The first computes every layer.
  virtual std::vector<std::string> algorithms() const = 0;
  virtual std::unique_ptr<ConvFactory> open() const = 0;
};

using Sides = std::vector<std::unique_ptr<Side>>;

// Our kernels. Algorithms: "chosen", which is what a user gets, and each of kernels::ConvAlgorithm.
std::unique_ptr<Side> make_ours(const SideOptions&);
// Null where the library cannot be held to the options.
std::unique_ptr<Side> make_onednn(const SideOptions&);
std::unique_ptr<Side> make_xnnpack(const SideOptions&);

// The other libraries that this program was built with; the rest is named in `missing`, with why.
Sides make_peers(const SideOptions&, std::vector<std::string>& missing);

}  // namespace sbcnn::bench
