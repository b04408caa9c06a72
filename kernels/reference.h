// The specification of every layer in executable form: as plain as possible, sums in double,
// edges tested instead of stored. The fast kernels (fast.h) are checked against it.
#pragma once

#include <memory>

#include "core/ports.h"

namespace sbcnn::kernels {

// One thread, no shared state: kernels of one factory may even run at the same time.
std::unique_ptr<KernelFactory> make_reference_kernels();

}  // namespace sbcnn::kernels
