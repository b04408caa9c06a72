#include "core/onnx_importer.h"

#include <algorithm>
#include <unordered_map>

namespace sbcnn::importer {
namespace {

// What folding may allocate beyond the size of the file's own tensors.
constexpr std::size_t kFoldedElements = std::size_t{1} << 26;

std::size_t allowance(const Graph& graph) {
  std::size_t own = 0;
  for (const auto& [name, constant] : graph.constants) {
    own += constant.size();
  }
  for (const GraphNode& node : graph.nodes) {
    for (const auto& [name, attribute] : node.attributes) {
      const auto* constant = std::get_if<Constant>(&attribute);
      own += constant == nullptr ? 0 : constant->size();
    }
  }
  return kFoldedElements + 2 * own;
}

// tf2onnx and its like feed N, H, W, C and transpose at once.
bool is_fed_nhwc(const Graph& graph) {
  bool read = false;
  for (const GraphNode& node : graph.nodes) {
    if (std::ranges::find(node.inputs, graph.input) == node.inputs.end()) {
      continue;
    }
    const auto perm = node.attributes.find("perm");
    const auto* axes =
        perm == node.attributes.end() ? nullptr : std::get_if<Integers>(&perm->second);
    if (node.type != "Transpose" || axes == nullptr || *axes != Integers{0, 3, 1, 2}) {
      return false;
    }
    read = true;
  }
  return read;
}

// The frame that the graph's input holds. The batch may be open or anything; the rest may not.
Shape input_shape(const Graph& graph) {
  const Integers& dims = graph.input_dims;
  const std::string what = "input '" + printable(graph.input) + "' of shape " + text(dims);
  if (dims.empty() || dims.size() > 4) {
    throw Error(Error::Code::unsupported, what + ": sbcnn feeds N x C x H x W or N x C");
  }
  for (std::size_t i = 1; i < dims.size(); ++i) {
    if (dims[i] < 0) {
      throw Error(Error::Code::unsupported,
                  what + ": height, width and channels must be fixed; export the model so");
    }
    if (dims[i] == 0) {
      throw Error(Error::Code::format, what + " is empty");
    }
  }
  const Integers frame(dims.begin() + 1, dims.end());
  try {
    element_count(frame);
    element_count({dims[0] < 1 ? 1 : dims[0], std::int64_t(element_count(frame))});
  } catch (const Error& e) {
    throw Error(e.code(), what + ": " + e.what());
  }
  if (std::ranges::any_of(frame, [](std::int64_t d) { return d > (1 << 30); })) {
    throw Error(Error::Code::format, what + " is absurdly large");
  }
  const auto size = [&](std::size_t i) { return i < frame.size() ? int(frame[i]) : 1; };
  if (frame.size() == 3) {
    return is_fed_nhwc(graph) ? Shape{size(0), size(1), size(2)} : Shape{size(1), size(2), size(0)};
  }
  return {1, size(1), size(0)};
}

// The channels' digits of a dimension that begins with all of them, permuted or not.
struct ChannelPrefix {
  std::size_t digits = 0;
  int shuffle = 1;  // groups of the ChannelShuffle that gives this order
};
std::optional<ChannelPrefix> channel_prefix(const Dimension& dim, std::int64_t channels) {
  if (channels == 1) {
    return ChannelPrefix{};
  }
  if (dim.empty() || dim[0].axis != Axis::channel) {
    return std::nullopt;
  }
  if (dim[0].extent == channels) {
    return ChannelPrefix{1, 1};
  }
  if (dim.size() >= 2 && dim[1].axis == Axis::channel && dim[0].stride == 1 &&
      dim[1].stride == dim[0].extent && dim[0].extent * dim[1].extent == channels) {
    return ChannelPrefix{2, int(dim[1].extent)};
  }
  return std::nullopt;
}

// The nodes that `output` depends on; its own is the last of them.
Model pruned(Model&& model, Value output) {
  std::vector<Value> renamed(model.nodes().size() + 1, -1);
  renamed[std::size_t(output)] = output;
  for (Value v = output; v > 0; --v) {
    if (renamed[std::size_t(v)] >= 0) {
      for (const Value input : model.node(v - 1).inputs) {
        renamed[std::size_t(input)] = input;
      }
    }
  }
  renamed[0] = 0;
  if (std::ranges::find(renamed, -1) == renamed.end()) {
    return std::move(model);
  }
  Model out(model.shape(0));
  out.name = model.name;
  for (Value v = 1; v <= output; ++v) {
    if (renamed[std::size_t(v)] >= 0) {
      Node node = model.node(v - 1);
      std::ranges::transform(node.inputs, node.inputs.begin(),
                             [&](Value i) { return renamed[std::size_t(i)]; });
      renamed[std::size_t(v)] = out.add(node.name, node.layer, node.inputs, node.weight, node.bias);
    }
  }
  return out;
}

}  // namespace

Importer::Importer(Graph&& graph)
    : graph_(std::move(graph)), model_(input_shape(graph_)), allowance_(allowance(graph_)) {}

void Importer::feed() {
  const std::int64_t batch = std::max<std::int64_t>(graph_.input_dims[0], 1);
  const std::size_t rank = graph_.input_dims.size();
  const Shape& shape = model_.shape(0);
  const bool nhwc = rank == 4 && is_fed_nhwc(graph_);
  tensors_[graph_.input] =
      Wire{0, nhwc ? nhwc_layout(shape, batch) : standard_layout(shape, batch, rank)};
}

Model Importer::run() {
  for (auto& [name, constant] : graph_.constants) {
    tensors_.emplace(name, std::move(constant));
  }
  graph_.constants.clear();
  feed();
  for (const GraphNode& node : graph_.nodes) {
    try {
      handle(node);
    } catch (const Error& e) {
      const std::string what = e.what(), label = node.label();
      throw what.starts_with(label) ? e : Error(e.code(), label + ": " + what);
    }
  }
  const auto output = tensors_.find(graph_.output);
  const std::string name = "output '" + printable(graph_.output) + "'";
  if (output == tensors_.end()) {
    throw Error(Error::Code::format, name + " is given by no node");
  }
  const Wire* wire = std::get_if<Wire>(&output->second);
  if (wire == nullptr) {
    throw Error(Error::Code::unsupported, name + " does not depend on the input");
  }
  if (const auto ordered = standard(printable(graph_.output), *wire)) {
    return pruned(std::move(model_), ordered->value);
  }
  // A network of N x H x W x C throughout; frames of ours have no order of axes.
  const Shape& shape = model_.shape(wire->value);
  const std::int64_t batch = extent(wire->layout.empty() ? Dimension{} : wire->layout[0]);
  if (wire->layout != nhwc_layout(shape, batch)) {
    throw Error(Error::Code::unsupported, name + " has its axes in an order that no layer gives");
  }
  return pruned(std::move(model_), wire->value);
}

void Importer::handle(const GraphNode& node) {
  bool constant = true;
  std::vector<const Constant*> inputs;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const bool given = !node.inputs[i].empty();
    inputs.push_back(given ? std::get_if<Constant>(&tensor(node, i)) : nullptr);
    constant = constant && (!given || inputs.back() != nullptr);
  }
  const Handler handler = handler_of(node.type);
  if (constant && can_fold(node.type)) {
    give(node, 0, fold(node, graph_.opset, inputs, allowance_));
  } else if (handler != nullptr) {
    Operation operation(*this, node);
    handler(operation);
  } else if (can_fold(node.type)) {
    node.unsupported("this operator is supported on constants only");
  } else {
    node.unsupported("this operator is not supported");
  }
}

