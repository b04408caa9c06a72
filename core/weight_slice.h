// What one rank has of a layer: blocks of channels and the weights that belong to them, cut out of
// the whole.
//
// Pure functions of (model, plan, step, rank); a slice is in the rank's storage order
// (core/layout.h). Rank 0 cuts slices for everybody out of the model that it read.
#pragma once

#include <vector>

#include "core/plan.h"
#include "core/ports.h"

namespace sbcnn {

// The part of a node's weights that `rank` needs. `model` has weights.
Weights slice_weights(const Model& model, const Plan&, int step, int rank);
// Its size, from a skeleton.
WeightShape slice_shape(const Model&, const Plan&, int step, int rank);

// For each group of a convolution whose outputs lie on a rank: where its inputs and its outputs
// stand among the channels that the rank holds, `in` and `out`. Groups have in_block inputs and
// out_block outputs.
std::vector<Block> conv_blocks(const Channels& in, const Channels& out, int in_block,
                               int out_block);

}  // namespace sbcnn
