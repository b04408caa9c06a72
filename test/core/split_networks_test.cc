// Networks that PyTorch exported, split over any number of ranks, give PyTorch's outputs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>

#include "core/model_file.h"
#include "kernels/fast.h"
#include "test/support/execute.h"
#include "test/support/world.h"

namespace sbcnn::test {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kRefused = {"activations"};  // see onnx_networks_test.cc

std::vector<fs::path> networks() {
  std::vector<fs::path> stems;
  for (const auto& entry : fs::directory_iterator(source_root() / "test/data/networks")) {
    if (entry.path().extension() == ".onnx" && !kRefused.contains(entry.path().stem())) {
      stems.push_back(fs::path(entry.path()).replace_extension());
    }
  }
  std::ranges::sort(stems);
  return stems;
}

// C x H x W to H x W x C, or back.
std::vector<float> reordered(std::span<const float> from, const Shape& s, bool to_channels_last) {
  std::vector<float> to(from.size());
  const std::size_t pixels = s.pixels(), channels = std::size_t(s.channels);
  for (std::size_t p = 0; p < pixels; ++p) {
    for (std::size_t c = 0; c < channels; ++c) {
      const std::size_t first = c * pixels + p, last = p * channels + c;
      to[to_channels_last ? last : first] = from[to_channels_last ? first : last];
    }
  }
  return to;
}

// Largest difference from the stored outputs, relative to the largest of these.
float error(const fs::path& stem, const Cluster& cluster, const WorldOptions& options = {}) {
  const Model model = load_model(stem.string() + ".onnx");
  const Array x = read_npy(stem.string() + "_x.npy"), y = read_npy(stem.string() + "_y.npy");
  std::vector<std::vector<float>> inputs;
  for (std::size_t n = 0; n < x.frames(); ++n) {
    inputs.push_back(reordered(x.frame(n), model.shape(model.input()), true));
  }
  const auto outputs = run_world(model, cluster, inputs, options);
  float difference = 0, largest = 0;
  for (std::size_t n = 0; n < x.frames(); ++n) {
    const auto got = reordered(outputs[n], model.shape(model.output()), false);
    difference = std::max(difference, largest_difference(got, y.frame(n)));
    for (const float v : y.frame(n)) {
      largest = std::max(largest, std::abs(v));
    }
  }
  return difference / largest;
}

}  // namespace

TEST_CASE("PyTorch's networks over 1 to 8 ranks give PyTorch's outputs") {
  REQUIRE(networks().size() >= 10);
  for (const fs::path& stem : networks()) {
    for (int size = 1; size <= 8; ++size) {
      CAPTURE(stem.filename().string());
      CAPTURE(size);
      CHECK(error(stem, Cluster::equal(size)) < 1e-4f);
    }
  }
}

TEST_CASE("the fast kernels of split networks give PyTorch's outputs") {
  const WorldOptions fast{.in_flight = 3, .kernels = [] { return kernels::make_kernels({}); }};
  for (const fs::path& stem : networks()) {
    for (const std::vector<int>& weights :
         {std::vector<int>{1}, {1, 1}, {3, 1, 2}, {0, 1, 1, 1}, {1, 1, 1, 1, 1}}) {
      CAPTURE(stem.filename().string());
      CAPTURE(weights.size());
      CHECK(error(stem, {weights}, fast) < 1e-4f);
    }
  }
}

TEST_CASE("split networks that write every piece straight into messages give PyTorch's outputs") {
  for (const fs::path& stem : networks()) {
    for (const int size : {1, 2, 3, 4, 5, 7}) {
      CAPTURE(stem.filename().string());
      CAPTURE(size);
      WorldOptions options{.in_flight = 1 + size % 3, .narrowest_piece = 1};
      CHECK(error(stem, Cluster::equal(size), options) < 1e-4f);
      options.kernels = [] { return kernels::make_kernels({}); };
      CHECK(error(stem, Cluster::equal(size), options) < 1e-4f);
    }
  }
}

}  // namespace sbcnn::test
