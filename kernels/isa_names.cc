#include <algorithm>
#include <array>

#include "kernels/isa.h"

namespace sbcnn::kernels {
namespace {

constexpr std::array kIsas{Isa::sse2, Isa::avx2, Isa::avx512, Isa::neon};
constexpr std::array kPrecisions{Precision::fp32, Precision::fp16};

template <class All>
auto named(const All& all, std::string_view name) {
  const auto found = std::ranges::find_if(all, [&](auto x) { return name_of(x) == name; });
  return found == all.end() ? std::nullopt : std::optional(*found);
}

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::sse2:
      return "sse2";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::neon:
      return "neon";
  }
  return "";
}

std::string_view name_of(Precision precision) {
  return precision == Precision::fp32 ? "fp32" : "fp16";
}

std::span<const Isa> all_isas() {
  return kIsas;
}

std::optional<Isa> isa_named(std::string_view name) {
  return named(kIsas, name);
}

std::optional<Precision> precision_named(std::string_view name) {
  return named(kPrecisions, name);
}

}  // namespace sbcnn::kernels
