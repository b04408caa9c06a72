#include "core/onnx.h"

#include <new>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/onnx_importer.h"
#include "core/onnx_metadata.h"

namespace sbcnn {
namespace {

Model parse(std::span<const std::byte> bytes, const std::string& origin,
            const importer::ReadParts& done) {
  try {
    importer::Graph graph = importer::parse_graph(bytes, done);
    const auto metadata = std::move(graph.metadata);
    const std::string name = importer::printable(graph.name);
    Model model = importer::Importer(std::move(graph)).run();
    model.name = name;
    importer::apply_metadata(metadata, model);
    return model;
  } catch (const Error& e) {
    throw Error(e.code(), origin + ": " + e.what());
  } catch (const std::bad_alloc&) {
    throw Error(Error::Code::unsupported, origin + ": not enough memory to read it");
  }
}

}  // namespace

Model parse_onnx(std::span<const std::byte> bytes, const std::string& origin) {
  return parse(bytes, origin, [](std::span<const std::byte>) {});
}

Model read_onnx(const std::filesystem::path& path) {
  const MappedFile file(path);
  Model model = parse(file.bytes(), path.string(),
                      [&](std::span<const std::byte> part) { file.release(part); });
  model.name = path.stem().string();
  return model;
}

}  // namespace sbcnn
