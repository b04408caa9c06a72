// What this machine can do at most, measured: the two edges of a roofline.
#pragma once

#include <string>

namespace sbcnn::bench {

struct Peak {
  double gflops = 0;             // multiply-adds on registers alone, two operations each
  double gbytes_per_second = 0;  // reading memory, 8 MiB at a time, out of 256 MiB a thread
};

// With that many threads at once, in the instruction set `isa` (kernels::name_of), one of those
// that this machine has.
Peak measure_peak(const std::string& isa, int threads);

}  // namespace sbcnn::bench
