// Runs a model over ranks that are threads of this process.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/pipeline.h"
#include "net/transport.h"

namespace sbcnn::test {

struct WorldOptions {
  int in_flight = 2;
  int narrowest_piece = kNarrowestPiece;  // see make_program
  // Each rank's kernels; the reference's when empty.
  std::function<std::unique_ptr<KernelFactory>()> kernels = {};
  // How rank r joins; an in-process hub when empty.
  std::function<std::unique_ptr<net::Transport>(int rank)> join = {};
};

// Outputs of `frames` inputs (H x W x C each), in order. Throws what rank 0 threw, or else the
// first rank that failed.
std::vector<std::vector<float>> run_world(const Model&, const Cluster&,
                                          const std::vector<std::vector<float>>& inputs,
                                          const WorldOptions& = {});

// Repeatable noise in [-1, 1).
std::vector<float> noise(std::size_t count, unsigned seed);

}  // namespace sbcnn::test
