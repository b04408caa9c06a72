// fuse: which nodes are folded, which are not, and that the function stays the same.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "core/model.h"
#include "kernels/reference.h"
#include "test/support/execute.h"

namespace sbcnn::test {
namespace {

using Names = std::vector<std::string>;
using Kind = Activation::Kind;

const Activation kRelu{Kind::relu};

std::vector<float> numbers(std::size_t count, std::size_t seed) {
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = float((i * 37 + seed * 53 + 11) % 101) / 50.0f - 1.0f;
  }
  return out;
}

class Network {
 public:
  explicit Network(Shape input) : model(input) {}

  Value add(const Layer& layer, std::vector<Value> inputs, bool bias = true) {
    const WeightShape want = weight_shape(layer, model.shape(inputs[0]));
    const std::size_t seed = model.nodes().size();
    const std::string name = "node " + std::to_string(seed);
    return model.add(name, layer, std::move(inputs), Blob::own(numbers(want.weight, seed)),
                     Blob::own(numbers(bias ? want.bias : 0, seed + 1)));
  }
  Value conv(Value x, int outputs, int groups = 1, bool bias = true) {
    Conv c;
    c.outputs = outputs;
    c.kernel = {3, 3};
    c.pads = {1, 1, 1, 1};
    c.groups = groups;
    return add(c, {x}, bias);
  }

