#include <map>
#include <tuple>
#include <utility>

#include "bench/side.h"
#include "kernels/fast.h"

namespace sbcnn::bench {
namespace {

using kernels::ConvAlgorithm;

constexpr ConvAlgorithm kAlgorithms[] = {ConvAlgorithm::direct, ConvAlgorithm::winograd2,
                                         ConvAlgorithm::winograd4, ConvAlgorithm::depthwise};
constexpr const char* kChosen = "chosen";

class OurConv final : public BoundConv {
 public:
  OurConv(std::unique_ptr<Kernel> kernel, std::string algorithm, Tensor& input, Tensor& output)
      : kernel_(std::move(kernel)), algorithm_(std::move(algorithm)), in_(input), out_(output) {}

  void run() override {
    const View<const float> in = std::as_const(in_).view();
    kernel_->run({&in, 1}, out_.view());
  }
  std::string algorithm() const override { return algorithm_; }
  void write_input(View<const float> from) override { copy(from, in_.view()); }
  void read_output(View<float> to) override { copy(std::as_const(out_).view(), to); }

 private:
  std::unique_ptr<Kernel> kernel_;
  std::string algorithm_;
  Tensor& in_;
  Tensor& out_;
};

class OurFactory final : public ConvFactory {
 public:
  explicit OurFactory(kernels::KernelOptions options) : options_(options) {}

  std::unique_ptr<BoundConv> make(const PlacedConv& conv, const Weights& weights,
                                  const std::string& algorithm) override {
    const std::optional<ConvAlgorithm> forced = kernels::algorithm_named(algorithm);
    if (forced && !kernels::applies(*forced, conv.spec)) {
      return nullptr;
    }
    auto kernel = factory(forced).make(conv.spec, weights);
    const std::string method(kernel->method());
    return std::make_unique<OurConv>(std::move(kernel), method,
                                     buffer(conv.input, conv.spec.inputs[0]),
                                     buffer(conv.output, conv.spec.output));
  }

 private:
  KernelFactory& factory(std::optional<ConvAlgorithm> forced) {
    std::unique_ptr<KernelFactory>& found = factories_[forced];
    if (!found) {
      kernels::KernelOptions options = options_;
      options.algorithm = forced;
      found = kernels::make_kernels(options);
    }
    return *found;
  }
  Tensor& buffer(const Place& place, const Shape& shape) {
    return buffers_.try_emplace({place.buffer, place.part}, shape, place.border).first->second;
  }

  kernels::KernelOptions options_;
  std::map<std::pair<int, int>, Tensor> buffers_;
  std::map<std::optional<ConvAlgorithm>, std::unique_ptr<KernelFactory>> factories_;
};

class Ours final : public Side {
 public:
  explicit Ours(const SideOptions& options) {
    options_.threads = options.threads;
    for (const kernels::Isa isa : kernels::available_isas()) {
      if (kernels::name_of(isa) == options.isa) {
        options_.isa = isa;
      }
    }
    options_.tuning = &tuning_;
  }
  std::string name() const override { return "ours"; }
  std::vector<std::string> algorithms() const override {
    std::vector<std::string> names{kChosen};
    for (const ConvAlgorithm a : kAlgorithms) {
      names.emplace_back(kernels::name_of(a));
    }
    return names;
  }
  std::unique_ptr<ConvFactory> open() const override {
    return std::make_unique<OurFactory>(options_);
  }

 private:
  mutable kernels::Tuning tuning_;  // what a layer was measured with holds for its equals
  kernels::KernelOptions options_;
};

}  // namespace

std::unique_ptr<Side> make_ours(const SideOptions& options) {
  return std::make_unique<Ours>(options);
}

}  // namespace sbcnn::bench
