// The conformance cases of Debian's libonnx-testdata for the operators that sbcnn reads.
//
// A case is a model with stored inputs and outputs. It is run in up to two ways:
//   computed: its first input is the network's input, frame by frame; the others are constants;
//   folded: all inputs are constants, and what constant folding makes of them is added to zeros.
// A case counts when at least one way applies; what neither applies to must be in kSkipped, with
// a part of the reason that the reader gives.
#include <doctest/doctest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/error.h"
#include "core/onnx.h"
#include "kernels/reference.h"
#include "test/support/execute.h"
#include "test/support/onnx_builder.h"

namespace sbcnn::test {
namespace {

namespace fs = std::filesystem;
const fs::path kTestData = "/usr/share/libonnx-testdata/data";

const std::set<std::string> kOperators = {"Add",
                                          "AveragePool",
                                          "BatchNormalization",
                                          "Cast",
                                          "Clip",
                                          "Concat",
                                          "Constant",
                                          "ConstantOfShape",
                                          "Conv",
                                          "Div",
                                          "Dropout",
                                          "Equal",
                                          "Expand",
                                          "Flatten",
                                          "Floor",
                                          "Gather",
                                          "Gemm",
                                          "GlobalAveragePool",
                                          "GlobalMaxPool",
                                          "HardSigmoid",
                                          "HardSwish",
                                          "Identity",
                                          "LeakyRelu",
                                          "MatMul",
                                          "MaxPool",
                                          "Mul",
                                          "Pad",
                                          "Range",
                                          "ReduceMean",
                                          "Relu",
                                          "Reshape",
                                          "Shape",
                                          "Sigmoid",
                                          "Slice",
                                          "Softmax",
                                          "Split",
                                          "Squeeze",
                                          "Sub",
                                          "Transpose",
                                          "Unsqueeze",
                                          "Where"};

const std::map<std::string, std::string> kSkipped = {
    {"node/test_add_uint8", "not of a floating-point type"},
    {"node/test_cast_STRING_to_FLOAT", "not of a floating-point type"},
    {"node/test_castlike_STRING_to_FLOAT_expanded", "not of a floating-point type"},
    {"node/test_clip_default_int8_inbounds", "not of a floating-point type"},
    {"node/test_clip_default_int8_max", "not of a floating-point type"},
    {"node/test_clip_default_int8_min", "not of a floating-point type"},
    {"node/test_div_uint8", "not of a floating-point type"},
    {"node/test_maxpool_2d_uint8", "not of a floating-point type"},
    {"node/test_mul_uint8", "not of a floating-point type"},
    {"node/test_sub_uint8", "not of a floating-point type"},
    {"node/test_averagepool_1d_default", "2-D networks"},
    {"node/test_maxpool_1d_default", "2-D networks"},
    {"pytorch-converted/test_Conv1d", "2-D networks"},
    {"pytorch-converted/test_Conv1d_dilated", "2-D networks"},
    {"pytorch-converted/test_Conv1d_groups", "2-D networks"},
    {"pytorch-converted/test_Conv1d_pad1", "2-D networks"},
    {"pytorch-converted/test_Conv1d_pad1size1", "2-D networks"},
    {"pytorch-converted/test_Conv1d_pad2", "2-D networks"},
    {"pytorch-converted/test_Conv1d_pad2size1", "2-D networks"},
    {"pytorch-converted/test_Conv1d_stride", "2-D networks"},
    {"pytorch-converted/test_MaxPool1d", "2-D networks"},
    {"pytorch-converted/test_MaxPool1d_stride", "2-D networks"},
    {"pytorch-converted/test_MaxPool1d_stride_padding_dilation", "2-D networks"},
    {"pytorch-operator/test_operator_maxpool", "2-D networks"},
    {"node/test_averagepool_3d_default", "feeds N x C x H x W"},
    {"node/test_maxpool_3d_default", "feeds N x C x H x W"},
    {"pytorch-converted/test_AvgPool3d", "feeds N x C x H x W"},
    {"pytorch-converted/test_AvgPool3d_stride", "feeds N x C x H x W"},
    {"pytorch-converted/test_AvgPool3d_stride1_pad0_gpu_input", "feeds N x C x H x W"},
    {"pytorch-converted/test_BatchNorm3d_eval", "feeds N x C x H x W"},
    {"pytorch-converted/test_BatchNorm3d_momentum_eval", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d_dilated", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d_dilated_strided", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d_groups", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d_no_bias", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d_stride", "feeds N x C x H x W"},
    {"pytorch-converted/test_Conv3d_stride_padding", "feeds N x C x H x W"},
    {"pytorch-converted/test_MaxPool3d", "feeds N x C x H x W"},
    {"pytorch-converted/test_MaxPool3d_stride", "feeds N x C x H x W"},
    {"pytorch-converted/test_MaxPool3d_stride_padding", "feeds N x C x H x W"},
    {"node/test_batchnorm_epsilon_training_mode", "training mode"},
    {"node/test_batchnorm_example_training_mode", "training mode"},
    {"node/test_training_dropout", "training mode"},
    {"node/test_training_dropout_default", "training mode"},
    {"node/test_training_dropout_default_mask", "training mode"},
    {"node/test_training_dropout_mask", "training mode"},
    {"node/test_training_dropout_zero_ratio", "training mode"},
    {"node/test_training_dropout_zero_ratio_mask", "training mode"},
    {"node/test_cast_DOUBLE_to_FLOAT16", "elements of type 10"},
    {"node/test_cast_FLOAT_to_FLOAT16", "elements of type 10"},
    {"node/test_castlike_DOUBLE_to_FLOAT16_expanded", "elements of type 10"},
    {"node/test_castlike_FLOAT_to_FLOAT16_expanded", "elements of type 10"},
    {"node/test_cast_FLOAT_to_BFLOAT16", "elements of type 4"},
    {"node/test_castlike_FLOAT_to_BFLOAT16_expanded", "elements of type 4"},
    {"node/test_cast_FLOAT_to_STRING", "cannot become type 8"},
    {"node/test_castlike_FLOAT_to_STRING_expanded", "cannot become type 8"},
    {"node/test_constantofshape_int_shape_zero", "is empty"},
    {"node/test_reshape_allowzero_reordered", "is empty"},
    {"node/test_edge_pad", "mode 'edge'"},
    {"pytorch-converted/test_ReplicationPad2d", "mode 'edge'"},
    {"node/test_gemm_all_attributes", "transA"},
    {"node/test_gemm_transposeA", "transA"},
    {"node/test_gemm_default_matrix_bias", "not one number an output"},
    {"node/test_identity_opt", "not a tensor of known shape"},
    {"node/test_identity_sequence", "not a tensor of known shape"},
    {"node/test_matmul_3d", "is not a matrix"},
    {"node/test_matmul_4d", "is not a matrix"},
    {"node/test_reduce_mean_default_axes_keepdims_example", "but whole rows and columns"},
    {"node/test_reduce_mean_default_axes_keepdims_random", "but whole rows and columns"},
    {"node/test_reduce_mean_do_not_keepdims_example", "but whole rows and columns"},
    {"node/test_reduce_mean_do_not_keepdims_random", "but whole rows and columns"},
    {"node/test_reduce_mean_keepdims_example", "but whole rows and columns"},
    {"node/test_reduce_mean_keepdims_random", "but whole rows and columns"},
    {"node/test_reduce_mean_negative_axes_keepdims_example", "but whole rows and columns"},
    {"node/test_reduce_mean_negative_axes_keepdims_random", "but whole rows and columns"},
    {"node/test_reflect_pad", "mode 'reflect'"},
    {"pytorch-converted/test_ReflectionPad2d", "mode 'reflect'"},
    {"pytorch-operator/test_operator_pad", "mode 'reflect'"},
    {"node/test_slice_start_out_of_bounds", "empty"},
    {"node/test_softmax_axis_0", "but the channels"},
    {"node/test_softmax_axis_2", "but the channels"},
    {"node/test_softmax_default_axis", "but the channels"},
    {"node/test_softmax_negative_axis", "but the channels"},
    {"pytorch-converted/test_softmax_functional_dim3", "but the channels"},
    {"node/test_split_equal_parts_1d", "slices the batch"},
    {"node/test_split_equal_parts_default_axis", "slices the batch"},
    {"node/test_split_variable_parts_1d", "slices the batch"},
    {"node/test_split_variable_parts_default_axis", "slices the batch"},
    {"pytorch-operator/test_operator_chunk", "slices the batch"},
    {"node/test_split_zero_size_splits", "its result is empty"},
    {"pytorch-converted/test_AvgPool1d", "order that no layer gives"},
    {"pytorch-converted/test_AvgPool1d_stride", "order that no layer gives"},
    {"pytorch-operator/test_operator_addmm", "must be a constant"},
};

template <class Message>
Message read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  Message message;
  REQUIRE_MESSAGE(message.ParseFromIstream(&file), path.string());
  return message;
}

struct Case {
  std::string name;
  onnx::ModelProto model;
  std::vector<onnx::TensorProto> inputs, outputs;
};

std::vector<onnx::TensorProto> tensors(const fs::path& folder, const std::string& kind) {
  std::vector<onnx::TensorProto> out;
  for (int i = 0;; ++i) {
    const fs::path path = folder / (kind + "_" + std::to_string(i) + ".pb");
    if (!fs::exists(path)) {
      return out;
    }
    out.push_back(read<onnx::TensorProto>(path));
  }
}

// The package stores bfloat16 as the uint16 that holds its bits.
void restore_bfloat16(Case& c) {
  for (int i = 0; i < int(c.inputs.size()) && i < c.model.graph().input_size(); ++i) {
    const int type = c.model.graph().input(i).type().tensor_type().elem_type();
    if (type == onnx::TensorProto::BFLOAT16) {
      c.inputs[std::size_t(i)].set_data_type(type);
    }
  }
}

// Cases of which every node is one of kOperators.
std::vector<Case> cases() {
  std::vector<fs::path> folders;
  for (const char* part : {"node", "pytorch-converted", "pytorch-operator", "simple"}) {
    for (const auto& entry : fs::directory_iterator(kTestData / part)) {
      folders.push_back(entry.path());
    }
  }
  std::ranges::sort(folders);
  std::vector<Case> out;
  for (const fs::path& folder : folders) {
    Case c{folder.parent_path().filename() / folder.filename(),
           read<onnx::ModelProto>(folder / "model.onnx"),
           {},
           {}};
    const auto known = [](const auto& node) { return kOperators.contains(node.op_type()); };
    if (!std::ranges::all_of(c.model.graph().node(), known)) {
      continue;
    }
    c.inputs = tensors(folder / "test_data_set_0", "input");
    restore_bfloat16(c);
    c.outputs = tensors(folder / "test_data_set_0", "output");
    for (auto& set : *c.model.mutable_opset_import()) {
      // Operators that did not change between the opset of the case and 9, where ours begin.
      set.set_version(std::max<std::int64_t>(set.version(), 9));
    }
    out.push_back(std::move(c));
  }
  return out;
}

std::vector<float> floats(const onnx::TensorProto& t) {
  std::vector<float> out;
  const auto raw = [&]<class T>(T) {
    for (std::size_t i = 0; i + sizeof(T) <= t.raw_data().size(); i += sizeof(T)) {
      T x;
      std::memcpy(&x, t.raw_data().data() + i, sizeof(T));
      out.push_back(float(x));
    }
    return out;
  };
  switch (t.data_type()) {
    case onnx::TensorProto::FLOAT:
      return t.has_raw_data() ? raw(float())
                              : std::vector<float>(t.float_data().begin(), t.float_data().end());
    case onnx::TensorProto::DOUBLE:
      return raw(double());
    case onnx::TensorProto::INT64:
      return raw(std::int64_t());
    case onnx::TensorProto::INT32:
      return raw(std::int32_t());
    case onnx::TensorProto::BFLOAT16:
      for (std::size_t i = 0; i < t.raw_data().size(); i += 2) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, t.raw_data().data() + i, 2);
        out.push_back(std::bit_cast<float>(std::uint32_t(bits) << 16));
      }
      return out;
    case onnx::TensorProto::BOOL:
      return raw(char());
    default:
      throw std::runtime_error("elements of type " + std::to_string(t.data_type()));
  }
}