void Importer::give(const GraphNode& node, std::size_t output, Tensor tensor) {
  if (output >= node.outputs.size() || node.outputs[output].empty()) {
    return;
  }
  if (!tensors_.emplace(node.outputs[output], std::move(tensor)).second) {
    node.malformed("tensor '" + printable(node.outputs[output]) + "' is given twice");
  }
}

const Importer::Tensor& Importer::tensor(const GraphNode& node, std::size_t input) const {
  if (input >= node.inputs.size() || node.inputs[input].empty()) {
    node.malformed("input " + std::to_string(input) + " is missing");
  }
  const auto found = tensors_.find(node.inputs[input]);
  if (found == tensors_.end()) {
    node.malformed("it reads '" + printable(node.inputs[input]) +
                   "', which nothing before it gives (missing, out of order or a cycle)");
  }
  return found->second;
}

Value Importer::reordered(const std::string& name, Layer layer, Value value) {
  const auto* shuffle = std::get_if<ChannelShuffle>(&layer);
  const auto [known, fresh] =
      reordered_.emplace(std::pair(value, shuffle == nullptr ? 0 : shuffle->groups), value);
  if (fresh) {
    known->second = model_.add(name + "/" + std::string(name_of(layer)), layer, {value});
  }
  return known->second;
}

