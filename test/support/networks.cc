#include "test/support/networks.h"

#include <cmath>

#include "test/support/world.h"

namespace sbcnn::test {
namespace {

constexpr Activation kRelu{Activation::Kind::relu, 0, 0};

Conv conv3(int outputs, int groups = 1, int stride = 1) {
  return {outputs, {3, 3}, {stride, stride}, {1, 1}, {1, 1, 1, 1}, groups, kRelu};
}
Conv conv1(int outputs, int groups = 1, Activation activation = kRelu) {
  return {outputs, {1, 1}, {1, 1}, {1, 1}, {}, groups, activation};
}

Model grouped(int groups, bool shuffled) {
  Builder b({9, 7, 3});
  Value v = b.conv(0, conv3(8 * groups));
  for (const int width : {8, 12, 16}) {
    v = b.conv(v, conv3(width * groups, groups, width == 12 ? 2 : 1));
    if (shuffled) {
      v = b.layer(ChannelShuffle{groups}, {v});
    }
  }
  v = b.conv(v, conv3(8 * groups, groups));
  v = b.layer(GlobalAveragePool{}, {v});
  b.dense(v, 10);
  return b.model;
}

// DeCNN's ResNet: stem, then stages of grouped blocks with a shuffle between stages. The first
// stage after a shuffle has an identity shortcut, so that the shuffle's result is also added.
Model residual(int groups) {
  Builder b({12, 12, 3});
  int width = 4 * groups;
  Value v =
      b.layer(MaxPool{{{3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, false}}, {b.conv(0, conv3(width))});
  for (int stage = 0; stage < 3; ++stage) {
    const bool widen = stage == 2;
    const int out = widen ? 2 * width : width;
    Value shortcut = v;
    if (widen) {
      Conv down = conv1(out, groups, {});
      down.stride = {2, 2};
      shortcut = b.conv(v, down);
    }
    const Value inner = b.conv(v, conv3(out, groups, widen ? 2 : 1));
    v = b.conv_add(inner, shortcut, conv3(out, groups));
    v = b.conv_add(b.conv(v, conv3(out, groups)), v, conv3(out, groups));
    width = out;
    if (stage < 2) {
      v = b.layer(ChannelShuffle{groups}, {v});
    }
  }
  v = b.layer(GlobalAveragePool{}, {v});
  b.layer(Softmax{}, {b.dense(v, 7)});
  return b.model;
}

Model concatenated() {
  Builder b({8, 10, 4});
  Value v = b.conv(0, conv3(12));
  for (int i = 0; i < 3; ++i) {  // DenseNet's habit: everything so far goes on
    v = b.layer(Concat{}, {v, b.conv(v, conv3(6))});
  }
  const Value left = b.conv(v, conv1(8)), right = b.conv(v, conv3(10));
  v = b.layer(Concat{},
              {left, right,
               b.layer(AveragePool{{{3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, false}, true}, {v})});
  v = b.layer(GlobalAveragePool{}, {b.conv(v, conv1(9))});
  b.dense(v, 5);
  return b.model;
}

// ShuffleNetV2's unit: half of the channels passes by, the other half is convolved, then mixed.
Model channel_split() {
  Builder b({8, 8, 3});
  Value v = b.conv(0, conv3(24));
  for (int i = 0; i < 3; ++i) {
    const Stride all{0, 8, 1};
    const Value pass = b.layer(Slice{{0, 12}, all, all}, {v});
    Value work = b.layer(Slice{{12, 24}, all, all}, {v});
    work = b.conv(work, conv1(12));
    work = b.conv(work, conv3(12, 12));
    work = b.conv(work, conv1(12));
    v = b.layer(ChannelShuffle{2}, {b.layer(Concat{}, {pass, work})});
  }
  b.dense(b.layer(GlobalAveragePool{}, {v}), 6);
  return b.model;
}

Model depthwise() {  // MobileNet's inverted residuals with a squeeze-and-excitation
  Builder b({10, 9, 3});
  const Activation relu6{Activation::Kind::clip, 0, 6}, swish{Activation::Kind::hard_swish, 0, 0};
  Value v = b.conv(0, conv3(16, 1, 2));
  for (int i = 0; i < 2; ++i) {
    Value w = b.conv(v, conv1(48, 1, i == 0 ? relu6 : swish));
    w = b.conv(w, conv3(48, 48));
    Value s = b.layer(GlobalAveragePool{}, {w});
    s = b.conv(b.conv(s, conv1(12)),
               conv1(48, 1, {Activation::Kind::hard_sigmoid, 1.0f / 6, 0.5f}));
    w = b.layer(Mul{}, {w, s});
    v = b.conv_add(w, v, conv1(16, 1, {}));
  }
  b.dense(b.layer(GlobalAveragePool{}, {b.conv(v, conv3(32, 16))}), 11);
  return b.model;
}

Model vgg(int groups) {
  Builder b({12, 8, 3});
  const MaxPool half{{{2, 2}, {2, 2}, {1, 1}, {}, false}};
  Value v = b.layer(half, {b.conv(b.conv(0, conv3(16)), conv3(16, groups))});
  v = b.layer(half, {b.conv(b.conv(v, conv3(24, groups)), conv3(24, groups))});
  v = b.layer(Flatten{}, {v});
  v = b.layer(Activate{kRelu}, {b.dense(v, 20)});
  v = b.layer(Activate{kRelu}, {b.dense(v, 14)});
  b.dense(v, 5);
  return b.model;
}

Model odd() {
  Builder b({7, 11, 5});
  Value v = b.conv(0, {13, {5, 3}, {2, 1}, {1, 2}, {2, 1, 1, 3}, 1, kRelu});
  v = b.layer(Pad{{1, 0, 0, 2}, 1, 2, 0.5f}, {v});
  v = b.scale_shift(v);
  v = b.conv(
      v, {27, {3, 3}, {1, 2}, {2, 1}, {2, 1, 2, 1}, 1, {Activation::Kind::leaky_relu, 0.1f, 0}});
  v = b.layer(Slice{{1, 26}, {0, 4, 2}, {1, 6, 1}}, {v});
  v = b.conv(v, {51, {2, 1}, {1, 1}, {1, 1}, {0, 0, 1, 0}, 1, {Activation::Kind::sigmoid, 0, 0}});
  v = b.layer(MaxPool{{{2, 2}, {2, 2}, {1, 1}, {}, true}}, {v});
  b.dense(b.layer(Flatten{}, {v}), 3);
  return b.model;
}

Model mixed_groups() {  // 4 groups, then 2, then 8, then none: cut and realigned
  Builder b({6, 6, 8});
  Value v = b.conv(0, conv3(16, 4));
  v = b.conv(v, conv3(24, 2));
  v = b.conv(v, conv3(32, 8));
  v = b.conv(v, conv1(24));
  v = b.layer(Add{kRelu}, {v, b.conv(v, conv3(24, 6))});
  b.layer(MaxPool{{{2, 2}, {2, 2}, {1, 1}, {}, false}}, {v});  // ends with maps, not scores
  return b.model;
}

Model shortcut_by_padding() {  // ResNet for CIFAR: subsampled, padded with zero channels
  Builder b({8, 8, 3});
  Value v = b.conv(0, conv3(8));
  const Value inner = b.conv(v, conv3(16, 1, 2));
  const Value shortcut =
      b.layer(Pad{{}, 4, 4, 0}, {b.layer(Slice{{0, 8}, {0, 8, 2}, {0, 8, 2}}, {v})});
  v = b.conv_add(inner, shortcut, conv3(16));
  b.dense(b.layer(GlobalAveragePool{}, {v}), 10);
  return b.model;
}

Model only_dense() {
  Builder b({4, 4, 2});
  const Value v = b.layer(Activate{kRelu}, {b.dense(b.layer(Flatten{}, {0}), 17)});
  b.layer(Softmax{}, {b.dense(v, 6)});
  return b.model;
}

Model shuffled_to_the_end() {  // the result itself is a shuffled value
  Builder b({5, 4, 6});
  Value v = b.layer(ChannelShuffle{3}, {0});
  v = b.conv(v, conv3(12, 3));
  b.layer(ChannelShuffle{4}, {v});
  return b.model;
}

}  // namespace

Value Builder::weighted(Layer l, std::vector<Value> inputs) {
  const Shape in = model.shape(inputs[0]);
  const WeightShape w = weight_shape(l, in);
  const std::size_t fan_in = std::max<std::size_t>(1, w.bias == 0 ? 1 : w.weight / w.bias);
  std::vector<float> weight = noise(w.weight, ++seed_), bias = noise(w.bias, ++seed_);
  for (float& x : weight) {
    x *= std::sqrt(6.0f / float(fan_in));
  }
  for (float& x : bias) {
    x *= 0.25f;
  }
  const std::string name = std::string(name_of(l)) + "_" + std::to_string(model.nodes().size());
  return model.add(name, std::move(l), std::move(inputs), Blob::own(std::move(weight)),
                   Blob::own(std::move(bias)));
}

Value Builder::conv(Value x, Conv c) {
  return weighted(c, {x});
}
Value Builder::conv_add(Value x, Value residual, Conv c) {
  return weighted(c, {x, residual});
}
Value Builder::dense(Value x, int outputs) {
  return weighted(Dense{outputs}, {x});
}
Value Builder::scale_shift(Value x) {
  return weighted(ScaleShift{}, {x});
}

Value Builder::layer(Layer l, std::vector<Value> inputs) {
  const std::string name = std::string(name_of(l)) + "_" + std::to_string(model.nodes().size());
  return model.add(name, std::move(l), std::move(inputs));
}

std::vector<Network> synthetic_networks() {
  return {{"grouped by 4", grouped(4, false)},
          {"grouped by 4, shuffled", grouped(4, true)},
          {"grouped by 8, shuffled", grouped(8, true)},
          {"grouped by 3, shuffled", grouped(3, true)},
          {"residual, 4 groups", residual(4)},
          {"residual, 2 groups", residual(2)},
          {"residual, dense", residual(1)},
          {"concatenated", concatenated()},
          {"channel split", channel_split()},
          {"depthwise", depthwise()},
          {"VGG-like, dense", vgg(1)},
          {"VGG-like, 4 groups", vgg(4)},
          {"odd widths", odd()},
          {"mixed groups", mixed_groups()},
          {"shortcut by padding", shortcut_by_padding()},
          {"only fully connected", only_dense()},
          {"shuffled to the end", shuffled_to_the_end()}};
}

}  // namespace sbcnn::test
