// Operators that move elements about: most of them change layouts only.
#include <algorithm>
#include <limits>

#include "core/onnx_importer.h"

namespace sbcnn::importer {
namespace {

void give_reshaped(Operation& op, const Integers& dims) {
  Wire out = op.wire(0);
  auto layout = reshape(out.layout, dims);
  if (!layout) {
    op.node.unsupported("reshaping " + text(extents(out.layout)) + " to " + text(dims) +
                        " mixes axes in a way that no layer does");
  }
  out.layout = std::move(*layout);
  op.give(std::move(out));
}

// The axis of the value that dimension `i` is all of. A dimension of 1 is named after its place.
Axis axis_at(const Operation& op, const Wire& wire, std::size_t i) {
  const Layout& dims = wire.layout;
  if (dims[i].empty()) {
    const Layout standard = dims.size() < 2 || dims.size() > 4
                                ? Layout{}
                                : standard_layout(op.shape(wire), 1, dims.size());
    const bool in_order = std::equal(dims.begin() + (dims.empty() ? 0 : 1), dims.end(),
                                     standard.begin() + (standard.empty() ? 0 : 1), standard.end());
    if (in_order && !standard.empty()) {
      constexpr Axis maps[] = {Axis::batch, Axis::channel, Axis::row, Axis::column};
      return dims.size() == 3 && i == 2 ? Axis::column : maps[i];
    }
  }
  const std::optional<Axis> axis = whole_axis(dims[i], op.shape(wire));
  if (!axis) {
    op.node.unsupported("axis " + std::to_string(i) + " of its input " + text(extents(dims)) +
                        " is no axis of a feature map");
  }
  return *axis;
}

Slice whole_of(const Shape& shape) {
  return {{0, shape.channels}, {0, shape.height, 1}, {0, shape.width, 1}};
}

// Takes begin, begin + step, ... along dimension `slice.axis`.
void narrow(const Operation& op, const Wire& wire, const AxisSlice& slice, Slice& layer) {
  const Axis axis = axis_at(op, wire, slice.axis);
  if (slice.step < 0 && slice.count > 1) {
    op.node.unsupported("negative steps are not supported on computed values");
  }
  const int begin = int(slice.begin), step = slice.count > 1 ? int(slice.step) : 1;
  const int end = begin + (int(slice.count) - 1) * step + 1;
  if (axis == Axis::row) {
    layer.rows = {begin, end, step};
  } else if (axis == Axis::column) {
    layer.columns = {begin, end, step};
  } else if (axis == Axis::channel && step == 1) {
    layer.channels = {begin, end};
  } else {
    op.node.unsupported(axis == Axis::batch ? "it slices the batch; frames are separate"
                                            : "steps along the channels are not supported");
  }
}

// The wire cut down by `cuts`, whose axes differ.
Wire sliced(Operation& op, const Wire& in, const std::vector<AxisSlice>& cuts) {
  Slice layer = whole_of(op.shape(in));
  Wire out = in;
  bool any = false;
  for (const AxisSlice& cut : cuts) {
    const std::int64_t size = extent(in.layout[cut.axis]);
    if (cut.count == size && (cut.step == 1 || size == 1)) {
      continue;
    }
    if (cut.count == 0) {
      op.node.malformed("its result is empty");
    }
    narrow(op, in, cut, layer);
    out.layout[cut.axis] = whole(axis_at(op, in, cut.axis), cut.count);
    any = true;
  }
  if (any) {
    out.value = op.add(layer, {in.value});
  }
  return out;
}

const Integers* integer_list(const Operation& op, std::size_t input, const char* attribute,
                             std::int64_t from_opset) {
  if (op.opset() < from_opset) {
    return op.node.integers(attribute);
  }
  if (!op.has(input)) {
    return nullptr;
  }
  if (!op.constant(input).integral()) {
    op.node.malformed(std::string(attribute) + " are not integers");
  }
  return &op.constant(input).integers();
}

}  // namespace

void import_shape(Operation& op) {
  Integers dims = shape_part(op.node, extents(op.wire(0).layout));
  const auto rank = std::int64_t(dims.size());
  op.give(Constant{{rank}, std::move(dims)});
}

void import_reshape(Operation& op) {
  const Integers* to = integer_list(op, 1, "shape", 5);
  if (to == nullptr) {
    op.node.malformed("it has no shape");
  }
  give_reshaped(
      op, reshaped(op.node, extents(op.wire(0).layout), *to, op.node.integer("allowzero", 0) != 0));
}

void import_flatten(Operation& op) {
  const Layout& layout = op.wire(0).layout;
  const std::size_t rank = layout.size();
  const std::int64_t given = op.node.integer("axis", 1);
  const std::size_t axis = given == std::int64_t(rank) ? rank : axis_of(op.node, given, rank);
  const auto cut = layout.begin() + std::ptrdiff_t(axis);
  give_reshaped(op, {extent(joined({layout.begin(), cut})), extent(joined({cut, layout.end()}))});
}

void import_squeeze(Operation& op) {
  give_reshaped(op, squeezed(op.node, extents(op.wire(0).layout), axes(op.node, op.constants())));
}

void import_unsqueeze(Operation& op) {
  give_reshaped(op, unsqueezed(op.node, extents(op.wire(0).layout), axes(op.node, op.constants())));
}

void import_transpose(Operation& op) {
  const Wire& in = op.wire(0);
  Wire out{in.value, {}};
  for (const std::size_t axis : permutation(op.node, in.layout.size())) {
    out.layout.push_back(in.layout[axis]);
  }
  op.give(std::move(out));
}

void import_expand(Operation& op) {
  const Integers* to = integer_list(op, 1, "shape", 1);
  Wire in = op.wire(0);
  if (to == nullptr || to->size() < in.layout.size()) {
    op.node.unsupported("its shape is missing or of a lower rank than its input");
  }
  in.layout.insert(in.layout.begin(), to->size() - in.layout.size(), Dimension{});
  const Integers own = extents(in.layout);
  for (std::size_t i = 0; i < own.size(); ++i) {
    if ((*to)[i] != own[i] && (*to)[i] != 1) {
      op.node.unsupported("stretching a computed value from " + text(own) + " to " + text(*to) +
                          " is not supported");
    }
  }
  op.give(std::move(in));
}

void import_identity(Operation& op) {
  const bool training = op.has(2) && (!op.is_constant(2) || op.constant(2).size() != 1 ||
                                      !op.constant(2).integral() || op.constant(2).integers()[0]);
  if (op.node.type == "Dropout" && (op.wanted(1) || training)) {
    op.node.unsupported("it is in training mode, or its mask is read; export for inference");
  }
  op.give(op.wire(0));
}

void import_cast(Operation& op) {
  constexpr std::int64_t real[] = {1, 10, 11, 16};  // FLOAT, FLOAT16, DOUBLE, BFLOAT16
  const std::int64_t to = op.node.integer("to", 0);
  if (std::ranges::find(real, to) == std::end(real)) {
    op.node.unsupported("a computed value stays a float; it cannot become type " +
                        std::to_string(to));
  }
  op.give(op.wire(0));
}

void import_concat(Operation& op) {
  std::vector<Value> values;
  Wire out = op.standard(0);
  const std::size_t rank = out.layout.size();
  if (!op.node.has("axis")) {
    op.node.malformed("it has no axis");
  }
  const std::size_t axis = axis_of(op.node, op.node.integer("axis", 0), rank);
  std::int64_t channels = 0;
  for (std::size_t i = 0; i < op.node.inputs.size(); ++i) {
    const Wire in = op.standard(i);
    Layout like = in.layout;
    if (like.size() != rank || axis_at(op, in, axis) != Axis::channel) {
      op.node.unsupported("it does not concatenate channels");
    }
    like[axis] = out.layout[axis];
    if (like != out.layout) {
      op.node.unsupported("its inputs " + text(extents(out.layout)) + " and " +
                          text(extents(in.layout)) + " differ in more than their channels");
    }
    channels += op.shape(in).channels;
    values.push_back(in.value);
  }
  if (values.size() > 1) {
    out.value = op.add(Concat{}, std::move(values));
  }
  out.layout[axis] = whole(Axis::channel, channels);
  op.give(std::move(out));
}

void import_split(Operation& op) {
  const Wire in = op.standard(0);
  const std::size_t axis = axis_of(op.node, op.node.integer("axis", 0), in.layout.size());
  const std::int64_t size = extent(in.layout[axis]);
  const auto count = std::int64_t(op.node.outputs.size());
  const Integers* given = integer_list(op, 1, "split", 13);
  if (given == nullptr && (count == 0 || size % count != 0)) {
    op.node.malformed(std::to_string(size) + " do not split into " + std::to_string(count) +
                      " equal parts");
  }
  const Integers parts = given != nullptr ? *given : Integers(std::size_t(count), size / count);
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (std::int64_t(parts.size()) != count || parts[i] < 0 || parts[i] > size - begin) {
      op.node.malformed("parts " + text(parts) + " of an axis of " + std::to_string(size) +
                        " for " + std::to_string(count) + " outputs");
    }
    if (op.wanted(i)) {
      op.give(sliced(op, in, {{axis, begin, 1, parts[i]}}), i);
    }
    begin += parts[i];
  }
  if (begin != size) {
    op.node.malformed("parts " + text(parts) + " do not cover an axis of " + std::to_string(size));
  }
}