std::optional<Wire> Importer::standard(const std::string& name, const Wire& wire) {
  const Shape& shape = model_.shape(wire.value);
  const Layout& dims = wire.layout;
  const std::size_t rank = dims.size();
  // Without a batch, one dimension is that of the channels.
  const bool headless = rank == 1 && whole_axis(dims[0], shape) != Axis::batch;
  if (rank == 0 || rank > 4 || (!headless && !dims[0].empty() && dims[0][0].axis != Axis::batch) ||
      (!headless && dims[0].size() > 1)) {
    return std::nullopt;
  }
  const Dimension none, &channels = headless ? dims[0] : (rank > 1 ? dims[1] : none),
                        &rows = rank == 4 ? dims[2] : none,
                        &columns = rank >= 3 ? dims[rank - 1] : none;
  const auto prefix = channel_prefix(channels, shape.channels);
  if (!prefix) {
    return std::nullopt;
  }
  const Dimension rest(channels.begin() + std::ptrdiff_t(prefix->digits), channels.end());
  const Dimension all_rows = whole(Axis::row, shape.height),
                  all_columns = whole(Axis::column, shape.width);
  const bool in_place = rest.empty() && rows == all_rows && columns == all_columns;
  const bool flat = rows.empty() && columns.empty() && rest == joined({all_rows, all_columns});
  if (!in_place && !flat) {
    return std::nullopt;
  }
  Wire out = wire;
  if (prefix->shuffle > 1) {
    out.value = reordered(name, ChannelShuffle{prefix->shuffle}, out.value);
  }
  if (!in_place) {
    out.value = reordered(name, Flatten{}, out.value);
  }
  if (headless || rank > 1) {
    out.layout[headless ? 0 : 1] = whole(Axis::channel, model_.shape(out.value).channels);
  }
  return out;
}

// --- Operation -------------------------------------------------------------------------------

bool Operation::has(std::size_t input) const {
  return input < node.inputs.size() && !node.inputs[input].empty();
}

bool Operation::is_constant(std::size_t input) const {
  return std::holds_alternative<Constant>(importer_.tensor(node, input));
}

const Constant& Operation::constant(std::size_t input) const {
  const auto* constant = std::get_if<Constant>(&importer_.tensor(node, input));
  if (constant == nullptr) {
    node.unsupported("input " + std::to_string(input) + " is computed; it must be a constant");
  }
  return *constant;
}

const Blob& Operation::floats(std::size_t input) const {
  const Constant& c = constant(input);
  if (c.integral()) {
    node.malformed("input " + std::to_string(input) + " does not hold floats");
  }
  return std::get<Blob>(c.data);
}

float Operation::scalar(std::size_t input) const {
  const Blob& blob = floats(input);
  if (blob.size() != 1) {
    node.malformed("input " + std::to_string(input) + " is not one number");
  }
  return blob.data[0];
}

const Wire& Operation::wire(std::size_t input) const {
  const auto* wire = std::get_if<Wire>(&importer_.tensor(node, input));
  if (wire == nullptr) {
    node.unsupported("input " + std::to_string(input) + " is a constant; it must be computed");
  }
  return *wire;
}

std::vector<const Constant*> Operation::constants() const {
  std::vector<const Constant*> out;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    out.push_back(has(i) ? std::get_if<Constant>(&importer_.tensor(node, i)) : nullptr);
  }
  return out;
}

Wire Operation::standard(std::size_t input) {
  const Wire& as_it_is = wire(input);
  return importer_.standard(printable(node.name), as_it_is).value_or(as_it_is);
}

