#include "kernels/isa.h"

#include <array>

#include "core/error.h"
#include "kernels/routines.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace sbcnn::kernels {

bool supports(Isa isa, Precision precision) {
  return precision == Precision::fp32 || half_routines(isa) != nullptr;
}

#if defined(__x86_64__)

// __builtin_cpu_supports also asks whether the system saves the wide registers.
std::span<const Isa> available_isas() {
  static constexpr std::array<Isa, 3> all{Isa::sse2, Isa::avx2, Isa::avx512};
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw");
  return std::span(all).first(avx512 ? 3u : avx2 ? 2u : 1u);
}

const Routines& routines(Isa isa) {
  switch (isa) {
    case Isa::sse2:
      return sse2::routines();
    case Isa::avx2:
      return avx2::routines();
    case Isa::avx512:
      return avx512::routines();
    case Isa::neon:
      break;
  }
  throw ContractViolation("routines: no such instruction set in this binary");
}

const HalfRoutines* half_routines(Isa) {
  return nullptr;
}

#elif defined(__aarch64__)

std::span<const Isa> available_isas() {
  static constexpr std::array<Isa, 1> all{Isa::neon};
  return all;
}

const Routines& routines(Isa isa) {
  require(isa == Isa::neon, "routines: no such instruction set in this binary");
  return neon::routines();
}

// ARMv8.2's half-precision arithmetic is an option of the processor; converting is not.
const HalfRoutines* half_routines(Isa isa) {
  constexpr unsigned long kHalf = HWCAP_FPHP | HWCAP_ASIMDHP;
  static const bool has_it = (::getauxval(AT_HWCAP) & kHalf) == kHalf;
  return isa == Isa::neon && has_it ? &neon_fp16::routines() : nullptr;
}

#else
#error "sbcnn has kernels for x86-64 and aarch64"
#endif

}  // namespace sbcnn::kernels
