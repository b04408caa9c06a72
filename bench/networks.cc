#include "bench/networks.h"

#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>

namespace sbcnn::bench {
namespace {

constexpr Activation kNone{};
constexpr Activation kRelu{Activation::Kind::relu, 0, 0};
constexpr Activation kRelu6{Activation::Kind::clip, 0, 6};

// Output channels of the stages; `groups` of every convolution but the first.
struct Widths {
  std::vector<int> channels;
  int groups = 1;
};
const Widths kWhole{{64, 128, 256, 512}, 1};
const Widths kSlice4{{24, 48, 96, 192}, 1};
const Widths kSlice2{{48, 96, 192, 384}, 2};

class Builder {
 public:
  explicit Builder(int size) { add_value({size, size, 3}); }

  // Each returns the value that the layer gives.
  int conv(int from, int outputs, int kernel, int stride, int groups = 1, Activation act = kRelu) {
    const int pad = kernel / 2;
    ConvStep step;
    step.spec.layer =
        Conv{outputs, {kernel, kernel}, {stride, stride}, {}, {pad, pad, pad, pad}, groups, act};
    step.spec.inputs = {shape(from)};
    step.spec.output = output_shape(step.spec.layer, step.spec.inputs);
    const int read = shape(from).channels / groups, written = outputs / groups;
    for (int g = 0; g < groups; ++g) {
      step.spec.blocks.push_back({{g * read, (g + 1) * read}, {g * written, (g + 1) * written}});
    }
    step.input = from;
    step.output = add_value(step.spec.output);
    network_.steps.push_back(std::move(step));
    return network_.steps.back().output;
  }
  int pool(int from) {
    const Shape s = shape(from);
    return add_value({s.height / 2, s.width / 2, s.channels});
  }

  const Shape& shape(int value) const { return network_.values[std::size_t(value)]; }
  Network take() { return std::move(network_); }

 private:
  int add_value(Shape shape) {
    network_.values.push_back(shape);
    return int(network_.values.size()) - 1;
  }

  Network network_;
};

constexpr int kResNetBlocks[] = {3, 4, 6, 3};

// A block's shortcut is a convolution of the block's input that nobody else reads here.
int basic_block(Builder& b, int x, int channels, int stride, int groups) {
  if (stride != 1 || b.shape(x).channels != channels) {
    b.conv(x, channels, 1, stride, groups);
  }
  return b.conv(b.conv(x, channels, 3, stride, groups), channels, 3, 1, groups);
}

int bottleneck(Builder& b, int x, int channels, int stride, int groups) {
  if (stride != 1 || b.shape(x).channels != 4 * channels) {
    b.conv(x, 4 * channels, 1, stride, groups);
  }
  const int inner = b.conv(b.conv(x, channels, 1, 1, groups), channels, 3, stride, groups);
  return b.conv(inner, 4 * channels, 1, 1, groups);
}

using Block = int (*)(Builder&, int x, int channels, int stride, int groups);

Network resnet(Block block, const Widths& widths, int size) {
  Builder b(size);
  int x = b.pool(b.conv(0, widths.channels[0], 7, 2));
  for (std::size_t stage = 0; stage < 4; ++stage) {
    for (int i = 0; i < kResNetBlocks[stage]; ++i) {
      const int stride = stage > 0 && i == 0 ? 2 : 1;
      x = block(b, x, widths.channels[stage], stride, widths.groups);
    }
  }
  return b.take();
}

Network vgg16(const Widths& widths, int size) {
  constexpr int kConvs[] = {2, 2, 3, 3, 3};
  Builder b(size);
  int x = 0;
  for (std::size_t stage = 0; stage < 5; ++stage) {
    for (int i = 0; i < kConvs[stage]; ++i) {
      x = b.conv(x, widths.channels[std::min<std::size_t>(stage, 3)], 3, 1,
                 x == 0 ? 1 : widths.groups);
    }
    x = b.pool(x);
  }
  return b.take();
}

Network mobilenetv2(int size) {
  struct Stage {
    int expansion, channels, blocks, stride;
  };
  constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                               {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  Builder b(size);
  int x = b.conv(0, 32, 3, 2, 1, kRelu6);
  for (const Stage& stage : kStages) {
    for (int i = 0; i < stage.blocks; ++i) {
      const int inner = b.shape(x).channels * stage.expansion;
      const int wide = stage.expansion == 1 ? x : b.conv(x, inner, 1, 1, 1, kRelu6);
      const int deep = b.conv(wide, inner, 3, i == 0 ? stage.stride : 1, inner, kRelu6);
      x = b.conv(deep, stage.channels, 1, 1, 1, kNone);
    }
  }
  b.conv(x, 1280, 1, 1, 1, kRelu6);
  return b.take();
}

struct Entry {
  std::string name, family;
  std::function<Network()> make;
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = [] {
    std::vector<Entry> list;
    const std::tuple<std::string, Block> kinds[] = {{"resnet34", basic_block},
                                                    {"resnet50", bottleneck}};
    const std::tuple<std::string, Widths> cuts[] = {
        {"", kWhole}, {"-slice4", kSlice4}, {"-slice2", kSlice2}};
    for (const int size : {224, 64}) {
      const std::string at = size == 224 ? "" : "@" + std::to_string(size);
      for (const auto& [cut, widths] : cuts) {
        const std::string family = (cut.empty() ? "whole ResNets" : "slices of ResNets") + at;
        for (const auto& [kind, block] : kinds) {
          list.push_back({kind + cut + at, family, [block = block, widths = widths, size] {
                            return resnet(block, widths, size);
                          }});
        }
      }
    }
    list.push_back({"vgg16-slice4", "VGG", [] { return vgg16(kSlice4, 224); }});
    list.push_back({"mobilenetv2", "MobileNet", [] { return mobilenetv2(224); }});
    return list;
  }();
  return all;
}

}  // namespace

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const Entry& e : entries()) {
    names.push_back(e.name);
  }
  return names;
}

