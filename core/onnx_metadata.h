// What exporters write into an ONNX file beside the graph: `sbcnn.preprocess` and
// `sbcnn.labels`, both JSON (see tools/train/export.py).
#pragma once

#include <map>
#include <string>

#include "core/model.h"

namespace sbcnn::importer {

// Fills in preprocess and labels. Throws Error(format) naming the key that is malformed or does
// not fit the model's input.
void apply_metadata(const std::map<std::string, std::string>& metadata, Model& model);

}  // namespace sbcnn::importer
