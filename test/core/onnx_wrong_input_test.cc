// The ONNX reader against models that are wrong, damaged or hostile: each gives a model or an
// Error of one line that names file, node and operator; nothing else may happen.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>

#include "core/error.h"
#include "core/onnx.h"
#include "test/support/execute.h"
#include "test/support/onnx_builder.h"

namespace sbcnn::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kHuge = std::int64_t{1} << 31;

// Conv, Relu, Flatten, Gemm: a network to spoil.
OnnxBuilder network() {
  OnnxBuilder b({1, 2, 4, 4});
  b.floats("w", {3, 2, 3, 3}, ramp(54));
  b.floats("bias", {3}, ramp(3));
  b.node("Conv", {"x", "w", "bias"}, {"a"});
  b.node("Relu", {"a"}, {"b"});
  b.node("Flatten", {"b"}, {"c"});
  b.floats("m", {12, 5}, ramp(60));
  b.node("Gemm", {"c", "m"}, {"y"});
  return b;
}

onnx::GraphProto& graph(OnnxBuilder& b) {
  return *b.model.mutable_graph();
}
onnx::NodeProto& conv(OnnxBuilder& b) {
  return *graph(b).mutable_node(0);
}
onnx::TensorProto& weight(OnnxBuilder& b) {
  return *graph(b).mutable_initializer(0);
}

struct Row {
  const char* what;
  std::function<void(OnnxBuilder&)> spoil;
  std::vector<std::string> expected;  // parts of the message
};

void check(const std::vector<Row>& rows) {
  CHECK(network().error().empty());
  for (const Row& row : rows) {
    CAPTURE(std::string(row.what));
    OnnxBuilder b = network();
    row.spoil(b);
    const std::string error = b.error();
    CHECK_MESSAGE(error.starts_with("test.onnx: "), error);
    CHECK_MESSAGE(error.find('\n') == std::string::npos, error);
    for (const std::string& part : row.expected) {
      CHECK_MESSAGE(error.find(part) != std::string::npos, error);
    }
  }
}

auto input_dim(int axis, std::int64_t size) {
  return [=](OnnxBuilder& b) {
    graph(b)
        .mutable_input(0)
        ->mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->mutable_dim(axis)
        ->set_dim_value(size);
  };
}

auto conv_attribute(const char* name, const Dims& values) {
  return [=](OnnxBuilder& b) { set(conv(b), name, values); };
}

TEST_CASE("wrong models: operators and nodes") {
  check({
      {"unknown operator",
       [](auto& b) { conv(b).set_op_type("LSTM"); },
       {"LSTM node 'the_Conv'", "not supported"}},
      {"unknown domain",
       [](auto& b) { conv(b).set_domain("com.microsoft"); },
       {"Conv node 'the_Conv'", "com.microsoft"}},
      {"a node without a name",
       [](auto& b) {
         conv(b).set_op_type("Foo");
         conv(b).clear_name();
       },
       {"Foo node giving 'a'"}},
      {"a name with a line break",
       [](auto& b) {
         conv(b).set_op_type("Foo");
         conv(b).set_name("a\nb");
       },
       {"Foo node 'a?b'"}},
      {"an endless name",
       [](auto& b) { conv(b).set_op_type(std::string(100000, 'x')); },
       {"xxx..."}},
      {"no inputs", [](auto& b) { conv(b).clear_input(); }, {"Conv", "input 0 is missing"}},
      {"no weights",
       [](auto& b) {
         conv(b).mutable_input()->RemoveLast();
         conv(b).mutable_input()->RemoveLast();
       },
       {"Conv", "input 1 is missing"}},
      {"a missing tensor",
       [](auto& b) { conv(b).set_input(1, "nowhere"); },
       {"Conv node 'the_Conv'", "'nowhere'"}},
      {"a cycle", [](auto& b) { conv(b).set_input(0, "b"); }, {"Conv", "'b'", "cycle"}},
      {"nodes out of order",
       [](auto& b) { graph(b).mutable_node()->SwapElements(0, 1); },
       {"Relu", "'a'", "out of order"}},
      {"a tensor given twice",
       [](auto& b) { b.node("Sigmoid", {"x"}, {"b"}); },
       {"Sigmoid node 'the_Sigmoid'", "'b'", "given twice"}},
      {"a node that overwrites the input",
       [](auto& b) { b.node("Sigmoid", {"a"}, {"x"}); },
       {"Sigmoid node 'the_Sigmoid'", "'x'", "given twice"}},
      {"an initialiser given twice", [](auto& b) { b.floats("w", {1}, {1}); }, {"'w'", "twice"}},
      {"an attribute given twice",
       [](auto& b) {
         set(conv(b), "group", std::int64_t{1});
         set(conv(b), "group", std::int64_t{1});
       },
       {"Conv", "group", "twice"}},
      {"computed weights",
       [](auto& b) { conv(b).set_input(1, "x"); },
       {"Conv", "must be a constant"}},
      {"integer weights",
       [](auto& b) {
         b.integers("i", {1});
         conv(b).set_input(1, "i");
       },
       {"Conv", "floats"}},
  });
}

