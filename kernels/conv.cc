// Which algorithm computes a convolution.
#include <algorithm>
#include <string>
#include <vector>

#include "kernels/layers.h"

namespace sbcnn::kernels {
std::unique_ptr<ConvKernel> make_conv(ConvAlgorithm algorithm, const KernelSpec& spec,
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

namespace {

// Cycles that one call takes, by a model that only has to rank algorithms: arithmetic, or the
// weights' way from memory, whichever is longer, and the transforms.
double cost(ConvAlgorithm algorithm, const KernelSpec& spec, int lanes) {
  constexpr double kBytesPerCycle = 3.5;  // of weights beyond the second level cache
  constexpr double kCachedBytes = 1024 * 1024;
  const Shape& out = spec.output;
  const double read = channels_read(spec), channels = out.channels;
  const auto time = [&](double products, double weights) {
    const double arithmetic = products / (1.9 * lanes);
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
  const double transforms = frequencies * 7 * tiles * (read * blocks + channels) / lanes;
  // Too few tiles leave the micro-kernel short of independent sums.
  const double filled = std::max(tiles, 6.0);
  return transforms + time(frequencies * filled * read * channels, frequencies * read * channels);
}

constexpr ConvAlgorithm kWays[] = {ConvAlgorithm::direct, ConvAlgorithm::winograd2,
                                   ConvAlgorithm::winograd4};

ConvAlgorithm by_rule(const KernelSpec& spec, int lanes) {
  if (applies(ConvAlgorithm::depthwise, spec)) {
    return ConvAlgorithm::depthwise;
  }
  ConvAlgorithm best = ConvAlgorithm::direct;
  for (const ConvAlgorithm a : kWays) {
    if (applies(a, spec) && cost(a, spec, lanes) < cost(best, spec, lanes)) {
      best = a;
    }
  }
  return best;
}

// What is worth measuring: all that the rules do not hold for hopeless.
std::vector<ConvAlgorithm> candidates(const KernelSpec& spec, int lanes) {
  const ConvAlgorithm rule = by_rule(spec, lanes);
  std::vector<ConvAlgorithm> all{rule};
  for (const ConvAlgorithm a : kWays) {
    constexpr double kHopeless = 2;
    if (a != rule && rule != ConvAlgorithm::depthwise && applies(a, spec) &&
        cost(a, spec, lanes) < kHopeless * cost(rule, spec, lanes)) {
      all.push_back(a);
    }
  }
  return all;
}

std::string text(const Shape& s) {
  return std::to_string(s.height) + "x" + std::to_string(s.width) + "x" +
         std::to_string(s.channels);
}

// Everything that the speed of a Conv hangs on, but for the machine.
std::string tuning_key(const KernelSpec& spec, Context context, Isa isa) {
  const Conv& c = std::get<Conv>(spec.layer);
  std::string key(name_of(isa));
  key += " threads " + std::to_string(context.pool.threads()) + " " + text(spec.inputs[0]) + " " +
         text(spec.output) + " pads";
  for (const int pad : {c.pads.top, c.pads.left, c.pads.bottom, c.pads.right}) {
    key += " " + std::to_string(pad);
  }
  key += " blocks";
  for (const Block& b : spec.blocks) {
    key += " " + std::to_string(b.inputs.size()) + ">" + std::to_string(b.outputs.size());
  }
  key += " activation " + std::to_string(int(c.activation.kind));
  return key + (spec.inputs.size() == 2 ? " residual" : "") +
         (spec.pieces.empty() ? "" : " pieces " + std::to_string(spec.pieces.size()));
}

// The choice as far as it is known without measuring.
std::optional<ConvAlgorithm> known(const KernelSpec& spec, Context context,
                                   const ConvChoice& choice) {
  if (choice.forced && applies(*choice.forced, spec)) {
    return choice.forced;
  }
  if (choice.tuning == nullptr) {
    return by_rule(spec, context.routines.lanes);
  }
  const auto found = choice.tuning->find(tuning_key(spec, context, choice.isa));
  return found && applies(*found, spec) ? found : std::nullopt;
}

}  // namespace

std::unique_ptr<Kernel> make_conv(const KernelSpec& spec, const Weights& weights, Context context,
                                  const ConvChoice& choice) {
  if (const auto algorithm = known(spec, context, choice)) {
    return make_conv(*algorithm, spec, weights, context);
  }
  const std::vector<ConvAlgorithm> all = candidates(spec, context.routines.lanes);
  if (all.size() == 1) {
    return make_conv(all.front(), spec, weights, context);
  }
  ConvAlgorithm fastest = all.front();
  auto kernel = make_fastest(all, spec, weights, context, fastest);
  choice.tuning->record(tuning_key(spec, context, choice.isa), fastest);
  return kernel;
}

KernelMemory conv_memory(const KernelSpec& spec, Context context, const ConvChoice& choice) {
  switch (known(spec, context, choice).value_or(by_rule(spec, context.routines.lanes))) {
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
