// Builds ONNX models for tests, right ones and wrong ones.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/model.h"

namespace sbcnn::test {

using Dims = std::vector<std::int64_t>;

class OnnxBuilder {
 public:
  // A network that reads `x` of these dimensions and whose output is called `y`.
  explicit OnnxBuilder(const Dims& input, std::int64_t opset = 13);

  onnx::NodeProto& node(const std::string& type, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs);
  void floats(const std::string& name, const Dims& dims, const std::vector<float>& values);
  void integers(const std::string& name, const std::vector<std::int64_t>& values);
  void scalar(const std::string& name, std::int64_t value);

  std::vector<std::byte> bytes() const;
  Model read() const;         // through parse_onnx
  std::string error() const;  // what parse_onnx says; "" if it reads the model

  onnx::ModelProto model;
};

void set(onnx::NodeProto&, const std::string& name, std::int64_t value);
void set(onnx::NodeProto&, const std::string& name, float value);
void set(onnx::NodeProto&, const std::string& name, const std::string& value);
void set(onnx::NodeProto&, const std::string& name, const std::vector<std::int64_t>& values);

std::vector<std::byte> bytes_of(const onnx::ModelProto&);
std::vector<float> ramp(std::size_t count);  // -1 ... 1, no two neighbours alike

}  // namespace sbcnn::test
