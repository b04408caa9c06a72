// Times one network on all sides.
//
// First every algorithm of every side runs the whole network, all in turns. Then each library gets,
// for each layer, the algorithm that was fastest there, we what our kernels choose by themselves,
// and these run in turns once more: the figures that are compared come from there.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/chain.h"
#include "bench/side.h"

namespace sbcnn::bench {

// Seconds of all layers of one kind, or of the network, by round.
struct Timed {
  std::string side, algorithm;
  std::vector<double> seconds;

  double quantile(double p) const;  // 0 <= p <= 1
  double median() const { return quantile(0.5); }
  double least() const { return quantile(0); }
};

// Equal layers of a network together.
struct LayerResult {
  std::string layer;
  int count = 0;
  double flops = 0;               // all of them
  double bytes = 0;               // weights, inputs and outputs, each once
  std::vector<Timed> candidates;  // every algorithm of every side that computes the layer
  std::vector<Timed> best;        // one a side, ours first
};

struct NetworkResult {
  std::string name, family;
  std::vector<LayerResult> layers;
  std::vector<Timed> sides;                     // one a side, ours first
  std::map<std::string, double> largest_error;  // by side; empty if not checked
};

// The fastest but the first; null if there is no other.
const Timed* best_peer(const std::vector<Timed>&);

struct CompareOptions {
  int rounds = 21;
  TimeBy time_by = TimeBy::wall;
  std::string our_algorithm;  // empty: what our kernels choose
  bool check = true;
};
NetworkResult compare(const Network&, const Side& ours, const Sides& peers, const CompareOptions&);

}  // namespace sbcnn::bench
