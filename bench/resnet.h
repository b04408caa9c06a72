// ResNet-34 and ResNet-50 as chains of kernels with random weights: what the benches time.
#pragma once

#include <string>
#include <vector>

#include "core/ports.h"

namespace sbcnn::bench {

// One layer of a chain. Values are numbered; value 0 is the image.
struct Step {
  KernelSpec spec;
  std::vector<int> inputs;
  int output = 0;
};

struct Network {
  std::vector<Shape> values;
  std::vector<Border> borders;  // zeros that the readers of a value want
  std::vector<Step> steps;
};

// `name` is resnet34 or resnet50, `size` the image's edge. Batch normalisation is folded; bias,
// residual and ReLU are part of the convolutions. `groups` splits every convolution but the first,
// `width` scales the channels.
Network make_resnet(const std::string& name, int size, double width, int groups);

// "3x3/2 64->128 @28": kernel, stride, channels, output rows.
std::string describe(const KernelSpec&);

}  // namespace sbcnn::bench
