// The header of a .sbcnn file: everything but the weights, as bytes (format: model_file.h).
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "core/model.h"

namespace sbcnn {

// Where a node's floats lie: bytes from the end of the header, which is padded to 64, and floats.
struct BlobPlace {
  std::size_t offset = 0, count = 0;
};
struct NodeBlobs {
  BlobPlace weight, bias;
};
using BlobTable = std::vector<NodeBlobs>;  // by node

struct Header {
  Model model;  // without nodes yet
  std::vector<Node> nodes;
  BlobTable blobs;
  std::size_t bytes = 0;  // where it ended
};

bool has_magic(std::span<const std::byte>);
std::vector<std::byte> encode_header(const Model&, const BlobTable&);
std::vector<std::byte> encode_layer(const Layer&);  // its name and parameters, as they stand there
// Throws Error(format | unsupported) without the name of the file. Takes no more memory than a
// small multiple of the header's bytes.
Header decode_header(std::span<const std::byte>);
// Adds the nodes, with the blobs that `load` finds. Throws Error(format).
Model build_model(Header&&, const std::function<Blob(const BlobPlace&)>& load);

}  // namespace sbcnn
