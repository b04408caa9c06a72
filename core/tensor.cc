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
