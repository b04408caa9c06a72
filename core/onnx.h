// Reads ONNX models, opset 9 to 17, through libonnx_proto.
//
// The batch axis (axis 0 of the only non-initialiser input) is taken as one frame, whatever the
// file says, static or symbolic; height, width and channels must be static. What depends on
// constants alone (shape arithmetic, Constant, ConstantOfShape, Cast, Gather ...) is folded
// while reading. Reshape-Transpose-Reshape that permutes channels becomes ChannelShuffle.
// Metadata keys `sbcnn.preprocess` and `sbcnn.labels` (JSON, see tools/train) become the
// model's. Anything that sbcnn does not run is an Error(unsupported) naming operator, node and
// file; sizes are checked before memory is taken.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "core/model.h"

namespace sbcnn {

Model read_onnx(const std::filesystem::path&);
// The same from memory; `origin` stands for the file in errors. The model borrows nothing.
Model parse_onnx(std::span<const std::byte>, const std::string& origin);

}  // namespace sbcnn
