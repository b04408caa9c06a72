// Shape rules that hold for constants and computed values alike (see onnx_fold.h).
#include <algorithm>

#include "core/onnx_fold.h"

namespace sbcnn::importer {
namespace {

constexpr std::size_t kMaxRank = 16;
constexpr std::int64_t kMaxStep = std::int64_t{1} << 32;  // beyond any size

}  // namespace

std::size_t axis_of(const GraphNode& node, std::int64_t axis, std::size_t rank) {
  const auto r = std::int64_t(rank);
  if (axis < -r || axis >= r) {
    node.malformed("axis " + std::to_string(axis) + " of a tensor of rank " + std::to_string(r));
  }
  return std::size_t(axis < 0 ? axis + r : axis);
}

Integers reshaped(const GraphNode& node, const Integers& from, const Integers& to,
                  bool allow_zero) {
  const auto misfit = [&] { node.malformed("cannot reshape " + text(from) + " to " + text(to)); };
  const auto total = std::int64_t(element_count(from));
  Integers out = to;
  std::int64_t known = 1;
  std::ptrdiff_t inferred = -1;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == 0 && !allow_zero) {
      if (i >= from.size()) {
        misfit();
      }
      out[i] = from[i];
    }
    if (out[i] == -1 && inferred < 0) {
      inferred = std::ptrdiff_t(i);
      continue;
    }
    if (out[i] < 0 || (out[i] > 0 && known > total / out[i] && total > 0)) {
      misfit();
    }
    known *= total > 0 ? out[i] : (out[i] == 0 ? 0 : 1);
  }
  if (inferred >= 0) {
    if (known == 0 || total % known != 0) {
      misfit();
    }
    out[std::size_t(inferred)] = total / known;
  }
  if (std::int64_t(element_count(out)) != total) {
    misfit();
  }
  return out;
}

namespace {

// One of Slice's lists: attribute or integer input, null where it is left out.
const Integers* slice_list(const GraphNode& node, const std::vector<const Constant*>& inputs,
                           const char* attribute, std::size_t input) {
  if (inputs.size() < 2) {
    return node.integers(attribute);
  }
  if (input >= inputs.size() || inputs[input] == nullptr) {
    return nullptr;
  }
  if (!inputs[input]->integral()) {
    node.malformed(std::string(attribute) + " are not integers");
  }
  return &inputs[input]->integers();
}

AxisSlice clamped(const GraphNode& node, std::size_t axis, std::int64_t start, std::int64_t end,
                  std::int64_t step, std::int64_t size) {
  if (step == 0) {
    node.malformed("step 0");
  }
  step = std::clamp(step, -kMaxStep, kMaxStep);
  const auto resolve = [size](std::int64_t at, std::int64_t low, std::int64_t high) {
    return std::clamp(at < 0 ? at + size : at, low, high);
  };
  // Backwards, the first element may be the last one and the end lies before the first.
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const std::int64_t first = resolve(start, step > 0 ? 0 : std::min<std::int64_t>(0, high), high);
  const std::int64_t last = resolve(end, low, high);
  const std::int64_t distance = step > 0 ? last - first : first - last;
  const std::int64_t stride = step > 0 ? step : -step;
  return {axis, first, step, distance <= 0 ? 0 : (distance + stride - 1) / stride};
}

}  // namespace

std::vector<AxisSlice> slices(const GraphNode& node, const std::vector<const Constant*>& inputs,
                              const Integers& dims) {
  const Integers* starts = slice_list(node, inputs, "starts", 1);
  const Integers* ends = slice_list(node, inputs, "ends", 2);
  const Integers* given_axes = slice_list(node, inputs, "axes", 3);
  const Integers* steps = slice_list(node, inputs, "steps", 4);
  if (starts == nullptr || ends == nullptr || starts->size() != ends->size() ||
      (given_axes != nullptr && given_axes->size() != starts->size()) ||
      (steps != nullptr && steps->size() != starts->size())) {
    node.malformed("starts, ends, axes and steps are missing or of different lengths");
  }
  std::vector<AxisSlice> out;
  for (std::size_t i = 0; i < starts->size(); ++i) {
    const std::size_t axis =
        axis_of(node, given_axes != nullptr ? (*given_axes)[i] : std::int64_t(i), dims.size());
    if (std::ranges::any_of(out, [&](const AxisSlice& s) { return s.axis == axis; })) {
      node.malformed("axis " + std::to_string(axis) + " is sliced twice");
    }
    out.push_back(clamped(node, axis, (*starts)[i], (*ends)[i], steps != nullptr ? (*steps)[i] : 1,
                          dims[axis]));
  }
  return out;
}

const Integers* axes(const GraphNode& node, const std::vector<const Constant*>& inputs) {
  if (inputs.size() < 2 || inputs[1] == nullptr) {
    return node.integers("axes");
  }
  if (!inputs[1]->integral()) {
    node.malformed("axes are not integers");
  }
  return &inputs[1]->integers();
}

Integers squeezed(const GraphNode& node, const Integers& dims, const Integers* given) {
  std::vector<bool> drop(dims.size(), false);
  if (given == nullptr) {
    std::transform(dims.begin(), dims.end(), drop.begin(), [](std::int64_t d) { return d == 1; });
  } else {
    for (const std::int64_t axis : *given) {
      drop[axis_of(node, axis, dims.size())] = true;
    }
  }
  Integers out;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (!drop[i]) {
      out.push_back(dims[i]);
    } else if (dims[i] != 1) {
      node.malformed("axis " + std::to_string(i) + " of " + text(dims) + " is not of size 1");
    }
  }
  return out;
}

Integers unsqueezed(const GraphNode& node, const Integers& dims, const Integers* given) {
  if (given == nullptr || given->size() > kMaxRank) {
    node.malformed("it names no axes, or too many");
  }
  const std::size_t rank = dims.size() + given->size();
  std::vector<bool> added(rank, false);
  for (const std::int64_t axis : *given) {
    const std::size_t at = axis_of(node, axis, rank);
    if (added[at]) {
      node.malformed("axis " + std::to_string(axis) + " is added twice");
    }
    added[at] = true;
  }
  Integers out;
  for (std::size_t i = 0, from = 0; i < rank; ++i) {
    out.push_back(added[i] ? 1 : dims[from++]);
  }
  return out;
}

std::vector<std::size_t> permutation(const GraphNode& node, std::size_t rank) {
  std::vector<std::size_t> out(rank);
  const Integers* given = node.integers("perm");
  if (given == nullptr) {
    for (std::size_t i = 0; i < rank; ++i) {
      out[i] = rank - 1 - i;
    }
    return out;
  }
  std::vector<bool> used(rank, false);
  if (given->size() != rank) {
    node.malformed("perm " + text(*given) + " for a tensor of rank " + std::to_string(rank));
  }
  for (std::size_t i = 0; i < rank; ++i) {
    out[i] = axis_of(node, (*given)[i], rank);
    if (used[out[i]]) {
      node.malformed("perm " + text(*given) + " is no permutation");
    }
    used[out[i]] = true;
  }
  return out;
}

Integers shape_part(const GraphNode& node, const Integers& dims) {
  const auto rank = std::int64_t(dims.size());
  const auto clamp = [rank](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const std::int64_t begin = clamp(node.integer("start", 0)),
                     end = clamp(node.integer("end", rank));
  return begin >= end ? Integers{} : Integers(dims.begin() + begin, dims.begin() + end);
}

}  // namespace sbcnn::importer
