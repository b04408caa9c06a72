// The ways to compute a convolution.
#pragma once

#include <optional>
#include <string_view>

#include "core/ports.h"

namespace sbcnn::kernels {

enum class ConvAlgorithm {
  direct,     // implicit matrix product over kernel rows; computes any Conv
  winograd2,  // F(2x2, 3x3): 2.25 times fewer multiplications, 1.78 times the weights
  winograd4,  // F(4x4, 3x3): 4 times fewer, 4 times the weights
  depthwise,  // each output channel reads one input channel
};

std::string_view name_of(ConvAlgorithm);  // "direct", ...
std::optional<ConvAlgorithm> algorithm_named(std::string_view);

// Whether `algorithm` can compute the layer of `spec`, which is a Conv or a Dense.
bool applies(ConvAlgorithm algorithm, const KernelSpec& spec);

}  // namespace sbcnn::kernels
