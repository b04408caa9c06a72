#include "test/support/onnx_builder.h"

#include <cstring>

#include "core/error.h"
#include "core/onnx.h"

namespace sbcnn::test {
namespace {

onnx::AttributeProto& attribute(onnx::NodeProto& node, const std::string& name,
                                onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& out = *node.add_attribute();
  out.set_name(name);
  out.set_type(type);
  return out;
}

}  // namespace

OnnxBuilder::OnnxBuilder(const Dims& input, std::int64_t opset) {
  model.set_ir_version(7);
  model.add_opset_import()->set_version(opset);
  onnx::ValueInfoProto& x = *model.mutable_graph()->add_input();
  x.set_name("x");
  auto& tensor = *x.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t d : input) {
    if (auto& dim = *tensor.mutable_shape()->add_dim(); d == -1) {
      dim.set_dim_param("open");
    } else {
      dim.set_dim_value(d);
    }
  }
  model.mutable_graph()->add_output()->set_name("y");
}

onnx::NodeProto& OnnxBuilder::node(const std::string& type, const std::vector<std::string>& inputs,
                                   const std::vector<std::string>& outputs) {
  onnx::NodeProto& node = *model.mutable_graph()->add_node();
  node.set_op_type(type);
  node.set_name("the_" + type);
  for (const std::string& name : inputs) {
    node.add_input(name);
  }
  for (const std::string& name : outputs) {
    node.add_output(name);
  }
  return node;
}

void OnnxBuilder::floats(const std::string& name, const Dims& dims,
                         const std::vector<float>& values) {
  onnx::TensorProto& t = *model.mutable_graph()->add_initializer();
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t d : dims) {
    t.add_dims(d);
  }
  t.set_raw_data(values.data(), values.size() * sizeof(float));
}

void OnnxBuilder::integers(const std::string& name, const std::vector<std::int64_t>& values) {
  onnx::TensorProto& t = *model.mutable_graph()->add_initializer();
  t.set_name(name);
  t.set_data_type(onnx::TensorProto::INT64);
  t.add_dims(std::int64_t(values.size()));
  for (const std::int64_t v : values) {
    t.add_int64_data(v);
  }
}

void OnnxBuilder::scalar(const std::string& name, std::int64_t value) {
  integers(name, {value});
  model.mutable_graph()->mutable_initializer()->rbegin()->clear_dims();
}

std::vector<std::byte> OnnxBuilder::bytes() const {
  return bytes_of(model);
}

Model OnnxBuilder::read() const {
  return parse_onnx(bytes(), "test.onnx");
}

std::string OnnxBuilder::error() const {
  try {
    read();
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

void set(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  attribute(node, name, onnx::AttributeProto::INT).set_i(value);
}

void set(onnx::NodeProto& node, const std::string& name, float value) {
  attribute(node, name, onnx::AttributeProto::FLOAT).set_f(value);
}

void set(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  attribute(node, name, onnx::AttributeProto::STRING).set_s(value);
}

void set(onnx::NodeProto& node, const std::string& name, const std::vector<std::int64_t>& values) {
  onnx::AttributeProto& out = attribute(node, name, onnx::AttributeProto::INTS);
  for (const std::int64_t v : values) {
    out.add_ints(v);
  }
}

std::vector<std::byte> bytes_of(const onnx::ModelProto& model) {
  const std::string text = model.SerializeAsString();
  std::vector<std::byte> out(text.size());
  std::memcpy(out.data(), text.data(), text.size());
  return out;
}

std::vector<float> ramp(std::size_t count) {
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = float((i * 37 + 11) % 101) / 50.0f - 1.0f;
  }
  return out;
}

}  // namespace sbcnn::test