  Model model;
};

Names layers(const Model& model) {
  Names out;
  for (const Node& node : model.nodes()) {
    out.emplace_back(name_of(node.layer));
  }
  return out;
}

// Fuses, checks that the outputs agree, and returns the fused model.
Model checked(const Network& network) {
  Model fused = fuse(network.model);
  const auto factory = kernels::make_reference_kernels();
  const std::vector<float> x = numbers(network.model.shape(0).size(), 77);
  const auto before = Executor(network.model, *factory).run(x);
  const auto after = Executor(fused, *factory).run(x);
  CHECK(largest_difference(before, after) < 1e-5f);
  return fused;
}

TEST_CASE("fuse: a chain of Conv, ScaleShift and Activate becomes one Conv") {
  for (const bool bias : {true, false}) {
    Network n({5, 4, 4});
    const Value c = n.conv(0, 6, 2, bias);
    n.add(Activate{kRelu}, {n.add(ScaleShift{}, {c})});
    const Model fused = checked(n);
    REQUIRE(layers(fused) == Names{"Conv"});
    CHECK(std::get<Conv>(fused.node(0).layer).activation == kRelu);
    CHECK(std::get<Conv>(fused.node(0).layer).groups == 2);
    CHECK(fused.node(0).bias.size() == 6);
    CHECK(fused.node(0).name == "node 0");
  }
}

TEST_CASE("fuse: two ScaleShifts in a row fold into a Conv, one into a Dense") {
  Network n({3, 3, 2});
  n.add(ScaleShift{}, {n.add(ScaleShift{}, {n.conv(0, 3)})});
  CHECK(layers(checked(n)) == Names{"Conv"});
  Network d({1, 1, 7});
  d.add(ScaleShift{}, {d.add(Dense{4}, {0}, false)});
  CHECK(layers(checked(d)) == Names{"Dense"});
}

TEST_CASE("fuse: nothing is folded across a value that somebody else reads") {
  Network n({4, 4, 3});
  const Value c = n.conv(0, 3);
  const Value s = n.add(ScaleShift{}, {c});
  n.add(Mul{}, {s, c});
  CHECK(layers(checked(n)) == Names{"Conv", "ScaleShift", "Mul"});
}

TEST_CASE("fuse: the network's output counts as read") {
  Network n({4, 4, 3});
  const Value c = n.conv(0, 3);
  n.add(Activate{kRelu}, {c});
  n.conv(c, 2);
  const Model fused = checked(n);
  // The activation is not read by anybody: it goes, and is not folded into what the output reads.
  REQUIRE(layers(fused) == Names{"Conv", "Conv"});
  CHECK(std::get<Conv>(fused.node(0).layer).activation.kind == Kind::none);
}

TEST_CASE("fuse: an activation is not folded twice, and no ScaleShift behind one") {
  Network twice({4, 4, 2});
  twice.add(Activate{{Kind::sigmoid}}, {twice.add(Activate{kRelu}, {twice.conv(0, 2)})});
  CHECK(layers(checked(twice)) == Names{"Conv", "Activate"});
  Network behind({4, 4, 2});
  behind.add(ScaleShift{}, {behind.add(Activate{kRelu}, {behind.conv(0, 2)})});
  CHECK(layers(checked(behind)) == Names{"Conv", "ScaleShift"});
}

TEST_CASE("fuse: a residual Add and its activation fold into the convolution before it") {
  Network n({6, 5, 4});
  const Value a = n.add(Activate{kRelu}, {n.conv(0, 4)});
  const Value b = n.add(ScaleShift{}, {n.conv(a, 4)});
  n.add(Activate{kRelu}, {n.add(Add{}, {b, a})});
  const Model fused = checked(n);
  REQUIRE(layers(fused) == Names{"Conv", "Conv"});
  CHECK(fused.node(1).inputs == std::vector<Value>{1, 1});
  CHECK(std::get<Conv>(fused.node(1).layer).activation == kRelu);
}

TEST_CASE("fuse: of two convolutions the later takes the Add, at the place of the Add") {
  for (const bool swapped : {false, true}) {
    Network n({6, 5, 4});
    const Value a = n.conv(0, 4), b = n.conv(0, 4);
    n.add(Add{}, swapped ? std::vector<Value>{b, a} : std::vector<Value>{a, b});
    const Model fused = checked(n);
    REQUIRE(layers(fused) == Names{"Conv", "Conv"});
    CHECK(fused.node(1).name == "node 1");
    CHECK(fused.node(1).inputs == std::vector<Value>{0, 1});
  }
}

TEST_CASE("fuse: an earlier convolution takes the Add when the later addend is none") {
  Network n({4, 4, 4});
  const Value a = n.conv(0, 4);
  const Value p = n.add(Activate{kRelu}, {0});
  n.add(Add{}, {a, p});
  const Model fused = checked(n);
  REQUIRE(layers(fused) == Names{"Activate", "Conv"});
  CHECK(fused.node(1).inputs == std::vector<Value>{0, 1});
}

TEST_CASE("fuse: no residual is folded behind an activation, twice, or where it is broadcast") {
  Network active({4, 4, 4});
  active.add(Add{}, {active.add(Activate{kRelu}, {active.conv(0, 4)}), 0});
  CHECK(layers(checked(active)) == Names{"Conv", "Add"});
  Network twice({4, 4, 4});
  twice.add(Add{}, {twice.add(Add{}, {twice.conv(0, 4), 0}), 0});
  CHECK(layers(checked(twice)) == Names{"Conv", "Add"});
  Network broadcast({4, 4, 4});
  const Value c = broadcast.conv(0, 4);
  broadcast.add(Add{}, {c, broadcast.add(GlobalAveragePool{}, {0})});
  CHECK(layers(checked(broadcast)) == Names{"Conv", "GlobalAveragePool", "Add"});
  Network self({4, 4, 4});
  const Value s = self.conv(0, 4);
  self.add(Add{}, {s, s});
  CHECK(layers(checked(self)) == Names{"Conv", "Add"});
}

TEST_CASE("fuse: an Add that no convolution can take still takes the activation") {
  Network n({4, 4, 4});
  n.add(Activate{kRelu}, {n.add(Add{}, {0, n.add(MaxPool{}, {0})})});
  const Model fused = checked(n);
  REQUIRE(layers(fused) == Names{"MaxPool", "Add"});
  CHECK(std::get<Add>(fused.node(1).layer).activation == kRelu);
}

TEST_CASE("fuse: a Pad of zeros becomes the convolution's own pads") {
  Network n({4, 5, 2});
  Pad pad;
  pad.pads = {0, 1, 2, 3};
  n.conv(n.add(pad, {0}), 3);
  const Model fused = checked(n);
  REQUIRE(layers(fused) == Names{"Conv"});
  CHECK(std::get<Conv>(fused.node(0).layer).pads == Border{1, 2, 3, 4});

  pad.value = 0.5f;
  Network other({4, 5, 2});
  other.conv(other.add(pad, {0}), 3);
  CHECK(layers(checked(other)) == Names{"Pad", "Conv"});
  pad.value = 0;
  pad.channels_after = 1;
  Network channels({4, 5, 2});
  channels.conv(channels.add(pad, {0}), 3);
  CHECK(layers(checked(channels)) == Names{"Pad", "Conv"});
}

TEST_CASE("fuse: a model without weights gets the structure that one with weights gets") {
  Network n({6, 5, 4});
  const Value a = n.add(Activate{kRelu}, {n.add(ScaleShift{}, {n.conv(0, 4)})});
  n.add(Add{}, {n.add(ScaleShift{}, {n.conv(a, 4)}), a});
  Model skeleton(n.model.shape(0));
  for (const Node& node : n.model.nodes()) {
    skeleton.add(node.name, node.layer, node.inputs);
  }
  CHECK(layers(fuse(skeleton)) == layers(checked(n)));
  CHECK(layers(fuse(skeleton)) == Names{"Conv", "Conv"});
  CHECK(!fuse(skeleton).has_weights());
}

TEST_CASE("fuse: name, preprocessing and labels stay") {
  Network n({4, 4, 1});
  n.conv(0, 2);
  n.model.name = "net";
  n.model.labels = {"a", "b"};
  n.model.preprocess = Preprocess{Preprocess::Order::grey, Preprocess::Fit::crop, {1}, {2}};
  const Model fused = fuse(n.model);
  CHECK(fused.name == "net");
  CHECK(fused.labels.size() == 2);
  REQUIRE(fused.preprocess.has_value());
  CHECK(fused.preprocess->fit == Preprocess::Fit::crop);
}

TEST_CASE("fuse: a network of no layers stays one") {
  CHECK(fuse(Model({2, 2, 2})).nodes().empty());
}

}  // namespace
}  // namespace sbcnn::test
