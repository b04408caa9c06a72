// Inside the fast kernels: what their layers share, and one maker per family of layers.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "kernels/algorithm.h"
#include "kernels/flush_to_zero.h"
#include "kernels/isa.h"
#include "kernels/routines.h"
#include "kernels/scratch.h"
#include "kernels/spec.h"
#include "kernels/thread_pool.h"
#include "kernels/tuning.h"
#include "kernels/weight_memory.h"

namespace sbcnn::kernels {

// What all kernels of one factory use.
struct Context {
  const Routines& routines;
  ThreadPool& pool;
  Scratch& scratch;
  WeightMemory& weights;
};

// A kernel out of a function object f(Inputs, Outputs), or f(Inputs, View<float>) if the output is
// always in one piece.
template <class F>
class FunctionKernel final : public Kernel {
 public:
  explicit FunctionKernel(F f) : f_(std::move(f)) {}
  void run(Inputs inputs, Outputs outputs) const noexcept override {
    const FlushToZero flush;
    if constexpr (std::is_invocable_v<const F&, Inputs, Outputs>) {
      f_(inputs, outputs);
    } else {
      f_(inputs, outputs[0]);
    }
  }

 private:
  F f_;
};
template <class F>
std::unique_ptr<Kernel> make_kernel(F f) {
  return std::make_unique<FunctionKernel<F>>(std::move(f));
}

Function function_of(const Activation&);

// Work below this many multiply-adds or floats is not worth waking a thread for.
inline constexpr std::size_t kSmallestShare = 16384;

// How many shares to split `rows` rows of `work` in all into: about four for each thread, so that
// a slower one takes fewer.
int shares(const Context&, int rows, std::size_t work);

// Share number i of `parts` of `count` things.
inline Range share(int count, int i, int parts) {
  return {int(std::int64_t(count) * i / parts), int(std::int64_t(count) * (i + 1) / parts)};
}

// f(y) for each row of a value, in parallel. `work` is what all rows together cost.
template <class F>
void for_rows(const Context& context, int rows, std::size_t work, const F& f) {
  const int parts = shares(context, rows, work);
  context.pool.parallel_for(parts, [&](int i) {
    const Range mine = share(rows, i, parts);
    for (int y = mine.begin; y < mine.end; ++y) {
      f(y);
    }
  });
}

// A Conv, or a Dense layer as a convolution of one pixel.
class ConvKernel : public Kernel {
 public:
  virtual std::span<const float> packed_weights() const = 0;
};

template <class F>
class FunctionConv final : public ConvKernel {
 public:
  FunctionConv(ConvAlgorithm algorithm, F f) : algorithm_(algorithm), f_(std::move(f)) {}
  void run(Inputs inputs, Outputs outputs) const noexcept override {
    const FlushToZero flush;
    f_(inputs, outputs);
  }
  std::string_view method() const override { return name_of(algorithm_); }
  std::span<const float> packed_weights() const override { return f_.packed_weights(); }

 private:
  ConvAlgorithm algorithm_;
  F f_;
};
template <class F>
std::unique_ptr<ConvKernel> make_conv_kernel(ConvAlgorithm algorithm, F f) {
  return std::make_unique<FunctionConv<F>>(algorithm, std::move(f));
}

// How the algorithm of a Conv is found: the one that is forced, if it applies; or measured; or by
// static rules.
struct ConvChoice {
  Isa isa;
  std::optional<ConvAlgorithm> forced;
  Tuning* tuning;  // null: do not measure
};
std::unique_ptr<Kernel> make_conv(const KernelSpec&, const Weights&, Context, const ConvChoice&);
KernelMemory conv_memory(const KernelSpec&, Context, const ConvChoice&);

// The fastest of `candidates`, measured with weights that come from memory, as they do in a
// network.
std::unique_ptr<ConvKernel> make_fastest(std::span<const ConvAlgorithm> candidates,
                                         const KernelSpec&, const Weights&, Context,
                                         ConvAlgorithm& fastest);

// By algorithm. `outputs` of Winograd: a tile has outputs x outputs pixels, 2 or 4.
std::unique_ptr<ConvKernel> make_conv(ConvAlgorithm, const KernelSpec&, const Weights&, Context);
std::unique_ptr<ConvKernel> make_direct(const KernelSpec&, const Weights&, Context);
KernelMemory direct_memory(const KernelSpec&, Context);
std::unique_ptr<ConvKernel> make_winograd(int outputs, const KernelSpec&, const Weights&, Context);
KernelMemory winograd_memory(int outputs, const KernelSpec&, Context);
std::unique_ptr<ConvKernel> make_depthwise(const KernelSpec&, const Weights&, Context);
KernelMemory depthwise_memory(const KernelSpec&);
// Whether every output channel reads the input channel of the same number alone.
bool is_depthwise(const KernelSpec&);

std::unique_ptr<Kernel> make_max_pool(const KernelSpec&, Context);
std::unique_ptr<Kernel> make_average_pool(const KernelSpec&, Context);  // global too

std::unique_ptr<Kernel> make_activate(const KernelSpec&, Context);
std::unique_ptr<Kernel> make_scale_shift(const KernelSpec&, Weights, Context);
std::unique_ptr<Kernel> make_add(const KernelSpec&, Context);
std::unique_ptr<Kernel> make_mul(const KernelSpec&, Context);
std::unique_ptr<Kernel> make_softmax(const KernelSpec&, Context);

std::unique_ptr<Kernel> make_concat(const KernelSpec&);
std::unique_ptr<Kernel> make_slice(const KernelSpec&);
std::unique_ptr<Kernel> make_pad(const KernelSpec&);
std::unique_ptr<Kernel> make_flatten(const KernelSpec&);

}  // namespace sbcnn::kernels
