// An ONNX graph as plain data: what is left of a file once protobuf is out of the way.
//
// `parse_graph` keeps only what the output depends on: other nodes, other tensors and the names
// of outputs that nobody reads ("") are dropped, so nothing below has to think about them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/model.h"

namespace sbcnn::importer {

using Integers = std::vector<std::int64_t>;

// A tensor whose elements are known. All integer types (and bool) are held as 64-bit integers,
// all floating-point types as floats.
struct Constant {
  Integers dims;  // empty: a scalar
  std::variant<Blob, Integers> data;

  bool integral() const { return data.index() == 1; }
  std::span<const float> floats() const { return std::get<Blob>(data).data; }
  const Integers& integers() const { return std::get<Integers>(data); }
  std::size_t size() const { return integral() ? integers().size() : floats().size(); }
};

// Elements of a tensor with these dimensions. Throws Error(format) for a negative dimension or
// more than 2^31 elements.
std::size_t element_count(const Integers& dims);
std::string text(const Integers& dims);  // "[1, 3, 224, 224]"

struct OtherAttribute {};  // of a type that no operator here reads (a graph, strings, ...)
using Attribute = std::variant<OtherAttribute, std::int64_t, float, std::string, Constant, Integers,
                               std::vector<float>>;

struct GraphNode {
  std::string name, type;
  std::vector<std::string> inputs, outputs;  // "" where left out
  std::map<std::string, Attribute, std::less<>> attributes;

  // "Conv node 'stem'"; a node without a name is called after what it gives.
  std::string label() const;
  // Throw Error(format) and Error(unsupported), naming operator and node.
  [[noreturn]] void malformed(const std::string& why) const;
  [[noreturn]] void unsupported(const std::string& why) const;

  // An attribute, or the default where the node has none. Another type is Error(format).
  bool has(std::string_view attribute) const { return attributes.contains(attribute); }
  std::int64_t integer(std::string_view attribute, std::int64_t otherwise) const;
  float real(std::string_view attribute, float otherwise) const;
  std::string string(std::string_view attribute, std::string_view otherwise) const;
  const Integers* integers(std::string_view attribute) const;  // null: none
  const std::vector<float>* reals(std::string_view attribute) const;
  const Constant* tensor(std::string_view attribute) const;
};

struct Graph {
  std::string name;
  std::int64_t opset = 0;
  std::string input, output;
  Integers input_dims;  // -1 where the file leaves it open
  std::vector<GraphNode> nodes;
  std::map<std::string, Constant> constants;
  std::map<std::string, std::string> metadata;
};

// Told of each part of the file, none twice, when nobody will read it again.
using ReadParts = std::function<void(std::span<const std::byte>)>;

// Throws Error(format | unsupported) without the file's name, which callers put before it.
Graph parse_graph(std::span<const std::byte> file, const ReadParts& done);

// A name out of a file, made fit for one line of an error message.
std::string printable(std::string_view name);

}  // namespace sbcnn::importer