// The graph's inputs from `first` on become initialisers; only output `output` stays.
onnx::ModelProto with_constants(const Case& c, int first, int output) {
  onnx::ModelProto model = c.model;
  auto& graph = *model.mutable_graph();
  std::set<std::string> known;
  for (const auto& t : graph.initializer()) {
    known.insert(t.name());
  }
  std::vector<onnx::ValueInfoProto> free;
  for (const auto& input : graph.input()) {
    if (!known.contains(input.name())) {
      free.push_back(input);
    }
  }
  graph.clear_input();
  for (int i = 0; i < int(free.size()); ++i) {
    if (i < first) {
      *graph.add_input() = free[std::size_t(i)];
      continue;
    }
    onnx::TensorProto& t = *graph.add_initializer();
    t = c.inputs.at(std::size_t(i));
    t.set_name(free[std::size_t(i)].name());
  }
  const onnx::ValueInfoProto kept = graph.output(output);
  graph.clear_output();
  *graph.add_output() = kept;
  return model;
}

// The difference from the stored output, relative where numbers are large.
float compare(const std::vector<float>& got, const onnx::TensorProto& expected) {
  const std::vector<float> want = floats(expected);
  float scale = 1;
  for (const float x : want) {
    scale = std::isfinite(x) ? std::max(scale, std::abs(x)) : scale;
  }
  return largest_difference(got, want) / scale;
}

