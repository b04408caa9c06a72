// The closed set of layers: parameters as values, no behaviour.
//
// A value of the network is one frame of H x W x C floats (see tensor.h); fully connected
// values are 1 x 1 x C. Names and semantics are those of the ONNX operators, with pads and
// axes made explicit. Weights are not part of a layer: a Node (model.h) owns them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace sbcnn {

struct Extent {
  int height = 1, width = 1;
  friend constexpr bool operator==(const Extent&, const Extent&) = default;
};

// Element-wise y = f(x).
struct Activation {
  enum class Kind { none, relu, clip, leaky_relu, sigmoid, hard_sigmoid, hard_swish };
  Kind kind = Kind::none;
  // clip: alpha = lower, beta = upper bound; leaky_relu: alpha = slope;
  // hard_sigmoid: max(0, min(1, alpha * x + beta)); unused elsewhere.
  float alpha = 0, beta = 0;
  friend bool operator==(const Activation&, const Activation&) = default;
};
float apply(const Activation&, float x);  // the definition; kernels vectorise it

// y = activation(conv(x) + bias [+ residual]). inputs: x [, residual of y's shape].
// weight: [outputs][channels / groups][kernel.height][kernel.width]; bias: [outputs] or empty.
struct Conv {
  int outputs = 0;
  Extent kernel, stride, dilation;
  Border pads;
  int groups = 1;
  Activation activation;
};

// y = W x + b of a 1 x 1 x F value (ONNX Gemm, MatMul). weight: [outputs][F]; bias: [outputs] or
// empty.
struct Dense {
  int outputs = 0;
};

struct Window {
  Extent kernel, stride, dilation;
  Border pads;
  bool ceil_mode = false;
};
struct MaxPool {
  Window window;
};
struct AveragePool {
  Window window;
  bool count_include_pad = false;
};
struct GlobalAveragePool {};

struct Activate {
  Activation activation;
};
// y[c] = weight[c] * x[c] + bias[c] (BatchNormalization, Mul and Add with constants).
struct ScaleShift {};
// inputs: a, b; b has a's shape, or is 1 x 1 x C and is broadcast over a's pixels.
struct Add {
  Activation activation;
};
struct Mul {};

struct Concat {};  // along channels
struct Stride {    // begin, begin + step, ... < end
  int begin = 0, end = 0, step = 1;
  constexpr int count() const { return end <= begin ? 0 : (end - begin + step - 1) / step; }
};
struct Slice {
  Range channels;
  Stride rows, columns;
};
struct Pad {
  Border pads;
  int channels_before = 0, channels_after = 0;
  float value = 0;
};
// Output channel k * groups + j is input channel j * (C / groups) + k.
struct ChannelShuffle {
  int groups = 1;
};
struct Flatten {};  // to 1 x 1 x (C * H * W), in ONNX's order: index (c * H + h) * W + w
struct Softmax {};  // over the channels of each pixel

using Layer =
    std::variant<Conv, Dense, MaxPool, AveragePool, GlobalAveragePool, Activate, ScaleShift, Add,
                 Mul, Concat, Slice, Pad, ChannelShuffle, Flatten, Softmax>;

std::string_view name_of(const Layer&);      // "Conv", "Dense", ...
std::string_view name_of(Activation::Kind);  // "Relu", "Clip", ..., "" for none

// The shape a layer gives. Throws Error(format) when the inputs do not fit the layer: wrong
// count, group count that does not divide, an empty or absurdly large result.
Shape output_shape(const Layer&, std::span<const Shape> inputs);

// Zeros that a layer's kernel may read around its first input. (Only Conv reads a border;
// pooling and the rest treat edges themselves.)
Border required_border(const Layer&, const Shape& input);

// Elements of weight and bias that a layer wants (bias may also be left empty where the layer
// says so).
struct WeightShape {
  std::size_t weight = 0, bias = 0;
};
WeightShape weight_shape(const Layer&, const Shape& input);

// Multiply-accumulates of one frame.
std::size_t mac_count(const Layer&, std::span<const Shape> inputs);

// One output edge of a sliding window: floor or ceil as ONNX defines it.
int window_count(int size, int kernel, int stride, int dilation, int pad_begin, int pad_end,
                 bool ceil_mode);

}  // namespace sbcnn
