#include "core/model.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "core/error.h"

namespace sbcnn {
namespace {

void check_weights(const Layer& layer, const Shape& input, const Blob& weight, const Blob& bias) {
  const WeightShape want = weight_shape(layer, input);
  const auto check = [](const char* what, std::size_t have, std::size_t wanted) {
    if (have != 0 && have != wanted) {
      throw Error(Error::Code::format, std::string(what) + " has " + std::to_string(have) +
                                           " elements, the layer wants " + std::to_string(wanted));
    }
  };
  check("weight", weight.size(), want.weight);
  check("bias", bias.size(), want.bias);
}

}  // namespace

Blob Blob::own(std::vector<float> values) {
  auto owner = std::make_shared<const std::vector<float>>(std::move(values));
  return {*owner, owner};
}

void Blob::release_pages() const {
  if (!mapped || empty()) {
    return;
  }
  const auto page = std::uintptr_t(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(data.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(data.data() + data.size());
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Model::Model(Shape input) : shapes_{input} {
  require(input.height > 0 && input.width > 0 && input.channels > 0, "Model: empty input");
}

Value Model::add(std::string node_name, Layer layer, std::vector<Value> inputs, Blob weight,
                 Blob bias) {
  std::vector<Shape> in;
  for (const Value v : inputs) {
    require(0 <= v && std::size_t(v) < shapes_.size(), "Model::add: input does not exist yet");
    in.push_back(shape(v));
  }
  try {
    const Shape out = output_shape(layer, in);
    check_weights(layer, in[0], weight, bias);
    shapes_.push_back(out);
  } catch (const Error& e) {
    throw Error(e.code(), std::string(name_of(layer)) + " '" + node_name + "': " + e.what());
  }
  nodes_.push_back({std::move(node_name), std::move(layer), std::move(inputs), std::move(weight),
                    std::move(bias)});
  return output();
}

std::vector<Shape> Model::input_shapes(NodeId n) const {
  std::vector<Shape> shapes;
  for (const Value v : node(n).inputs) {
    shapes.push_back(shape(v));
  }
  return shapes;
}

bool Model::has_weights() const {
  return std::ranges::all_of(nodes_, [this](const Node& n) {
    return weight_shape(n.layer, shape(n.inputs[0])).weight == 0 || !n.weight.empty();
  });
}

void Model::drop_weights(NodeId n) {
  Node& of = nodes_[std::size_t(n)];
  for (Blob* blob : {&of.weight, &of.bias}) {
    blob->release_pages();
    *blob = {};
  }
}

std::size_t mac_count(const Model& model) {
  std::size_t macs = 0;
  for (NodeId n = 0; n < int(model.nodes().size()); ++n) {
    macs += mac_count(model.node(n).layer, model.input_shapes(n));
  }
  return macs;
}

std::size_t weight_bytes(const Model& model) {
  std::size_t floats = 0;
  for (const Node& node : model.nodes()) {
    const WeightShape w = weight_shape(node.layer, model.shape(node.inputs[0]));
    floats += w.weight + w.bias;
  }
  return floats * sizeof(float);
}

Model skeleton_of(const Model& model) {
  Model skeleton(model.shape(model.input()));
  for (const Node& node : model.nodes()) {
    skeleton.add(node.name, node.layer, node.inputs);
  }
  skeleton.name = model.name;
  skeleton.preprocess = model.preprocess;
  skeleton.labels = model.labels;
  return skeleton;
}

}  // namespace sbcnn