float run_computed(const Case& c, int output) {
  const auto factory = kernels::make_reference_kernels();
  const Model model = parse_onnx(bytes_of(with_constants(c, 1, output)), c.name);
  Executor executor(model, *factory);
  Array x{{std::size_t(c.inputs[0].dims_size() > 0 ? c.inputs[0].dims(0) : 1)},
          floats(c.inputs[0])};
  std::vector<float> y;
  for (std::size_t n = 0; n < x.frames(); ++n) {
    const std::vector<float> frame = executor.run(x.frame(n));
    y.insert(y.end(), frame.begin(), frame.end());
  }
  return compare(y, c.outputs[std::size_t(output)]);
}

// y = x + Reshape(Cast(output)), fed with zeros.
float run_folded(const Case& c, int output) {
  const auto size = std::int64_t(floats(c.outputs[std::size_t(output)]).size());
  onnx::ModelProto model = with_constants(c, 0, output);
  OnnxBuilder tail({1, size}, model.opset_import(0).version());
  auto& graph = *model.mutable_graph();
  const std::string result = graph.output(0).name();
  set(tail.node("Cast", {result}, {"sbcnn_float"}), "to", std::int64_t(onnx::TensorProto::FLOAT));
  tail.node("Reshape", {"sbcnn_float", "sbcnn_row"}, {"sbcnn_flat"});
  tail.node("Add", {"sbcnn_x", "sbcnn_flat"}, {"sbcnn_y"});
  tail.integers("sbcnn_row", {1, -1});
  tail.model.mutable_graph()->mutable_input(0)->set_name("sbcnn_x");
  tail.model.mutable_graph()->mutable_output(0)->set_name("sbcnn_y");
  graph.clear_output();
  graph.MergeFrom(tail.model.graph());
  const Model read = parse_onnx(bytes_of(model), c.name);
  const auto factory = kernels::make_reference_kernels();
  const std::vector<float> zeros(std::size_t(size), 0.0f);
  return compare(Executor(read, *factory).run(zeros), c.outputs[std::size_t(output)]);
}

