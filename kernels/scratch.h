// Memory that the kernels of one factory share, for they run one at a time. Each reserves what it
// needs when it is made; contents do not outlive a call.
#pragma once

#include "core/page_array.h"

namespace sbcnn::kernels {

class Scratch {
 public:
  void reserve(std::size_t floats) {
    const std::size_t wanted = rounded(floats);
    if (wanted > memory_.size()) {
      memory_ = {};  // first, so that both are never there at once
      memory_ = PageArray<float>(wanted);
    }
  }
  // Transforms write dozens of streams at once, each on a page of its own: what is not tiny gets
  // huge pages, and so fills them.
  static std::size_t rounded(std::size_t floats) {
    constexpr std::size_t kHugePage = (std::size_t{2} << 20) / sizeof(float);
    return floats < kHugePage / 8 ? floats : (floats + kHugePage - 1) / kHugePage * kHugePage;
  }
  float* data() { return memory_.data(); }
  std::size_t size() const { return memory_.size(); }

 private:
  PageArray<float> memory_;
};

}  // namespace sbcnn::kernels
