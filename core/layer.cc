#include "core/layer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/error.h"

namespace sbcnn {
namespace {

// A value larger than this is refused before anybody allocates it: 2^31 floats.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;

[[noreturn]] void misfit(const std::string& what) {
  throw Error(Error::Code::format, what);
}

std::string text(const Shape& s) {
  return std::to_string(s.channels) + "x" + std::to_string(s.height) + "x" +
         std::to_string(s.width) + " (CxHxW)";
}

Shape checked(std::int64_t height, std::int64_t width, std::int64_t channels) {
  constexpr std::int64_t max = std::numeric_limits<int>::max();
  if (height < 1 || width < 1 || channels < 1) {
    misfit("its result would be empty: " + std::to_string(channels) + "x" + std::to_string(height) +
           "x" + std::to_string(width));
  }
  if (height > max || width > max || channels > max || height > kMaxElements / width ||
      height * width > kMaxElements / channels) {
    misfit("its result would be absurdly large: " + std::to_string(channels) + "x" +
           std::to_string(height) + "x" + std::to_string(width));
  }
  return {int(height), int(width), int(channels)};
}

void check_extent(const Extent& e, const char* what) {
  if (e.height < 1 || e.width < 1 || e.height > (1 << 20) || e.width > (1 << 20)) {
    misfit(std::string(what) + " out of range: " + std::to_string(e.height) + "x" +
           std::to_string(e.width));
  }
}

void check_pads(const Border& p) {
  for (const int side : {p.top, p.left, p.bottom, p.right}) {
    if (side < 0 || side > (1 << 20)) {
      misfit("pad out of range: " + std::to_string(side));
    }
  }
}

// Edge lengths of a sliding window in 64 bits, so that absurd parameters cannot overflow.
std::int64_t slide(std::int64_t size, std::int64_t kernel, std::int64_t stride,
                   std::int64_t dilation, std::int64_t pad_begin, std::int64_t pad_end, bool ceil) {
  const std::int64_t room = size + pad_begin + pad_end - ((kernel - 1) * dilation + 1);
  if (room < 0) {
    return 0;
  }
  std::int64_t count = room / stride + 1;
  // A window of ceil_mode must still begin inside the input or its leading padding.
  if (ceil && room % stride != 0 && count * stride < size + pad_begin) {
    ++count;
  }
  return count;
}

Shape slide(const Shape& in, const Extent& kernel, const Extent& stride, const Extent& dilation,
            const Border& pads, bool ceil, std::int64_t channels) {
  check_extent(kernel, "kernel");
  check_extent(stride, "stride");
  check_extent(dilation, "dilation");
  check_pads(pads);
  const auto h =
      slide(in.height, kernel.height, stride.height, dilation.height, pads.top, pads.bottom, ceil);
  const auto w =
      slide(in.width, kernel.width, stride.width, dilation.width, pads.left, pads.right, ceil);
  return checked(h, w, channels);
}

struct OutputShape {
  std::span<const Shape> inputs;

  const Shape& in() const { return inputs[0]; }
  void want(std::size_t min, std::size_t max) const {
    if (inputs.size() < min || inputs.size() > max) {
      misfit("it has " + std::to_string(inputs.size()) + " inputs");
    }
  }

