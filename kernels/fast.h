// The fast kernels: vectorised for one instruction set, split over threads, weights packed once.
//
// Results are the same bit for bit for any number of threads, and differ from the reference
// (reference.h) by the rounding of sums alone.
#pragma once

#include <memory>

#include "core/ports.h"
#include "kernels/isa.h"

namespace sbcnn::kernels {

struct KernelOptions {
  int threads = 1;  // the calling thread included
  Isa isa = best_isa();
};

// `options.isa` is one of available_isas(). While a kernel runs, the calling thread flushes
// denormals to zero.
std::unique_ptr<KernelFactory> make_kernels(const KernelOptions& options = {});

}  // namespace sbcnn::kernels
