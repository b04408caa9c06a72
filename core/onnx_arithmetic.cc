// Matrix products, element-wise operators, normalisation and Softmax.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/onnx_importer.h"

namespace sbcnn::importer {
namespace {

// --- matrix products -------------------------------------------------------------------------

// A constant matrix of `inputs` x `outputs` (or the other way round, `transposed`).
struct Matrix {
  const Blob& data;
  std::int64_t inputs = 0, outputs = 0;
  bool transposed = false;
};

Matrix matrix_of(const Operation& op, std::size_t input, bool transposed) {
  const Integers& dims = op.constant(input).dims;
  if (dims.size() != 2 || dims[0] < 1 || dims[1] < 1 || dims[0] > std::numeric_limits<int>::max() ||
      dims[1] > std::numeric_limits<int>::max()) {
    op.node.unsupported("its second operand " + text(dims) + " is not a matrix");
  }
  const std::size_t in = transposed ? 1 : 0;
  return {op.floats(input), dims[in], dims[1 - in], transposed};
}

// Weights as Dense wants them, [outputs][inputs], for inputs in the order of the value: C, H, W.
Blob dense_weights(const Matrix& m, const Dimension& features, const Shape& in, float alpha) {
  const auto f = std::size_t(m.inputs), o = std::size_t(m.outputs);
  const Dimension natural = joined({whole(Axis::channel, in.channels), whole(Axis::row, in.height),
                                    whole(Axis::column, in.width)});
  if (m.transposed && features == natural && alpha == 1.0f) {
    return m.data;
  }
  std::vector<float> out(f * o);
  for (std::size_t i = 0; i < f; ++i) {
    const auto n = std::int64_t(i);
    const auto along = [&](Axis axis) { return std::size_t(index_along(features, axis, n)); };
    const std::size_t place =
        (along(Axis::channel) * std::size_t(in.height) + along(Axis::row)) * std::size_t(in.width) +
        along(Axis::column);
    for (std::size_t j = 0; j < o; ++j) {
      out[j * f + place] = alpha * m.data.data[m.transposed ? j * f + i : i * o + j];
    }
  }
  return Blob::own(std::move(out));
}

// The last dimension of the input times a constant matrix. Its digits must be all of the value;
// any order of them will do, as it only permutes the columns of the matrix.
void give_dense(Operation& op, const Matrix& m, float alpha, Blob bias) {
  const Wire& in = op.wire(0);
  const Shape shape = op.shape(in);
  const Dimension& features = in.layout.back();
  const bool frames_only =
      std::ranges::all_of(features, [](const Digit& d) { return d.axis != Axis::batch; });
  if (!frames_only || extent(features) != std::int64_t(shape.size())) {
    op.node.unsupported("its input " + text(extents(in.layout)) +
                        " is not one vector a frame; flatten it first");
  }
  if (m.inputs != extent(features)) {
    op.node.malformed("a matrix for " + std::to_string(m.inputs) + " inputs after " +
                      std::to_string(extent(features)));
  }
  const Value flat = shape.pixels() == 1 ? in.value : op.add(Flatten{}, {in.value});
  Wire out{0, in.layout};
  out.value = op.add(Dense{int(m.outputs)}, {flat}, dense_weights(m, features, shape, alpha),
                     std::move(bias));
  out.layout.back() = whole(Axis::channel, m.outputs);
  op.give(std::move(out));
}

// Gemm's third input, one number an output.
Blob gemm_bias(const Operation& op, std::int64_t outputs, float beta) {
  if (!op.has(2)) {
    return {};
  }
  const Integers& dims = op.constant(2).dims;
  const Blob& given = op.floats(2);
  const auto wanted = std::size_t(outputs);
  const bool one_row = std::ranges::all_of(dims.begin(), dims.end() - (dims.empty() ? 0 : 1),
                                           [](std::int64_t d) { return d == 1; });
  if (!one_row || (given.size() != wanted && given.size() != 1)) {
    op.node.unsupported("its third operand " + text(dims) + " is not one number an output");
  }
  if (given.size() == wanted && beta == 1.0f) {
    return given;
  }
  std::vector<float> out(wanted);
  for (std::size_t i = 0; i < wanted; ++i) {
    out[i] = beta * given.data[given.size() == 1 ? 0 : i];
  }
  return Blob::own(std::move(out));
}

// --- element-wise ----------------------------------------------------------------------------

void give_scale_shift(Operation& op, Wire in, std::vector<float> scale, std::vector<float> shift) {
  in.value =
      op.add(ScaleShift{}, {in.value}, Blob::own(std::move(scale)), Blob::own(std::move(shift)));
  op.give(std::move(in));
}

// The wire with dimensions of 1 in front, as broadcasting adds them.
Wire with_rank(Wire wire, std::size_t rank) {
  if (wire.layout.size() < rank) {
    wire.layout.insert(wire.layout.begin(), rank - wire.layout.size(), Dimension{});
  }
  return wire;
}

// scale * input + shift, where one operand of the node is a constant.
struct Affine {
  Wire in;
  std::vector<float> constant;  // by channel
  bool constant_first = false;
};
std::optional<Affine> affine(Operation& op) {
  const bool first = op.is_constant(0);
  if (!first && !op.is_constant(1)) {
    return std::nullopt;
  }
  const Constant& constant = op.constant(first ? 0 : 1);
  const Wire in = with_rank(op.standard(first ? 1 : 0), constant.dims.size());
  return Affine{in, op.per_channel(constant, in), first};
}

void scale(Operation& op, Affine a) {
  const std::size_t channels = a.constant.size();
  give_scale_shift(op, std::move(a.in), std::move(a.constant), std::vector<float>(channels, 0.0f));
}

void shift(Operation& op, Affine a, float sign) {
  const std::size_t channels = a.constant.size();
  give_scale_shift(op, std::move(a.in), std::vector<float>(channels, sign), std::move(a.constant));
}

// Two computed operands: of one shape, or one of them 1 x 1 x C.
void give_binary(Operation& op, const Layer& layer) {
  Wire a = op.standard(0), b = op.standard(1);
  const std::size_t rank = std::max(a.layout.size(), b.layout.size());
  a = with_rank(std::move(a), rank);
  b = with_rank(std::move(b), rank);
  if (op.shape(a) != op.shape(b) && op.shape(a).pixels() == 1) {
    std::swap(a, b);
  }
  const Shape sa = op.shape(a), sb = op.shape(b);
  bool fits = sa == sb || sb == Shape{1, 1, sa.channels};
  for (std::size_t i = 0; i < rank && fits; ++i) {
    // What b lacks, it must lack on axes that the layer broadcasts along.
    fits = a.layout[i] == b.layout[i] ||
           (b.layout[i].empty() && sa != sb && std::ranges::all_of(a.layout[i], [](const Digit& d) {
              return d.axis == Axis::row || d.axis == Axis::column;
            }));
  }
  if (!fits) {
    op.node.unsupported("its operands " + text(extents(a.layout)) + " and " +
                        text(extents(b.layout)) +
                        " are neither alike nor is one of them one number a channel");
  }
  a.value = op.add(layer, {a.value, b.value});
  op.give(std::move(a));
}

float bound(const Operation& op, std::size_t input, const char* attribute, float otherwise) {
  if (op.opset() < 11) {
    return op.node.real(attribute, otherwise);
  }
  return op.has(input) ? op.scalar(input) : otherwise;
}

Activation activation_of(const Operation& op) {
  using Kind = Activation::Kind;
  const GraphNode& node = op.node;
  if (node.type == "Relu") {
    return {Kind::relu};
  }
  if (node.type == "LeakyRelu") {
    return {Kind::leaky_relu, node.real("alpha", 0.01f)};
  }
  if (node.type == "Sigmoid") {
    return {Kind::sigmoid};
  }
  if (node.type == "HardSigmoid") {
    return {Kind::hard_sigmoid, node.real("alpha", 0.2f), node.real("beta", 0.5f)};
  }
  if (node.type == "HardSwish") {
    return {Kind::hard_swish};
  }
  const float low = bound(op, 1, "min", std::numeric_limits<float>::lowest());
  const float high = bound(op, 2, "max", std::numeric_limits<float>::max());
  const bool unbounded = high >= std::numeric_limits<float>::max();
  return low == 0 && unbounded ? Activation{Kind::relu} : Activation{Kind::clip, low, high};
}

}  // namespace

void import_gemm(Operation& op) {
  if (op.node.integer("transA", 0) != 0) {
    op.node.unsupported("transA is not supported");
  }
  if (op.wire(0).layout.size() != 2) {
    op.node.malformed("its input " + text(extents(op.wire(0).layout)) + " is not a matrix");
  }
  const Matrix m = matrix_of(op, 1, op.node.integer("transB", 0) != 0);
  Blob bias = gemm_bias(op, m.outputs, op.node.real("beta", 1.0f));
  give_dense(op, m, op.node.real("alpha", 1.0f), std::move(bias));
}

void import_matmul(Operation& op) {
  if (op.wire(0).layout.empty()) {
    op.node.malformed("its input is a scalar");
  }
  give_dense(op, matrix_of(op, 1, false), 1.0f, {});
}

void import_batch_normalization(Operation& op) {
  if (op.node.integer("training_mode", 0) != 0 || op.wanted(1) || op.wanted(2) || op.wanted(3) ||
      op.wanted(4)) {
    op.node.unsupported("it is in training mode; export the network for inference");
  }
  const Wire in = op.standard(0);
  if (in.layout.size() < 2) {
    op.node.malformed("its input has no channels");
  }
  const std::int64_t channels = op.shape(in).channels;
  // Parameters go along dimension 1, not along the last one as in broadcasting.
  std::vector<float> parameters[4];
  for (std::size_t p = 0; p < 4; ++p) {
    Constant along = op.constant(p + 1);
    if (along.dims != Integers{channels}) {
      op.node.malformed("parameters of shape " + text(along.dims) + " for " +
                        std::to_string(channels) + " channels");
    }
    along.dims.resize(in.layout.size() - 1, 1);
    parameters[p] = op.per_channel(along, in);
  }
  const auto& [gamma, beta, mean, variance] = parameters;
  const double epsilon = op.node.real("epsilon", 1e-5f);
  std::vector<float> factor, offset;
  for (std::size_t c = 0; c < gamma.size(); ++c) {
    const double f = double(gamma[c]) / std::sqrt(double(variance[c]) + epsilon);
    factor.push_back(float(f));
    offset.push_back(float(double(beta[c]) - double(mean[c]) * f));
  }
  give_scale_shift(op, in, std::move(factor), std::move(offset));
}

void import_activation(Operation& op) {
  Wire in = op.standard(0);
  in.value = op.add(Activate{activation_of(op)}, {in.value});
  op.give(std::move(in));
}

void import_add(Operation& op) {
  if (auto a = affine(op)) {
    shift(op, std::move(*a), 1.0f);
  } else {
    give_binary(op, Add{});
  }
}

void import_sub(Operation& op) {
  auto a = affine(op);
  if (!a) {
    op.node.unsupported("a difference of two computed values is not supported");
  }
  if (!a->constant_first) {
    std::ranges::transform(a->constant, a->constant.begin(), std::negate<>());
  }
  const float sign = a->constant_first ? -1.0f : 1.0f;
  shift(op, std::move(*a), sign);
}

void import_mul(Operation& op) {
  if (auto a = affine(op)) {
    scale(op, std::move(*a));
  } else {
    give_binary(op, Mul{});
  }
}

void import_div(Operation& op) {
  auto a = affine(op);
  if (!a || a->constant_first) {
    op.node.unsupported("division by a computed value is not supported");
  }
  std::ranges::transform(a->constant, a->constant.begin(), [](float x) { return 1.0f / x; });
  scale(op, std::move(*a));
}

void import_softmax(Operation& op) {
  Wire in = op.standard(0);
  const std::size_t rank = in.layout.size();
  const bool old = op.opset() < 13;  // then it flattens from the axis on
  const std::size_t axis = axis_of(op.node, op.node.integer("axis", old ? 1 : -1), rank);
  Dimension over = in.layout[axis];
  for (std::size_t i = axis + 1; i < rank && old; ++i) {
    over.insert(over.end(), in.layout[i].begin(), in.layout[i].end());
  }
  const bool channels =
      std::ranges::all_of(over, [](const Digit& d) { return d.axis == Axis::channel; });
  if (!channels || extent(over) != op.shape(in).channels) {
    op.node.unsupported("a softmax over anything but the channels is not supported");
  }
  in.value = op.add(Softmax{}, {in.value});
  op.give(std::move(in));
}

}  // namespace sbcnn::importer