// The difference, or why it does not run.
struct Outcome {
  std::optional<float> difference;
  std::string reason;
};
template <class Run>
Outcome attempt(const Run& run, const Case& c, int output) {
  try {
    return {run(c, output), ""};
  } catch (const Error& e) {
    return {std::nullopt, e.what()};
  } catch (const std::runtime_error& e) {  // of this file: data that no network of floats has
    return {std::nullopt, e.what()};
  }
}

TEST_CASE("ONNX conformance cases give the stored outputs") {
  if (!fs::exists(kTestData)) {
    MESSAGE("skipped: package libonnx-testdata is not installed");
    return;
  }
  int computed = 0, folded = 0, passed = 0;
  std::set<std::string> skipped;
  std::string report;
  for (const Case& c : cases()) {
    bool any = false;
    std::string reasons;
    for (int output = 0; output < int(c.outputs.size()); ++output) {
      CAPTURE(c.name);
      CAPTURE(output);
      const Outcome by_layers =
          c.inputs.empty() ? Outcome{{}, "it has no input"} : attempt(run_computed, c, output);
      const Outcome by_folding = attempt(run_folded, c, output);
      for (const auto& [outcome, count] :
           {std::pair(&by_layers, &computed), std::pair(&by_folding, &folded)}) {
        if (outcome->difference) {
          CHECK(*outcome->difference < 1e-4f);
          any = true;
          ++*count;
        }
      }
      reasons += "\n    computed: " + by_layers.reason + "\n    folded: " + by_folding.reason;
    }
    if (any) {
      ++passed;
      continue;
    }
    skipped.insert(c.name);
    report += "\n  " + c.name + reasons;
    const auto known = kSkipped.find(c.name);
    CHECK_MESSAGE(known != kSkipped.end(), "unexpected skip: ", c.name, reasons);
    if (known != kSkipped.end()) {
      CHECK_MESSAGE(reasons.find(known->second) != std::string::npos, c.name, reasons);
    }
  }
  MESSAGE(passed << " conformance cases run (" << computed << " outputs computed by layers, "
                 << folded << " folded), " << skipped.size() << " skipped:" << report);
  for (const auto& entry : kSkipped) {
    CHECK_MESSAGE(skipped.contains(entry.first),
                  "listed as skipped, but it runs or is not there: ", entry.first);
  }
}

}  // namespace
}  // namespace sbcnn::test