std::vector<Network> networks_named(std::span<const std::string> patterns) {
  const auto matches = [](const std::string& pattern, const Entry& e) {
    return ::fnmatch(pattern.c_str(), e.name.c_str(), 0) == 0;
  };
  for (const std::string& p : patterns) {
    if (std::ranges::none_of(entries(), [&](const Entry& e) { return matches(p, e); })) {
      throw Error(Error::Code::usage, "no network is named " + p);
    }
  }
  std::vector<Network> found;
  for (const Entry& e : entries()) {
    if (std::ranges::any_of(patterns, [&](const std::string& p) { return matches(p, e); })) {
      found.push_back(e.make());
      found.back().name = e.name;
      found.back().family = e.family;
    }
  }
  return found;
}

std::vector<Place> place_values(const Network& network) {
  const std::size_t count = network.values.size();
  const int never = int(network.steps.size());
  std::vector<int> last_read(count, -1), written(count, -1);
  for (int i = 0; i < never; ++i) {
    const ConvStep& step = network.steps[std::size_t(i)];
    last_read[std::size_t(step.input)] = i;
    written[std::size_t(step.output)] = i;
  }
  struct Buffer {
    Shape shape;
    int free_after = 0;  // step
    Border border;
  };
  std::vector<Buffer> buffers;
  std::vector<Place> places(count);
  for (std::size_t v = 0; v < count; ++v) {
    const auto fits = [&](const Buffer& b) {
      return b.shape == network.values[v] && b.free_after < written[v];
    };
    auto buffer = std::ranges::find_if(buffers, fits);
    if (buffer == buffers.end()) {
      buffer = buffers.insert(buffer, {network.values[v], 0, {}});
    }
    buffer->free_after = written[v] < 0 ? never : std::max(last_read[v], written[v]);
    places[v].buffer = int(buffer - buffers.begin());
  }
  for (const ConvStep& step : network.steps) {
    Border& border = buffers[std::size_t(places[std::size_t(step.input)].buffer)].border;
    border = join(border, required_border(step.spec.layer, step.spec.inputs[0]));
  }
  for (Place& place : places) {
    place.border = buffers[std::size_t(place.buffer)].border;
  }
  return places;
}

std::string describe(const KernelSpec& spec) {
  const Conv& conv = std::get<Conv>(spec.layer);
  return std::to_string(conv.kernel.height) + "x" + std::to_string(conv.kernel.width) + "/" +
         std::to_string(conv.stride.height) + " " + std::to_string(spec.inputs[0].channels) + "->" +
         std::to_string(spec.output.channels) + " @" + std::to_string(spec.output.height) +
         (conv.groups > 1 ? " g" + std::to_string(conv.groups) : "");
}

double flops(const KernelSpec& spec) {
  return 2 * double(mac_count(spec.layer, spec.inputs));
}

}  // namespace sbcnn::bench
