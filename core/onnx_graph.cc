#include "core/onnx_graph.h"

#include <algorithm>

namespace sbcnn::importer {
namespace {

constexpr std::size_t kMaxElements = std::size_t{1} << 31;

template <class T>
const T* find(const GraphNode& node, std::string_view name, const char* kind) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) {
    return nullptr;
  }
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) {
    node.malformed("attribute " + std::string(name) + " is not " + kind);
  }
  return value;
}

}  // namespace

std::size_t element_count(const Integers& dims) {
  std::size_t count = 1;
  bool empty = false;
  for (const std::int64_t d : dims) {
    if (d < 0) {
      throw Error(Error::Code::format, "negative size in " + text(dims));
    }
    // The other sizes of an empty tensor are checked too: strides are made of them.
    empty = empty || d == 0;
    const auto size = std::size_t(d == 0 ? 1 : d);
    if (size > kMaxElements / count) {
      throw Error(Error::Code::format, "absurdly large tensor " + text(dims));
    }
    count *= size;
  }
  return empty ? 0 : count;
}

std::string text(const Integers& dims) {
  std::string out = "[";
  for (std::size_t i = 0; i < dims.size() && i < 8; ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  }
  return out + (dims.size() > 8 ? ", ...]" : "]");
}

std::string printable(std::string_view name) {
  constexpr std::size_t longest = 100;
  std::string out(name.substr(0, longest));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }, '?');
  return name.size() > longest ? out + "..." : out;
}

std::string GraphNode::label() const {
  const std::string operation = printable(type) + " node ";
  if (!name.empty()) {
    return operation + "'" + printable(name) + "'";
  }
  const auto given = std::ranges::find_if(outputs, [](const auto& o) { return !o.empty(); });
  return given == outputs.end() ? operation + "without a name"
                                : operation + "giving '" + printable(*given) + "'";
}

void GraphNode::malformed(const std::string& why) const {
  throw Error(Error::Code::format, label() + ": " + why);
}

void GraphNode::unsupported(const std::string& why) const {
  throw Error(Error::Code::unsupported, label() + ": " + why);
}

std::int64_t GraphNode::integer(std::string_view attribute, std::int64_t otherwise) const {
  const auto* value = find<std::int64_t>(*this, attribute, "an integer");
  return value == nullptr ? otherwise : *value;
}

float GraphNode::real(std::string_view attribute, float otherwise) const {
  const auto* value = find<float>(*this, attribute, "a number");
  return value == nullptr ? otherwise : *value;
}

std::string GraphNode::string(std::string_view attribute, std::string_view otherwise) const {
  const auto* value = find<std::string>(*this, attribute, "a string");
  return value == nullptr ? std::string(otherwise) : *value;
}

const Integers* GraphNode::integers(std::string_view attribute) const {
  return find<Integers>(*this, attribute, "a list of integers");
}

const std::vector<float>* GraphNode::reals(std::string_view attribute) const {
  return find<std::vector<float>>(*this, attribute, "a list of numbers");
}

const Constant* GraphNode::tensor(std::string_view attribute) const {
  return find<Constant>(*this, attribute, "a tensor");
}

}  // namespace sbcnn::importer
