#include "bench/chain.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "bench/split.h"

namespace sbcnn::bench {
namespace {

double now(TimeBy by) {
  timespec t{};
  ::clock_gettime(by == TimeBy::thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

}  // namespace

void Chain::add(const PlacedConv& conv, const Weights& weights) {
  const std::size_t step = convs_.size();
  auto made = make_conv(*factory_, conv, weights, asked(step));
  applies_.push_back(made != nullptr);
  if (!made) {
    made = factory_->make(conv, weights, side().algorithms().front());
  }
  if (!made) {
    throw Error(Error::Code::unsupported, side().name() + " cannot compute " + describe(conv.spec));
  }
  made->write_input(random_input(conv.spec.inputs[0], unsigned(step)).view());
  convs_.push_back(std::move(made));
}

std::vector<double> Chain::run(TimeBy by) {
  std::vector<double> seconds(convs_.size());
  double before = now(by);
  for (std::size_t i = 0; i < convs_.size(); ++i) {
    convs_[i]->run();
    const double after = now(by);
    seconds[i] = after - before;
    before = after;
  }
  return seconds;
}

std::vector<Chain> build_chains(const Network& network, std::span<const ChainSpec> specs) {
  std::vector<Chain> chains;
  for (const ChainSpec& spec : specs) {
    chains.emplace_back(spec);
  }
  const std::vector<Place> places = place_values(network);
  unsigned seed = 0;
  for (const ConvStep& step : network.steps) {
    const PlacedConv conv{step.spec, places[std::size_t(step.input)],
                          places[std::size_t(step.output)]};
    const Weights weights = random_weights(step.spec, ++seed);
    for (Chain& chain : chains) {
      chain.add(conv, weights);
    }
  }
  return chains;
}

// The core has slept: until it is back at its speed, and caches hold what they hold in the middle
// of a stream of frames, times say nothing.
static void warm_up(Chain& chain, TimeBy by) {
  constexpr auto kLong = std::chrono::milliseconds(10);
  const auto begin = std::chrono::steady_clock::now();
  do {
    chain.run(by);
  } while (std::chrono::steady_clock::now() - begin < kLong);
}

ChainTimes time_in_turns(std::span<Chain> chains, int rounds, TimeBy by) {
  // The threads of whoever ran before may still spin in wait of more work.
  constexpr auto kCalm = std::chrono::milliseconds(20);
  ChainTimes times(chains.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t c = 0; c < chains.size(); ++c) {
      std::this_thread::sleep_for(kCalm);
      warm_up(chains[c], by);
      const std::vector<double> seconds = chains[c].run(by);
      times[c].resize(seconds.size());
      for (std::size_t step = 0; step < seconds.size(); ++step) {
        times[c][step].push_back(seconds[step]);
      }
    }
  }
  return times;
}

Weights random_weights(const KernelSpec& spec, unsigned seed) {
  const auto& conv = std::get<Conv>(spec.layer);
  const WeightShape shape = weight_shape(spec.layer, spec.inputs[0]);
  const bool linear = conv.activation.kind == Activation::Kind::none;
  const double inputs = double(shape.weight) / double(conv.outputs);
  const float bound = float(std::sqrt((linear ? 3 : 6) / inputs));  // variance: 1 or 2 / inputs
  std::mt19937 engine(seed);
  const auto uniform = [&] { return float(std::int32_t(engine())) * 0x1p-31f; };
  Weights weights{std::vector<float>(shape.weight), std::vector<float>(shape.bias)};
  for (float& w : weights.weight) {
    w = bound * uniform();
  }
  for (float& b : weights.bias) {
    b = 0.1f * uniform();
  }
  return weights;
}

Tensor random_input(const Shape& shape, unsigned seed) {
  Tensor tensor(shape);
  std::mt19937 engine(seed);
  for (float& x : tensor.view().flat()) {
    x = std::max(0.0f, float(std::int32_t(engine())) * 0x1p-30f);
  }
  return tensor;
}

}  // namespace sbcnn::bench
