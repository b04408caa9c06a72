// Zeroed memory for packed weights: aligned to a vector, and on huge pages where there is enough
// of it. Weights are read once per frame from end to end, so with pages of 4 KiB every page is
// a miss of the address cache.
#pragma once

#include <cstddef>
#include <memory>

namespace sbcnn::kernels {

class PackedFloats {
 public:
  PackedFloats() = default;
  explicit PackedFloats(std::size_t count);
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  std::size_t size() const { return count_; }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float[], Free> data_;
  std::size_t count_ = 0;
};

}  // namespace sbcnn::kernels
