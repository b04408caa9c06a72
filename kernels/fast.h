// The fast kernels: vectorised for one instruction set, split over threads, weights packed once.
//
// Results are the same bit for bit for any number of threads, and differ from the reference
// (reference.h) by the rounding of sums alone.
#pragma once

#include <memory>
#include <optional>

#include "core/ports.h"
#include "kernels/algorithm.h"
#include "kernels/isa.h"
#include "kernels/tuning.h"

namespace sbcnn::kernels {

struct KernelOptions {
  int threads = 1;  // the calling thread included
  Isa isa = best_isa();
  Precision precision = Precision::fp32;
  // Computes every Conv that it applies to with this algorithm; for tests and benchmarks.
  std::optional<ConvAlgorithm> algorithm = {};
  // Measured choices: looked up, and measured where one is missing, when a kernel is made. Outlives
  // the factory. Null: static rules.
  Tuning* tuning = nullptr;
};

// `options.isa` is one of available_isas() and supports `options.precision`. While a kernel runs,
// the calling thread flushes denormals to zero.
std::unique_ptr<KernelFactory> make_kernels(const KernelOptions& options = {});

}  // namespace sbcnn::kernels
