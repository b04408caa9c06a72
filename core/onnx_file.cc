// The only place that knows protobuf: bytes of an ONNX file -> importer::Graph.
#include <google/protobuf/io/zero_copy_stream.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <unordered_map>

#include "core/onnx_graph.h"

namespace sbcnn::importer {
namespace {

static_assert(std::endian::native == std::endian::little, "raw tensors are little endian");

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

[[noreturn]] void malformed(const std::string& why) {
  throw Error(Error::Code::format, why);
}

[[noreturn]] void unsupported(const std::string& why) {
  throw Error(Error::Code::unsupported, why);
}

// --- tensors ---------------------------------------------------------------------------------

float from_half(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
    const float magnitude = float(fraction) * 5.9604644775390625e-8f;
    return sign == 0 ? magnitude : -magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

float from_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t(bits) << 16);
}

// A tensor's elements lie either in raw_data, as `Stored`, or in the list of its type; both are
// freed as soon as they are read, so that no weight is held twice for longer than that.
template <class Stored, class Element, class Field, class Convert>
std::vector<Element> decode(TensorProto& tensor, std::size_t count, Field& field,
                            const Convert& convert) {
  std::vector<Element> out;
  if (tensor.has_raw_data()) {
    const std::unique_ptr<std::string> raw(tensor.release_raw_data());
    if (raw->size() != count * sizeof(Stored)) {
      malformed("it has " + std::to_string(raw->size()) + " bytes for " + std::to_string(count) +
                " elements");
    }
    out.resize(count);
    if constexpr (std::is_same_v<Stored, Element>) {
      if (count != 0) {
        std::memcpy(out.data(), raw->data(), raw->size());
      }
    } else {
      for (std::size_t i = 0; i < count; ++i) {
        Stored stored{};
        std::memcpy(&stored, raw->data() + i * sizeof(Stored), sizeof(Stored));
        out[i] = convert(stored);
      }
    }
    return out;
  }
  if (std::size_t(field.size()) != count) {
    malformed("it has " + std::to_string(field.size()) + " values for " + std::to_string(count) +
              " elements");
  }
  out.reserve(count);
  for (const auto stored : field) {
    out.push_back(convert(static_cast<Stored>(stored)));
  }
  Field().Swap(&field);
  return out;
}

template <class Stored, class Field>
Blob floats(TensorProto& t, std::size_t count, Field* field) {
  return Blob::own(
      decode<Stored, float>(t, count, *field, [](Stored x) { return static_cast<float>(x); }));
}

template <class Field>
Blob halves(TensorProto& t, std::size_t count, Field* field, float (*convert)(std::uint16_t)) {
  return Blob::own(decode<std::uint16_t, float>(t, count, *field, convert));
}

template <class Stored, class Field>
Integers integers(TensorProto& t, std::size_t count, Field* field) {
  return decode<Stored, std::int64_t>(t, count, *field,
                                      [](Stored x) { return static_cast<std::int64_t>(x); });
}

std::variant<Blob, Integers> elements(TensorProto& t, std::size_t n) {
  switch (t.data_type()) {
    case TensorProto::FLOAT:
      return floats<float>(t, n, t.mutable_float_data());
    case TensorProto::DOUBLE:
      return floats<double>(t, n, t.mutable_double_data());
    case TensorProto::FLOAT16:
      return halves(t, n, t.mutable_int32_data(), from_half);
    case TensorProto::BFLOAT16:
      return halves(t, n, t.mutable_int32_data(), from_bfloat);
    case TensorProto::INT64:
      return integers<std::int64_t>(t, n, t.mutable_int64_data());
    case TensorProto::INT32:
      return integers<std::int32_t>(t, n, t.mutable_int32_data());
    case TensorProto::INT16:
      return integers<std::int16_t>(t, n, t.mutable_int32_data());
    case TensorProto::INT8:
      return integers<std::int8_t>(t, n, t.mutable_int32_data());
    case TensorProto::UINT8:
    case TensorProto::BOOL:
      return integers<std::uint8_t>(t, n, t.mutable_int32_data());
    case TensorProto::UINT16:
      return integers<std::uint16_t>(t, n, t.mutable_int32_data());
    case TensorProto::UINT32:
      return integers<std::uint32_t>(t, n, t.mutable_uint64_data());
    default:
      unsupported("elements of type " + std::to_string(t.data_type()) + " are not supported");
  }
}

Constant convert(TensorProto& tensor, const std::string& what) {
  try {
    if (tensor.data_location() == TensorProto::EXTERNAL || tensor.external_data_size() != 0) {
      unsupported("its data lies in another file; save the model as one file");
    }
    if (tensor.has_segment()) {
      unsupported("it is stored in segments");
    }
    Constant out;
    out.dims.assign(tensor.dims().begin(), tensor.dims().end());
    out.data = elements(tensor, element_count(out.dims));
    return out;
  } catch (const Error& e) {
    throw Error(e.code(), what + ": " + e.what());
  }
}

// --- nodes -----------------------------------------------------------------------------------

Attribute convert(AttributeProto& attribute, const std::string& what) {
  switch (attribute.type()) {
    case AttributeProto::INT:
      return attribute.i();
    case AttributeProto::FLOAT:
      return attribute.f();
    case AttributeProto::STRING:
      return attribute.s();
    case AttributeProto::TENSOR:
      return convert(*attribute.mutable_t(), what);
    case AttributeProto::INTS:
      return Integers(attribute.ints().begin(), attribute.ints().end());
    case AttributeProto::FLOATS:
      return std::vector<float>(attribute.floats().begin(), attribute.floats().end());
    default:
      return OtherAttribute{};
  }
}

GraphNode convert(NodeProto& node, const std::set<std::string>& live) {
  GraphNode out;
  out.name = node.name();
  out.type = node.op_type();
  out.inputs.assign(node.input().begin(), node.input().end());
  for (const std::string& name : node.output()) {
    out.outputs.push_back(live.contains(name) ? name : "");
  }
  if (!node.domain().empty() && node.domain() != "ai.onnx") {
    out.unsupported("operator of domain '" + printable(node.domain()) +
                    "'; sbcnn runs standard ONNX operators only");
  }
  for (AttributeProto& attribute : *node.mutable_attribute()) {
    const std::string what = out.label() + ": attribute " + printable(attribute.name());
    if (!out.attributes.emplace(attribute.name(), convert(attribute, what)).second) {
      malformed(what + " is given twice");
    }
  }
  return out;
}

// Names of all tensors that `output` depends on. Works on any graph, cyclic ones too.
std::set<std::string> ancestors(const GraphProto& graph, const std::string& output) {
  std::unordered_map<std::string, const NodeProto*> producers;
  for (const NodeProto& node : graph.node()) {
    for (const std::string& name : node.output()) {
      producers.emplace(name, &node);
    }
  }
  std::set<std::string> live{output};
  std::vector<std::string> open{output};
  while (!open.empty()) {
    const auto producer = producers.find(open.back());
    open.pop_back();
    if (producer == producers.end()) {
      continue;
    }
    for (const std::string& name : producer->second->input()) {
      if (!name.empty() && live.insert(name).second) {
        open.push_back(name);
      }
    }
  }
  return live;
}

// --- the graph -------------------------------------------------------------------------------

std::int64_t opset_of(const ModelProto& model) {
  for (const auto& set : model.opset_import()) {
    if (set.domain().empty() || set.domain() == "ai.onnx") {
      if (set.version() < 9 || set.version() > 17) {
        unsupported("opset " + std::to_string(set.version()) +
                    " is not supported; convert the model to one of 9 to 17");
      }
      return set.version();
    }
  }
  malformed("it does not say which opset it uses");
}

void read_input(const ::onnx::ValueInfoProto& info, Graph& out) {
  const std::string what = "input '" + printable(info.name()) + "'";
  out.input = info.name();
  if (!info.type().has_tensor_type() || !info.type().tensor_type().has_shape()) {
    unsupported(what + " is not a tensor of known shape");
  }
  const auto& tensor = info.type().tensor_type();
  constexpr int real[] = {TensorProto::FLOAT, TensorProto::FLOAT16, TensorProto::BFLOAT16,
                          TensorProto::DOUBLE};
  if (std::ranges::find(real, tensor.elem_type()) == std::end(real)) {
    unsupported(what + " is not of a floating-point type; sbcnn feeds floats");
  }
  for (const auto& dim : tensor.shape().dim()) {
    if (dim.has_dim_value() && dim.dim_value() < 0) {
      malformed(what + " has a negative size, " + std::to_string(dim.dim_value()));
    }
    out.input_dims.push_back(dim.has_dim_value() ? dim.dim_value() : -1);
  }
}

void read_ends(const GraphProto& graph, Graph& out) {
  std::set<std::string> known;
  for (const TensorProto& tensor : graph.initializer()) {
    known.insert(tensor.name());
  }
  const ::onnx::ValueInfoProto* input = nullptr;
  for (const auto& info : graph.input()) {
    if (known.contains(info.name())) {
      continue;
    }
    if (input != nullptr) {
      unsupported("the network has several inputs, '" + printable(input->name()) + "' and '" +
                  printable(info.name()) + "'; sbcnn runs networks with one");
    }
    input = &info;
  }
  if (input == nullptr || input->name().empty()) {
    malformed("the network has no input");
  }
  if (graph.output_size() != 1 || graph.output(0).name().empty()) {
    unsupported("the network has " + std::to_string(graph.output_size()) +
                " outputs; sbcnn runs networks with one");
  }
  out.output = graph.output(0).name();
  read_input(*input, out);
}

// Gives protobuf the file part by part, so that one that is mapped need not be in memory beside the
// tensors that come out of it.
class InParts final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  InParts(std::span<const std::byte> file, const ReadParts& done) : file_(file), done_(done) {}

