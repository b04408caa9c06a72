// IEEE 754 binary16 as it lies in memory and on the wire. No arithmetic: kernels convert.
#pragma once

#include <cstdint>

namespace sbcnn {

struct Half {
  std::uint16_t bits = 0;
  friend bool operator==(const Half&, const Half&) = default;
};
static_assert(sizeof(Half) == 2);

}  // namespace sbcnn
