// Which of several algorithms is fastest for a layer, measured where the layer will run.
#include <algorithm>
#include <chrono>

#include "kernels/layers.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace sbcnn::kernels {
namespace {

constexpr int kRounds = 11, kFewestRounds = 3;  // of two algorithms in turns
constexpr std::chrono::milliseconds kEnough{120};

// Writes what the caches hold of `data` back to memory and forgets it: when a network comes round
// to a layer again, its weights have made room for those of all other layers.
void forget(std::span<const float> data) {
  constexpr std::size_t kLine = 64 / sizeof(float);
  for (std::size_t i = 0; i < data.size(); i += kLine) {
#if defined(__x86_64__)
    _mm_clflush(data.data() + i);
#elif defined(__aarch64__)
    asm volatile("dc civac, %0" : : "r"(data.data() + i) : "memory");
#endif
  }
#if defined(__aarch64__)
  asm volatile("dsb sy" : : : "memory");
#else
  _mm_mfence();
#endif
}

// Values of the right shapes for one layer.
class Bed {
 public:
  explicit Bed(const KernelSpec& spec) : output_(spec.output) {
    for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
      const Border border = i == 0 ? required_border(spec.layer, spec.inputs[0]) : Border{};
      inputs_.emplace_back(spec.inputs[i], border);
    }
    for (Tensor& input : inputs_) {
      views_.push_back(std::as_const(input).view());
    }
    const View<float> whole = output_.view();
    for (const Range& piece : pieces_of(spec)) {
      outputs_.push_back(whole.channels(piece));
    }
    warm();
  }

  // The layer before has just written its output, so that the inputs are in the caches.
  void warm() {
    for (Tensor& input : inputs_) {
      const View<float> v = input.view();
      for (int y = 0; y < v.shape().height; ++y) {
        std::fill_n(v.at(y, 0), v.shape().width * v.shape().channels, 0.5f);
      }
    }
  }
  void run(const Kernel& kernel) { kernel.run(views_, outputs_); }

 private:
  std::vector<Tensor> inputs_;
  Tensor output_;
  std::vector<View<const float>> views_;
  std::vector<View<float>> outputs_;
};

double seconds(const ConvKernel& kernel, Bed& bed) {
  using WallClock = std::chrono::steady_clock;
  forget(kernel.packed_weights());
  bed.warm();
  const auto before = WallClock::now();
  bed.run(kernel);
  return std::chrono::duration<double>(WallClock::now() - before).count();
}

// Whether `a` beats `b` in most rounds. They run in turns: what slows a board down for a while then
// slows both.
bool is_faster(const ConvKernel& a, const ConvKernel& b, Bed& bed) {
  const auto begin = std::chrono::steady_clock::now();
  const auto spent = [&] { return std::chrono::steady_clock::now() - begin; };
  seconds(a, bed);  // the first runs find cold pages
  seconds(b, bed);
  int won = 0, rounds = 0;
  while (rounds < kRounds && (rounds < kFewestRounds || spent() < kEnough)) {
    won += seconds(a, bed) < seconds(b, bed) ? 1 : 0;
    ++rounds;
    if (std::max(won, rounds - won) > kRounds / 2) {
      break;
    }
  }
  return 2 * won > rounds;
}

}  // namespace

std::unique_ptr<ConvKernel> make_fastest(std::span<const ConvAlgorithm> candidates,
                                         const KernelSpec& spec, const Weights& weights,
                                         Context context, ConvAlgorithm& fastest) {
  Bed bed(spec);
  std::unique_ptr<ConvKernel> best;
  for (const ConvAlgorithm algorithm : candidates) {
    auto kernel = make_conv(algorithm, spec, weights, context);
    if (best == nullptr || is_faster(*kernel, *best, bed)) {
      best = std::move(kernel);
      fastest = algorithm;
    }
  }
  return best;
}

}  // namespace sbcnn::kernels
