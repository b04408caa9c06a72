// What a KernelSpec promises, checked once when a kernel is made, so that no kernel tests it
// again while it runs.
#pragma once

#include "core/ports.h"

namespace sbcnn::kernels {

using Inputs = std::span<const View<const float>>;
using Outputs = std::span<const View<float>>;  // by piece

// Throws ContractViolation where the numbers of the layer, its shapes, blocks and weights do not
// fit together, and for ChannelShuffle, which a plan turns into a renaming of channels.
void check(const KernelSpec&, const Weights&);

// Input channels that one output channel of a Conv reads.
int channels_read(const KernelSpec&);

// The pieces of the output's channels: those of the spec, or one.
std::vector<Range> pieces_of(const KernelSpec&);

// Elements of weight and bias that `make` is given.
WeightShape weights_of(const KernelSpec&);

// Whether the second input of an Add or Mul is 1 x 1 x C and applies to every pixel.
bool broadcasts(const KernelSpec&);

// The taps of a window that lie inside an edge of `size`: first, first + 1, ... < last.
// `begin` is where tap 0 lies, and may be negative.
struct Taps {
  int first = 0, last = 0;
};
Taps taps_inside(int begin, int dilation, int kernel, int size);

// Splits `window` for one output pixel of an average: taps inside the input, and how many taps
// the mean divides by (0 where there is none).
struct AverageTaps {
  Taps rows, columns;
  int divisor = 0;
};
AverageTaps average_taps(const AveragePool&, const Shape& input, int y, int x);

}  // namespace sbcnn::kernels
