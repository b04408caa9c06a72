#include "kernels/fast.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/layers.h"

namespace sbcnn::kernels {
namespace {

KernelSpec as_conv(const KernelSpec& dense) {
  KernelSpec conv = dense;
  conv.layer = Conv{dense.output.channels, {}, {}, {}, {}, 1, {}};
  conv.blocks = {{{0, dense.inputs[0].channels}, {0, dense.output.channels}}};
  return conv;
}

class FastFactory final : public KernelFactory {
 public:
  explicit FastFactory(const KernelOptions& options)
      : pool_(options.threads),
        context_{routines(options.isa), pool_, scratch_, weights_},
        choice_{options.isa, options.algorithm, options.tuning} {}

  std::unique_ptr<Kernel> make(const KernelSpec& spec, Weights weights) override {
    check(spec, weights);
    return std::visit([&](const auto& layer) { return make(layer, spec, std::move(weights)); },
                      spec.layer);
  }

  KernelMemory memory(const KernelSpec& spec) const override {
    if (std::holds_alternative<Conv>(spec.layer)) {
      return conv_memory(spec, context_, choice_);
    }
    if (std::holds_alternative<Dense>(spec.layer)) {
      return direct_memory(as_conv(spec), context_);
    }
    const WeightShape shape = weights_of(spec);
    return {(shape.weight + shape.bias) * sizeof(float), 0};
  }

 private:
  using Made = std::unique_ptr<Kernel>;
  Made make(const Conv&, const KernelSpec& s, Weights w) {
    return make_conv(s, std::move(w), context_, choice_);
  }
  Made make(const Dense&, const KernelSpec& s, Weights w) {
    return make_direct(as_conv(s), w, context_);
  }
  Made make(const MaxPool&, const KernelSpec& s, Weights) { return make_max_pool(s, context_); }
  Made make(const AveragePool&, const KernelSpec& s, Weights) {
    return make_average_pool(s, context_);
  }
  Made make(const GlobalAveragePool&, const KernelSpec& s, Weights) {
    return make_average_pool(s, context_);
  }
  Made make(const Activate&, const KernelSpec& s, Weights) { return make_activate(s, context_); }
  Made make(const ScaleShift&, const KernelSpec& s, Weights w) {
    return make_scale_shift(s, std::move(w), context_);
  }
  Made make(const Add&, const KernelSpec& s, Weights) { return make_add(s, context_); }
  Made make(const Mul&, const KernelSpec& s, Weights) { return make_mul(s, context_); }
  Made make(const Softmax&, const KernelSpec& s, Weights) { return make_softmax(s, context_); }
  Made make(const Concat&, const KernelSpec& s, Weights) { return make_concat(s); }
  Made make(const Slice&, const KernelSpec& s, Weights) { return make_slice(s); }
  Made make(const Pad&, const KernelSpec& s, Weights) { return make_pad(s); }
  Made make(const Flatten&, const KernelSpec& s, Weights) { return make_flatten(s); }
  Made make(const ChannelShuffle&, const KernelSpec&, Weights) { return {}; }  // check() refuses

  mutable ThreadPool pool_;
  mutable Scratch scratch_;
  mutable WeightMemory weights_;
  Context context_;
  ConvChoice choice_;
};

}  // namespace

std::unique_ptr<KernelFactory> make_kernels(const KernelOptions& options) {
  require(std::ranges::count(available_isas(), options.isa) == 1,
          "make_kernels: this machine lacks the instruction set");
  return std::make_unique<FastFactory>(options);
}

Function function_of(const Activation& a) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  switch (a.kind) {
    case Activation::Kind::none:
      return {Function::clamp, -infinity, infinity};
    case Activation::Kind::relu:
      return {Function::clamp, 0, infinity};
    case Activation::Kind::clip:
      return {Function::clamp, a.alpha, a.beta};
    case Activation::Kind::leaky_relu:
      return {Function::leaky_relu, a.alpha, 0};
    case Activation::Kind::sigmoid:
      return {Function::sigmoid, 0, 0};
    case Activation::Kind::hard_sigmoid:
      return {Function::hard_sigmoid, a.alpha, a.beta};
    case Activation::Kind::hard_swish:
      return {Function::hard_swish, 0, 0};
  }
  throw ContractViolation("function_of: unknown activation");
}

int shares(const Context& context, int rows, std::size_t work) {
  const int threads = context.pool.threads();
  if (threads == 1 || work < 2 * kSmallestShare) {
    return 1;
  }
  const std::size_t most = std::min(work / kSmallestShare, 4 * std::size_t(threads));
  return std::min(rows, int(most));
}

}  // namespace sbcnn::kernels
