// What the handlers of the operators work with while a graph becomes a Model.
//
// Every tensor of the graph is either a Constant or a Wire, a computed value and the layout in
// which the graph sees it. A handler takes the node's inputs, adds layers and gives the outputs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/model.h"
#include "core/onnx_fold.h"
#include "core/onnx_graph.h"
#include "core/onnx_layout.h"

namespace sbcnn::importer {

struct Wire {
  Value value = 0;
  Layout layout;
};

class Importer {
 public:
  // Throws Error(format | unsupported), naming operator and node.
  explicit Importer(Graph&& graph);
  Model run();

 private:
  friend class Operation;
  using Tensor = std::variant<Constant, Wire>;

  void handle(const GraphNode& node);
  void feed();
  void give(const GraphNode& node, std::size_t output, Tensor tensor);
  const Tensor& tensor(const GraphNode& node, std::size_t input) const;
  std::optional<Wire> standard(const std::string& name, const Wire& wire);
  Value reordered(const std::string& name, Layer layer, Value value);

  Graph graph_;
  Model model_;
  Allowance allowance_;
  std::map<std::string, Tensor> tensors_;
  // ChannelShuffle (by groups) and Flatten (0) of a value, which its readers share.
  std::map<std::pair<Value, int>, Value> reordered_;
};

// One node while it is handled.
class Operation {
 public:
  Operation(Importer& importer, const GraphNode& handled) : node(handled), importer_(importer) {}

  const GraphNode& node;
  std::int64_t opset() const { return importer_.graph_.opset; }
  const Shape& shape(const Wire& wire) const { return importer_.model_.shape(wire.value); }

  bool has(std::size_t input) const;
  bool is_constant(std::size_t input) const;
  // Throw where the input is missing, or is not of that kind.
  const Constant& constant(std::size_t input) const;
  const Blob& floats(std::size_t input) const;
  float scalar(std::size_t input) const;
  const Wire& wire(std::size_t input) const;
  // Inputs as constants; null where left out or computed.
  std::vector<const Constant*> constants() const;

  // The input in the order N, C, H, W (or as many of these as it has dimensions), which may take a
  // ChannelShuffle or a Flatten; as it is if layers cannot bring it into that order.
  Wire standard(std::size_t input);
  // The input as four dimensions N, C, H, W, or Error(unsupported).
  Wire maps(std::size_t input);
  // One number a channel that `constant` comes to when it is broadcast over the wire.
  std::vector<float> per_channel(const Constant& constant, const Wire& wire) const;

  bool wanted(std::size_t output) const;  // somebody reads it
  Value add(Layer layer, std::vector<Value> inputs, Blob weight = {}, Blob bias = {});
  void give(Wire wire, std::size_t output = 0);
  void give(Constant constant);

 private:
  Importer& importer_;
};

using Handler = void (*)(Operation&);
// Null for operators that no handler runs on computed values.
Handler handler_of(std::string_view operation);

// Handlers, by file.
void import_conv(Operation&);  // onnx_convolution.cc
void import_max_pool(Operation&);
void import_average_pool(Operation&);
void import_global_average_pool(Operation&);
void import_global_max_pool(Operation&);
void import_reduce_mean(Operation&);
void import_gemm(Operation&);  // onnx_arithmetic.cc
void import_matmul(Operation&);
void import_batch_normalization(Operation&);
void import_activation(Operation&);
void import_add(Operation&);
void import_sub(Operation&);
void import_mul(Operation&);
void import_div(Operation&);
void import_softmax(Operation&);
void import_shape(Operation&);  // onnx_shapes.cc
void import_reshape(Operation&);
void import_flatten(Operation&);
void import_squeeze(Operation&);
void import_unsqueeze(Operation&);
void import_transpose(Operation&);
void import_expand(Operation&);
void import_identity(Operation&);
void import_cast(Operation&);
void import_concat(Operation&);
void import_split(Operation&);
void import_slice(Operation&);
void import_pad(Operation&);

}  // namespace sbcnn::importer
