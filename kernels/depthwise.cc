// Depthwise convolution: channels do not mix, so vectors run along channels of the input too.
#include <algorithm>

#include "core/page_array.h"
#include "kernels/layers.h"

namespace sbcnn::kernels {
namespace {

class Depthwise {
 public:
  Depthwise(const KernelSpec& spec, const Weights& weights, Context context)
      : conv_(std::get<Conv>(spec.layer)),
        function_(function_of(conv_.activation)),
        context_(context),
        pieces_(pieces_of(spec)),
        weights_(weights.weight.size()),
        bias_(std::size_t(spec.output.channels)) {
    const std::size_t channels = bias_.size();
    const std::size_t taps = weights_.size() / channels;
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t tap = 0; tap < taps; ++tap) {
        weights_.data()[tap * channels + c] = weights.weight[c * taps + tap];
      }
    }
    std::copy(weights.bias.begin(), weights.bias.end(), bias_.data());
  }

  void operator()(Inputs inputs, Outputs outputs) const {
    const Shape& shape = outputs[0].shape();
    const std::size_t work = weights_.size() * shape.pixels();
    for_rows(context_, shape.height, work, [&](int y) {
      for (std::size_t i = 0; i < pieces_.size(); ++i) {
        run_row(inputs, outputs[i], pieces_[i].begin, y);
      }
    });
  }
  std::span<const float> packed_weights() const { return {weights_.data(), weights_.size()}; }

 private:
  // Row y of a piece of the output, whose channels begin at `first`.
  void run_row(Inputs inputs, const View<float>& output, int first, int y) const {
    const View<const float>& x = inputs[0];
    const int top = y * conv_.stride.height - conv_.pads.top;
    const Taps taps =
        taps_inside(top, conv_.dilation.height, conv_.kernel.height, x.shape().height);
    DepthwiseRow row;
    row.input = x.at(top + taps.first * conv_.dilation.height, -conv_.pads.left) + first;
    row.input_step = std::ptrdiff_t(x.pixel_stride()) * conv_.stride.width;
    row.kernel_rows = taps.last - taps.first;
    row.kernel_columns = conv_.kernel.width;
    row.kernel_row_step = std::ptrdiff_t(x.row_stride()) * conv_.dilation.height;
    row.kernel_column_step = std::ptrdiff_t(x.pixel_stride()) * conv_.dilation.width;
    row.weight_step = std::ptrdiff_t(bias_.size());
    row.weights = weights_.data() + taps.first * conv_.kernel.width * row.weight_step + first;
    row.bias = bias_.data() + first;
    row.residual = inputs.size() == 2 ? inputs[1].at(y, 0) + first : nullptr;
    row.residual_step = inputs.size() == 2 ? std::ptrdiff_t(inputs[1].pixel_stride()) : 0;
    row.output = output.at(y, 0);
    row.output_step = std::ptrdiff_t(output.pixel_stride());
    row.pixels = output.shape().width;
    row.channels = output.shape().channels;
    row.function = function_;
    context_.routines.depthwise_row(row);
  }

  Conv conv_;
  Function function_;
  Context context_;
  std::vector<Range> pieces_;
  PageArray<float> weights_, bias_;
};

}  // namespace

bool is_depthwise(const KernelSpec& spec) {
  return std::ranges::all_of(
      spec.blocks, [](const Block& b) { return b.inputs.size() == 1 && b.outputs == b.inputs; });
}

std::unique_ptr<ConvKernel> make_depthwise(const KernelSpec& spec, const Weights& weights,
                                           Context context) {
  return make_conv_kernel(name_of(ConvAlgorithm::depthwise), Depthwise(spec, weights, context));
}

KernelMemory depthwise_memory(const KernelSpec& spec) {
  const WeightShape shape = weights_of(spec);
  return {(shape.weight + shape.bias) * sizeof(float), 0};
}

}  // namespace sbcnn::kernels
