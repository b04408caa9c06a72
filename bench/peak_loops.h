// The loops behind peak.h, compiled once for each instruction set.
#pragma once

#include <cstddef>

namespace sbcnn::bench {

struct PeakLoops {
  // Does `rounds` rounds of multiply-adds; returns how many operations that were.
  double (*multiply_add)(std::size_t rounds);
  float (*sum)(const float* data, std::size_t count);  // count: a multiple of 256
};

#if defined(__x86_64__)
extern const PeakLoops kPeak_sse2, kPeak_avx2, kPeak_avx512;
#else
extern const PeakLoops kPeak_neon;
#endif

}  // namespace sbcnn::bench