TEST_CASE("wrong models: inputs and outputs") {
  check({
      {"two inputs",
       [](auto& b) {
         *graph(b).add_input() = graph(b).input(0);
         graph(b).mutable_input(1)->set_name("z");
       },
       {"several inputs", "'x'", "'z'"}},
      {"no input", [](auto& b) { graph(b).clear_input(); }, {"no input"}},
      {"two outputs", [](auto& b) { graph(b).add_output()->set_name("b"); }, {"2 outputs"}},
      {"no output", [](auto& b) { graph(b).clear_output(); }, {"0 outputs"}},
      {"an output that nobody gives",
       [](auto& b) { graph(b).mutable_output(0)->set_name("q"); },
       {"'q'"}},
      {"a constant output",
       [](auto& b) { graph(b).mutable_output(0)->set_name("w"); },
       {"'w'", "does not depend"}},
      {"an input of no known shape",
       [](auto& b) {
         graph(b).mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
       },
       {"'x'", "shape"}},
      {"an input of integers",
       [](auto& b) {
         graph(b).mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(7);
       },
       {"'x'", "floating-point"}},
      {"an open height",
       [](auto& b) {
         graph(b)
             .mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->mutable_shape()
             ->mutable_dim(2)
             ->set_dim_param("H");
       },
       {"'x'", "must be fixed"}},
      {"a negative width", input_dim(3, -3), {"'x'", "negative"}},
      {"no channels", input_dim(1, 0), {"'x'", "empty"}},
      {"2^31 rows", input_dim(2, kHuge), {"'x'", "absurdly large"}},
      {"2^62 columns", input_dim(3, std::int64_t{1} << 62), {"'x'", "absurdly large"}},
      {"a batch of 2^40", input_dim(0, std::int64_t{1} << 40), {"'x'", "absurdly large"}},
      {"five axes",
       [](auto& b) {
         graph(b)
             .mutable_input(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->mutable_shape()
             ->add_dim()
             ->set_dim_value(2);
       },
       {"'x'", "N x C x H x W"}},
  });
  OnnxBuilder b = network();
  input_dim(2, 1 << 20)(b);
  input_dim(3, 1 << 20)(b);
  CHECK(b.error().find("absurdly large") != std::string::npos);
}

TEST_CASE("wrong models: tensors") {
  check({
      {"too little data",
       [](auto& b) { weight(b).mutable_raw_data()->pop_back(); },
       {"'w'", "215 bytes for 54"}},
      {"no data", [](auto& b) { weight(b).clear_raw_data(); }, {"'w'", "0 values for 54"}},
      {"a negative size", [](auto& b) { weight(b).set_dims(0, -3); }, {"'w'", "negative"}},
      {"an absurd size",
       [](auto& b) {
         weight(b).set_dims(0, kHuge);
         weight(b).set_dims(1, kHuge);
         weight(b).set_dims(2, kHuge);
       },
       {"'w'", "absurdly large"}},
      {"an empty tensor of absurd sizes",
       [](auto& b) {
         weight(b).clear_raw_data();
         weight(b).set_dims(0, 0);
         weight(b).set_dims(1, INT64_MAX);
         weight(b).set_dims(2, INT64_MAX);
       },
       {"'w'", "absurdly large"}},
      {"no outputs",
       [](auto& b) {
         weight(b).clear_raw_data();
         weight(b).set_dims(0, 0);
       },
       {"Conv", "outputs"}},
      {"strings",
       [](auto& b) { weight(b).set_data_type(onnx::TensorProto::STRING); },
       {"'w'", "type 8"}},
      {"a type that does not exist",
       [](auto& b) { weight(b).set_data_type(1234); },
       {"'w'", "type 1234"}},
      {"external data",
       [](auto& b) { weight(b).set_data_location(onnx::TensorProto::EXTERNAL); },
       {"'w'", "another file"}},
      {"weights of another rank",
       [](auto& b) {
         weight(b).mutable_dims()->RemoveLast();
         weight(b).set_dims(2, 9);
       },
       {"Conv", "[3, 2, 9]", "2-D"}},
      {"weights for other channels",
       [](auto& b) {
         weight(b).set_dims(0, 2);
         weight(b).set_dims(1, 3);
       },
       {"Conv", "[2, 3, 3, 3]", "2 channels"}},
      {"a bias of another length",
       [](auto& b) {
         graph(b).mutable_initializer(1)->set_dims(0, 2);
         graph(b).mutable_initializer(1)->mutable_raw_data()->resize(8);
       },
       {"Conv", "bias has 2"}},
      {"a matrix for other inputs",
       [](auto& b) {
         graph(b).mutable_initializer(2)->set_dims(0, 10);
         graph(b).mutable_initializer(2)->set_dims(1, 6);
       },
       {"Gemm", "10 inputs after 12"}},
      {"a kernel larger than its input", [](auto& b) { input_dim(2, 2)(b); }, {"Conv", "empty"}},
  });
}

TEST_CASE("wrong models: attributes") {
  check({
      {"pads of three", conv_attribute("pads", {1, 1, 1}), {"Conv", "pads [1, 1, 1]"}},
      {"negative pads", conv_attribute("pads", {-1, 0, 0, 0}), {"Conv", "pads"}},
      {"absurd pads", conv_attribute("pads", {0, 0, 0, kHuge}), {"Conv", "pads"}},
      {"strides of 3-D", conv_attribute("strides", {1, 1, 1}), {"Conv", "strides"}},
      {"stride 0", conv_attribute("strides", {0, 1}), {"Conv", "strides"}},
      {"a stride of 2^31", conv_attribute("strides", {kHuge, 1}), {"Conv", "strides"}},
      {"negative dilations", conv_attribute("dilations", {1, -1}), {"Conv", "dilations"}},
      {"a dilation beyond the input", conv_attribute("dilations", {1, 9}), {"Conv", "empty"}},
      {"another kernel_shape", conv_attribute("kernel_shape", {5, 5}), {"Conv", "kernel_shape"}},
      {"a list for a number", conv_attribute("group", {1}), {"Conv", "group is not an integer"}},
      {"a number for a list",
       [](auto& b) { set(conv(b), "pads", std::int64_t{1}); },
       {"Conv", "pads is not a list"}},
      {"a float for a number",
       [](auto& b) { set(conv(b), "group", 1.0f); },
       {"Conv", "group is not"}},
      {"no groups", [](auto& b) { set(conv(b), "group", std::int64_t{0}); }, {"Conv", "group"}},
      {"groups that do not divide",
       [](auto& b) { set(conv(b), "group", std::int64_t{3}); },
       {"Conv", "3 groups"}},
      {"2^31 groups", [](auto& b) { set(conv(b), "group", kHuge); }, {"Conv", "group"}},
      {"an unknown auto_pad",
       [](auto& b) { set(conv(b), "auto_pad", std::string("MOST")); },
       {"Conv", "MOST"}},
      {"transA",
       [](auto& b) { set(*graph(b).mutable_node(3), "transA", std::int64_t{1}); },
       {"Gemm", "transA"}},
      {"an axis that is not there",
       [](auto& b) { set(*graph(b).mutable_node(2), "axis", std::int64_t{9}); },
       {"Flatten", "axis 9"}},
      {"an opset too old",
       [](auto& b) { b.model.mutable_opset_import(0)->set_version(8); },
       {"opset 8"}},
      {"an opset too new",
       [](auto& b) { b.model.mutable_opset_import(0)->set_version(18); },
       {"opset 18"}},
      {"no opset", [](auto& b) { b.model.clear_opset_import(); }, {"opset"}},
      {"no graph", [](auto& b) { b.model.clear_graph(); }, {"no graph"}},
  });
}

TEST_CASE("wrong models: constants that a file makes grow beyond bounds") {
  OnnxBuilder once({1, 2});
  once.integers("shape", {kHuge});
  once.node("ConstantOfShape", {"shape"}, {"c"});
  once.node("Add", {"x", "c"}, {"y"});
  CHECK(once.error().find("ConstantOfShape node 'the_ConstantOfShape'") != std::string::npos);
  CHECK(once.error().find("too large") != std::string::npos);

  OnnxBuilder doubled({1, 2});
  doubled.integers("a0", std::vector<std::int64_t>(1024, 1));
  for (int i = 0; i < 60; ++i) {
    const std::string from = "a" + std::to_string(i);
    set(doubled.node("Concat", {from, from}, {"a" + std::to_string(i + 1)}), "axis",
        std::int64_t{0});
  }
  doubled.node("Reshape", {"x", "a60"}, {"y"});
  CHECK(doubled.error().find("too large") != std::string::npos);

  OnnxBuilder range({1, 2});
  range.scalar("from", INT64_MIN);
  range.scalar("to", INT64_MAX);
  range.scalar("by", 1);
  range.node("Range", {"from", "to", "by"}, {"r"});
  range.node("Reshape", {"x", "r"}, {"y"});
  CHECK(range.error().find("Range node 'the_Range'") != std::string::npos);
}

TEST_CASE("wrong models: shape arithmetic that cannot be done") {
  struct Case {
    const char* operation;
    std::vector<std::int64_t> a, b;
  };
  for (const Case& c : std::vector<Case>{{"Div", {1}, {0}},
                                         {"Div", {INT64_MIN}, {-1}},
                                         {"Add", {1, 2, 3}, {1, 2}},
                                         {"Gather", {1, 2}, {2}},
                                         {"Reshape", {1, 2}, {-1, -1}},
                                         {"Reshape", {1, 2}, {3}},
                                         {"Reshape", {1, 2}, {INT64_MAX, INT64_MAX}},
                                         {"Expand", {1, 2}, {-5}},
                                         {"Squeeze", {1, 2}, {7}},
                                         {"Unsqueeze", {1, 2}, {0, 0}}}) {
    OnnxBuilder b({1, 2});
    b.integers("a", c.a);
    b.integers("b", c.b);
    b.node(c.operation, {"a", "b"}, {"c"});
    b.node("Reshape", {"x", "c"}, {"y"});
    CAPTURE(std::string(c.operation));
    CHECK_MESSAGE(b.error().starts_with("test.onnx: " + std::string(c.operation) + " node"),
                  b.error());
  }
}

// --- damaged bytes -----------------------------------------------------------------------------

// A model or an Error.
bool survives(std::span<const std::byte> bytes) {
  try {
    parse_onnx(bytes, "damaged.onnx");
    return true;
  } catch (const Error& e) {
    const std::string what = e.what();
    return what.starts_with("damaged.onnx: ") && what.find('\n') == std::string::npos;
  }
}

std::vector<std::byte> file(const std::string& name) {
  const fs::path path = source_root() / "test/data/networks" / name;
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> out(text.size());
  std::ranges::transform(text, out.begin(), [](char c) { return std::byte(c); });
  return out;
}

TEST_CASE("empty bytes and random bytes are errors") {
  CHECK(survives({}));
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::byte> bytes(random() % 300);
    std::ranges::generate(bytes, [&] { return std::byte(random()); });
    CHECK(survives(bytes));
  }
}

