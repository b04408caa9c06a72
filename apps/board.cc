#include "apps/board.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "kernels/reference.h"

namespace sbcnn::apps {

std::string version() {
  return SBCNN_VERSION;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "this board";
}

int default_threads(int slots) {
  cpu_set_t set;
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, cores / std::max(1, slots));
}

std::size_t peak_memory_of_self() {
  // Not getrusage: its figure survives exec, so that a worker would show its parent's peak.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
    }
  }
  return 0;
}

std::unique_ptr<KernelFactory> make_factory(int threads, bool reference) {
  (void)threads;
  (void)reference;
  return kernels::make_reference_kernels();
}

}  // namespace sbcnn::apps
