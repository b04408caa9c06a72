// .sbcnn files: what is written is read again; what is damaged is refused.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "core/error.h"
#include "core/model_file.h"
#include "test/support/onnx_builder.h"

namespace sbcnn::test {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

// A folder of its own, removed with all that is in it.
class Folder {
 public:
  Folder() {
    static int made = 0;
    const std::string name = std::to_string(::getpid()) + "_" + std::to_string(made++);
    path_ = fs::temp_directory_path() / ("sbcnn_file_" + name);
    fs::create_directory(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  std::size_t files() const {
    return std::size_t(std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  fs::path path_;
};

Blob numbers(std::size_t count) {
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = float(i) - 0.1f;
  }
  return Blob::own(std::move(out));
}

// One node of every layer, every parameter different from its default and from its neighbours.
Model every_layer() {
  Model m({12, 14, 8});
  m.name = "every läyer";
  m.labels = {"one", "", "three\n"};
  m.preprocess = Preprocess{Preprocess::Order::bgr, Preprocess::Fit::crop,
                            std::vector<float>(8, 0.1f), std::vector<float>(8, 3e-38f)};
  const auto add = [&](const Layer& layer, std::vector<Value> inputs) {
    const WeightShape want = weight_shape(layer, m.shape(inputs[0]));
    return m.add("n" + std::to_string(m.nodes().size()), layer, inputs, numbers(want.weight),
                 numbers(want.bias));
  };
  const Activation clip{Activation::Kind::clip, -0.25f, 6.5f};
  const Window window{{3, 2}, {2, 1}, {1, 2}, {1, 0, 1, 1}, true};
  Value v = add(Conv{8, {3, 5}, {1, 1}, {2, 1}, {2, 2, 2, 2}, 4, clip}, {0});
  v = add(Conv{8, {1, 1}, {1, 1}, {1, 1}, {}, 1, {Activation::Kind::leaky_relu, 0.125f}}, {v, 0});
  const Value mean = add(GlobalAveragePool{}, {v});
  v = add(Mul{}, {v, mean});
  v = add(Add{{Activation::Kind::hard_sigmoid, 0.2f, 0.5f}}, {v, 0});
  v = add(Activate{{Activation::Kind::hard_swish}}, {v});
  v = add(ScaleShift{}, {v});
  v = add(ChannelShuffle{4}, {v});
  v = add(Concat{}, {v, 0});
  v = add(Slice{{3, 11}, {1, 12, 2}, {2, 13, 3}}, {v});
  v = add(Pad{{3, 4, 5, 6}, 1, 3, -2.5f}, {v});
  v = add(MaxPool{window}, {v});
  v = add(AveragePool{window, true}, {v});
  v = add(Flatten{}, {v});
  v = add(Dense{5}, {v});
  add(Softmax{}, {v});
  return m;
}

bool same(const Blob& a, const Blob& b) {
  return std::ranges::equal(a.data, b.data);
}

// Structure, parameters and names. The encoding tells any two layers apart: it holds them whole.
bool same_structure(const Model& a, const Model& b) {
  return encode_skeleton(a) == encode_skeleton(b);
}

bool same_weights(const Model& a, const Model& b) {
  return std::ranges::equal(a.nodes(), b.nodes(), [](const Node& x, const Node& y) {
    return same(x.weight, y.weight) && same(x.bias, y.bias);
  });
}

Bytes content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  Bytes out(text.size());
  std::memcpy(out.data(), text.data(), text.size());
  return out;
}

template <class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// The bytes of the file that every_layer() makes.
Bytes every_byte() {
  const Folder folder;
  write_model(every_layer(), folder / "m.sbcnn");
  return content(folder / "m.sbcnn");
}

Model parse(const Bytes& bytes) {
  const auto owner = std::make_shared<const Bytes>(bytes);
  return parse_model(*owner, "m.sbcnn", owner);
}

TEST_CASE("a model is read as it was written: layers, parameters, weights, metadata") {
  const Folder folder;
  const Model model = every_layer();
  CHECK(model.nodes().size() == std::variant_size_v<Layer> + 1);
  write_model(model, folder / "m.sbcnn");
  CHECK(folder.files() == 1);
  for (const Model& again : {read_model(folder / "m.sbcnn"), load_model(folder / "m.sbcnn")}) {
    CHECK(same_structure(model, again));
    CHECK(same_weights(model, again));
    CHECK(again.name == "every läyer");
    CHECK(again.labels == model.labels);
    REQUIRE(again.preprocess.has_value());
    CHECK(again.preprocess->order == Preprocess::Order::bgr);
    CHECK(again.preprocess->fit == Preprocess::Fit::crop);
    CHECK(again.preprocess->mean == model.preprocess->mean);
    CHECK(again.preprocess->stddev == model.preprocess->stddev);
    const Conv& conv = std::get<Conv>(again.node(0).layer);
    CHECK(conv.kernel == Extent{3, 5});
    CHECK(conv.dilation == Extent{2, 1});
    CHECK(conv.activation == Activation{Activation::Kind::clip, -0.25f, 6.5f});
    CHECK(std::get<Slice>(again.node(9).layer).rows.step == 2);
    CHECK(std::get<Pad>(again.node(10).layer).value == -2.5f);
    CHECK(std::get<AveragePool>(again.node(12).layer).count_include_pad);
  }
}

TEST_CASE("weights in a file are aligned to 64 bytes and stay valid after the model is gone") {
  const Folder folder;
  write_model(every_layer(), folder / "m.sbcnn");
  Blob kept;
  {
    const Model model = read_model(folder / "m.sbcnn");
    for (const Node& node : model.nodes()) {
      CHECK(reinterpret_cast<std::uintptr_t>(node.weight.data.data()) % 64 == 0);
      CHECK(reinterpret_cast<std::uintptr_t>(node.bias.data.data()) % 64 == 0);
    }
    kept = model.node(0).weight;
  }
  fs::remove(folder / "m.sbcnn");
  CHECK(kept.data[1] == 0.9f);
}

TEST_CASE("a skeleton has the structure and no weights") {
  const Model model = every_layer();
  const Bytes bytes = encode_skeleton(model);
  CHECK(bytes.size() < 2000);
  const Model skeleton = decode_skeleton(bytes, "rank 0");
  CHECK(same_structure(model, skeleton));
  CHECK(!skeleton.has_weights());
  CHECK(weight_bytes(skeleton) == weight_bytes(model));
}

TEST_CASE("a skeleton is no model file, and a model file no skeleton") {
  CHECK(error_of([] { parse(encode_skeleton(every_layer())); }).find("without its weights") !=
        std::string::npos);
  CHECK(error_of([] { decode_skeleton(every_byte(), "rank 0"); }).starts_with("rank 0: "));
}

TEST_CASE("writing replaces a file whole, also behind a symbolic link") {
  const Folder folder;
  std::ofstream(folder / "m.sbcnn") << std::string(100000, 'x');
  fs::create_symlink(folder / "m.sbcnn", folder / "link");
  write_model(every_layer(), folder / "link");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(content(folder / "m.sbcnn") == every_byte());
  CHECK(folder.files() == 2);
}

TEST_CASE("a full disk is an error that names the file") {
  const std::string error = error_of([] { write_model(every_layer(), "/dev/full"); });
  CHECK(error == "/dev/full: cannot be written whole: No space left on device");
  CHECK(fs::is_character_file("/dev/full"));
}

TEST_CASE("a file that cannot be written whole is removed, and the old one stays") {
  const Folder folder;
  std::ofstream(folder / "m.sbcnn") << "old";
  struct rlimit old {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  const struct rlimit small { 1000, old.rlim_max };
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string error = error_of([&] { write_model(every_layer(), folder / "m.sbcnn"); });
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  CHECK(error == (folder / "m.sbcnn").string() + ": cannot be written whole: File too large");
  CHECK(folder.files() == 1);
  CHECK(content(folder / "m.sbcnn").size() == 3);
}

TEST_CASE("places that cannot be written are errors naming them") {
  const Folder folder;
  const fs::path nowhere = folder / "no folder" / "m.sbcnn";
  CHECK(error_of([&] { write_model(every_layer(), nowhere); }) ==
        nowhere.string() + ": cannot be written: No such file or directory");
  CHECK(error_of([&] {
          write_model(every_layer(), folder / "");
        }).ends_with("cannot be written: Is a directory"));
}

TEST_CASE("missing, empty and foreign files are errors naming them") {
  const Folder folder;
  const auto load = [&](const std::string& name) {
    return error_of([&] { load_model(folder / name); });
  };
  CHECK(load("missing").ends_with("missing: No such file or directory"));
  std::ofstream(folder / "empty").flush();
  CHECK(load("empty") == (folder / "empty").string() + ": it is empty");
  std::ofstream(folder / "text") << "Once upon a time there was a network.\n";
  CHECK(load("text").starts_with((folder / "text").string() + ": it is damaged"));
  CHECK(error_of([&] { read_model(folder / "text"); }).ends_with("it is no .sbcnn file"));
}

TEST_CASE("another version of the format is refused by its number") {
  Bytes bytes = every_byte();
  bytes[8] = std::byte(9);
  CHECK(error_of([&] { parse(bytes); }).find("format version 9") != std::string::npos);
}

TEST_CASE("a file cut short anywhere is an error") {
  const Bytes whole = every_byte();
  CHECK(error_of([&] { parse(whole); }).empty());
  // The last 64 bytes may be padding that no weight lies in.
  for (std::size_t n = 0; n + 64 < whole.size(); n += n < 3000 ? 1 : 61) {
    const std::string error =
        error_of([&] { parse(Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(n))); });
    CHECK_MESSAGE(error.starts_with("m.sbcnn: "), "cut at " << n << ": " << error);
  }
}

TEST_CASE("flipped bytes in the header give a model or an error") {
  const Bytes whole = every_byte();
  const std::size_t header = encode_skeleton(every_layer()).size() + 100;
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = whole;
    for (std::size_t flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % header] = std::byte(random());
    }
    const std::string error = error_of([&] {
      const Model model = parse(bytes);
      // Every float that the model names can be read.
      float sum = 0;
      for (const Node& node : model.nodes()) {
        for (const Blob* blob : {&node.weight, &node.bias}) {
          sum += blob->empty() ? 0 : blob->data.front() + blob->data.back();
        }
      }
      CHECK(sum == sum);
    });
    CHECK((error.empty() || error.starts_with("m.sbcnn: ")));
    const std::string skeleton = error_of([&] { decode_skeleton(bytes, "rank 0"); });
    CHECK((skeleton.empty() || skeleton.starts_with("rank 0: ")));
  }
}

TEST_CASE("random bytes behind the magic are errors") {
  std::mt19937 random(4);
  const Bytes whole = every_byte();
  for (int i = 0; i < 5000; ++i) {
    Bytes bytes(whole.begin(), whole.begin() + 12);
    const auto size = std::uint32_t(random() % 200);
    bytes.resize(16 + size);
    std::memcpy(bytes.data() + 12, &size, sizeof(size));
    std::generate(bytes.begin() + 16, bytes.end(), [&] { return std::byte(random()); });
    CHECK(error_of([&] { parse(bytes); }).starts_with("m.sbcnn: "));
  }
}

// The reader takes an ONNX file part by part and lets each go; weights lie across the parts' ends.
TEST_CASE("model file: an ONNX file of many parts") {
  const Folder folder;
  OnnxBuilder b({1, 64, 4, 4});
  std::vector<std::vector<float>> weights;
  std::string from = "x";
  for (int layer = 0; layer < 5; ++layer) {
    const std::string name = std::to_string(layer);
    weights.push_back(ramp(64 * 64 * std::size_t(9 + 40 * layer)));
    b.floats("w" + name, {64, 64, 1, 9 + 40 * layer}, weights.back());
    const std::string to = layer == 4 ? "y" : "v" + name;
    set(b.node("Conv", {from, "w" + name}, {to}), "auto_pad", std::string("SAME_UPPER"));
    from = to;
  }
  const Bytes bytes = b.bytes();
  REQUIRE(bytes.size() > std::size_t{3} << 20);
  const auto write = [&](std::size_t size) {
    std::ofstream(folder / "m.onnx", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(size));
  };
  write(bytes.size());
  const Model model = load_model(folder / "m.onnx");
  REQUIRE(model.nodes().size() == weights.size());
  for (std::size_t n = 0; n < weights.size(); ++n) {
    CHECK(std::ranges::equal(model.nodes()[n].weight.data, weights[n]));
  }
  for (const std::size_t size :
       {bytes.size() - 1, std::size_t{1} << 20, (std::size_t{2} << 20) + 1}) {
    write(size);
    CHECK_THROWS_AS(load_model(folder / "m.onnx"), Error);
  }
}

}  // namespace
}  // namespace sbcnn::test
