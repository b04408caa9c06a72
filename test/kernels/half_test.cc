// Convolution in half floats (ARMv8.2): how exact it is, what it takes, where it is used. The grid
// of shapes is fast_test.cc's.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "kernels/fast.h"
#include "kernels/reference.h"
#include "test/kernels/support.h"

namespace {

using namespace sbcnn;
using namespace sbcnn::test;
using kernels::ConvAlgorithm;
using kernels::Precision;

// The best instruction set that has them.
std::optional<kernels::Isa> isa_with_halves() {
  std::optional<kernels::Isa> best;
  for (const kernels::Isa isa : kernels::available_isas()) {
    best = supports(isa, Precision::fp16) ? isa : best;
  }
  if (!best) {
    std::puts("SKIP: convolution in half floats: this machine multiplies none");
  }
  return best;
}

// Factories for direct convolution in half floats, by threads.
std::vector<std::unique_ptr<KernelFactory>> half_factories() {
  std::vector<std::unique_ptr<KernelFactory>> factories;
  if (const auto isa = isa_with_halves()) {
    for (const int threads : {1, 3}) {
      kernels::KernelOptions options{threads, *isa, Precision::fp16};
      options.algorithm = ConvAlgorithm::direct;
      factories.push_back(kernels::make_kernels(options));
    }
  }
  return factories;
}

// A convolution 3x3 over `channels`, whose numbers are multiplied by `input_scale` and
// `weight_scale`.
struct HalfLayer {
  KernelSpec spec;
  Weights weights;
  Tensor input;

  HalfLayer(int channels, float input_scale, float weight_scale) {
    const Shape in{6, 7, channels}, out{6, 7, 19};
    Conv conv;
    conv.outputs = out.channels;
    conv.kernel = {3, 3};
    conv.pads = {1, 1, 1, 1};
    spec = {conv, {in}, out, {{{0, channels}, {0, out.channels}}}};
    Numbers numbers(22);
    weights = {numbers.many(std::size_t(out.channels * channels * 9)), numbers.many(19)};
    input = Tensor(in, conv.pads);
    fill(input.view(), numbers, input_scale);
    for (float& w : weights.weight) {
      w *= weight_scale;
    }
  }
  void make_positive() {
    make_absolute(weights.weight);
    for (int y = 0; y < input.shape().height; ++y) {
      float* row = input.view().at(y, 0);
      std::transform(row, row + input.shape().width * input.shape().channels, row,
                     [](float x) { return std::abs(x); });
    }
  }
  std::vector<float> run(KernelFactory& factory) {
    Tensor output(spec.output);
    const View<const float> views[] = {std::as_const(input).view()};
    factory.make(spec, weights)->run(views, output.view());
    const auto flat = output.view().flat();
    return {flat.begin(), flat.end()};
  }
};

// Errors of an output, relative to the sum of its addends' absolute values.
struct Errors {
  double mean_square = 0, largest = 0;

  Errors(const std::vector<float>& got, const std::vector<float>& want,
         const std::vector<float>& magnitude) {
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double error = std::abs(double(got[i]) - want[i]) / magnitude[i];
      mean_square += error * error / double(got.size());
      largest = std::max(largest, error);
    }
  }
};

// Channels are 27, 576 and 2700 products for each output.
TEST_CASE("half floats: long sums are as exact as short ones, whatever the numbers' size") {
  const auto reference = kernels::make_reference_kernels();
  for (auto& factory : half_factories()) {
    for (const bool positive : {false, true}) {
      for (const int channels : {3, 64, 300}) {
        for (const float input_scale : {1e-2f, 1.0f, 1e4f}) {
          for (const float weight_scale : {1e-30f, 1.0f, 1e30f}) {
            HalfLayer layer(channels, input_scale, weight_scale);
            layer.weights.bias.clear();
            if (positive) {
              layer.make_positive();
            }
            const std::vector<float> got = layer.run(*factory), want = layer.run(*reference);
            layer.make_positive();
            const Errors errors(got, want, layer.run(*reference));
            INFO(channels, " channels, inputs ", input_scale, ", weights ", weight_scale);
            CHECK(std::sqrt(errors.mean_square) < (channels < 64 ? 0x1p-10 : 0x1p-11));
            CHECK(errors.largest < 0x1p-8);
          }
        }
      }
    }
  }
}

TEST_CASE("half floats: numbers beyond their range never become NaN") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (auto& factory : half_factories()) {
    for (const float input_scale : {1e5f, 1e38f, infinity}) {
      for (const float weight_scale : {1.0f, 1e5f, 1e30f}) {
        HalfLayer layer(70, input_scale, weight_scale);
        CHECK(std::ranges::none_of(layer.run(*factory), [](float y) { return std::isnan(y); }));
      }
    }
    HalfLayer layer(8, 1, 1);
    layer.input.view().at(2, 2)[3] = std::nanf("");
    CHECK(std::ranges::count_if(layer.run(*factory), [](float y) { return std::isnan(y); }) ==
          9 * 19);
    layer.input.view().at(2, 2)[3] = 1e9f;  // as the largest half
    const std::vector<float> beyond = layer.run(*factory);
    layer.input.view().at(2, 2)[3] = 65504;
    CHECK(beyond == layer.run(*factory));
  }
}

TEST_CASE("half floats take half the weights' memory, and scratch for the inputs") {
  const HalfLayer layer(64, 1, 1);
  for (auto& factory : half_factories()) {
    const KernelMemory half = factory->memory(layer.spec);
    const std::size_t outputs = 24, weights = 9 * 64 * outputs;  // 19, filled up to whole vectors
    CHECK(half.weights == 2 * weights + 2 * 4 * outputs);        // weights; bias and scale
    CHECK(half.scratch == 2 * 8 * 9 * 64);                       // with the border
  }
}

TEST_CASE("half floats are what direct convolutions multiply, and no others") {
  const auto isa = isa_with_halves();
  if (!isa) {
    return;
  }
  const HalfLayer layer(16, 1, 1);
  kernels::KernelOptions options{1, *isa, Precision::fp16};
  for (const auto& [algorithm, method] : {std::pair{ConvAlgorithm::direct, "direct fp16"},
                                          std::pair{ConvAlgorithm::winograd2, "winograd2"},
                                          std::pair{ConvAlgorithm::winograd4, "winograd4"}}) {
    options.algorithm = algorithm;
    const auto factory = kernels::make_kernels(options);
    CHECK(factory->make(layer.spec, layer.weights)->method() == method);
  }
}

TEST_CASE("half floats: choices of algorithms are kept apart from those for floats") {
  for (const kernels::Isa isa : kernels::available_isas()) {
    kernels::Tuning tuning;
    HalfLayer layer(64, 1, 1);
    std::size_t precisions = 0;
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      if (supports(isa, precision)) {
        layer.run(*kernels::make_kernels({1, isa, precision, {}, &tuning}));
        CHECK(tuning.size() == ++precisions);
      } else {
        CHECK_THROWS_AS(kernels::make_kernels({1, isa, precision}), ContractViolation);
      }
    }
  }
}

}  // namespace
