// A network: a straight list of nodes in execution order, one input value, one output value.
//
// Nodes read only values that exist already, so a cycle cannot be written. Weights are
// borrowed spans with an owner behind them (an allocation, a mapped file), so that copying a
// Model never copies weights, and a Model without any (a `skeleton`) is what a board needs to
// plan. Immutable once built but for drop_weights; safe to read from several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/layer.h"

namespace sbcnn {

using Value = int;   // names an edge of the network; 0 is the input
using NodeId = int;  // index of a node; node n gives value n + 1

// Floats somebody else keeps alive for us.
struct Blob {
  std::span<const float> data;
  std::shared_ptr<const void> owner;
  bool mapped = false;  // lies in a mapped file

  // Lets a mapped file's pages leave memory; they come back when they are touched.
  void release_pages() const;
  bool empty() const { return data.empty(); }
  std::size_t size() const { return data.size(); }
  static Blob own(std::vector<float> values);
};

struct Node {
  std::string name;  // as the exporter called it; for people
  Layer layer;
  std::vector<Value> inputs;
  Blob weight, bias;
};

// What the network wants done to an image: x[c] = (pixel[c] - mean[c]) / stddev[c], with
// pixels in 0..255. `mean` and `stddev` have one entry a channel.
struct Preprocess {
  enum class Order { rgb, bgr, grey };
  enum class Fit { stretch, crop };  // crop: scale the shorter side, then take the centre
  Order order = Order::rgb;
  Fit fit = Fit::stretch;
  std::vector<float> mean, stddev;
};

class Model {
 public:
  explicit Model(Shape input);

  // Throws Error(format), naming the node, if inputs or weights do not fit the layer. Weights
  // may be empty throughout (a skeleton).
  Value add(std::string name, Layer layer, std::vector<Value> inputs, Blob weight = {},
            Blob bias = {});

  std::span<const Node> nodes() const { return nodes_; }
  const Node& node(NodeId n) const { return nodes_[std::size_t(n)]; }
  const Shape& shape(Value v) const { return shapes_[std::size_t(v)]; }
  std::vector<Shape> input_shapes(NodeId) const;
  Value input() const { return 0; }
  Value output() const { return Value(nodes_.size()); }  // the last node's value
  bool has_weights() const;
  // Lets a node's weights go: memory that no other Model shares is freed, a mapped file's pages may
  // leave.
  void drop_weights(NodeId);

  std::string name;                      // file name or graph name; for people
  std::optional<Preprocess> preprocess;  // when the exporter knew it
  std::vector<std::string> labels;       // class names, or empty

 private:
  std::vector<Node> nodes_;
  std::vector<Shape> shapes_;  // by value
};

std::size_t mac_count(const Model&);
std::size_t weight_bytes(const Model&);

// The same model without weights: what a board needs to plan.
Model skeleton_of(const Model&);

// Same function, fewer nodes: folds ScaleShift into the convolution before it, and an element-
// wise activation and a residual Add into it too, where nobody else reads the values between,
// and a Pad of zeros into the convolution behind it.
Model fuse(Model);

}  // namespace sbcnn
