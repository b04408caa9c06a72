// XNNPACK: https://github.com/google/XNNPACK
#include <cpuinfo.h>
#include <pthreadpool.h>
#include <xnnpack.h>

#include <limits>
#include <map>

#include "bench/side.h"

namespace sbcnn::bench {
namespace {

struct DeleteOperator {
  void operator()(xnn_operator_t op) const { xnn_delete_operator(op); }
};
using Operator = std::unique_ptr<xnn_operator, DeleteOperator>;

class XnnConv final : public BoundConv {
 public:
  XnnConv(Operator op, pthreadpool_t threads, View<float> input, View<float> output)
      : op_(std::move(op)), threads_(threads), in_(input), out_(output) {}

  void run() override { xnn_run_operator(op_.get(), threads_); }
  std::string algorithm() const override { return "nhwc"; }
  void write_input(View<const float> from) override { copy(from, in_); }
  void read_output(View<float> to) override { copy(out_, to); }

 private:
  Operator op_;
  pthreadpool_t threads_;
  View<float> in_, out_;
};

// From [outputs][channels][kernel] to [outputs][kernel][channels].
std::vector<float> channels_last(const std::vector<float>& weight, std::size_t channels,
                                 std::size_t taps) {
  std::vector<float> moved(weight.size());
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const std::size_t tap = i % taps, channel = i / taps % channels, o = i / taps / channels;
    moved[(o * taps + tap) * channels + channel] = weight[i];
  }
  return moved;
}

std::pair<float, float> bounds(const Activation& a) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  switch (a.kind) {
    case Activation::Kind::relu:
      return {0, infinity};
    case Activation::Kind::clip:
      return {a.alpha, a.beta};
    default:
      return {-infinity, infinity};
  }
}

class XnnFactory final : public ConvFactory {
 public:
  explicit XnnFactory(pthreadpool_t threads) : threads_(threads) {}

  std::unique_ptr<BoundConv> make(const PlacedConv& placed, const Weights& weights,
                                  const std::string&) override {
    const Shape& in = placed.spec.inputs[0];
    Operator op = create(placed.spec, weights);
    const View<float> input = buffer(placed.input, in);
    const View<float> output = buffer(placed.output, placed.spec.output);
    if (!op || xnn_setup_convolution2d_nhwc_f32(op.get(), 1, std::size_t(in.height),
                                                std::size_t(in.width), input.data(), output.data(),
                                                threads_) != xnn_status_success) {
      return nullptr;
    }
    return std::make_unique<XnnConv>(std::move(op), threads_, input, output);
  }

 private:
  static Operator create(const KernelSpec& spec, const Weights& weights) {
    const auto& conv = std::get<Conv>(spec.layer);
    const auto u32 = [](int i) { return std::uint32_t(i); };
    const std::size_t inputs = std::size_t(spec.inputs[0].channels);
    const std::size_t outputs = std::size_t(conv.outputs), groups = std::size_t(conv.groups);
    const std::size_t taps = std::size_t(conv.kernel.height * conv.kernel.width);
    const std::vector<float> weight = channels_last(weights.weight, inputs / groups, taps);
    const auto [low, high] = bounds(conv.activation);
    xnn_operator_t op = nullptr;
    xnn_create_convolution2d_nhwc_f32(
        u32(conv.pads.top), u32(conv.pads.right), u32(conv.pads.bottom), u32(conv.pads.left),
        u32(conv.kernel.height), u32(conv.kernel.width), u32(conv.stride.height),
        u32(conv.stride.width), 1, 1, u32(conv.groups), inputs / groups, outputs / groups, inputs,
        outputs, weight.data(), weights.bias.data(), low, high, 0, &op);
    return Operator(op);
  }

  View<float> buffer(const Place& place, const Shape& shape) {
    constexpr std::size_t kBeyond = XNN_EXTRA_BYTES / sizeof(float);  // it may read
    auto& array = buffers_[{place.buffer, place.part}];
    if (array.size() == 0) {
      array = AlignedArray<float>(shape.size() + kBeyond);
      std::fill_n(array.data(), array.size(), 0.0f);
    }
    return {array.data(), shape};
  }

  pthreadpool_t threads_;
  std::map<std::pair<int, int>, AlignedArray<float>> buffers_;
};

class XnnPack final : public Side {
 public:
  explicit XnnPack(int threads)
      : threads_(threads > 1 ? pthreadpool_create(std::size_t(threads)) : nullptr) {}
  ~XnnPack() override {
    if (threads_ != nullptr) {
      pthreadpool_destroy(threads_);
    }
  }
  XnnPack(XnnPack&&) = delete;

  std::string name() const override { return "XNNPACK"; }
  std::vector<std::string> algorithms() const override { return {"nhwc"}; }
  std::unique_ptr<ConvFactory> open() const override {
    return std::make_unique<XnnFactory>(threads_);
  }

 private:
  pthreadpool_t threads_;  // null: the calling thread alone
};

// XNNPACK asks cpuinfo what the processor has, once, in xnn_initialize; it has no option for less.
void hide_instructions_beyond([[maybe_unused]] const std::string& isa) {
  cpuinfo_initialize();
#if CPUINFO_ARCH_X86_64
  if (isa == "avx2" || isa == "sse2") {
    cpuinfo_isa.avx512f = cpuinfo_isa.avx512bw = cpuinfo_isa.avx512dq = cpuinfo_isa.avx512vl =
        cpuinfo_isa.avx512cd = false;
  }
  if (isa == "sse2") {
    cpuinfo_isa.avx2 = cpuinfo_isa.fma3 = cpuinfo_isa.avx = cpuinfo_isa.f16c = false;
  }
#endif
}

}  // namespace

std::unique_ptr<Side> make_xnnpack(const SideOptions& options) {
  hide_instructions_beyond(options.isa);
  if (xnn_initialize(nullptr) != xnn_status_success) {
    return nullptr;
  }
  return std::make_unique<XnnPack>(options.threads);
}

}  // namespace sbcnn::bench
