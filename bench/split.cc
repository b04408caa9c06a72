#include "bench/split.h"

namespace sbcnn::bench {
namespace {

constexpr std::string_view kSuffix = ", split";
constexpr std::size_t kMostParts = 8;

class SplitConv final : public BoundConv {
 public:
  struct Part {
    Block block;
    std::unique_ptr<BoundConv> conv;
  };
  explicit SplitConv(std::vector<Part> parts) : parts_(std::move(parts)) {}

  void run() override {
    for (const Part& p : parts_) {
      p.conv->run();
    }
  }
  std::string algorithm() const override { return split(parts_[0].conv->algorithm()); }
  void write_input(View<const float> from) override {
    for (const Part& p : parts_) {
      p.conv->write_input(from.channels(p.block.inputs));
    }
  }
  void read_output(View<float> to) override {
    for (const Part& p : parts_) {
      p.conv->read_output(to.channels(p.block.outputs));
    }
  }

 private:
  std::vector<Part> parts_;
};

PlacedConv part_of(const PlacedConv& whole, std::size_t index) {
  const Block& block = whole.spec.blocks[index];
  PlacedConv part = whole;
  auto& conv = std::get<Conv>(part.spec.layer);
  conv.groups = 1;
  conv.outputs = block.outputs.size();
  part.spec.inputs[0].channels = block.inputs.size();
  part.spec.output.channels = block.outputs.size();
  part.spec.blocks = {{{0, block.inputs.size()}, {0, block.outputs.size()}}};
  part.input.part = part.output.part = int(index) + 1;
  return part;
}

Weights weights_of(const Weights& whole, const Block& block, int outputs) {
  const std::size_t length = whole.weight.size() / std::size_t(outputs);
  const auto begin = std::ptrdiff_t(block.outputs.begin), end = std::ptrdiff_t(block.outputs.end);
  const auto row = std::ptrdiff_t(length);
  return {{whole.weight.begin() + begin * row, whole.weight.begin() + end * row},
          {whole.bias.begin() + begin, whole.bias.begin() + end}};
}

}  // namespace

std::string split(const std::string& algorithm) {
  return algorithm + std::string(kSuffix);
}

std::unique_ptr<BoundConv> make_conv(ConvFactory& factory, const PlacedConv& conv,
                                     const Weights& weights, const std::string& algorithm) {
  if (!algorithm.ends_with(kSuffix)) {
    return factory.make(conv, weights, algorithm);
  }
  const std::string base = algorithm.substr(0, algorithm.size() - kSuffix.size());
  const std::vector<Block>& blocks = conv.spec.blocks;
  if (blocks.size() < 2 || blocks.size() > kMostParts) {
    return nullptr;
  }
  std::vector<SplitConv::Part> parts;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Weights some = weights_of(weights, blocks[i], conv.spec.output.channels);
    auto part = factory.make(part_of(conv, i), some, base);
    if (!part) {
      return nullptr;
    }
    parts.push_back({blocks[i], std::move(part)});
  }
  return std::make_unique<SplitConv>(std::move(parts));
}

}  // namespace sbcnn::bench
