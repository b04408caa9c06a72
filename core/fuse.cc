// Model -> Model of the same function with fewer nodes (see `fuse` in model.h).
//
// One pass in execution order. A node that can be folded takes the place of the node before it:
// it becomes the convolution, at its own position, so that everything it reads exists there, and
// the earlier node is dropped. The result can be folded into by the next node again.
#include <algorithm>
#include <optional>

#include "core/model.h"

namespace sbcnn {
namespace {

class Fuser {
 public:
  explicit Fuser(const Model& model)
      : model_(skeleton_of(model)), nodes_(model.nodes().begin(), model.nodes().end()) {
    readers_.resize(nodes_.size() + 1, 0);
    readers_.back() = 1;  // the network's output has a reader outside
    for (const Node& node : nodes_) {
      for (const Value v : node.inputs) {
        ++readers_[std::size_t(v)];
      }
    }
  }

  Model run() {
    for (NodeId n = 0; n < NodeId(nodes_.size()); ++n) {
      fold_pad(n);
      fold_scale_shift(n);
      fold_activation(n);
      fold_residual(n);
    }
    return rebuilt();
  }

 private:
  Node& node(NodeId n) { return nodes_[std::size_t(n)]; }

  // The layer that gives `value`, if it is of type L and only one node reads the value.
  template <class L>
  L* sole(Value value) {
    return value > 0 && readers_[std::size_t(value)] == 1 ? std::get_if<L>(&node(value - 1).layer)
                                                          : nullptr;
  }

  // A convolution that nothing has been folded into which could not be scaled or added to.
  Conv* bare(Value value) {
    Conv* conv = sole<Conv>(value);
    const bool is_bare = conv != nullptr && node(value - 1).inputs.size() == 1 &&
                         conv->activation.kind == Activation::Kind::none;
    return is_bare ? conv : nullptr;
  }

  // Node n becomes `with`, the node that gives its input `value`, which goes.
  void replace(NodeId n, Value value) {
    node(n) = std::move(node(value - 1));
    readers_[std::size_t(value)] = 0;
  }

  // Zeros around a convolution's input are the convolution's own pads.
  void fold_pad(NodeId n) {
    Conv* conv = std::get_if<Conv>(&node(n).layer);
    const Value value = conv == nullptr ? 0 : node(n).inputs[0];
    const Pad* pad = sole<Pad>(value);
    if (pad == nullptr || pad->value != 0 || pad->channels_before != 0 ||
        pad->channels_after != 0) {
      return;
    }
    conv->pads.top += pad->pads.top;
    conv->pads.left += pad->pads.left;
    conv->pads.bottom += pad->pads.bottom;
    conv->pads.right += pad->pads.right;
    node(n).inputs[0] = node(value - 1).inputs[0];
    readers_[std::size_t(value)] = 0;
  }

  // s * (W x + b) + t = (s W) x + (s b + t)
  void fold_scale_shift(NodeId n) {
    if (!std::holds_alternative<ScaleShift>(node(n).layer)) {
      return;
    }
    const Value value = node(n).inputs[0];
    if (bare(value) == nullptr && sole<Dense>(value) == nullptr) {
      return;
    }
    const Blob scale = node(n).weight, shift = node(n).bias;
    replace(n, value);
    if (!scale.empty() && !node(n).weight.empty()) {
      rescale(node(n), scale.data, shift.data);
    }
  }

  static void rescale(Node& node, std::span<const float> scale, std::span<const float> shift) {
    const std::size_t outputs = scale.size(), row = node.weight.size() / outputs;
    std::vector<float> weight(node.weight.data.begin(), node.weight.data.end());
    std::vector<float> bias(outputs, 0.0f);
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = o * row; i < (o + 1) * row; ++i) {
        weight[i] *= scale[o];
      }
      bias[o] = (node.bias.empty() ? 0.0f : node.bias.data[o] * scale[o]) +
                (shift.empty() ? 0.0f : shift[o]);
    }
    node.weight = Blob::own(std::move(weight));
    node.bias = Blob::own(std::move(bias));
  }

  void fold_activation(NodeId n) {
    const Activate* layer = std::get_if<Activate>(&node(n).layer);
    if (layer == nullptr) {
      return;
    }
    const Activation activation = layer->activation;
    const Value value = node(n).inputs[0];
    if (Conv* conv = sole<Conv>(value); conv != nullptr && is_none(conv->activation)) {
      conv->activation = activation;
      replace(n, value);
    } else if (Add* add = sole<Add>(value); add != nullptr && is_none(add->activation)) {
      add->activation = activation;
      replace(n, value);
    }
  }

  static bool is_none(const Activation& a) { return a.kind == Activation::Kind::none; }

  // The addend becomes the second input of the convolution; of two, the later one takes it.
  void fold_residual(NodeId n) {
    const Add* add = std::get_if<Add>(&node(n).layer);
    if (add == nullptr || model_.shape(node(n).inputs[0]) != model_.shape(node(n).inputs[1])) {
      return;
    }
    const Activation activation = add->activation;
    const Value first = node(n).inputs[0], second = node(n).inputs[1];
    Value conv = std::max(first, second);
    if (bare(conv) == nullptr) {
      conv = std::min(first, second);
    }
    if (bare(conv) == nullptr) {
      return;
    }
    replace(n, conv);
    node(n).inputs.push_back(conv == first ? second : first);
    std::get<Conv>(node(n).layer).activation = activation;
  }

  // Copies the nodes that are still read.
  Model rebuilt() const {
    Model out(model_.shape(0));
    out.name = model_.name;
    out.preprocess = model_.preprocess;
    out.labels = model_.labels;
    std::vector<Value> renamed(readers_.size(), 0);
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      if (readers_[n + 1] == 0) {
        continue;
      }
      const Node& node = nodes_[n];
      std::vector<Value> inputs;
      for (const Value v : node.inputs) {
        inputs.push_back(renamed[std::size_t(v)]);
      }
      renamed[n + 1] = out.add(node.name, node.layer, std::move(inputs), node.weight, node.bias);
    }
    return out;
  }

  const Model model_;  // as it was, without weights: only nodes_ hold them
  std::vector<Node> nodes_;
  std::vector<int> readers_;  // by value of the model; 0: dropped
};

}  // namespace

Model fuse(Model model) {
  Fuser fuser(model);
  model = Model(model.shape(0));  // a weight that is scaled shall not be there twice for long
  return fuser.run();
}

}  // namespace sbcnn