  bool Next(const void** data, int* size) override {
    release();
    *data = file_.data() + at_;
    *size = int(std::min(kPart - at_ % kPart, file_.size() - at_));
    at_ += std::size_t(*size);
    return *size > 0;
  }
  void BackUp(int count) override { at_ -= std::size_t(count); }
  bool Skip(int count) override {
    const std::size_t skipped = std::min(std::size_t(count), file_.size() - at_);
    at_ += skipped;
    return skipped == std::size_t(count);
  }
  std::int64_t ByteCount() const override { return std::int64_t(at_); }

 private:
  static constexpr std::size_t kPart = std::size_t{1} << 20;

  void release() {
    const std::size_t end = at_ / kPart * kPart;
    if (end > released_) {
      done_(file_.subspan(released_, end - released_));
      released_ = end;
    }
  }

  std::span<const std::byte> file_;
  const ReadParts& done_;
  std::size_t at_ = 0, released_ = 0;
};

}  // namespace

Graph parse_graph(std::span<const std::byte> file, const ReadParts& done) {
  if (file.size() > std::size_t(std::numeric_limits<int>::max())) {
    unsupported("it is larger than 2 GiB, more than an ONNX file can be");
  }
  ModelProto model;
  InParts input(file, done);
  if (file.empty() || !model.ParseFromZeroCopyStream(&input)) {
    malformed(file.empty() ? "it is empty" : "it is damaged, cut short or not an ONNX model");
  }
  if (!model.has_graph()) {
    malformed("it holds no graph; is it an ONNX model?");
  }
  Graph out;
  out.opset = opset_of(model);
  GraphProto& graph = *model.mutable_graph();
  out.name = graph.name();
  read_ends(graph, out);
  const std::set<std::string> live = ancestors(graph, out.output);
  for (TensorProto& tensor : *graph.mutable_initializer()) {
    const std::string what = "tensor '" + printable(tensor.name()) + "'";
    if (live.contains(tensor.name()) &&
        !out.constants.emplace(tensor.name(), convert(tensor, what)).second) {
      malformed(what + " is given twice");
    }
  }
  for (NodeProto& node : *graph.mutable_node()) {
    if (std::ranges::any_of(node.output(), [&](const auto& name) { return live.contains(name); })) {
      out.nodes.push_back(convert(node, live));
    }
  }
  for (const auto& entry : model.metadata_props()) {
    out.metadata[entry.key()] = entry.value();
  }
  return out;
}

}  // namespace sbcnn::importer
