#include "kernels/spec.h"

#include <algorithm>

namespace sbcnn::kernels {
namespace {

bool inside(const Range& r, int size) {
  return 0 <= r.begin && r.begin <= r.end && r.end <= size;
}

void check_bias(const KernelSpec& spec, const Weights& weights) {
  require(weights.bias.empty() || weights.bias.size() == std::size_t(spec.output.channels),
          "KernelSpec: bias does not fit the output's channels");
}

void check_conv(const KernelSpec& spec, const Weights& weights) {
  const Conv& conv = std::get<Conv>(spec.layer);
  const std::size_t outputs = std::size_t(spec.output.channels);
  require(spec.inputs.size() == 1 || (spec.inputs.size() == 2 && spec.inputs[1] == spec.output),
          "KernelSpec: Conv wants one input, or a second one of the output's shape");
  require(!spec.blocks.empty(), "KernelSpec: Conv without blocks");
  std::vector<int> covered(outputs, 0);
  for (const Block& b : spec.blocks) {
    require(inside(b.inputs, spec.inputs[0].channels) && inside(b.outputs, spec.output.channels),
            "KernelSpec: block outside of the layer's channels");
    require(b.inputs.size() == spec.blocks.front().inputs.size(),
            "KernelSpec: blocks of one Conv read different numbers of channels");
    for (int c = b.outputs.begin; c < b.outputs.end; ++c) {
      ++covered[std::size_t(c)];
    }
  }
  require(std::ranges::all_of(covered, [](int n) { return n == 1; }),
          "KernelSpec: blocks do not cover every output channel once");
  require(conv.kernel.height > 0 && conv.kernel.width > 0 && conv.stride.height > 0 &&
              conv.stride.width > 0 && conv.dilation.height > 0 && conv.dilation.width > 0,
          "KernelSpec: Conv with an empty kernel, stride or dilation");
  require(weights.weight.size() == weights_of(spec).weight,
          "KernelSpec: weights do not fit the Conv");
  check_bias(spec, weights);
}

void check_pieces(const KernelSpec& spec) {
  const bool may =
      std::holds_alternative<Conv>(spec.layer) || std::holds_alternative<Dense>(spec.layer);
  int end = 0;
  for (const Range& piece : spec.pieces) {
    require(may && piece.begin == end && piece.size() > 0,
            "KernelSpec: pieces that do not cover the output of a Conv or Dense in order");
    end = piece.end;
  }
  require(spec.pieces.empty() || end == spec.output.channels,
          "KernelSpec: pieces that do not cover the output's channels");
}

void check_slice(const KernelSpec& spec) {
  for (const Block& b : spec.blocks) {
    require(inside(b.inputs, spec.inputs[0].channels) && inside(b.outputs, spec.output.channels) &&
                b.inputs.size() == b.outputs.size(),
            "KernelSpec: Slice with a block that does not fit");
  }
  const Slice& slice = std::get<Slice>(spec.layer);
  require(slice.rows.count() == spec.output.height && slice.columns.count() == spec.output.width,
          "KernelSpec: Slice whose rows or columns do not fit the output");
}

void check_pad(const KernelSpec& spec) {
  const Pad& pad = std::get<Pad>(spec.layer);
  const Shape padded = with_border(spec.inputs[0], pad.pads);
  require(pad.pads.top >= 0 && pad.pads.left >= 0 && pad.pads.bottom >= 0 && pad.pads.right >= 0 &&
              pad.channels_before >= 0 && pad.channels_after >= 0,
          "KernelSpec: Pad with a negative width");
  require(spec.output == Shape{padded.height, padded.width,
                               padded.channels + pad.channels_before + pad.channels_after},
          "KernelSpec: Pad that does not fit the output");
}

}  // namespace

void check(const KernelSpec& spec, const Weights& weights) {
  require(!spec.inputs.empty(), "KernelSpec: a layer without input");
  require(spec.output.size() > 0, "KernelSpec: an empty output");
  check_pieces(spec);
  const bool same_shape =
      std::ranges::all_of(spec.inputs, [&](const Shape& s) { return s == spec.output; });
  if (std::holds_alternative<Conv>(spec.layer)) {
    check_conv(spec, weights);
  } else if (std::holds_alternative<Dense>(spec.layer)) {
    require(spec.inputs[0].pixels() == 1 && spec.output.pixels() == 1,
            "KernelSpec: Dense of more than one pixel");
    require(weights.weight.size() ==
                std::size_t(spec.output.channels) * std::size_t(spec.inputs[0].channels),
            "KernelSpec: weights do not fit the Dense");
    check_bias(spec, weights);
  } else if (std::holds_alternative<ScaleShift>(spec.layer)) {
    require(same_shape && weights.weight.size() == std::size_t(spec.output.channels),
            "KernelSpec: weights do not fit the ScaleShift");
    check_bias(spec, weights);
  } else if (std::holds_alternative<Add>(spec.layer) || std::holds_alternative<Mul>(spec.layer)) {
    require(spec.inputs.size() == 2 && spec.inputs[0] == spec.output &&
                (same_shape || broadcasts(spec)),
            "KernelSpec: inputs of an Add or Mul do not fit");
  } else if (std::holds_alternative<Concat>(spec.layer)) {
    int channels = 0;
    for (const Shape& s : spec.inputs) {
      require(s.height == spec.output.height && s.width == spec.output.width,
              "KernelSpec: Concat of different sizes");
      channels += s.channels;
    }
    require(channels == spec.output.channels, "KernelSpec: Concat that does not fit the output");
  } else if (std::holds_alternative<Slice>(spec.layer)) {
    check_slice(spec);
  } else if (std::holds_alternative<Pad>(spec.layer)) {
    check_pad(spec);
  } else if (std::holds_alternative<Flatten>(spec.layer)) {
    require(spec.output == Shape{1, 1, int(spec.inputs[0].size())},
            "KernelSpec: Flatten that does not fit the output");
  } else if (std::holds_alternative<ChannelShuffle>(spec.layer)) {
    require(false, "KernelSpec: a ChannelShuffle is a renaming of channels, not a kernel");
  } else if (std::holds_alternative<Activate>(spec.layer) ||
             std::holds_alternative<Softmax>(spec.layer)) {
    require(same_shape, "KernelSpec: an element-wise layer that changes the shape");
  } else {
    require(spec.inputs[0].channels == spec.output.channels,
            "KernelSpec: pooling that changes the number of channels");
  }
}

int channels_read(const KernelSpec& spec) {
  return spec.blocks.front().inputs.size();
}

std::vector<Range> pieces_of(const KernelSpec& spec) {
  return spec.pieces.empty() ? std::vector<Range>{{0, spec.output.channels}} : spec.pieces;
}

WeightShape weights_of(const KernelSpec& spec) {
  const auto* conv = std::get_if<Conv>(&spec.layer);
  if (conv == nullptr) {
    return weight_shape(spec.layer, spec.inputs[0]);
  }
  const std::size_t outputs = std::size_t(spec.output.channels);
  return {outputs * std::size_t(channels_read(spec)) * std::size_t(conv->kernel.height) *
              std::size_t(conv->kernel.width),
          outputs};
}

bool broadcasts(const KernelSpec& spec) {
  return spec.inputs[1] == Shape{1, 1, spec.output.channels} && spec.inputs[1] != spec.inputs[0];
}

Taps taps_inside(int begin, int dilation, int kernel, int size) {
  const int first = begin >= 0 ? 0 : (-begin + dilation - 1) / dilation;
  const int last = size <= begin ? 0 : std::min(kernel, (size - begin + dilation - 1) / dilation);
  return {first, std::max(first, last)};
}

AverageTaps average_taps(const AveragePool& pool, const Shape& input, int y, int x) {
  const Window& w = pool.window;
  const int top = y * w.stride.height - w.pads.top;
  const int left = x * w.stride.width - w.pads.left;
  AverageTaps taps;
  taps.rows = taps_inside(top, w.dilation.height, w.kernel.height, input.height);
  taps.columns = taps_inside(left, w.dilation.width, w.kernel.width, input.width);
  Taps rows = taps.rows, columns = taps.columns;
  if (pool.count_include_pad) {  // ceil_mode's overhang beyond the pads never counts
    const int height = w.pads.top + input.height + w.pads.bottom;
    const int width = w.pads.left + input.width + w.pads.right;
    rows = taps_inside(y * w.stride.height, w.dilation.height, w.kernel.height, height);
    columns = taps_inside(x * w.stride.width, w.dilation.width, w.kernel.width, width);
  }
  taps.divisor = (rows.last - rows.first) * (columns.last - columns.first);
  return taps;
}

}  // namespace sbcnn::kernels
