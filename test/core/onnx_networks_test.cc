// Whole networks: files that PyTorch wrote, with inputs and PyTorch's outputs beside them.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "core/error.h"
#include "core/model_file.h"
#include "core/onnx.h"
#include "kernels/reference.h"
#include "test/support/execute.h"

namespace sbcnn::test {
namespace {

namespace fs = std::filesystem;

fs::path fixtures() {
  return source_root() / "test/data/networks";
}

// Networks of the fixtures that use operators outside of our list, and the one that is named.
const std::map<std::string, std::string> kRefused = {{"activations", "Tanh"}};

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(fixtures())) {
    if (entry.path().extension() == ".onnx") {
      out.push_back(entry.path().stem());
    }
  }
  std::ranges::sort(out);
  return out;
}

// The largest difference from the stored outputs over all stored frames.
float difference(const Model& model, const fs::path& stem) {
  const Array x = read_npy(stem.string() + "_x.npy"), y = read_npy(stem.string() + "_y.npy");
  const auto factory = kernels::make_reference_kernels();
  Executor executor(model, *factory);
  float largest = 0;
  for (std::size_t n = 0; n < x.frames(); ++n) {
    largest = std::max(largest, largest_difference(executor.run(x.frame(n)), y.frame(n)));
  }
  return largest;
}

TEST_CASE("networks that PyTorch exported give PyTorch's outputs, as read and fused") {
  int run = 0;
  for (const std::string& name : names()) {
    if (kRefused.contains(name)) {
      continue;
    }
    CAPTURE(name);
    const Model model = read_onnx(fixtures() / (name + ".onnx"));
    const Model fused = fuse(model);
    CHECK(fused.nodes().size() <= model.nodes().size());
    CHECK(difference(model, fixtures() / name) < 1e-4f);
    CHECK(difference(fused, fixtures() / name) < 1e-4f);
    ++run;
  }
  MESSAGE(run << " networks");
  CHECK(run >= 20);
}

TEST_CASE("networks with operators outside of the list are refused, naming one") {
  for (const auto& [name, operation] : kRefused) {
    const fs::path path = fixtures() / (name + ".onnx");
    try {
      read_onnx(path);
      FAIL("read " << path);
    } catch (const Error& e) {
      CHECK(e.code() == Error::Code::unsupported);
      CHECK(std::string(e.what()).find(path.string() + ": " + operation) == 0);
    }
  }
}

TEST_CASE("networks survive being written as .sbcnn and read again, bit for bit") {
  const fs::path path =
      fs::temp_directory_path() / ("sbcnn_networks_" + std::to_string(::getpid()));
  const auto factory = kernels::make_reference_kernels();
  for (const std::string& name : names()) {
    if (kRefused.contains(name)) {
      continue;
    }
    CAPTURE(name);
    const Model model = load_model(fixtures() / (name + ".onnx"));
    write_model(model, path);
    const Model again = load_model(path);
    const Array x = read_npy((fixtures() / name).string() + "_x.npy");
    const auto run = [&](const Model& m) { return Executor(m, *factory).run(x.frame(0)); };
    CHECK(run(model) == run(again));
  }
  fs::remove(path);
}

TEST_CASE("networks get a ChannelShuffle for each Reshape-Transpose-Reshape") {
  const auto shuffles = [](const std::string& name) {
    const Model model = read_onnx(fixtures() / (name + ".onnx"));
    return std::ranges::count_if(model.nodes(), [](const Node& node) {
      return std::holds_alternative<ChannelShuffle>(node.layer);
    });
  };
  CHECK(shuffles("decnn_stages") == 2);
  CHECK(shuffles("decnn_stages_dynamic") == 2);
  CHECK(shuffles("grouped_8_shuffled") == 3);
  CHECK(shuffles("shuffle_both_ways") == 2);  // each with two readers
}

// The models in the folder that SBCNN_SHARED names are not part of the repository.
void check_shared(const std::string& name) {
  const char* shared = std::getenv("SBCNN_SHARED");
  if (shared == nullptr) {
    std::printf("SKIP: %s: SBCNN_SHARED does not name the folder that holds models/\n",
                name.c_str());
    return;
  }
  const fs::path stem = fs::path(shared) / "models" / name;
  const Model model = load_model(stem.string() + ".onnx");
  const float largest = difference(model, stem);
  MESSAGE(name << ": " << model.nodes().size() << " nodes, differs by at most " << largest);
  CHECK(largest < 1e-3f);
}

TEST_CASE("shared model resnet20_cifar10") {
  check_shared("resnet20_cifar10");
}

TEST_CASE("shared model mobilenet_v2_1.0_224_imagenet") {
  check_shared("mobilenet_v2_1.0_224_imagenet");
}

}  // namespace
}  // namespace sbcnn::test
