// Memory for packed weights and scratch.
#pragma once

#include "core/page_array.h"

namespace sbcnn::kernels {

using PackedFloats = PageArray<float>;

}  // namespace sbcnn::kernels
