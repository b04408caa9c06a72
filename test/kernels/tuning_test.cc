#include "kernels/tuning.h"

#include <doctest/doctest.h>

#include "kernels/fast.h"
#include "test/kernels/support.h"

namespace {

using namespace sbcnn;
using namespace sbcnn::test;
using kernels::ConvAlgorithm;
using kernels::Tuning;

TEST_CASE("Tuning: text and back") {
  Tuning tuning;
  CHECK_FALSE(tuning.changed());
  tuning.record("avx2 threads 1 some layer", ConvAlgorithm::winograd4);
  tuning.record("another", ConvAlgorithm::direct);
  tuning.record("another", ConvAlgorithm::winograd2);
  CHECK(tuning.changed());
  Tuning copy;
  copy.decode(tuning.encode());
  CHECK_FALSE(copy.changed());
  CHECK(copy.size() == 2);
  CHECK(copy.find("another") == ConvAlgorithm::winograd2);
  CHECK(copy.find("avx2 threads 1 some layer") == ConvAlgorithm::winograd4);
  CHECK_FALSE(copy.find("avx2").has_value());
}

TEST_CASE("Tuning: lines that make no sense are left out") {
  Tuning tuning;
  tuning.decode("\n \nwinograd9 layer\ndirect\ndirect \n direct x\nwinograd2 good one\ndirect cut");
  CHECK(tuning.size() == 2);
  CHECK(tuning.find("good one") == ConvAlgorithm::winograd2);
  CHECK(tuning.find("cut") == ConvAlgorithm::direct);
}

KernelSpec layer(int channels, int size, bool residual) {
  Conv conv;
  conv.outputs = channels;
  conv.kernel = {3, 3};
  conv.pads = {1, 1, 1, 1};
  const Shape shape{size, size, channels};
  KernelSpec spec{conv, {shape}, shape, {{{0, channels}, {0, channels}}}};
  if (residual) {
    spec.inputs.push_back(shape);
  }
  return spec;
}

TEST_CASE("measured choices: made once, kept, obeyed") {
  Numbers numbers(1);
  Tuning tuning;
  kernels::KernelOptions options;
  options.tuning = &tuning;
  const auto factory = kernels::make_kernels(options);
  const Weights weights{numbers.many(16 * 16 * 9), {}};
  const KernelSpec spec = layer(16, 16, false);
  const auto first = factory->make(spec, weights);
  CHECK(tuning.size() == 1);
  CHECK(tuning.changed());
  CHECK(tuning.encode().starts_with(std::string(first->method()) + " "));
  CHECK(factory->make(spec, weights)->method() == first->method());
  CHECK(tuning.size() == 1);
  factory->make(layer(16, 16, true), weights);  // another layer for all that it costs
  CHECK(tuning.size() == 2);

  for (const ConvAlgorithm wanted : {ConvAlgorithm::winograd2, ConvAlgorithm::direct}) {
    Tuning told;
    const std::string key = tuning.encode().substr(tuning.encode().find(' ') + 1);
    told.record(key.substr(0, key.find('\n')), wanted);
    told.record(key.substr(0, key.find('\n')) + " residual", wanted);
    options.tuning = &told;
    CHECK(kernels::make_kernels(options)->make(spec, weights)->method() == name_of(wanted));
  }
}

TEST_CASE(
    "measured choices: a layer with one way is not measured, a choice that cannot be is not "
    "obeyed") {
  Numbers numbers(2);
  Tuning tuning;
  kernels::KernelOptions options;
  options.tuning = &tuning;
  KernelSpec spec = layer(8, 5, false);
  std::get<Conv>(spec.layer).stride = {2, 2};
  spec.output = {3, 3, 8};
  const auto factory = kernels::make_kernels(options);
  CHECK(factory->make(spec, {numbers.many(8 * 8 * 9), {}})->method() == "direct");
  CHECK(tuning.size() == 0);
}

TEST_CASE("memory: what a kernel will take is what it takes") {
  Numbers numbers(3);
  for (const ConvAlgorithm algorithm :
       {ConvAlgorithm::direct, ConvAlgorithm::winograd2, ConvAlgorithm::winograd4}) {
    kernels::KernelOptions options;
    options.algorithm = algorithm;
    const auto factory = kernels::make_kernels(options);
    const KernelSpec spec = layer(32, 14, false);
    const KernelMemory memory = factory->memory(spec);
    const std::size_t plain = 32 * 32 * 9 * sizeof(float);
    const double factor = algorithm == ConvAlgorithm::direct      ? 1
                          : algorithm == ConvAlgorithm::winograd2 ? 16.0 / 9
                                                                  : 4;
    CHECK(double(memory.weights) >= factor * double(plain));
    CHECK(double(memory.weights) <= factor * double(plain) + 4096);
    CHECK((memory.scratch > 0) == (algorithm != ConvAlgorithm::direct));
  }
}

}  // namespace
