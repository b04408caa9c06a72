#include "bench/check.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <utility>

#include "bench/chain.h"
#include "bench/split.h"
#include "kernels/reference.h"

namespace sbcnn::bench {
namespace {

constexpr double kTolerance = 1e-4;

struct Case {
  PlacedConv conv;
  Weights weights;
  Tensor input, expected;
};

Case make_case(const KernelSpec& spec) {
  Case c{{spec, {0, 0, required_border(spec.layer, spec.inputs[0])}, {1, 0, {}}},
         random_weights(spec, 1),
         random_input(spec.inputs[0], 2),
         Tensor(spec.output)};
  const auto factory = kernels::make_reference_kernels();
  const View<const float> input = std::as_const(c.input).view();
  factory->make(spec, c.weights)->run({&input, 1}, c.expected.view());
  return c;
}

double relative_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.view().flat(), y = b.view().flat();
  double most = 0, largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // A NaN must not pass for equal.
    const double difference = std::abs(double(x[i]) - double(y[i]));
    most = difference <= most ? most : difference;
    largest = std::max(largest, std::abs(double(y[i])));
  }
  return most / largest;
}

double check(const Case& c, const Side& side, const std::string& algorithm) {
  const auto factory = side.open();
  const auto conv = make_conv(*factory, c.conv, c.weights, algorithm);
  if (!conv) {
    return 0;
  }
  Tensor output(c.conv.spec.output);
  conv->write_input(c.input.view());
  conv->run();
  conv->read_output(output.view());
  const double difference = relative_difference(output, c.expected);
  if (!(difference <= kTolerance)) {
    throw std::runtime_error(side.name() + ", " + algorithm + ": " + describe(c.conv.spec) +
                             " differs from the reference by " + std::to_string(difference));
  }
  return difference;
}

}  // namespace

std::map<std::string, double> check(const Network& network, std::span<const Side* const> sides) {
  std::map<std::string, double> worst;
  std::set<std::string> seen;
  for (const ConvStep& step : network.steps) {
    if (!seen.insert(describe(step.spec)).second) {
      continue;
    }
    const Case c = make_case(step.spec);
    for (const Side* side : sides) {
      double& most = worst[side->name()];
      for (const std::string& algorithm : side->algorithms()) {
        most = std::max(most, check(c, *side, algorithm));
        most = std::max(most, check(c, *side, split(algorithm)));
      }
    }
  }
  return worst;
}

}  // namespace sbcnn::bench
