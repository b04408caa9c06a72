#include "core/onnx_layout.h"

#include <algorithm>

namespace sbcnn::importer {
namespace {

// Appends a digit; joins it with the one before where the two are one digit of a larger radix.
void append(Dimension& dim, const Digit& digit) {
  if (digit.extent == 1) {
    return;
  }
  if (!dim.empty() && dim.back().axis == digit.axis &&
      dim.back().stride == digit.stride * digit.extent) {
    dim.back().extent *= digit.extent;
    dim.back().stride = digit.stride;
    return;
  }
  dim.push_back(digit);
}

}  // namespace

std::int64_t size_of(const Shape& shape, Axis axis) {
  switch (axis) {
    case Axis::batch:
      return 1;
    case Axis::channel:
      return shape.channels;
    case Axis::row:
      return shape.height;
    case Axis::column:
      return shape.width;
  }
  return 1;
}

std::int64_t extent(const Dimension& dim) {
  std::int64_t size = 1;
  for (const Digit& digit : dim) {
    size *= digit.extent;
  }
  return size;
}

Integers extents(const Layout& layout) {
  Integers out;
  for (const Dimension& dim : layout) {
    out.push_back(extent(dim));
  }
  return out;
}

Dimension whole(Axis axis, std::int64_t extent) {
  return extent == 1 ? Dimension{} : Dimension{{axis, extent, 1}};
}

std::optional<Axis> whole_axis(const Dimension& dim, const Shape& shape) {
  if (dim.size() != 1) {
    return std::nullopt;
  }
  const Digit& digit = dim.front();
  const bool all = digit.axis == Axis::batch || digit.extent == size_of(shape, digit.axis);
  return all ? std::optional(digit.axis) : std::nullopt;
}

bool is_plain(const Layout& layout, const Shape& shape) {
  return std::ranges::all_of(
      layout, [&](const Dimension& d) { return d.empty() || whole_axis(d, shape).has_value(); });
}

Layout standard_layout(const Shape& shape, std::int64_t batch, std::size_t rank) {
  Layout out{whole(Axis::batch, batch), whole(Axis::channel, shape.channels)};
  if (rank == 4) {
    out.push_back(whole(Axis::row, shape.height));
  }
  if (rank >= 3) {
    out.push_back(whole(Axis::column, shape.width));
  }
  out.resize(rank);
  return out;
}

Layout nhwc_layout(const Shape& shape, std::int64_t batch) {
  return {whole(Axis::batch, batch), whole(Axis::row, shape.height),
          whole(Axis::column, shape.width), whole(Axis::channel, shape.channels)};
}

Dimension joined(const Layout& layout) {
  Dimension out;
  for (const Dimension& dim : layout) {
    for (const Digit& digit : dim) {
      append(out, digit);
    }
  }
  return out;
}

std::optional<Layout> reshape(const Layout& layout, const Integers& dims) {
  const Dimension digits = joined(layout);
  auto next = digits.begin();
  // What is left of a digit that the dimension before took the outer part of.
  Digit rest;
  Layout out;
  for (const std::int64_t size : dims) {
    Dimension dim;
    for (std::int64_t want = size; want > 1;) {
      if (rest.extent == 1) {
        if (next == digits.end()) {
          return std::nullopt;
        }
        rest = *next++;
      }
      if (want % rest.extent == 0) {
        want /= rest.extent;
        append(dim, rest);
        rest.extent = 1;
      } else if (rest.extent % want == 0) {
        rest.extent /= want;
        append(dim, {rest.axis, want, rest.stride * rest.extent});
        want = 1;
      } else {
        return std::nullopt;
      }
    }
    out.push_back(std::move(dim));
  }
  return out;
}

std::int64_t index_along(const Dimension& dim, Axis axis, std::int64_t n) {
  std::int64_t index = 0;
  for (std::size_t i = dim.size(); i-- > 0;) {
    if (dim[i].axis == axis) {
      index += n % dim[i].extent * dim[i].stride;
    }
    n /= dim[i].extent;
  }
  return index;
}

}  // namespace sbcnn::importer
