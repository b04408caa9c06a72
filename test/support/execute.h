// Runs a model whole, on one rank, node by node: what an answer is compared with.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "core/model.h"
#include "core/ports.h"

namespace sbcnn::test {

// Makes the kernels once; `run` then takes frame after frame. The factory outlives this, the
// model too.
class Executor {
 public:
  Executor(const Model&, KernelFactory&);
  // One frame in ONNX's order, C x H x W, to the output in the same order.
  std::vector<float> run(std::span<const float> frame);

 private:
  void rename(const Node&, Value);
  const Model& model_;
  std::vector<std::unique_ptr<Kernel>> kernels_;  // null where channels are renamed
  std::vector<Tensor> values_;
};

// A NumPy array of float32 in C order. Throws std::runtime_error for anything else.
struct Array {
  std::vector<std::size_t> dims;
  std::vector<float> data;

  std::size_t frames() const { return dims.empty() ? 1 : dims[0]; }
  std::span<const float> frame(std::size_t n) const;
};
Array read_npy(const std::filesystem::path&);

// The repository, which meson names in SBCNN_SOURCE. Throws std::runtime_error without that.
std::filesystem::path source_root();

// The largest absolute difference; infinite where sizes differ or just one has a NaN.
float largest_difference(std::span<const float> a, std::span<const float> b);

}  // namespace sbcnn::test
