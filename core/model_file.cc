#include "core/model_file.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.h"
#include "core/file_writer.h"
#include "core/mapped_file.h"
#include "core/model_header.h"
#include "core/onnx.h"

namespace sbcnn {
namespace {

constexpr std::size_t kBlobAlignment = 64;

std::size_t aligned(std::size_t offset) {
  return (offset + kBlobAlignment - 1) / kBlobAlignment * kBlobAlignment;
}

// Lays the blobs out one after the other. Offsets count from the end of the header, so that they
// do not depend on how many bytes the header takes to write them.
BlobTable table_of(const Model& model) {
  BlobTable table;
  std::size_t offset = 0;
  const auto place = [&](const Blob& blob) {
    const BlobPlace at{blob.empty() ? 0 : offset, blob.size()};
    offset = aligned(offset + blob.size() * sizeof(float));
    return at;
  };
  for (const Node& node : model.nodes()) {
    const BlobPlace weight = place(node.weight);
    table.push_back({weight, place(node.bias)});
  }
  return table;
}

// The blob at `place` in what follows the header, checked against what is there.
Blob blob_at(const BlobPlace& place, std::span<const std::byte> data,
             const std::shared_ptr<const void>& owner, bool mapped) {
  if (place.count == 0) {
    return {};
  }
  if (place.offset % kBlobAlignment != 0 || place.offset > data.size() ||
      place.count > (data.size() - place.offset) / sizeof(float)) {
    throw Error(Error::Code::format, "weights lie outside of the file; it is damaged or cut short");
  }
  const auto* first = reinterpret_cast<const float*>(data.data() + place.offset);
  return {{first, place.count}, owner, mapped};
}

void check_has_weights(const Model& model) {
  if (!model.has_weights()) {
    throw Error(Error::Code::format, "it holds the structure of a network without its weights");
  }
}

template <class Read>
Model naming(const std::string& origin, const Read& read) {
  try {
    return read();
  } catch (const Error& e) {
    throw Error(e.code(), origin + ": " + e.what());
  }
}

Model read_mapped(const std::shared_ptr<const MappedFile>& file, const std::string& origin) {
  return parse_model(file->bytes(), origin, file, true);
}

}  // namespace

std::vector<std::byte> encode_skeleton(const Model& model) {
  return encode_header(model, BlobTable(model.nodes().size()));
}

Model decode_skeleton(std::span<const std::byte> bytes, const std::string& origin) {
  return naming(origin, [&] {
    Header header = decode_header(bytes);
    const auto is_empty = [](const BlobPlace& p) { return p.count == 0; };
    for (const NodeBlobs& blobs : header.blobs) {
      if (!is_empty(blobs.weight) || !is_empty(blobs.bias)) {
        throw Error(Error::Code::format, "weights where only a network's structure belongs");
      }
    }
    return build_model(std::move(header), [](const BlobPlace&) { return Blob{}; });
  });
}

Model parse_model(std::span<const std::byte> bytes, const std::string& origin,
                  std::shared_ptr<const void> owner, bool mapped) {
  require(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) == 0,
          "parse_model: bytes are not aligned");
  return naming(origin, [&] {
    Header header = decode_header(bytes);
    const std::size_t begin = std::min(aligned(header.bytes), bytes.size());
    const auto data = bytes.subspan(begin);
    Model model = build_model(std::move(header),
                              [&](const BlobPlace& p) { return blob_at(p, data, owner, mapped); });
    check_has_weights(model);
    return model;
  });
}

void write_model(const Model& model, const std::filesystem::path& path) {
  require(model.has_weights(), "write_model: the model has no weights");
  const std::vector<std::byte> header = encode_header(model, table_of(model));
  FileWriter file(path);
  const auto write = [&](std::span<const std::byte> bytes) {
    file.write(bytes);
    constexpr std::array<std::byte, kBlobAlignment> zeros{};
    file.write({zeros.data(), aligned(bytes.size()) - bytes.size()});
  };
  write(header);
  for (const Node& node : model.nodes()) {
    write(std::as_bytes(node.weight.data));
    write(std::as_bytes(node.bias.data));
  }
  file.commit();
}

Model read_model(const std::filesystem::path& path) {
  return read_mapped(std::make_shared<const MappedFile>(path), path.string());
}

Model load_model(const std::filesystem::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  if (has_magic(file->bytes())) {
    return read_mapped(file, path.string());
  }
  file.reset();
  return fuse(read_onnx(path));
}

}  // namespace sbcnn
