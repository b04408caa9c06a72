// libFuzzer entry for the readers of models: whatever the bytes are, the result is a Model or an
// Error. Bytes that begin with the magic of a .sbcnn file go to its readers, others to ONNX's.
// A model that is read is fused, and written and read as a skeleton again.
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "core/error.h"
#include "core/model_file.h"
#include "core/model_header.h"
#include "core/onnx.h"

namespace {

using namespace sbcnn;

Model read(std::span<const std::byte> bytes) {
  if (!has_magic(bytes)) {
    return parse_onnx(bytes, "fuzz");
  }
  // The weights of a model lie in the bytes, which must be aligned for that.
  const auto copy = std::make_shared<AlignedArray<std::byte>>(bytes.size());
  std::memcpy(copy->data(), bytes.data(), bytes.size());
  return parse_model({copy->data(), bytes.size()}, "fuzz", copy);
}

void use(const Model& model) {
  const Model fused = fuse(model);
  const auto skeleton = encode_skeleton(fused);
  const Model again = decode_skeleton(skeleton, "fuzz");
  require(again.nodes().size() == fused.nodes().size(), "a skeleton lost nodes");
  require(mac_count(again) == mac_count(fused), "a skeleton changed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    use(read(bytes));
  } catch (const Error&) {
  }
  try {
    use(decode_skeleton(bytes, "fuzz"));
  } catch (const Error&) {
  }
  return 0;
}
