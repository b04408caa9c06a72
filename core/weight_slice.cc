#include "core/weight_slice.h"

#include <algorithm>

#include "core/error.h"

namespace sbcnn {
namespace {

const Compute& compute_at(const Plan& plan, int step) {
  const auto* c = std::get_if<Compute>(&plan.steps[std::size_t(step)]);
  require(c != nullptr, "the step does not compute");
  return *c;
}

// Rank that adds the bias of a layer whose result is a sum over ranks: the first addend's.
bool adds_bias(const Plan& plan, const Compute& c, int rank) {
  const Layout& out = plan.buffers[std::size_t(c.output)].layout;
  if (!out.partial) {
    return true;
  }
  for (int r = 0; r < rank; ++r) {
    if (!out.held[std::size_t(r)].empty()) {
      return false;
    }
  }
  return true;
}

std::vector<float> pick(const Blob& from, const Channels& which) {
  std::vector<float> values;
  if (!from.empty()) {
    values.reserve(which.size());
    for (const int c : which) {
      values.push_back(from.data[std::size_t(c)]);
    }
  }
  return values;
}

// Counts what is read of a blob and, now and then, lets a mapped file's pages go: a slice of a
// large layer passes through memory without ever filling it.
class ReadingInPieces {
 public:
  explicit ReadingInPieces(const Blob& blob) : blob_(blob) {}
  std::span<const float> operator()(std::size_t begin, std::size_t count) {
    constexpr std::size_t kPiece = std::size_t{1} << 18;
    read_ += count;
    if (read_ > kPiece) {
      blob_.release_pages();
      read_ = count;
    }
    return blob_.data.subspan(begin, count);
  }

 private:
  const Blob& blob_;
  std::size_t read_ = 0;
};

std::vector<float> slice_conv(const Conv& conv, const Blob& weight, int in_channels,
                              const Channels& in, const Channels& out) {
  const int in_block = in_channels / conv.groups, out_block = conv.outputs / conv.groups;
  const std::size_t taps = std::size_t(conv.kernel.height) * std::size_t(conv.kernel.width);
  ReadingInPieces read(weight);
  std::vector<float> slice;
  slice.reserve(out.size() * std::size_t(in_block) * taps);
  for (const Block& b : conv_blocks(in, out, in_block, out_block)) {
    for (int o = b.outputs.begin; o < b.outputs.end; ++o) {
      const std::size_t size = std::size_t(in_block) * taps;
      const auto row = read(std::size_t(out[std::size_t(o)]) * size, size);
      for (int i = b.inputs.begin; i < b.inputs.end; ++i) {
        const std::size_t column = std::size_t(in[std::size_t(i)] % in_block);
        const auto w = row.subspan(column * taps, taps);
        slice.insert(slice.end(), w.begin(), w.end());
      }
    }
  }
  return slice;
}

std::vector<float> slice_dense(const Blob& weight, int in_channels, const Channels& in,
                               const Channels& out) {
  ReadingInPieces read(weight);
  std::vector<float> slice;
  slice.reserve(out.size() * in.size());
  for (const int o : out) {
    const auto row = read(std::size_t(o) * std::size_t(in_channels), std::size_t(in_channels));
    for (const int i : in) {
      slice.push_back(row[std::size_t(i)]);
    }
  }
  return slice;
}

}  // namespace

std::vector<Block> conv_blocks(const Channels& in, const Channels& out, int in_block,
                               int out_block) {
  const auto at = positions_of(in);
  std::vector<Block> blocks;
  for (int o = 0; o < int(out.size()); ++o) {
    const int group = out[std::size_t(o)] / out_block;
    int first = int(in.size());
    for (int c = group * in_block; c < (group + 1) * in_block; ++c) {
      const auto found = at.find(c);
      require(found != at.end(), "program: a convolution's input channel is not here");
      first = std::min(first, found->second);
    }
    const Range inputs{first, first + in_block};
    if (!blocks.empty() && blocks.back().inputs == inputs && blocks.back().outputs.end == o) {
      ++blocks.back().outputs.end;
    } else {
      blocks.push_back({inputs, {o, o + 1}});
    }
  }
  return blocks;
}

Weights slice_weights(const Model& model, const Plan& plan, int step, int rank) {
  const Compute& c = compute_at(plan, step);
  const Node& node = model.node(c.node);
  const Channels& in = plan.held(c.inputs[0], rank);
  const Channels& out = plan.held(c.output, rank);
  const int in_channels = model.shape(node.inputs[0]).channels;
  if (out.empty() || weight_shape(node.layer, model.shape(node.inputs[0])).weight == 0) {
    return {};
  }
  require(!node.weight.empty(), "slice_weights: the model has no weights");
  Weights w;
  if (const auto* conv = std::get_if<Conv>(&node.layer)) {
    w.weight = slice_conv(*conv, node.weight, in_channels, in, out);
  } else if (std::holds_alternative<Dense>(node.layer)) {
    w.weight = slice_dense(node.weight, in_channels, in, out);
  } else {
    w.weight = pick(node.weight, out);
  }
  if (adds_bias(plan, c, rank)) {
    w.bias = node.bias.empty() ? std::vector<float>(out.size(), 0.0f) : pick(node.bias, out);
  }
  return w;
}

WeightShape slice_shape(const Model& model, const Plan& plan, int step, int rank) {
  const Compute& c = compute_at(plan, step);
  const Node& node = model.node(c.node);
  const WeightShape whole = weight_shape(node.layer, model.shape(node.inputs[0]));
  const std::size_t out = plan.held(c.output, rank).size();
  if (whole.weight == 0 || out == 0) {
    return {};
  }
  const std::size_t all = std::size_t(model.shape(c.node + 1).channels);
  WeightShape s{whole.weight / all * out, adds_bias(plan, c, rank) ? out : 0};
  if (std::holds_alternative<Dense>(node.layer)) {
    s.weight = plan.held(c.inputs[0], rank).size() * out;
  }
  return s;
}

}  // namespace sbcnn