void import_slice(Operation& op) {
  const Wire in = op.standard(0);
  for (std::size_t i = 1; i < op.node.inputs.size(); ++i) {
    if (op.has(i)) {
      op.constant(i);  // computed bounds are not supported
    }
  }
  op.give(sliced(op, in, slices(op.node, op.constants(), extents(in.layout))));
}

void import_pad(Operation& op) {
  const std::string mode = op.node.string("mode", "constant");
  if (mode != "constant") {
    op.node.unsupported("mode '" + printable(mode) + "' is not supported, only constant");
  }
  Wire out = op.standard(0);
  const std::size_t rank = out.layout.size();
  const Integers* pads = integer_list(op, 1, "pads", 11);
  constexpr std::int64_t most = 1 << 20;
  if (pads == nullptr || pads->size() != 2 * rank) {
    op.node.malformed("its pads are not two numbers for each of " + std::to_string(rank) + " axes");
  }
  Pad layer;
  layer.value = op.opset() < 11 ? op.node.real("value", 0) : (op.has(2) ? op.scalar(2) : 0.0f);
  const Wire in = out;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t before = (*pads)[i], after = (*pads)[rank + i];
    if (before == 0 && after == 0) {
      continue;
    }
    if (before < 0 || after < 0 || before > most || after > most) {
      op.node.unsupported("pads " + text(*pads) + " are negative or absurdly large");
    }
    const Axis axis = axis_at(op, in, i);
    if (axis == Axis::batch) {
      op.node.unsupported("it pads the batch; frames are separate");
    }
    (axis == Axis::channel ? layer.channels_before
     : axis == Axis::row   ? layer.pads.top
                           : layer.pads.left) = int(before);
    (axis == Axis::channel ? layer.channels_after
     : axis == Axis::row   ? layer.pads.bottom
                           : layer.pads.right) = int(after);
    out.layout[i] = whole(axis, size_of(op.shape(in), axis) + before + after);
  }
  if (!layer.pads.empty() || layer.channels_before != 0 || layer.channels_after != 0) {
    out.value = op.add(layer, {in.value});
  }
  op.give(std::move(out));
}

}  // namespace sbcnn::importer
