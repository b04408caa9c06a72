#include "test/support/execute.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>

namespace sbcnn::test {
namespace {

KernelSpec spec_of(const Model& model, NodeId n) {
  const Node& node = model.node(n);
  KernelSpec spec{node.layer, model.input_shapes(n), model.shape(n + 1), {}};
  if (const auto* conv = std::get_if<Conv>(&node.layer)) {
    const int in = spec.inputs[0].channels / conv->groups, out = conv->outputs / conv->groups;
    for (int g = 0; g < conv->groups; ++g) {
      spec.blocks.push_back({{g * in, (g + 1) * in}, {g * out, (g + 1) * out}});
    }
  } else if (const auto* slice = std::get_if<Slice>(&node.layer)) {
    spec.blocks.push_back({slice->channels, {0, slice->channels.size()}});
  }
  return spec;
}

std::vector<float> copied(const Blob& blob) {
  return {blob.data.begin(), blob.data.end()};
}

}  // namespace

Executor::Executor(const Model& model, KernelFactory& factory) : model_(model) {
  std::vector<Border> borders(model.nodes().size() + 1);
  for (const Node& node : model.nodes()) {
    Border& border = borders[std::size_t(node.inputs[0])];
    border = join(border, required_border(node.layer, model.shape(node.inputs[0])));
  }
  for (Value v = 0; v <= model.output(); ++v) {
    values_.emplace_back(model.shape(v), borders[std::size_t(v)]);
  }
  for (NodeId n = 0; n < NodeId(model.nodes().size()); ++n) {
    const Node& node = model.node(n);
    const bool renames = std::holds_alternative<ChannelShuffle>(node.layer) ||
                         std::holds_alternative<Flatten>(node.layer);
    kernels_.push_back(
        renames ? nullptr
                : factory.make(spec_of(model, n), {copied(node.weight), copied(node.bias)}));
  }
}

std::vector<float> Executor::run(std::span<const float> frame) {
  const Shape in = model_.shape(0);
  require(frame.size() == in.size(), "Executor::run: frame of another size");
  for (int c = 0, i = 0; c < in.channels; ++c) {
    for (int y = 0; y < in.height; ++y) {
      for (int x = 0; x < in.width; ++x, ++i) {
        values_[0].view().at(y, x)[c] = frame[std::size_t(i)];
      }
    }
  }
  for (std::size_t n = 0; n < kernels_.size(); ++n) {
    const Node& node = model_.nodes()[n];
    std::vector<View<const float>> inputs;
    for (const Value v : node.inputs) {
      inputs.push_back(std::as_const(values_[std::size_t(v)]).view());
    }
    if (kernels_[n] == nullptr) {
      rename(node, Value(n) + 1);
    } else {
      kernels_[n]->run(inputs, values_[n + 1].view());
    }
  }
  const View<float> out = values_.back().view();
  std::vector<float> result;
  for (int c = 0; c < out.shape().channels; ++c) {
    for (int y = 0; y < out.shape().height; ++y) {
      for (int x = 0; x < out.shape().width; ++x) {
        result.push_back(out.at(y, x)[c]);
      }
    }
  }
  return result;
}

// In a plan these two only rename channels; here they move them.
void Executor::rename(const Node& node, Value to) {
  const View<float> in = values_[std::size_t(node.inputs[0])].view();
  const View<float> out = values_[std::size_t(to)].view();
  const Shape s = in.shape();
  const auto* shuffle = std::get_if<ChannelShuffle>(&node.layer);
  for (int y = 0; y < s.height; ++y) {
    for (int x = 0; x < s.width; ++x) {
      for (int c = 0; c < s.channels; ++c) {
        if (shuffle == nullptr) {
          out.at(0, 0)[(c * s.height + y) * s.width + x] = in.at(y, x)[c];
        } else {
          const int each = s.channels / shuffle->groups;
          out.at(y, x)[c % each * shuffle->groups + c / each] = in.at(y, x)[c];
        }
      }
    }
  }
}

std::span<const float> Array::frame(std::size_t n) const {
  const std::size_t size = data.size() / frames();
  return std::span(data).subspan(n * size, size);
}

Array read_npy(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto fail = [&] { throw std::runtime_error(path.string() + ": no float32 .npy file"); };
  constexpr std::size_t prefix = 10;  // magic, version 1.0, length of the header
  if (bytes.size() < prefix || bytes.compare(0, 7, "\x93NUMPY\x01") != 0) {
    fail();
  }
  const std::size_t length =
      std::size_t(static_cast<unsigned char>(bytes[8])) | std::size_t(bytes[9]) << 8;
  const std::string header = bytes.substr(prefix, length);
  const std::size_t open = header.find('('), close = header.find(')');
  if (header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos || close == std::string::npos) {
    fail();
  }
  Array out;
  std::size_t count = 1;
  for (std::size_t at = open + 1; at < close;) {
    out.dims.push_back(std::stoul(header.substr(at)));
    count *= out.dims.back();
    const std::size_t comma = header.find(',', at);
    at = comma == std::string::npos || header.find_first_of("0123456789", comma) > close
             ? close
             : comma + 1;
  }
  if (bytes.size() != prefix + length + count * sizeof(float)) {
    fail();
  }
  out.data.resize(count);
  bytes.copy(reinterpret_cast<char*>(out.data.data()), count * sizeof(float), prefix + length);
  return out;
}

std::filesystem::path source_root() {
  const char* root = std::getenv("SBCNN_SOURCE");
  if (root == nullptr) {
    throw std::runtime_error("SBCNN_SOURCE is not set: run the tests through meson");
  }
  return root;
}

float largest_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) {
    return std::numeric_limits<float>::infinity();
  }
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) {  // infinities too
      continue;
    }
    const float d = std::abs(a[i] - b[i]);
    largest = std::isnan(d) ? std::numeric_limits<float>::infinity() : std::max(largest, d);
  }
  return largest;
}

}  // namespace sbcnn::test
