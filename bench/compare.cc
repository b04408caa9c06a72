#include "bench/compare.h"

#include <algorithm>
#include <functional>

#include "bench/check.h"
#include "bench/split.h"

namespace sbcnn::bench {
namespace {

// The kinds of layers of a network, and the kind of each step.
struct Kinds {
  std::vector<LayerResult> layers;
  std::vector<std::size_t> of;  // by step
};

double bytes_of(const KernelSpec& spec) {
  const WeightShape weights = weight_shape(spec.layer, spec.inputs[0]);
  return double(sizeof(float)) *
         double(weights.weight + weights.bias + spec.inputs[0].size() + spec.output.size());
}

Kinds kinds_of(const Network& network) {
  Kinds kinds;
  for (const ConvStep& step : network.steps) {
    const std::string name = describe(step.spec);
    auto found = std::ranges::find(kinds.layers, name, &LayerResult::layer);
    if (found == kinds.layers.end()) {
      kinds.layers.push_back({name, 0, 0, 0, {}, {}});
      found = kinds.layers.end() - 1;
    }
    ++found->count;
    found->flops += flops(step.spec);
    found->bytes += bytes_of(step.spec);
    kinds.of.push_back(std::size_t(found - kinds.layers.begin()));
  }
  return kinds;
}

std::vector<double> sum(std::vector<double> a, const std::vector<double>& b) {
  a.resize(b.size());
  std::ranges::transform(a, b, a.begin(), std::plus());
  return a;
}

using StepTimes = std::vector<std::vector<double>>;  // [step][round]

// The times of a chain by kind of layer, named by what computed it.
std::vector<Timed> by_kind(const Chain& chain, const StepTimes& steps, const Kinds& kinds) {
  std::vector<Timed> timed(kinds.layers.size());
  for (std::size_t step = 0; step < steps.size(); ++step) {
    Timed& t = timed[kinds.of[step]];
    t.side = chain.side().name();
    t.algorithm = chain.conv(step).algorithm();
    t.seconds = sum(std::move(t.seconds), steps[step]);
  }
  return timed;
}

// Every algorithm of every side, throughout the network.
std::vector<ChainSpec> all_algorithms(const Network& network, const Side& ours,
                                      const Sides& peers) {
  const auto grouped = [](const ConvStep& s) { return s.spec.blocks.size() > 1; };
  const bool any_groups = std::ranges::any_of(network.steps, grouped);
  std::vector<ChainSpec> specs;
  const auto add = [&](const Side& side, const std::string& algorithm) {
    specs.push_back({&side, std::vector<std::string>(network.steps.size(), algorithm)});
  };
  for (const std::string& a : ours.algorithms()) {
    add(ours, a);
  }
  for (const auto& peer : peers) {
    for (const std::string& a : peer->algorithms()) {
      add(*peer, a);
      if (any_groups) {
        add(*peer, split(a));
      }
    }
  }
  return specs;
}

void time_candidates(const Network& network, const Side& ours, const Sides& peers,
                     const CompareOptions& options, Kinds& kinds) {
  const std::vector<ChainSpec> specs = all_algorithms(network, ours, peers);
  std::vector<Chain> chains = build_chains(network, specs);
  // They are many, and only have to be ranked.
  const int rounds = std::max(std::min(3, options.rounds), options.rounds / 3);
  const ChainTimes times = time_in_turns(chains, rounds, options.time_by);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const std::vector<Timed> timed = by_kind(chains[c], times[c], kinds);
    for (std::size_t step = 0; step < kinds.of.size(); ++step) {
      std::vector<Timed>& candidates = kinds.layers[kinds.of[step]].candidates;
      const bool added = !candidates.empty() && candidates.back().side == chains[c].side().name() &&
                         candidates.back().algorithm == chains[c].asked(step);
      if (chains[c].applies(step) && !added) {
        candidates.push_back(timed[kinds.of[step]]);
        candidates.back().algorithm = chains[c].asked(step);
      }
    }
  }
}

// What the side computes each step with in the comparison.
ChainSpec best_of(const Side& side, const Kinds& kinds) {
  ChainSpec spec{&side, {}};
  for (const std::size_t kind : kinds.of) {
    const Timed* best = nullptr;
    for (const Timed& t : kinds.layers[kind].candidates) {
      if (t.side == side.name() && (best == nullptr || t.median() < best->median())) {
        best = &t;
      }
    }
    spec.algorithms.push_back(best->algorithm);
  }
  return spec;
}

}  // namespace

double Timed::quantile(double p) const {
  std::vector<double> sorted = seconds;
  std::ranges::sort(sorted);
  return sorted[std::size_t(p * double(sorted.size() - 1) + 0.5)];
}

const Timed* best_peer(const std::vector<Timed>& sides) {
  const Timed* best = nullptr;
  for (std::size_t i = 1; i < sides.size(); ++i) {
    if (best == nullptr || sides[i].median() < best->median()) {
      best = &sides[i];
    }
  }
  return best;
}

NetworkResult compare(const Network& network, const Side& ours, const Sides& peers,
                      const CompareOptions& options) {
  NetworkResult result{network.name, network.family, {}, {}, {}};
  if (options.check) {
    std::vector<const Side*> all{&ours};
    for (const auto& peer : peers) {
      all.push_back(peer.get());
    }
    result.largest_error = check(network, all);
  }
  Kinds kinds = kinds_of(network);
  time_candidates(network, ours, peers, options, kinds);
  const std::string own =
      options.our_algorithm.empty() ? ours.algorithms().front() : options.our_algorithm;
  std::vector<ChainSpec> specs{{&ours, std::vector<std::string>(network.steps.size(), own)}};
  for (const auto& peer : peers) {
    specs.push_back(best_of(*peer, kinds));
  }
  std::vector<Chain> chains = build_chains(network, specs);
  const ChainTimes times = time_in_turns(chains, options.rounds, options.time_by);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    Timed total{chains[c].side().name(), "", {}};
    for (const std::vector<double>& step : times[c]) {
      total.seconds = sum(std::move(total.seconds), step);
    }
    result.sides.push_back(std::move(total));
    const std::vector<Timed> timed = by_kind(chains[c], times[c], kinds);
    for (std::size_t k = 0; k < timed.size(); ++k) {
      kinds.layers[k].best.push_back(timed[k]);
    }
  }
  result.layers = std::move(kinds.layers);
  return result;
}

}  // namespace sbcnn::bench
