// Constant folding: evaluates the operators that exporters use for shape arithmetic.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/onnx_graph.h"

namespace sbcnn::importer {

// What folding may allocate over a whole file, in elements: a few nodes could otherwise ask for
// any amount of memory.
class Allowance {
 public:
  explicit Allowance(std::size_t elements) : left_(elements) {}
  // Throws Error(unsupported) naming the node when nothing is left.
  void take(const GraphNode& node, std::size_t elements);

 private:
  std::size_t left_;
};

bool can_fold(std::string_view operation);

// The node's only result. An optional input that was left out is null. Throws Error(format |
// unsupported) naming the node.
Constant fold(const GraphNode&, std::int64_t opset, const std::vector<const Constant*>& inputs,
              Allowance&);

// --- rules that hold for constants and computed values alike -----------------------------------

// `axis` counted from the end if negative. Throws for one outside of [-rank, rank).
std::size_t axis_of(const GraphNode&, std::int64_t axis, std::size_t rank);
// The shape that Reshape gives: 0 copies a size (unless `allow_zero`), -1 is inferred.
Integers reshaped(const GraphNode&, const Integers& from, const Integers& to, bool allow_zero);

// One axis of a Slice, clamped as ONNX says: begin, begin + step, ... count elements.
struct AxisSlice {
  std::size_t axis = 0;
  std::int64_t begin = 0, step = 1, count = 0;
};
// All of a Slice's axes, from attributes (opset 9) or from inputs 1 to 4.
std::vector<AxisSlice> slices(const GraphNode&, const std::vector<const Constant*>& inputs,
                              const Integers& dims);
// The axes of Squeeze and Unsqueeze: attribute (before opset 13) or input 1; null: none given.
const Integers* axes(const GraphNode&, const std::vector<const Constant*>& inputs);
// The dimensions that Squeeze and Unsqueeze give.
Integers squeezed(const GraphNode&, const Integers& dims, const Integers* axes);
Integers unsqueezed(const GraphNode&, const Integers& dims, const Integers* axes);
// A Transpose's permutation, checked; reversed axes by default.
std::vector<std::size_t> permutation(const GraphNode&, std::size_t rank);
// Part [begin, end) of a Shape's input that it reports.
Integers shape_part(const GraphNode&, const Integers& dims);

}  // namespace sbcnn::importer
