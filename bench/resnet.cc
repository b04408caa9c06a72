#include "bench/resnet.h"

#include <cmath>

namespace sbcnn::bench {
namespace {

class Builder {
 public:
  Builder(Shape image, int groups) : groups_(groups) { add_value(image); }

  // Returns the value that the convolution writes.
  int conv(int from, int outputs, int kernel, int stride, bool relu, int residual = -1) {
    const int pad = kernel / 2;
    Conv conv;
    conv.outputs = outputs;
    conv.kernel = {kernel, kernel};
    conv.stride = {stride, stride};
    conv.pads = {pad, pad, pad, pad};
    conv.groups = from == 0 ? 1 : groups_;
    conv.activation.kind = relu ? Activation::Kind::relu : Activation::Kind::none;
    std::vector<int> inputs{from};
    if (residual >= 0) {
      inputs.push_back(residual);
    }
    return add(conv, std::move(inputs));
  }

  int add(const Layer& layer, std::vector<int> inputs) {
    Step step;
    step.spec.layer = layer;
    for (const int i : inputs) {
      step.spec.inputs.push_back(network_.values[std::size_t(i)]);
    }
    step.spec.output = output_shape(layer, step.spec.inputs);
    if (const auto* conv = std::get_if<Conv>(&layer)) {
      const int read = step.spec.inputs[0].channels / conv->groups;
      const int written = conv->outputs / conv->groups;
      for (int g = 0; g < conv->groups; ++g) {
        step.spec.blocks.push_back({{g * read, (g + 1) * read}, {g * written, (g + 1) * written}});
      }
    }
    Border& border = network_.borders[std::size_t(inputs[0])];
    border = join(border, required_border(layer, step.spec.inputs[0]));
    step.inputs = std::move(inputs);
    step.output = add_value(step.spec.output);
    network_.steps.push_back(std::move(step));
    return network_.steps.back().output;
  }

  int channels(int value) const { return network_.values[std::size_t(value)].channels; }
  Network take() { return std::move(network_); }

 private:
  int add_value(Shape shape) {
    network_.values.push_back(shape);
    network_.borders.emplace_back();
    return int(network_.values.size()) - 1;
  }

  Network network_;
  int groups_;
};

int basic_block(Builder& b, int x, int channels, int stride) {
  const int shortcut =
      stride != 1 || b.channels(x) != channels ? b.conv(x, channels, 1, stride, false) : x;
  return b.conv(b.conv(x, channels, 3, stride, true), channels, 3, 1, true, shortcut);
}

int bottleneck(Builder& b, int x, int channels, int stride) {
  const int shortcut =
      stride != 1 || b.channels(x) != 4 * channels ? b.conv(x, 4 * channels, 1, stride, false) : x;
  const int inner = b.conv(b.conv(x, channels, 1, 1, true), channels, 3, stride, true);
  return b.conv(inner, 4 * channels, 1, 1, true, shortcut);
}

}  // namespace

Network make_resnet(const std::string& name, int size, double width, int groups) {
  const auto block = name == "resnet50" ? bottleneck : basic_block;
  const auto scaled = [&](int channels) { return int(std::lround(channels * width)); };
  Builder b({size, size, 3}, groups);
  int x = b.conv(0, scaled(64), 7, 2, true);
  x = b.add(MaxPool{{{3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, false}}, {x});
  constexpr int kBlocks[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage) {
    for (int i = 0; i < kBlocks[stage]; ++i) {
      x = block(b, x, scaled(64 << stage), stage > 0 && i == 0 ? 2 : 1);
    }
  }
  x = b.add(GlobalAveragePool{}, {x});
  b.add(Dense{1000}, {x});
  return b.take();
}

std::string describe(const KernelSpec& spec) {
  const std::string name(name_of(spec.layer));
  const std::string channels = std::to_string(spec.inputs[0].channels) + "->" +
                               std::to_string(spec.output.channels) + " @" +
                               std::to_string(spec.output.height);
  const auto* conv = std::get_if<Conv>(&spec.layer);
  if (conv == nullptr) {
    return name + " " + channels;
  }
  return name + " " + std::to_string(conv->kernel.height) + "x" +
         std::to_string(conv->kernel.width) + "/" + std::to_string(conv->stride.height) + " " +
         channels + (conv->groups > 1 ? " g" + std::to_string(conv->groups) : "") +
         (spec.inputs.size() > 1 ? " +residual" : "");
}

}  // namespace sbcnn::bench
