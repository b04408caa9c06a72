// Memory that the kernels of one factory share, for they run one at a time. Each reserves what it
// needs when it is made; contents do not outlive a call.
#pragma once

#include "kernels/packed_floats.h"

namespace sbcnn::kernels {

class Scratch {
 public:
  void reserve(std::size_t floats) {
    if (floats > memory_.size()) {
      memory_ = {};  // first, so that both are never there at once
      memory_ = PackedFloats(floats);
    }
  }
  float* data() { return memory_.data(); }
  std::size_t size() const { return memory_.size(); }

 private:
  PackedFloats memory_;
};

}  // namespace sbcnn::kernels
