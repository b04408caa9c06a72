// Writes ResNet-50 with x1.5 kernels in 4 groups and a shuffle between stages, for 224 x 224
// images, with random weights: what a board's share of a large network is measured with.
//
// usage: write_resnet50 FILE.sbcnn
#include <cstdio>

#include "core/error.h"
#include "core/model_file.h"
#include "test/support/networks.h"

using namespace sbcnn;

namespace {

constexpr Activation kRelu{Activation::Kind::relu, 0, 0};
constexpr int kGroups = 4;

Conv conv(int outputs, int kernel, int stride, int groups, Activation activation) {
  const int pad = kernel / 2;
  return {outputs, {kernel, kernel}, {stride, stride}, {1, 1}, {pad, pad, pad, pad},
          groups,  activation};
}

Value bottleneck(test::Builder& b, Value x, int width, int stride, bool first) {
  const Value shortcut = first ? b.conv(x, conv(4 * width, 1, stride, kGroups, {})) : x;
  const Value narrow = b.conv(x, conv(width, 1, 1, kGroups, kRelu));
  const Value middle = b.conv(narrow, conv(width, 3, stride, kGroups, kRelu));
  return b.conv_add(middle, shortcut, conv(4 * width, 1, 1, kGroups, kRelu));
}

Model resnet50() {
  test::Builder b({224, 224, 3});
  Value v = b.layer(MaxPool{{{3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, false}},
                    {b.conv(0, conv(96, 7, 2, 1, kRelu))});
  const int blocks[] = {3, 4, 6, 3};
  for (int stage = 0; stage < 4; ++stage) {
    for (int i = 0; i < blocks[stage]; ++i) {
      v = bottleneck(b, v, 96 << stage, stage > 0 && i == 0 ? 2 : 1, i == 0);
    }
    if (stage < 3) {
      v = b.layer(ChannelShuffle{kGroups}, {v});
    }
  }
  b.dense(b.layer(GlobalAveragePool{}, {v}), 1000);
  return b.model;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_resnet50 FILE.sbcnn\n");
    return 2;
  }
  write_model(resnet50(), argv[1]);
  return 0;
} catch (const Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
