#include "kernels/algorithm.h"

#include <array>

#include "kernels/layers.h"

namespace sbcnn::kernels {
namespace {

struct Named {
  ConvAlgorithm algorithm;
  std::string_view name;
};
constexpr std::array<Named, 4> kNames{{{ConvAlgorithm::direct, "direct"},
                                       {ConvAlgorithm::winograd2, "winograd2"},
                                       {ConvAlgorithm::winograd4, "winograd4"},
                                       {ConvAlgorithm::depthwise, "depthwise"}}};

}  // namespace

std::string_view name_of(ConvAlgorithm algorithm) {
  for (const Named& n : kNames) {
    if (n.algorithm == algorithm) {
      return n.name;
    }
  }
  return "";
}

std::optional<ConvAlgorithm> algorithm_named(std::string_view name) {
  for (const Named& n : kNames) {
    if (n.name == name) {
      return n.algorithm;
    }
  }
  return std::nullopt;
}

bool applies(ConvAlgorithm algorithm, const KernelSpec& spec) {
  switch (algorithm) {
    case ConvAlgorithm::direct:
      return true;
    case ConvAlgorithm::depthwise:
      return std::holds_alternative<Conv>(spec.layer) && is_depthwise(spec);
    case ConvAlgorithm::winograd2:
    case ConvAlgorithm::winograd4: {
      const auto* conv = std::get_if<Conv>(&spec.layer);
      return conv != nullptr && conv->kernel == Extent{3, 3} && conv->stride == Extent{1, 1} &&
             conv->dilation == Extent{1, 1} && !is_depthwise(spec);
    }
  }
  return false;
}

}  // namespace sbcnn::kernels
