// Layers run side by side: the same numbers through any factory, in memory that tells when a
// kernel reads or writes where it must not.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/ports.h"

namespace sbcnn::test {

// A value amid foreign memory: other channels in the same pixels (if `margin` > 0), then a border,
// then more pixels on each side. Foreign memory holds NaN, which spoils every result it gets into.
class Canvas {
 public:
  Canvas(Shape shape, Border border, int margin)
      : wide_({shape.height, shape.width, shape.channels + 2 * margin},
              {border.top + 1, border.left + 1, border.bottom + 1, border.right + 1}),
        shape_(shape),
        margin_(margin) {
    const Shape whole = with_border(wide_.shape(), wide_.border());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    float* begin = storage();
    std::fill(begin, begin + whole.size(), nan);
    clear_border(view(), border);
  }

  View<float> view() { return wide_.view().channels({margin_, margin_ + shape_.channels}); }
  std::vector<float> values() {
    Tensor dense(shape_);
    copy(view(), dense.view());
    const auto flat = dense.view().flat();
    return {flat.begin(), flat.end()};
  }
  // Whether everything around the value still holds what the constructor left there.
  bool surroundings_untouched() {
    Canvas fresh(shape_, {}, margin_);
    const Border& b = wide_.border();
    if (b != fresh.wide_.border()) {
      return false;  // only canvases without a border of zeros are written to
    }
    copy(view(), fresh.view());
    return std::memcmp(storage(), fresh.storage(),
                       with_border(wide_.shape(), b).size() * sizeof(float)) == 0;
  }

 private:
  float* storage() { return wide_.view().at(-wide_.border().top, -wide_.border().left); }

  Tensor wide_;
  Shape shape_;
  int margin_;
};

// Deterministic numbers in [-1, 1).
class Numbers {
 public:
  explicit Numbers(std::uint32_t seed) : engine_(seed) {}
  float next() { return float(engine_()) * 0x1p-31f - 1; }
  int below(int n) { return int(engine_() % std::uint32_t(n)); }
  std::vector<float> many(std::size_t n) {
    std::vector<float> v(n);
    for (float& x : v) {
      x = next();
    }
    return v;
  }

 private:
  std::mt19937 engine_;
};

inline void fill(View<float> v, Numbers& numbers, float scale = 1) {
  for (int y = 0; y < v.shape().height; ++y) {
    for (int x = 0; x < v.shape().width; ++x) {
      for (int c = 0; c < v.shape().channels; ++c) {
        v.at(y, x)[c] = scale * numbers.next();
      }
    }
  }
}

inline void make_absolute(std::vector<float>& v) {
  for (float& x : v) {
    x = x < 0 ? -x : x;
  }
}

}  // namespace sbcnn::test
