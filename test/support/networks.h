// Small synthetic networks with repeatable random weights, one for each thing that a plan must
// get right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/model.h"

namespace sbcnn::test {

struct Network {
  std::string name;
  Model model;
};

std::vector<Network> synthetic_networks();

// Adds layers with random weights of a size that keeps activations sane.
class Builder {
 public:
  explicit Builder(Shape input, unsigned seed = 1) : model(input), seed_(seed) {}

  Value conv(Value x, Conv c);
  Value conv_add(Value x, Value residual, Conv c);
  Value dense(Value x, int outputs);
  Value scale_shift(Value x);
  Value layer(Layer l, std::vector<Value> inputs);

  Model model;

 private:
  Value weighted(Layer l, std::vector<Value> inputs);
  unsigned seed_;
};

}  // namespace sbcnn::test
