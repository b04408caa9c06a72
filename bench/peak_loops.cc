// SBCNN_PEAK is the name that this copy defines.
#include "bench/peak_loops.h"

namespace sbcnn::bench {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kBytes = 64;
#elif defined(__AVX2__)
constexpr std::size_t kBytes = 32;
#else
constexpr std::size_t kBytes = 16;
#endif
constexpr std::size_t kLanes = kBytes / sizeof(float);
using Vector = float __attribute__((vector_size(kBytes)));

// Enough chains to hide the latency of a multiply-add in two units, few enough for 16 registers.
constexpr std::size_t kChains = 12;

double multiply_add(std::size_t rounds) {
  Vector chains[kChains];
  for (std::size_t i = 0; i < kChains; ++i) {
    chains[i] = Vector{} + float(i);
  }
  Vector factor = Vector{} + 0.5f, addend = Vector{} + 1.0f;
  asm volatile("" : "+m"(factor), "+m"(addend));  // not to be folded
  const Vector f = factor, a = addend;
  for (std::size_t r = 0; r < rounds; ++r) {
    for (std::size_t i = 0; i < kChains; ++i) {  // one instruction each: -ffp-contract=fast
      chains[i] = chains[i] * f + a;
    }
  }
  for (Vector& c : chains) {
    asm volatile("" : : "m"(c));
  }
  return 2.0 * double(rounds) * double(kChains * kLanes);
}

float sum(const float* data, std::size_t count) {
  constexpr std::size_t kSums = 16;
  Vector sums[kSums] = {};
  for (std::size_t at = 0; at < count; at += kSums * kLanes) {
    for (std::size_t i = 0; i < kSums; ++i) {
      Vector v;
      __builtin_memcpy(&v, data + at + i * kLanes, kBytes);
      sums[i] += v;
    }
  }
  float total = 0;
  for (const Vector& v : sums) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      total += v[lane];
    }
  }
  return total;
}

}  // namespace

extern const PeakLoops SBCNN_PEAK;
const PeakLoops SBCNN_PEAK{multiply_add, sum};

}  // namespace sbcnn::bench