Wire Operation::maps(std::size_t input) {
  const Wire& as_it_is = wire(input);
  if (as_it_is.layout.size() != 4) {
    node.unsupported("its input " + text(extents(as_it_is.layout)) +
                     " is not N x C x H x W; sbcnn runs 2-D networks");
  }
  const auto ordered = importer_.standard(printable(node.name), as_it_is);
  if (!ordered) {
    node.unsupported("the axes of its input are in an order that no layer gives");
  }
  return *ordered;
}

std::vector<float> Operation::per_channel(const Constant& constant, const Wire& wire) const {
  const auto misfit = [&] {
    node.unsupported("a constant of shape " + text(constant.dims) + " for a value of shape " +
                     text(extents(wire.layout)) + " is not one number a channel");
  };
  if (constant.integral()) {
    node.malformed("a constant of integers for a value of floats");
  }
  const Dimension* varying = nullptr;
  const std::size_t rank = wire.layout.size();
  for (std::size_t i = 0; i < constant.dims.size(); ++i) {
    const std::int64_t size = constant.dims[constant.dims.size() - 1 - i];
    if (size == 1) {
      continue;
    }
    const Dimension* dim = i < rank ? &wire.layout[rank - 1 - i] : nullptr;
    if (dim == nullptr || varying != nullptr || extent(*dim) != size ||
        size != shape(wire).channels ||
        std::ranges::any_of(*dim, [](const Digit& d) { return d.axis != Axis::channel; })) {
      misfit();
    }
    varying = dim;
  }
  const std::span<const float> values = constant.floats();
  if (varying == nullptr) {
    return std::vector<float>(std::size_t(shape(wire).channels), values[0]);
  }
  std::vector<float> out(values.size());
  for (std::size_t n = 0; n < values.size(); ++n) {
    out[std::size_t(index_along(*varying, Axis::channel, std::int64_t(n)))] = values[n];
  }
  return out;
}

bool Operation::wanted(std::size_t output) const {
  return output < node.outputs.size() && !node.outputs[output].empty();
}

Value Operation::add(Layer layer, std::vector<Value> inputs, Blob weight, Blob bias) {
  std::string name = printable(node.name);
  if (name.empty()) {
    const auto given = std::ranges::find_if(node.outputs, [](const auto& o) { return !o.empty(); });
    name = printable(given == node.outputs.end() ? node.type : *given);
  }
  return importer_.model_.add(std::move(name), std::move(layer), std::move(inputs),
                              std::move(weight), std::move(bias));
}

void Operation::give(Wire wire, std::size_t output) {
  importer_.give(node, output, std::move(wire));
}

void Operation::give(Constant constant) {
  importer_.give(node, 0, std::move(constant));
}

Handler handler_of(std::string_view operation) {
  static const std::unordered_map<std::string_view, Handler> table = {
      {"Add", import_add},
      {"AveragePool", import_average_pool},
      {"BatchNormalization", import_batch_normalization},
      {"Cast", import_cast},
      {"Clip", import_activation},
      {"Concat", import_concat},
      {"Conv", import_conv},
      {"Div", import_div},
      {"Dropout", import_identity},
      {"Expand", import_expand},
      {"Flatten", import_flatten},
      {"Gemm", import_gemm},
      {"GlobalAveragePool", import_global_average_pool},
      {"GlobalMaxPool", import_global_max_pool},
      {"HardSigmoid", import_activation},
      {"HardSwish", import_activation},
      {"Identity", import_identity},
      {"LeakyRelu", import_activation},
      {"MatMul", import_matmul},
      {"MaxPool", import_max_pool},
      {"Mul", import_mul},
      {"Pad", import_pad},
      {"ReduceMean", import_reduce_mean},
      {"Relu", import_activation},
      {"Reshape", import_reshape},
      {"Shape", import_shape},
      {"Sigmoid", import_activation},
      {"Slice", import_slice},
      {"Softmax", import_softmax},
      {"Split", import_split},
      {"Squeeze", import_squeeze},
      {"Sub", import_sub},
      {"Transpose", import_transpose},
      {"Unsqueeze", import_unsqueeze},
  };
  const auto found = table.find(operation);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace sbcnn::importer
