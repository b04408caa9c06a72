// Shapes, borrowed views and owned tensors of one frame.
//
// Layout: channels last. A pixel's channels are contiguous, pixels of a row follow each
// other at `pixel_stride`, rows at `row_stride` (both in elements), so a range of channels
// of a view is again a view. Around a value there may be a `Border` of stored zeros, which
// convolutions read instead of testing for edges: nobody ever writes to a border but
// `clear_border`.
//
// A View borrows and is cheap to copy; a Tensor owns, is 64-byte aligned, zeroed when made
// and move-only. Neither is synchronised: one writer, or many readers.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "core/error.h"

namespace sbcnn {

inline constexpr std::size_t kAlignment = 64;  // bytes; a cache line, an AVX-512 register

struct Shape {
  int height = 0, width = 0, channels = 0;

  constexpr std::size_t pixels() const { return std::size_t(height) * std::size_t(width); }
  constexpr std::size_t size() const { return pixels() * std::size_t(channels); }
  friend constexpr bool operator==(const Shape&, const Shape&) = default;
};

// Half-open interval of channels, rows or columns.
struct Range {
  int begin = 0, end = 0;

  constexpr int size() const { return end - begin; }
  constexpr bool contains(int i) const { return begin <= i && i < end; }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

// Pixels of stored zeros on each side of a value.
struct Border {
  int top = 0, left = 0, bottom = 0, right = 0;

  constexpr bool empty() const { return top == 0 && left == 0 && bottom == 0 && right == 0; }
  constexpr bool covers(const Border& b) const {
    return top >= b.top && left >= b.left && bottom >= b.bottom && right >= b.right;
  }
  friend constexpr bool operator==(const Border&, const Border&) = default;
};

constexpr Border join(const Border& a, const Border& b) {
  const auto max = [](int x, int y) { return x > y ? x : y; };
  return {max(a.top, b.top), max(a.left, b.left), max(a.bottom, b.bottom), max(a.right, b.right)};
}

// The shape that storage for `shape` with `border` takes.
constexpr Shape with_border(const Shape& shape, const Border& border) {
  return {shape.height + border.top + border.bottom, shape.width + border.left + border.right,
          shape.channels};
}

template <class T>
class View {
 public:
  View() = default;
  // A dense value: no border, no gaps.
  View(T* data, Shape shape)
      : View(data, shape, std::size_t(shape.channels),
             std::size_t(shape.width) * std::size_t(shape.channels)) {}
  View(T* data, Shape shape, std::size_t pixel_stride, std::size_t row_stride)
      : data_(data), shape_(shape), pixel_stride_(pixel_stride), row_stride_(row_stride) {}
  // The value inside storage of `with_border(shape, border)` that begins at `storage`.
  static View inside(T* storage, Shape shape, const Border& border) {
    const std::size_t pixel = std::size_t(shape.channels);
    const std::size_t row = std::size_t(shape.width + border.left + border.right) * pixel;
    return {storage + std::size_t(border.top) * row + std::size_t(border.left) * pixel, shape,
            pixel, row};
  }
  operator View<const T>() const requires(!std::is_const_v<T>) {
    return {data_, shape_, pixel_stride_, row_stride_};
  }

  T* data() const { return data_; }
  const Shape& shape() const { return shape_; }
  std::size_t pixel_stride() const { return pixel_stride_; }
  std::size_t row_stride() const { return row_stride_; }
  // y and x may reach into the border.
  T* at(int y, int x) const {
    return data_ + std::ptrdiff_t(y) * std::ptrdiff_t(row_stride_) +
           std::ptrdiff_t(x) * std::ptrdiff_t(pixel_stride_);
  }
  bool dense() const {
    return pixel_stride_ == std::size_t(shape_.channels) &&
           row_stride_ == std::size_t(shape_.width) * pixel_stride_;
  }
  std::span<T> flat() const {
    require(dense(), "View::flat: the view has gaps");
    return {data_, shape_.size()};
  }
  View channels(Range r) const {
    require(0 <= r.begin && r.begin <= r.end && r.end <= shape_.channels,
            "View::channels: range outside the view");
    return {data_ + r.begin, {shape_.height, shape_.width, r.size()}, pixel_stride_, row_stride_};
  }

 private:
  T* data_ = nullptr;
  Shape shape_;
  std::size_t pixel_stride_ = 0, row_stride_ = 0;
};

// Uninitialised, 64-byte aligned, move-only array; frees itself.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(std::size_t count)
      : data_(static_cast<T*>(::operator new[](count * sizeof(T), std::align_val_t{kAlignment}))),
        count_(count) {}
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return count_; }

 private:
  static_assert(std::is_trivial_v<T>);
  struct Free {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<T[], Free> data_;
  std::size_t count_ = 0;
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Shape shape, Border border = {});
  View<float> view() { return View<float>::inside(data_.data(), shape_, border_); }
  View<const float> view() const {
    return View<const float>::inside(data_.data(), shape_, border_);
  }
  const Shape& shape() const { return shape_; }
  const Border& border() const { return border_; }

 private:
  AlignedArray<float> data_;
  Shape shape_;
  Border border_;
};

// Copies pixel by pixel between equal shapes, whatever their strides.
void copy(View<const float> from, View<float> to);
// Writes zeros around `value`, which lies inside storage with at least that border.
void clear_border(View<float> value, const Border& border);

}  // namespace sbcnn
