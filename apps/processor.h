// The processor of this board, as Linux describes it, and how much of it we may use.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sbcnn::apps {

struct Processor {
  std::string name;  // "Cortex-A72", "AMD EPYC 7B13"; "unknown" where Linux does not say
  // Hardware threads that the affinity mask leaves us, and the physical cores that they lie on.
  int threads = 1, cores = 1;
  int quota = 0;  // CPUs that control groups grant us at most, rounded up; 0: no limit

  // Threads that compute are best one a core: two on one core share its arithmetic units.
  int usable_cores() const;
};

Processor this_processor();

// The same of another machine: `root` holds its /sys and /proc, `allowed` numbers the hardware
// threads of the affinity mask. What is missing or malformed there counts as not said: then every
// hardware thread is a core, and there is no limit.
Processor read_processor(const std::filesystem::path& root, const std::vector<int>& allowed);

}  // namespace sbcnn::apps
