// How the axes of an ONNX tensor relate to those of the value that holds its elements.
//
// Exporters move axes about with Reshape, Transpose, Squeeze ... where nothing is computed. So
// these operators do not become layers: they only change a `Layout`, the list of the tensor's
// dimensions. A dimension is a number of mixed radix, outermost digit first; each `Digit` is a
// part of the index along one axis of the value: index = sum of digit * stride. An axis of
// extent 1 has no digits, so a batch of 1 is invisible. Examples, for a value of C = 12:
//   N, C, H, W after Reshape to N, 3, 4, H, W:  [n] [c:3 stride 4] [c:4 stride 1] [h] [w]
//   then Transpose and Reshape to N, C, H, W:   [n] [c:4 stride 1, c:3 stride 4] [h] [w]
//   then Flatten:                               [n] [c:4 stride 1, c:3 stride 4, h, w]
// Only what computes asks for the value in the order that its layout says.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/onnx_graph.h"
#include "core/tensor.h"

namespace sbcnn::importer {

enum class Axis : std::uint8_t { batch, channel, row, column };

struct Digit {
  Axis axis = Axis::batch;
  std::int64_t extent = 1, stride = 1;
  friend bool operator==(const Digit&, const Digit&) = default;
};

using Dimension = std::vector<Digit>;
using Layout = std::vector<Dimension>;

std::int64_t size_of(const Shape&, Axis);  // of one frame: batch is 1
std::int64_t extent(const Dimension&);
Integers extents(const Layout&);
// All of an axis in its own order; empty for extent 1.
Dimension whole(Axis, std::int64_t extent);
// The axis that the dimension is all of, in order; none for empty dimensions.
std::optional<Axis> whole_axis(const Dimension&, const Shape&);
// Every dimension is all of an axis, in order, or of extent 1.
bool is_plain(const Layout&, const Shape&);

// N, C, H, W; only the last `rank` - 2 spatial axes: rank 2 is N, C, rank 3 N, C, W.
Layout standard_layout(const Shape&, std::int64_t batch, std::size_t rank);
Layout nhwc_layout(const Shape&, std::int64_t batch);

// The same elements in the same order, other dimensions; none if a dimension would take a part of
// a digit that is not a factor of it. Expects as many elements.
std::optional<Layout> reshape(const Layout&, const Integers& dims);
// All dimensions as one number.
Dimension joined(const Layout&);

// The digits' element of `axis` for the n-th value of the dimension.
std::int64_t index_along(const Dimension&, Axis, std::int64_t n);

}  // namespace sbcnn::importer
