// Zeroed memory for large things that are read from end to end: packed weights, activations.
//
// Aligned to a vector. From 2 MiB on it lies on huge pages as far as it fills them and the system
// grants them, for with pages of 4 KiB every page is a miss of the address cache. What is left
// over lies on small pages: so an array is resident for what it holds, rounded up to a page,
// whether huge pages are granted or not, and goes back to the system when it is freed.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace sbcnn {

struct FreePages {
  std::size_t bytes = 0;
  void operator()(std::byte*) const;
};

class PageBlock {
 public:
  PageBlock() = default;
  explicit PageBlock(std::size_t bytes);  // throws std::bad_alloc
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return data_.get_deleter().bytes; }

  // Bytes that are resident when all of it has been touched.
  static std::size_t resident(std::size_t bytes);

 private:
  std::unique_ptr<std::byte[], FreePages> data_;
};

template <class T>
class PageArray {
 public:
  PageArray() = default;
  explicit PageArray(std::size_t count) : block_(count * sizeof(T)), count_(count) {}
  T* data() { return reinterpret_cast<T*>(block_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(block_.data()); }
  std::size_t size() const { return count_; }

 private:
  static_assert(std::is_trivial_v<T>);
  PageBlock block_;
  std::size_t count_ = 0;
};

}  // namespace sbcnn
