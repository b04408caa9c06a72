// Rounding errors of Winograd convolution: bounds, on every instruction set of this machine.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/fast.h"
#include "kernels/reference.h"
#include "test/kernels/support.h"

namespace {

using namespace sbcnn;
using namespace sbcnn::test;
using kernels::ConvAlgorithm;

struct Errors {
  double largest = 0, rms = 0;  // relative to the largest output, and to the outputs' rms
};

// A layer as it stands in a trained network: inputs behind a ReLU, weights that keep the variance.
Errors errors_of(ConvAlgorithm algorithm, kernels::Isa isa, int channels, int size) {
  Conv conv;
  conv.outputs = channels;
  conv.kernel = {3, 3};
  conv.pads = {1, 1, 1, 1};
  const Shape shape{size, size, channels};
  const KernelSpec spec{conv, {shape}, shape, {{{0, channels}, {0, channels}}}};
  std::mt19937 engine(unsigned(channels) * 31 + unsigned(size));
  std::normal_distribution<float> normal;
  Tensor input(shape, {1, 1, 1, 1}), expected(shape), output(shape);
  for (int y = 0; y < size; ++y) {
    for (int i = 0; i < size * channels; ++i) {
      input.view().at(y, 0)[i] = std::max(0.0f, normal(engine));
    }
  }
  Weights weights{std::vector<float>(std::size_t(channels) * std::size_t(channels) * 9), {}};
  for (float& w : weights.weight) {
    w = normal(engine) * std::sqrt(2.0f / (9 * float(channels)));
  }
  const View<const float> views[] = {std::as_const(input).view()};
  kernels::make_reference_kernels()->make(spec, weights)->run(views, expected.view());
  kernels::KernelOptions options{1, isa};
  options.algorithm = algorithm;
  const auto factory = kernels::make_kernels(options);
  const auto kernel = factory->make(spec, weights);
  CHECK(kernel->method() == name_of(algorithm));
  kernel->run(views, output.view());

  double largest = 0, worst = 0, squares = 0, error_squares = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const double want = double(expected.view().flat()[i]);
    const double error = double(output.view().flat()[i]) - want;
    largest = std::max(largest, std::abs(want));
    worst = std::max(worst, std::abs(error));
    squares += want * want;
    error_squares += error * error;
  }
  return {worst / largest, std::sqrt(error_squares / squares)};
}

struct Case {
  int channels, size;
  double direct, winograd2, winograd4;  // bounds of the largest error
};

// Twice what was measured. (Sums of F(2x2) are shorter than those of the direct convolution.)
constexpr Case kCases[] = {{24, 56, 0.9e-6, 0.5e-6, 2.2e-6},
                           {64, 28, 1.6e-6, 0.7e-6, 3.4e-6},
                           {96, 14, 1.5e-6, 0.8e-6, 2.7e-6},
                           {256, 14, 2.6e-6, 1.0e-6, 4.4e-6},
                           {512, 7, 3.8e-6, 1.8e-6, 6.6e-6}};

TEST_CASE("Winograd: largest error relative to the largest output") {
  for (const kernels::Isa isa : kernels::available_isas()) {
    for (const Case& c : kCases) {
      const Errors direct = errors_of(ConvAlgorithm::direct, isa, c.channels, c.size);
      const Errors two = errors_of(ConvAlgorithm::winograd2, isa, c.channels, c.size);
      const Errors four = errors_of(ConvAlgorithm::winograd4, isa, c.channels, c.size);
      INFO(name_of(isa), ", ", c.channels, " channels at ", c.size, ": direct ", direct.largest,
           " ", direct.rms, ", F(2x2) ", two.largest, " ", two.rms, ", F(4x4) ", four.largest, " ",
           four.rms);
      CHECK(direct.largest <= c.direct);
      CHECK(two.largest <= c.winograd2);
      CHECK(four.largest <= c.winograd4);
      CHECK(direct.largest > 0);  // it is an error that is measured, not a comparison with itself
      CHECK(four.rms <= 3 * direct.rms);
    }
  }
}

}  // namespace