TEST_CASE("a model cut short anywhere is an error or a model") {
  const auto whole = network().bytes();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CHECK(survives(std::span(whole).first(n)));
  }
  const auto real = file("mobilenet_v3.onnx");
  for (std::size_t n = 0; n < real.size(); n += 97) {
    CHECK(survives(std::span(real).first(n)));
  }
}

TEST_CASE("a model with flipped bytes is an error or a model") {
  std::mt19937 random(2);
  for (const char* name : {"resnet_cifar.onnx", "shufflenet_v2_dynamic.onnx", "means.onnx"}) {
    const auto whole = file(name);
    REQUIRE(!whole.empty());
    for (int i = 0; i < 400; ++i) {
      auto bytes = whole;
      for (std::size_t flips = 1 + random() % 4; flips > 0; --flips) {
        bytes[random() % bytes.size()] = std::byte(random());
      }
      CHECK(survives(bytes));
    }
  }
  // Small models are nearly all structure: damage that protobuf does not notice.
  const auto small = network().bytes();
  for (int i = 0; i < 20000; ++i) {
    auto bytes = small;
    bytes[random() % bytes.size()] = std::byte(random());
    bytes[random() % bytes.size()] = std::byte(random());
    CHECK(survives(bytes));
  }
}

TEST_CASE("files that are missing, empty or no files are errors naming them") {
  const fs::path folder = fs::temp_directory_path();
  const auto error = [](const fs::path& path) {
    try {
      read_onnx(path);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const fs::path missing = folder / "no such file.onnx";
  CHECK(error(missing) == missing.string() + ": No such file or directory");
  CHECK(error(folder) == folder.string() + ": is a directory, not a file");
  CHECK(error("/dev/zero") == "/dev/zero: is not a regular file");
}

}  // namespace
}  // namespace sbcnn::test
