#include "core/tensor.h"

#include <algorithm>
#include <cstring>

namespace sbcnn {

Tensor::Tensor(Shape shape, Border border)
    : data_(with_border(shape, border).size()), shape_(shape), border_(border) {
  std::fill_n(data_.data(), data_.size(), 0.0f);
}

void copy(View<const float> from, View<float> to) {
  require(from.shape() == to.shape(), "copy: shapes differ");
  const Shape s = from.shape();
  if (s.size() == 0) {
    return;
  }
  const std::size_t pixel = std::size_t(s.channels);
  const bool whole_rows = from.pixel_stride() == pixel && to.pixel_stride() == pixel;
  for (int y = 0; y < s.height; ++y) {
    const float* src = from.at(y, 0);
    float* dst = to.at(y, 0);
    if (whole_rows) {
      std::memcpy(dst, src, std::size_t(s.width) * pixel * sizeof(float));
      continue;
    }
    for (int x = 0; x < s.width; ++x, src += from.pixel_stride(), dst += to.pixel_stride()) {
      std::memcpy(dst, src, pixel * sizeof(float));
    }
  }
}

void clear_border(View<float> value, const Border& border) {
  const Shape s = value.shape();
  const std::size_t row = std::size_t(border.left + s.width + border.right);
  if (value.pixel_stride() == std::size_t(s.channels) &&
      value.row_stride() == row * value.pixel_stride()) {
    // Storage without gaps: the right border of a row and the left one of the next lie together.
    std::fill(value.at(-border.top, -border.left), value.at(0, 0), 0.0f);
    for (int y = 0; y < s.height - 1; ++y) {
      std::fill(value.at(y, s.width), value.at(y + 1, 0), 0.0f);
    }
    std::fill(value.at(s.height - 1, s.width),
              value.at(s.height - 1 + border.bottom, s.width + border.right), 0.0f);
    return;
  }
  const auto clear = [&](int y, int x0, int x1) {
    for (int x = x0; x < x1; ++x) {
      std::fill_n(value.at(y, x), s.channels, 0.0f);
    }
  };
  for (int y = -border.top; y < s.height + border.bottom; ++y) {
    if (y < 0 || y >= s.height) {
      clear(y, -border.left, s.width + border.right);
    } else {
      clear(y, -border.left, 0);
      clear(y, s.width, s.width + border.right);
    }
  }
}

}  // namespace sbcnn
