// The instruction sets that the fast kernels are built for, and which of them this machine has.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace sbcnn::kernels {

enum class Isa { sse2, avx2, avx512, neon };

std::span<const Isa> all_isas();
std::string_view name_of(Isa);  // "sse2", ...
std::optional<Isa> isa_named(std::string_view);

// What this binary has code for and this machine can run; never empty, the best last.
std::span<const Isa> available_isas();
inline Isa best_isa() {
  return available_isas().back();
}

// What convolutions and dense layers multiply in. fp16: weights are stored as half floats and
// multiplied as such, partial sums are folded in fp32; values between layers stay fp32.
enum class Precision { fp32, fp16 };

std::string_view name_of(Precision);  // "fp32", "fp16"
std::optional<Precision> precision_named(std::string_view);

// Whether the fast kernels of `isa` compute in `precision` on this machine.
bool supports(Isa isa, Precision precision);

}  // namespace sbcnn::kernels
