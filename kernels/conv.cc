// Which algorithm computes a convolution.
#include <algorithm>
#include <limits>

#include "kernels/layers.h"

namespace sbcnn::kernels {
namespace {

std::unique_ptr<Kernel> make_with(ConvAlgorithm algorithm, const KernelSpec& spec,
                                  const Weights& weights, Context context) {
  switch (algorithm) {
    case ConvAlgorithm::direct:
      break;
    case ConvAlgorithm::winograd2:
      return make_winograd(2, spec, weights, context);
    case ConvAlgorithm::winograd4:
      return make_winograd(4, spec, weights, context);
    case ConvAlgorithm::depthwise:
      return make_depthwise(spec, weights, context);
  }
  return make_direct(spec, weights, context);
}

// Cycles that one call takes, by a model that only has to rank algorithms: arithmetic, or the
// weights' way from memory, whichever is longer, and the transforms.
double cost(ConvAlgorithm algorithm, const KernelSpec& spec, int lanes) {
  constexpr double kBytesPerCycle = 5;             // of weights beyond the second level cache
  constexpr double kCachedBytes = 1024 * 1024;
  const Shape& out = spec.output;
  const double read = channels_read(spec), channels = out.channels;
  const auto time = [&](double products, double weights) {
    const double arithmetic = products / (1.6 * lanes);
    const double bytes = weights * sizeof(float);
    return std::max(arithmetic, bytes > kCachedBytes ? bytes / kBytesPerCycle : 0) +
           bytes / 32;  // from the second level cache to the first
  };
  const double weights = 9 * read * channels;
  if (algorithm == ConvAlgorithm::direct) {
    return time(weights * double(out.pixels()), weights);
  }
  const int outputs = algorithm == ConvAlgorithm::winograd2 ? 2 : 4;
  const double frequencies = (outputs + 2) * (outputs + 2);
  const auto tiles_along = [&](int size) { return (size + outputs - 1) / outputs; };
  const double tiles = double(tiles_along(out.height)) * tiles_along(out.width);
  const double blocks = double(spec.blocks.size());
  const double transforms = frequencies * 4 * tiles * (read * blocks + channels) / lanes;
  // Too few tiles leave the micro-kernel short of independent sums.
  const double filled = std::max(tiles, 6.0);
  return transforms +
         time(frequencies * filled * read * channels, frequencies * read * channels);
}

ConvAlgorithm by_rule(const KernelSpec& spec, int lanes) {
  if (applies(ConvAlgorithm::depthwise, spec)) {
    return ConvAlgorithm::depthwise;
  }
  ConvAlgorithm best = ConvAlgorithm::direct;
  for (const ConvAlgorithm a : {ConvAlgorithm::winograd2, ConvAlgorithm::winograd4}) {
    if (applies(a, spec) && cost(a, spec, lanes) < cost(best, spec, lanes)) {
      best = a;
    }
  }
  return best;
}

}  // namespace

std::unique_ptr<Kernel> make_conv(const KernelSpec& spec, const Weights& weights, Context context,
                                  const ConvChoice& choice) {
  if (choice.forced && applies(*choice.forced, spec)) {
    return make_with(*choice.forced, spec, weights, context);
  }
  return make_with(by_rule(spec, context.routines.lanes), spec, weights, context);
}

KernelMemory conv_memory(const KernelSpec& spec, Context context, const ConvChoice& choice) {
  const ConvAlgorithm algorithm = choice.forced && applies(*choice.forced, spec)
                                      ? *choice.forced
                                      : by_rule(spec, context.routines.lanes);
  switch (algorithm) {
    case ConvAlgorithm::direct:
      break;
    case ConvAlgorithm::winograd2:
      return winograd_memory(2, spec, context);
    case ConvAlgorithm::winograd4:
      return winograd_memory(4, spec, context);
    case ConvAlgorithm::depthwise:
      return depthwise_memory(spec);
  }
  return direct_memory(spec, context);
}

}  // namespace sbcnn::kernels
