// Conv, the pools and means: what slides a window over N x C x H x W maps.
#include <algorithm>
#include <limits>

#include "core/onnx_importer.h"

namespace sbcnn::importer {
namespace {

constexpr std::int64_t kMaxParameter = 1 << 20;  // kernel, stride, dilation, pad

// An attribute of two numbers, for height and width.
Extent extent_of(const GraphNode& node, const char* attribute, Extent otherwise) {
  const Integers* given = node.integers(attribute);
  if (given == nullptr) {
    return otherwise;
  }
  if (given->size() != 2) {
    node.unsupported(std::string(attribute) + " " + text(*given) +
                     " is not of two dimensions; sbcnn runs 2-D networks");
  }
  for (const std::int64_t x : *given) {
    if (x < 1 || x > kMaxParameter) {
      node.malformed(std::string(attribute) + " out of range: " + text(*given));
    }
  }
  return {int((*given)[0]), int((*given)[1])};
}

// Pads of one axis for auto_pad SAME: as many outputs as strides fit into the input.
void pad_same(int size, int kernel, int stride, int dilation, bool more_at_end, int& begin,
              int& end) {
  const std::int64_t count = (std::int64_t{size} + stride - 1) / stride;
  const std::int64_t reach = (count - 1) * stride + std::int64_t{kernel - 1} * dilation + 1;
  const int total = int(std::clamp<std::int64_t>(reach - size, 0, kMaxParameter));
  begin = more_at_end ? total / 2 : total - total / 2;
  end = total - begin;
}

Window window_of(const Operation& op, const Shape& in, Extent kernel) {
  const GraphNode& node = op.node;
  Window out;
  out.kernel = kernel;
  out.stride = extent_of(node, "strides", {1, 1});
  out.dilation = extent_of(node, "dilations", {1, 1});
  out.ceil_mode = node.integer("ceil_mode", 0) != 0;
  const std::string automatic = node.string("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    const bool upper = automatic == "SAME_UPPER";
    pad_same(in.height, kernel.height, out.stride.height, out.dilation.height, upper, out.pads.top,
             out.pads.bottom);
    pad_same(in.width, kernel.width, out.stride.width, out.dilation.width, upper, out.pads.left,
             out.pads.right);
    return out;
  }
  const Integers* pads = node.integers("pads");
  if (automatic != "NOTSET" && automatic != "VALID") {
    node.malformed("auto_pad '" + printable(automatic) + "' does not exist");
  }
  if (automatic == "VALID" || pads == nullptr) {
    return out;
  }
  const auto in_range = [](std::int64_t p) { return 0 <= p && p <= kMaxParameter; };
  if (pads->size() != 4 || !std::ranges::all_of(*pads, in_range)) {
    node.malformed("pads " + text(*pads) + " are not four numbers from 0 up");
  }
  out.pads = {int((*pads)[0]), int((*pads)[1]), int((*pads)[2]), int((*pads)[3])};
  return out;
}

Window pooling_window(const Operation& op, const Wire& in) {
  if (!op.node.has("kernel_shape")) {
    op.node.malformed("it has no kernel_shape");
  }
  return window_of(op, op.shape(in), extent_of(op.node, "kernel_shape", {}));
}

// Gives maps of N, C, H, W: the result of a layer on `in`.
void give_maps(Operation& op, const Wire& in, Layer layer, std::vector<Value> inputs,
               Blob weight = {}, Blob bias = {}) {
  const Value value =
      op.add(std::move(layer), std::move(inputs), std::move(weight), std::move(bias));
  Wire out{value, {}};
  out.layout = standard_layout(op.shape(out), 1, 4);
  out.layout[0] = in.layout[0];
  op.give(std::move(out));
}

int narrow(const GraphNode& node, std::int64_t x, const char* what) {
  if (x < 1 || x > std::numeric_limits<int>::max()) {
    node.malformed(std::string(what) + " out of range: " + std::to_string(x));
  }
  return int(x);
}

}  // namespace

void import_conv(Operation& op) {
  const Wire in = op.maps(0);
  const Blob& weight = op.floats(1);
  const Integers& dims = op.constant(1).dims;
  if (dims.size() != 4) {
    op.node.unsupported("weights " + text(dims) + "; sbcnn runs 2-D convolutions");
  }
  Conv conv;
  conv.outputs = narrow(op.node, dims[0], "outputs");
  conv.groups = narrow(op.node, op.node.integer("group", 1), "group");
  const Extent kernel{narrow(op.node, dims[2], "kernel"), narrow(op.node, dims[3], "kernel")};
  if (extent_of(op.node, "kernel_shape", kernel) != kernel) {
    op.node.malformed("kernel_shape differs from the weights " + text(dims));
  }
  const std::int64_t channels = op.shape(in).channels;
  if (channels % conv.groups != 0 || dims[1] != channels / conv.groups) {
    op.node.malformed("weights " + text(dims) + " in " + std::to_string(conv.groups) +
                      " groups do not fit an input of " + std::to_string(channels) + " channels");
  }
  const Window window = window_of(op, op.shape(in), kernel);
  conv.kernel = window.kernel;
  conv.stride = window.stride;
  conv.dilation = window.dilation;
  conv.pads = window.pads;
  give_maps(op, in, conv, {in.value}, weight, op.has(2) ? op.floats(2) : Blob{});
}

void import_max_pool(Operation& op) {
  if (op.wanted(1)) {
    op.node.unsupported("its second output, the indices, is not supported");
  }
  const Wire in = op.maps(0);
  give_maps(op, in, MaxPool{pooling_window(op, in)}, {in.value});
}

void import_average_pool(Operation& op) {
  const Wire in = op.maps(0);
  const bool include_pad = op.node.integer("count_include_pad", 0) != 0;
  give_maps(op, in, AveragePool{pooling_window(op, in), include_pad}, {in.value});
}

void import_global_average_pool(Operation& op) {
  const Wire in = op.maps(0);
  give_maps(op, in, GlobalAveragePool{}, {in.value});
}

void import_global_max_pool(Operation& op) {
  const Wire in = op.maps(0);
  Window all;
  all.kernel = {op.shape(in).height, op.shape(in).width};
  give_maps(op, in, MaxPool{all}, {in.value});
}

void import_reduce_mean(Operation& op) {
  Wire out = op.standard(0);
  const Shape in = op.shape(out);
  const std::size_t rank = out.layout.size();
  std::vector<bool> reduced(rank, !op.node.has("axes"));
  if (const Integers* axes = op.node.integers("axes")) {
    for (const std::int64_t axis : *axes) {
      reduced[axis_of(op.node, axis, rank)] = true;
    }
  }
  // A mean over rows or columns alone is an average pool of one window a column or row.
  Extent kernel{1, 1};
  Layout kept;
  const bool keep = op.node.integer("keepdims", 1) != 0;
  for (std::size_t i = 0; i < rank; ++i) {
    if (!reduced[i]) {
      kept.push_back(out.layout[i]);
      continue;
    }
    for (const Digit& digit : out.layout[i]) {
      const std::optional<Axis> axis = whole_axis({digit}, in);
      if (axis == Axis::row) {
        kernel.height = in.height;
      } else if (axis == Axis::column) {
        kernel.width = in.width;
      } else {
        op.node.unsupported("a mean over anything but whole rows and columns is not supported");
      }
    }
    if (keep) {
      kept.emplace_back();
    }
  }
  out.layout = std::move(kept);
  if (kernel == Extent{in.height, in.width} && in.pixels() > 1) {
    out.value = op.add(GlobalAveragePool{}, {out.value});
  } else if (kernel != Extent{1, 1}) {
    AveragePool pool;
    pool.window.kernel = kernel;
    out.value = op.add(pool, {out.value});
  }
  op.give(std::move(out));
}

}  // namespace sbcnn::importer
