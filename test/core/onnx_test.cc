// What the ONNX reader makes of single operators and patterns.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/onnx.h"
#include "kernels/reference.h"
#include "test/support/execute.h"
#include "test/support/onnx_builder.h"

namespace sbcnn::test {
namespace {

using Floats = std::vector<float>;

Floats run(const Model& model, const Floats& frame) {
  const auto factory = kernels::make_reference_kernels();
  return Executor(model, *factory).run(frame);
}

// 0, 1, 2, ...
Floats count_up(std::size_t n) {
  Floats out(n);
  std::iota(out.begin(), out.end(), 0.0f);
  return out;
}

std::vector<std::string> layers(const Model& model) {
  std::vector<std::string> out;
  for (const Node& node : model.nodes()) {
    out.emplace_back(name_of(node.layer));
  }
  return out;
}

using Names = std::vector<std::string>;

// A 3x3 convolution of stride 2 from 1 channel to 1.
OnnxBuilder convolution(const Dims& input, const std::string& auto_pad) {
  OnnxBuilder b(input);
  b.floats("w", {1, 1, 3, 3}, ramp(9));
  auto& node = b.node("Conv", {"x", "w"}, {"y"});
  set(node, "auto_pad", auto_pad);
  set(node, "strides", Dims{2, 2});
  return b;
}

TEST_CASE("auto_pad: SAME_UPPER pads more at the end, SAME_LOWER at the begin, VALID not at all") {
  const auto pads = [](const std::string& auto_pad) {
    const Model model = convolution({1, 1, 6, 7}, auto_pad).read();
    return std::get<Conv>(model.node(0).layer).pads;
  };
  CHECK(pads("SAME_UPPER") == Border{0, 1, 1, 1});
  CHECK(pads("SAME_LOWER") == Border{1, 1, 0, 1});
  CHECK(pads("VALID") == Border{});
  CHECK(convolution({1, 1, 6, 7}, "SAME_UPPER").read().shape(1) == Shape{3, 4, 1});
}

TEST_CASE("Conv: pads are top, left, bottom, right; groups, strides and dilations as given") {
  OnnxBuilder b({1, 4, 9, 9});
  b.floats("w", {6, 2, 3, 2}, ramp(72));
  b.floats("b", {6}, ramp(6));
  auto& node = b.node("Conv", {"x", "w", "b"}, {"y"});
  set(node, "pads", Dims{1, 2, 3, 4});
  set(node, "strides", Dims{2, 3});
  set(node, "dilations", Dims{2, 1});
  set(node, "group", std::int64_t{2});
  const Model model = b.read();
  const Conv& conv = std::get<Conv>(model.node(0).layer);
  CHECK(conv.pads == Border{1, 2, 3, 4});
  CHECK(conv.stride == Extent{2, 3});
  CHECK(conv.dilation == Extent{2, 1});
  CHECK(conv.kernel == Extent{3, 2});
  CHECK(conv.groups == 2);
  CHECK(model.node(0).bias.size() == 6);
}

TEST_CASE("Clip: bounds are attributes before opset 11, then inputs; 0 to infinity is Relu") {
  OnnxBuilder old({1, 2, 1, 1}, 9);
  auto& node = old.node("Clip", {"x"}, {"y"});
  set(node, "min", 0.0f);
  set(node, "max", 6.0f);
  OnnxBuilder recent({1, 2, 1, 1}, 13);
  recent.floats("low", {}, {0});
  recent.floats("high", {}, {6});
  recent.node("Clip", {"x", "low", "high"}, {"y"});
  OnnxBuilder open({1, 2, 1, 1}, 13);
  open.floats("low", {}, {0});
  open.node("Clip", {"x", "low"}, {"y"});
  using Kind = Activation::Kind;
  const auto activation = [](const OnnxBuilder& b) {
    return std::get<Activate>(b.read().node(0).layer).activation;
  };
  CHECK(activation(old) == Activation{Kind::clip, 0, 6});
  CHECK(activation(recent) == Activation{Kind::clip, 0, 6});
  CHECK(activation(open) == Activation{Kind::relu});
}

TEST_CASE("Mul and Add broadcast one number a channel over a map, from either side") {
  for (const char* operation : {"Mul", "Add"}) {
    for (const bool swapped : {false, true}) {
      OnnxBuilder b({1, 2, 1, 2});
      b.node("GlobalAveragePool", {"x"}, {"mean"});
      b.node(operation, swapped ? Names{"mean", "x"} : Names{"x", "mean"}, {"y"});
      const Floats y = run(b.read(), {1, 3, 5, 7});  // means 2 and 6
      CHECK(y == (std::string(operation) == "Mul" ? Floats{2, 6, 30, 42} : Floats{3, 5, 11, 13}));
    }
  }
}

TEST_CASE("arithmetic with a constant is a ScaleShift: scalar, per channel, on either side") {
  struct Row {
    const char* operation;
    bool constant_first;
    Dims dims;
    Floats constant, expected;
  };
  for (const Row& row : std::vector<Row>{
           {"Mul", false, {}, {2}, {2, 4, 6, 8}},
           {"Mul", true, {2, 1, 1}, {2, 3}, {2, 4, 9, 12}},
           {"Add", false, {1, 2, 1, 1}, {10, 20}, {11, 12, 23, 24}},
           {"Sub", false, {1}, {1}, {0, 1, 2, 3}},
           {"Sub", true, {2, 1, 1}, {1, 2}, {0, -1, -1, -2}},
           {"Div", false, {2, 1, 1}, {2, 4}, {0.5f, 1, 0.75f, 1}},
       }) {
    OnnxBuilder b({1, 2, 1, 2});
    b.floats("c", row.dims, row.constant);
    b.node(row.operation, row.constant_first ? Names{"c", "x"} : Names{"x", "c"}, {"y"});
    const Model model = b.read();
    CAPTURE(std::string(row.operation));
    CHECK(layers(model) == Names{"ScaleShift"});
    CHECK(run(model, {1, 2, 3, 4}) == row.expected);
  }
}

TEST_CASE("a constant that varies over pixels is refused") {
  OnnxBuilder b({1, 2, 2, 2});
  b.floats("c", {2, 2}, ramp(4));
  b.node("Add", {"x", "c"}, {"y"});
  CHECK(b.error().find("Add node 'the_Add'") != std::string::npos);
  CHECK(b.error().find("not one number a channel") != std::string::npos);
}

TEST_CASE("ReduceMean: over rows and columns with and without keepdims, over one of them") {
  const auto mean = [](const Dims& axes, std::int64_t keep) {
    OnnxBuilder b({1, 2, 2, 2});
    auto& node = b.node("ReduceMean", {"x"}, {"m"});
    set(node, "axes", axes);
    set(node, "keepdims", keep);
    b.node("Relu", {"m"}, {"y"});
    return run(b.read(), {0, 1, 2, 3, 4, 5, 6, 7});
  };
  CHECK(mean({2, 3}, 1) == Floats{1.5f, 5.5f});
  CHECK(mean({-1, -2}, 0) == Floats{1.5f, 5.5f});
  CHECK(mean({3}, 1) == Floats{0.5f, 2.5f, 4.5f, 6.5f});
  CHECK(mean({2}, 0) == Floats{1, 2, 5, 6});
}

TEST_CASE("Split of channels becomes a Slice for each part that somebody reads") {
  for (const std::int64_t opset : {11, 13}) {
    OnnxBuilder b({1, 6, 1, 1}, opset);
    auto& node = b.node("Split", opset < 13 ? Names{"x"} : Names{"x", "parts"}, {"p", "q", "r"});
    set(node, "axis", std::int64_t{1});
    if (opset < 13) {
      set(node, "split", Dims{1, 2, 3});
    }
    b.integers("parts", {1, 2, 3});
    set(b.node("Concat", {"r", "p"}, {"y"}), "axis", std::int64_t{1});
    const Model model = b.read();
    CHECK(layers(model) == Names{"Slice", "Slice", "Concat"});
    CHECK(run(model, count_up(6)) == Floats{3, 4, 5, 0});
  }
}

TEST_CASE("Slice: channels, rows and columns with steps, from attributes and from inputs") {
  OnnxBuilder inputs({1, 3, 4, 5}, 13);
  inputs.integers("starts", {1, 1, -4});
  inputs.integers("ends", {3, 1000, INT64_MAX});
  inputs.integers("axes", {1, 2, -1});
  inputs.integers("steps", {1, 2, 3});
  inputs.node("Slice", {"x", "starts", "ends", "axes", "steps"}, {"y"});
  const Model model = inputs.read();
  CHECK(layers(model) == Names{"Slice"});
  CHECK(run(model, count_up(60)) == Floats{26, 29, 36, 39, 46, 49, 56, 59});

  OnnxBuilder attributes({1, 3, 4, 5}, 9);
  auto& node = attributes.node("Slice", {"x"}, {"y"});
  set(node, "starts", Dims{2, -1});
  set(node, "ends", Dims{3, INT64_MAX});
  set(node, "axes", Dims{1, 2});
  CHECK(run(attributes.read(), count_up(60)) == Floats{55, 56, 57, 58, 59});
}

TEST_CASE("Pad: rows, columns and channels, from attributes and from inputs; none is no layer") {
  OnnxBuilder inputs({1, 1, 1, 2}, 13);
  inputs.integers("pads", {0, 1, 0, 1, 0, 0, 1, 0});
  inputs.floats("value", {}, {9});
  inputs.node("Pad", {"x", "pads", "value"}, {"y"});
  const Model model = inputs.read();
  CHECK(model.shape(1) == Shape{2, 3, 2});
  CHECK(run(model, {1, 2}) == Floats{9, 9, 9, 9, 9, 9, 9, 1, 2, 9, 9, 9});

  OnnxBuilder attributes({1, 1, 1, 2}, 9);
  set(attributes.node("Pad", {"x"}, {"y"}), "pads", Dims{0, 0, 0, 1, 0, 0, 0, 0});
  CHECK(run(attributes.read(), {1, 2}) == Floats{0, 1, 2});

  OnnxBuilder none({1, 1, 1, 2}, 9);
  set(none.node("Pad", {"x"}, {"p"}), "pads", Dims(8, 0));
  none.node("Relu", {"p"}, {"y"});
  CHECK(layers(none.read()) == Names{"Activate"});
}

OnnxBuilder shuffled(const Dims& input, const Dims& split, const Dims& perm, const Dims& joined) {
  OnnxBuilder b(input);
  b.integers("split", split);
  b.integers("joined", joined);
  b.node("Reshape", {"x", "split"}, {"a"});
  set(b.node("Transpose", {"a"}, {"b"}), "perm", perm);
  b.node("Reshape", {"b", "joined"}, {"y"});
  return b;
}

TEST_CASE("Reshape-Transpose-Reshape is one ChannelShuffle, in several spellings") {
  const Floats expected{0, 2, 4, 1, 3, 5};
  for (const OnnxBuilder& b : {
           shuffled({1, 6, 1, 1}, {1, 3, 2, 1, 1}, {0, 2, 1, 3, 4}, {1, 6, 1, 1}),
           shuffled({1, 6, 1, 1}, {1, 3, 2, -1}, {0, 2, 1, 3}, {0, 6, 1, 1}),
           shuffled({-1, 6, 1, 1}, {-1, 3, 2, 1, 1}, {0, 2, 1, 3, 4}, {-1, 6, 1, 1}),
           shuffled({5, 6, 1, 1}, {5, 3, 2, 1, 1}, {0, 2, 1, 3, 4}, {5, -1, 1, 1}),
       }) {
    const Model model = b.read();
    CHECK(layers(model) == Names{"ChannelShuffle"});
    CHECK(std::get<ChannelShuffle>(model.node(0).layer).groups == 3);
    CHECK(run(model, count_up(6)) == expected);
  }
}

TEST_CASE("two readers of a shuffle share it, also through an Identity") {
  OnnxBuilder b = shuffled({1, 4, 2, 2}, {1, 2, 2, 2, 2}, {0, 2, 1, 3, 4}, {1, 4, 2, 2});
  b.model.mutable_graph()->mutable_node(2)->set_output(0, "s");
  b.node("Identity", {"s"}, {"t"});
  b.node("GlobalAveragePool", {"s"}, {"m"});
  b.node("Mul", {"t", "m"}, {"y"});
  CHECK(layers(b.read()) == Names{"ChannelShuffle", "GlobalAveragePool", "Mul"});
}

TEST_CASE("a shuffle and its inverse need no layer") {
  OnnxBuilder b = shuffled({1, 6, 2, 2}, {1, 3, 2, 2, 2}, {0, 2, 1, 3, 4}, {1, 6, 2, 2});
  b.model.mutable_graph()->mutable_node(2)->set_output(0, "s");
  b.integers("back", {1, 2, 3, 2, 2});
  b.node("Reshape", {"s", "back"}, {"c"});
  set(b.node("Transpose", {"c"}, {"d"}), "perm", Dims{0, 2, 1, 3, 4});
  b.node("Reshape", {"d", "joined"}, {"e"});
  b.node("Relu", {"e"}, {"y"});
  CHECK(layers(b.read()) == Names{"Activate"});
}

TEST_CASE("permutations of axes that no layer does are refused") {
  OnnxBuilder b = shuffled({1, 4, 2, 2}, {1, 4, 2, 2}, {0, 1, 3, 2}, {1, 4, 2, 2});
  CHECK(b.error().find("axes in an order") != std::string::npos);
  OnnxBuilder mixed = shuffled({1, 6, 2, 2}, {1, 4, 6, 1}, {0, 1, 2, 3}, {1, 6, 2, 2});
  CHECK(mixed.error().find("mixes axes") != std::string::npos);
}

TEST_CASE("a network that is fed N, H, W, C reads its input's shape in that order") {
  OnnxBuilder b({-1, 2, 3, 4});
  set(b.node("Transpose", {"x"}, {"t"}), "perm", Dims{0, 3, 1, 2});
  b.node("Relu", {"t"}, {"y"});
  CHECK(b.read().shape(0) == Shape{2, 3, 4});
}

TEST_CASE("a vector flattened from N, H, W, C permutes the columns of the matrix behind it") {
  // y = sum of w[i] * x[h][w][c], i counting channels fastest.
  OnnxBuilder b({1, 2, 2, 2});
  set(b.node("Transpose", {"x"}, {"t"}), "perm", Dims{0, 2, 3, 1});
  b.node("Flatten", {"t"}, {"f"});
  b.floats("w", {8, 1}, {1, 2, 3, 4, 5, 6, 7, 8});
  b.node("MatMul", {"f", "w"}, {"y"});
  const Floats x{1, 10, 100, 1000, 0.1f, 0.01f, 0.001f, 0.0001f};  // C, H, W
  const Floats y = run(b.read(), x);
  CHECK(y[0] == doctest::Approx(1 * 1 + 3 * 10 + 5 * 100 + 7 * 1000 + 2 * 0.1 + 4 * 0.01 +
                                6 * 0.001 + 8 * 0.0001));
}

TEST_CASE("Gemm: transB, alpha and beta; a scalar as bias") {
  OnnxBuilder b({1, 2});
  b.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  b.floats("c", {}, {10});
  auto& node = b.node("Gemm", {"x", "w", "c"}, {"y"});
  set(node, "transB", std::int64_t{1});
  set(node, "alpha", 2.0f);
  set(node, "beta", 0.5f);
  CHECK(run(b.read(), {1, 10}) == Floats{47, 91, 135});
}

TEST_CASE("MatMul and Add of a constant are one Dense with bias once fused") {
  OnnxBuilder b({1, 2});
  b.floats("w", {2, 3}, {1, 2, 3, 4, 5, 6});
  b.floats("c", {3}, {100, 200, 300});
  b.node("MatMul", {"x", "w"}, {"m"});
  b.node("Add", {"c", "m"}, {"y"});
  const Model model = fuse(b.read());
  CHECK(layers(model) == Names{"Dense"});
  CHECK(run(model, {1, 10}) == Floats{141, 252, 363});
}

TEST_CASE("a static batch of any size is taken as frames") {
  OnnxBuilder b({4, 2, 1, 2});
  b.node("Shape", {"x"}, {"shape"});
  b.scalar("zero", 0);
  set(b.node("Gather", {"shape", "zero"}, {"n"}), "axis", std::int64_t{0});
  b.integers("axes", {0});
  b.integers("rest", {-1});
  b.node("Unsqueeze", {"n", "axes"}, {"n1"});
  set(b.node("Concat", {"n1", "rest"}, {"to"}), "axis", std::int64_t{0});
  b.node("Reshape", {"x", "to"}, {"y"});
  const Model model = b.read();
  CHECK(model.shape(0) == Shape{1, 2, 2});
  CHECK(layers(model) == Names{"Flatten"});
}

TEST_CASE("BatchNormalization is a ScaleShift along the channels") {
  OnnxBuilder b({1, 2, 1, 1});
  b.floats("scale", {2}, {1, 2});
  b.floats("shift", {2}, {10, 20});
  b.floats("mean", {2}, {1, 1});
  b.floats("variance", {2}, {4, 9});
  set(b.node("BatchNormalization", {"x", "scale", "shift", "mean", "variance"}, {"y"}), "epsilon",
      0.0f);
  const Floats y = run(b.read(), {3, 4});
  CHECK(y[0] == doctest::Approx(11));
  CHECK(y[1] == doctest::Approx(22));
}

TEST_CASE("Softmax: before opset 13 over all axes from its own on, then over its own only") {
  OnnxBuilder b({1, 3, 2, 2}, 13);
  set(b.node("Softmax", {"x"}, {"y"}), "axis", std::int64_t{1});
  CHECK(layers(b.read()) == Names{"Softmax"});
  b.model.mutable_opset_import(0)->set_version(12);
  CHECK(b.error().find("but the channels") != std::string::npos);
  OnnxBuilder last({1, 3, 2, 2}, 13);
  last.node("Softmax", {"x"}, {"y"});
  CHECK(last.error().find("but the channels") != std::string::npos);
}

TEST_CASE("what the output does not depend on is not looked at") {
  OnnxBuilder b({1, 2, 1, 1});
  b.node("NoSuchOperator", {"x", "nowhere"}, {"unused"});
  b.node("Relu", {"x"}, {"y"});
  b.node("Sigmoid", {"y"}, {"unused too"});
  CHECK(layers(b.read()) == Names{"Activate"});
}

TEST_CASE("a value of which only the shape is read leaves no layer") {
  OnnxBuilder b({1, 2, 2, 2});
  b.node("Relu", {"x"}, {"r"});
  b.node("MaxPool", {"x"}, {"big"});
  set(*b.model.mutable_graph()->mutable_node(1), "kernel_shape", Dims{1, 1});
  b.node("Shape", {"big"}, {"shape"});
  b.node("Reshape", {"r", "shape"}, {"y"});
  CHECK(layers(b.read()) == Names{"Activate"});
}

TEST_CASE("half-precision and double weights become floats") {
  OnnxBuilder b({1, 2});
  onnx::TensorProto& t = *b.model.mutable_graph()->add_initializer();
  t.set_name("c");
  t.set_data_type(onnx::TensorProto::FLOAT16);
  t.add_dims(2);
  const std::uint16_t halves[] = {0x3e00, 0x8001};  // 1.5 and the largest negative subnormal
  t.set_raw_data(halves, sizeof(halves));
  onnx::TensorProto& d = *b.model.mutable_graph()->add_initializer();
  d.set_name("d");
  d.set_data_type(onnx::TensorProto::DOUBLE);
  d.add_dims(2);
  d.add_double_data(0.25);
  d.add_double_data(0);
  b.node("Add", {"x", "c"}, {"s"});
  b.node("Add", {"s", "d"}, {"y"});
  CHECK(run(b.read(), {0, 0}) == Floats{1.75f, -0x1p-24f});
}

// --- metadata --------------------------------------------------------------------------------

OnnxBuilder with_metadata(const std::string& key, const std::string& value) {
  OnnxBuilder b({1, 3, 4, 5});
  b.node("Relu", {"x"}, {"y"});
  auto& entry = *b.model.add_metadata_props();
  entry.set_key(key);
  entry.set_value(value);
  return b;
}

TEST_CASE("metadata: preprocessing and labels are taken over") {
  OnnxBuilder b = with_metadata(
      "sbcnn.preprocess",
      R"({"height":4,"width":5,"channels":"bgr","mean":[1,2.5,3],"std":[4,5,6],"resize":"crop"})");
  auto& entry = *b.model.add_metadata_props();
  entry.set_key("sbcnn.labels");
  entry.set_value(R"(["cat","dög"])");
  const Model model = b.read();
  REQUIRE(model.preprocess.has_value());
  CHECK(model.preprocess->order == Preprocess::Order::bgr);
  CHECK(model.preprocess->fit == Preprocess::Fit::crop);
  CHECK(model.preprocess->mean == Floats{1, 2.5f, 3});
  CHECK(model.preprocess->stddev == Floats{4, 5, 6});
  CHECK(model.labels == std::vector<std::string>{"cat", "dög"});
}

TEST_CASE("metadata: what is malformed is an error that names the key") {
  const std::string ends = R"(,"resize":"crop"})";
  const std::string head = R"({"height":4,"width":5,"channels":)";
  for (const std::string& text : {
           std::string("{"),
           std::string("[]"),
           std::string("{}"),
           std::string(R"({"height":"4"})"),
           std::string(R"({"height":8,"width":5})"),
           head + R"("cmyk","mean":[1,2,3],"std":[4,5,6])" + ends,
           head + R"("grey","mean":[1,2,3],"std":[4,5,6])" + ends,
           head + R"("rgb","mean":[1,2],"std":[4,5,6])" + ends,
           head + R"("rgb","mean":[1,2,"3"],"std":[4,5,6])" + ends,
           head + R"("rgb","mean":[1,2,1e99],"std":[4,5,6])" + ends,
           head + R"("rgb","mean":[1,2,3],"std":[4,0,6])" + ends,
           head + R"("rgb","mean":[1,2,3],"std":[4,5,6],"resize":7})",
           std::string(100000, '['),
       }) {
    const std::string error = with_metadata("sbcnn.preprocess", text).error();
    CHECK_MESSAGE(error.starts_with("test.onnx: metadata sbcnn.preprocess: "), error);
  }
  for (const char* text : {"", "7", "{}", "[1]", "[\"a\",null]"}) {
    const std::string error = with_metadata("sbcnn.labels", text).error();
    CHECK_MESSAGE(error.starts_with("test.onnx: metadata sbcnn.labels: "), error);
  }
}

}  // namespace
}  // namespace sbcnn::test
