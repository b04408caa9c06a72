// oneDNN: https://oneapi-src.github.io/oneDNN/v2.6/
#include <dnnl.hpp>

#include <cstring>
#include <list>

#include "bench/side.h"

// OpenMP's, in whichever library oneDNN brings along; declared here so that compilers without an
// OpenMP of their own will do.
extern "C" void omp_set_num_threads(int);

namespace sbcnn::bench {
namespace {

using dnnl::algorithm;
using dnnl::memory;

constexpr auto kFloat = memory::data_type::f32;

// "direct" and "winograd" let oneDNN choose the layouts, "nhwc" keeps values channels last.
const std::vector<std::string> kAlgorithms{"direct", "winograd", "nhwc"};

struct Engine {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};

  void reorder(memory from, memory to) {
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
  }
};

memory::dims dims_of(const Shape& s) {
  return {1, s.channels, s.height, s.width};
}

// Wraps a strided view, channels last.
template <class T>
memory wrap(View<T> view, const dnnl::engine& engine) {
  const auto pixel = memory::dim(view.pixel_stride()), row = memory::dim(view.row_stride());
  const memory::desc desc(dims_of(view.shape()), kFloat,
                          memory::dims{row * view.shape().height, 1, row, pixel});
  return memory(desc, engine, const_cast<float*>(view.data()));
}

class OneDnnConv final : public BoundConv {
 public:
  OneDnnConv(Engine& engine, std::string algorithm, dnnl::convolution_forward conv, memory in,
             memory out, memory weight, memory bias)
      : engine_(engine), algorithm_(std::move(algorithm)), conv_(std::move(conv)) {
    arguments_ = {{DNNL_ARG_SRC, std::move(in)},
                  {DNNL_ARG_DST, std::move(out)},
                  {DNNL_ARG_WEIGHTS, std::move(weight)},
                  {DNNL_ARG_BIAS, std::move(bias)}};
  }
  void run() override {
    conv_.execute(engine_.stream, arguments_);
    engine_.stream.wait();
  }
  std::string algorithm() const override { return algorithm_; }
  void write_input(View<const float> from) override {
    engine_.reorder(wrap(from, engine_.engine), arguments_.at(DNNL_ARG_SRC));
  }
  void read_output(View<float> to) override {
    engine_.reorder(arguments_.at(DNNL_ARG_DST), wrap(to, engine_.engine));
  }

 private:
  Engine& engine_;
  std::string algorithm_;
  dnnl::convolution_forward conv_;
  std::unordered_map<int, memory> arguments_;
};

dnnl::primitive_attr activation_of(const Conv& conv) {
  dnnl::post_ops operations;
  if (conv.activation.kind == Activation::Kind::relu) {
    operations.append_eltwise(1, algorithm::eltwise_relu, 0, 0);
  } else if (conv.activation.kind == Activation::Kind::clip) {
    operations.append_eltwise(1, algorithm::eltwise_clip, conv.activation.alpha,
                              conv.activation.beta);
  }
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(operations);
  return attributes;
}

class OneDnnFactory final : public ConvFactory {
 public:
  std::unique_ptr<BoundConv> make(const PlacedConv& placed, const Weights& weights,
                                  const std::string& algorithm) override {
    const auto& conv = std::get<Conv>(placed.spec.layer);
    const memory::desc weight_desc = plain_weight(placed.spec);
    const memory::desc bias_desc({conv.outputs}, kFloat, memory::format_tag::x);
    dnnl::convolution_forward::primitive_desc desc;
    try {
      desc = {describe(placed.spec, weight_desc, bias_desc, algorithm), activation_of(conv),
              engine_.engine};
    } catch (const dnnl::error&) {
      return nullptr;
    }
    memory weight(desc.weights_desc(), engine_.engine), bias(bias_desc, engine_.engine);
    engine_.reorder(memory(weight_desc, engine_.engine, const_cast<float*>(weights.weight.data())),
                    weight);
    std::memcpy(bias.get_data_handle(), weights.bias.data(), weights.bias.size() * sizeof(float));
    return std::make_unique<OneDnnConv>(
        engine_, algorithm, dnnl::convolution_forward(desc), buffer(placed.input, desc.src_desc()),
        buffer(placed.output, desc.dst_desc()), std::move(weight), std::move(bias));
  }

 private:
  // Our layout of weights, which is oneDNN's plain one.
  static memory::desc plain_weight(const KernelSpec& spec) {
    const auto& conv = std::get<Conv>(spec.layer);
    const memory::dim groups = conv.groups, read = spec.inputs[0].channels / conv.groups;
    const memory::dim kh = conv.kernel.height, kw = conv.kernel.width;
    if (groups == 1) {
      return {{conv.outputs, read, kh, kw}, kFloat, memory::format_tag::oihw};
    }
    return {{groups, conv.outputs / groups, read, kh, kw}, kFloat, memory::format_tag::goihw};
  }

  static dnnl::convolution_forward::desc describe(const KernelSpec& spec,
                                                  const memory::desc& weight,
                                                  const memory::desc& bias,
                                                  const std::string& algorithm) {
    const auto& conv = std::get<Conv>(spec.layer);
    const auto any = memory::format_tag::any;
    const auto values = algorithm == "nhwc" ? memory::format_tag::nhwc : any;
    return {
        dnnl::prop_kind::forward_inference,
        algorithm == "winograd" ? algorithm::convolution_winograd : algorithm::convolution_direct,
        memory::desc(dims_of(spec.inputs[0]), kFloat, values),
        memory::desc(weight.dims(), kFloat, any),
        bias,
        memory::desc(dims_of(spec.output), kFloat, values),
        {conv.stride.height, conv.stride.width},
        {conv.pads.top, conv.pads.left},
        {conv.pads.bottom, conv.pads.right}};
  }

  // Two layers that want a value in different layouts get a buffer each: no reorders are charged.
  memory buffer(const Place& place, const memory::desc& desc) {
    for (const Buffer& b : buffers_) {
      if (b.buffer == place.buffer && b.part == place.part && b.memory.get_desc() == desc) {
        return b.memory;
      }
    }
    buffers_.push_back({place.buffer, place.part, memory(desc, engine_.engine)});
    return buffers_.back().memory;
  }

  struct Buffer {
    int buffer = 0, part = 0;
    dnnl::memory memory;
  };
  Engine engine_;
  std::list<Buffer> buffers_;
};

class OneDnn final : public Side {
 public:
  std::string name() const override { return "oneDNN"; }
  std::vector<std::string> algorithms() const override { return kAlgorithms; }
  std::unique_ptr<ConvFactory> open() const override { return std::make_unique<OneDnnFactory>(); }
};

}  // namespace

std::unique_ptr<Side> make_onednn(const SideOptions& options) {
  auto most = dnnl::cpu_isa::all;
  if (options.isa == "avx2") {
    most = dnnl::cpu_isa::avx2;
  } else if (options.isa == "sse2") {
    most = dnnl::cpu_isa::sse41;  // the least it knows
  }
  if (dnnl::set_max_cpu_isa(most) != dnnl::status::success) {
    return nullptr;
  }
  omp_set_num_threads(options.threads);
  return std::make_unique<OneDnn>();
}

}  // namespace sbcnn::bench