  Shape operator()(const Conv& l) const {
    want(1, 2);
    if (l.groups < 1 || l.outputs < 1 || in().channels % l.groups != 0 ||
        l.outputs % l.groups != 0) {
      misfit(std::to_string(l.groups) + " groups do not divide " + std::to_string(in().channels) +
             " input and " + std::to_string(l.outputs) + " output channels");
    }
    const Shape out = slide(in(), l.kernel, l.stride, l.dilation, l.pads, false, l.outputs);
    // Weights are counted like a value: width and height of a kernel times its channels.
    checked(std::int64_t{l.kernel.height} * l.kernel.width, l.outputs, in().channels / l.groups);
    if (inputs.size() == 2 && inputs[1] != out) {
      misfit("residual " + text(inputs[1]) + " does not fit the result " + text(out));
    }
    return out;
  }
  Shape operator()(const Dense& l) const {
    want(1, 1);
    if (in().height != 1 || in().width != 1) {
      misfit("a fully connected layer wants 1x1 maps, not " + text(in()) + "; flatten first");
    }
    checked(1, in().channels, l.outputs);  // its weights
    return checked(1, 1, l.outputs);
  }
  Shape operator()(const MaxPool& l) const { return pooled(l.window); }
  Shape operator()(const AveragePool& l) const { return pooled(l.window); }
  Shape pooled(const Window& w) const {
    want(1, 1);
    return slide(in(), w.kernel, w.stride, w.dilation, w.pads, w.ceil_mode, in().channels);
  }
  Shape operator()(const GlobalAveragePool&) const {
    want(1, 1);
    return {1, 1, in().channels};
  }
  Shape same() const {
    want(1, 1);
    return in();
  }
  Shape operator()(const Activate&) const { return same(); }
  Shape operator()(const ScaleShift&) const { return same(); }
  Shape operator()(const Softmax&) const { return same(); }
  Shape operator()(const Add&) const { return binary(); }
  Shape operator()(const Mul&) const { return binary(); }
  Shape binary() const {
    want(2, 2);
    if (inputs[1] != in() && inputs[1] != Shape{1, 1, in().channels}) {
      misfit("operands " + text(in()) + " and " + text(inputs[1]) + " do not fit each other");
    }
    return in();
  }
  Shape operator()(const Concat&) const {
    want(1, 1 << 16);
    std::int64_t channels = 0;
    for (const Shape& s : inputs) {
      if (s.height != in().height || s.width != in().width) {
        misfit("operands " + text(in()) + " and " + text(s) + " differ in height or width");
      }
      channels += s.channels;
    }
    return checked(in().height, in().width, channels);
  }
  Shape operator()(const Slice& l) const {
    want(1, 1);
    const auto inside = [](int begin, int end, int step, int size) {
      return 0 <= begin && begin < end && end <= size && step >= 1;
    };
    if (!inside(l.channels.begin, l.channels.end, 1, in().channels) ||
        !inside(l.rows.begin, l.rows.end, l.rows.step, in().height) ||
        !inside(l.columns.begin, l.columns.end, l.columns.step, in().width)) {
      misfit("slice outside of or empty in " + text(in()));
    }
    return {l.rows.count(), l.columns.count(), l.channels.size()};
  }
  Shape operator()(const Pad& l) const {
    want(1, 1);
    check_pads(l.pads);
    check_pads({l.channels_before, l.channels_after, 0, 0});
    return checked(std::int64_t{in().height} + l.pads.top + l.pads.bottom,
                   std::int64_t{in().width} + l.pads.left + l.pads.right,
                   std::int64_t{in().channels} + l.channels_before + l.channels_after);
  }
  Shape operator()(const ChannelShuffle& l) const {
    if (l.groups < 1 || in().channels % l.groups != 0) {
      misfit(std::to_string(l.groups) + " groups do not divide " + std::to_string(in().channels) +
             " channels");
    }
    return same();
  }
  Shape operator()(const Flatten&) const {
    want(1, 1);
    return checked(1, 1, std::int64_t(in().size()));
  }
};

}  // namespace

float apply(const Activation& a, float x) {
  switch (a.kind) {
    case Activation::Kind::none:
      return x;
    case Activation::Kind::relu:
      return std::max(x, 0.0f);
    case Activation::Kind::clip:
      return std::min(std::max(x, a.alpha), a.beta);
    case Activation::Kind::leaky_relu:
      return x < 0 ? a.alpha * x : x;
    case Activation::Kind::sigmoid:
      return 1.0f / (1.0f + std::exp(-x));
    case Activation::Kind::hard_sigmoid:
      return std::max(0.0f, std::min(1.0f, a.alpha * x + a.beta));
    case Activation::Kind::hard_swish:
      return x * std::max(0.0f, std::min(1.0f, x / 6.0f + 0.5f));
  }
  return x;
}

std::string_view name_of(const Layer& layer) {
  static constexpr std::string_view names[] = {"Conv",
                                               "Dense",
                                               "MaxPool",
                                               "AveragePool",
                                               "GlobalAveragePool",
                                               "Activate",
                                               "ScaleShift",
                                               "Add",
                                               "Mul",
                                               "Concat",
                                               "Slice",
                                               "Pad",
                                               "ChannelShuffle",
                                               "Flatten",
                                               "Softmax"};
  static_assert(std::size(names) == std::variant_size_v<Layer>);
  return names[layer.index()];
}

std::string_view name_of(Activation::Kind kind) {
  switch (kind) {
    case Activation::Kind::none:
      return "";
    case Activation::Kind::relu:
      return "Relu";
    case Activation::Kind::clip:
      return "Clip";
    case Activation::Kind::leaky_relu:
      return "LeakyRelu";
    case Activation::Kind::sigmoid:
      return "Sigmoid";
    case Activation::Kind::hard_sigmoid:
      return "HardSigmoid";
    case Activation::Kind::hard_swish:
      return "HardSwish";
  }
  return "";
}

int window_count(int size, int kernel, int stride, int dilation, int pad_begin, int pad_end,
                 bool ceil_mode) {
  return int(slide(size, kernel, stride, dilation, pad_begin, pad_end, ceil_mode));
}

Shape output_shape(const Layer& layer, std::span<const Shape> inputs) {
  if (inputs.empty()) {
    misfit("it has no input");
  }
  return std::visit(OutputShape{inputs}, layer);
}

Border required_border(const Layer& layer, const Shape& input) {
  const auto* conv = std::get_if<Conv>(&layer);
  if (conv == nullptr) {
    return {};
  }
  // Where strides leave the last rows unread, trailing pads need not be stored.
  const auto after = [](int size, int kernel, int stride, int dilation, int before, int end) {
    const int count = window_count(size, kernel, stride, dilation, before, end, false);
    const int reach = (count - 1) * stride + (kernel - 1) * dilation + 1 - before;
    return std::max(0, reach - size);
  };
  const Border& p = conv->pads;
  return {p.top, p.left,
          after(input.height, conv->kernel.height, conv->stride.height, conv->dilation.height,
                p.top, p.bottom),
          after(input.width, conv->kernel.width, conv->stride.width, conv->dilation.width, p.left,
                p.right)};
}

WeightShape weight_shape(const Layer& layer, const Shape& input) {
  if (const auto* conv = std::get_if<Conv>(&layer)) {
    const std::size_t taps = std::size_t(conv->kernel.height) * std::size_t(conv->kernel.width);
    const std::size_t outputs = std::size_t(conv->outputs);
    return {outputs * std::size_t(input.channels / conv->groups) * taps, outputs};
  }
  if (const auto* dense = std::get_if<Dense>(&layer)) {
    const std::size_t outputs = std::size_t(dense->outputs);
    return {outputs * std::size_t(input.channels), outputs};
  }
  if (std::holds_alternative<ScaleShift>(layer)) {
    return {std::size_t(input.channels), std::size_t(input.channels)};
  }
  return {};
}

std::size_t mac_count(const Layer& layer, std::span<const Shape> inputs) {
  if (std::holds_alternative<Conv>(layer)) {
    const WeightShape w = weight_shape(layer, inputs[0]);
    return w.weight * output_shape(layer, inputs).pixels();
  }
  return std::holds_alternative<Dense>(layer) ? weight_shape(layer, inputs[0]).weight : 0;
}

}  // namespace sbcnn
