#include "apps/processor.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>
#include <thread>

namespace sbcnn::apps {
namespace {

namespace fs = std::filesystem;

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  const auto last = text.find_last_not_of(" \t\r\n");
  return first == text.npos ? "" : std::string(text.substr(first, last - first + 1));
}

// The first line of a file; "" if there is none.
std::string line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return trimmed(line);
}

std::optional<long long> integer(std::string_view text) {
  long long value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && stop == text.data() + text.size();
  return whole ? std::optional(value) : std::nullopt;
}

// --- cores -------------------------------------------------------------------------------------

// What tells the core that a hardware thread lies on from all others.
std::string core_of(const fs::path& root, int thread) {
  const std::string name = "cpu" + std::to_string(thread);
  const fs::path topology = root / "sys/devices/system/cpu" / name / "topology";
  for (const char* list : {"core_cpus_list", "thread_siblings_list"}) {  // since 5.3; before
    const std::string siblings = line_of(topology / list);
    if (!siblings.empty()) {
      return siblings;
    }
  }
  const std::string core = line_of(topology / "core_id");
  const std::string package = line_of(topology / "physical_package_id");
  return core.empty() || core == "-1" ? name : package + ":" + core;
}

int count_cores(const fs::path& root, const std::vector<int>& allowed) {
  std::set<std::string> cores;
  for (const int thread : allowed) {
    cores.insert(core_of(root, thread));
  }
  return std::max(1, int(cores.size()));
}

std::vector<int> affinity() {
  cpu_set_t set;
  std::vector<int> allowed;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &set)) {
        allowed.push_back(i);
      }
    }
  } else {  // more hardware threads than the set holds
    allowed.resize(std::max(1u, std::thread::hardware_concurrency()));
    std::iota(allowed.begin(), allowed.end(), 0);
  }
  return allowed;
}

// --- control groups ----------------------------------------------------------------------------

// CPUs, rounded up; nothing if there is no limit.
std::optional<int> cpus(std::optional<long long> quota, std::optional<long long> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) {
    return std::nullopt;
  }
  return int(std::min<long long>((*quota - 1) / *period + 1, 1 << 20));
}

// "QUOTA PERIOD" or "max PERIOD" in microseconds.
std::optional<int> limit_v2(const fs::path& group) {
  std::istringstream words(line_of(group / "cpu.max"));
  std::string quota, period;
  words >> quota >> period;
  return cpus(integer(quota), integer(period));
}

std::optional<int> limit_v1(const fs::path& group) {
  return cpus(integer(line_of(group / "cpu.cfs_quota_us")),
              integer(line_of(group / "cpu.cfs_period_us")));
}

// The smallest limit of a group and of those above it. In a container, the path that /proc tells
// may be the host's, of which only the end or nothing is mounted: the mount's own root counts in
// any case.
template <class Limit>
std::optional<int> smallest_limit(const fs::path& mount, std::string group, const Limit& limit) {
  std::optional<int> smallest;
  while (true) {
    if (const auto here = limit(mount / fs::path(group).relative_path())) {
      smallest = std::min(smallest.value_or(*here), *here);
    }
    if (group.empty()) {
      return smallest;
    }
    group.resize(std::min(group.rfind('/'), group.size() - 1));
  }
}

bool lists_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

// Lines "ID:CONTROLLERS:PATH"; version 2's has no controllers.
int quota_of(const fs::path& root) {
  std::optional<int> smallest;
  const auto take = [&](std::optional<int> limit) {
    if (limit) {
      smallest = std::min(smallest.value_or(*limit), *limit);
    }
  };
  const fs::path mounts = root / "sys/fs/cgroup";
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      for (const fs::path& mount : {mounts, mounts / "unified"}) {
        take(smallest_limit(mount, group, limit_v2));
      }
    } else if (lists_cpu(controllers)) {
      for (const fs::path& mount : {mounts / controllers, mounts / "cpu"}) {
        take(smallest_limit(mount, group, limit_v1));
      }
    }
  }
  return smallest.value_or(0);
}

// --- names -------------------------------------------------------------------------------------

struct Part {
  std::string_view implementer, part, name;
};
// Cores that boards have. Arm's own numbers (MIDR_EL1); Linux leaves the names to others.
constexpr std::array<Part, 16> kParts{{{"0x41", "0xd03", "Cortex-A53"},
                                       {"0x41", "0xd04", "Cortex-A35"},
                                       {"0x41", "0xd05", "Cortex-A55"},
                                       {"0x41", "0xd07", "Cortex-A57"},
                                       {"0x41", "0xd08", "Cortex-A72"},
                                       {"0x41", "0xd09", "Cortex-A73"},
                                       {"0x41", "0xd0a", "Cortex-A75"},
                                       {"0x41", "0xd0b", "Cortex-A76"},
                                       {"0x41", "0xd0c", "Neoverse-N1"},
                                       {"0x41", "0xd0d", "Cortex-A77"},
                                       {"0x41", "0xd40", "Neoverse-V1"},
                                       {"0x41", "0xd41", "Cortex-A78"},
                                       {"0x41", "0xd44", "Cortex-X1"},
                                       {"0x41", "0xd49", "Neoverse-N2"},
                                       {"0x41", "0xd4f", "Neoverse-V2"},
                                       {"0x4e", "0x004", "Carmel"}}};

std::string part_name(const std::string& implementer, const std::string& part) {
  for (const Part& p : kParts) {
    if (p.implementer == implementer && p.part == part) {
      return std::string(p.name);
    }
  }
  return "implementer " + implementer + " part " + part;
}

// One name, or those of a big.LITTLE processor's kinds of cores joined by " + ".
std::string name_of(const fs::path& root) {
  std::vector<std::string> names;
  std::string implementer;
  std::ifstream file(root / "proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (colon == line.npos) {
      continue;
    }
    const std::string key = trimmed(line.substr(0, colon)), value = trimmed(line.substr(colon + 1));
    std::string name;
    if (key == "model name") {
      name = value;
    } else if (key == "CPU implementer") {
      implementer = value;
    } else if (key == "CPU part") {
      name = part_name(implementer, value);
    }
    if (!name.empty() && std::ranges::find(names, name) == names.end()) {
      names.push_back(name);
    }
  }
  std::string all;
  for (const std::string& name : names) {
    all += (all.empty() ? "" : " + ") + name;
  }
  return all.empty() ? "unknown" : all;
}

}  // namespace

int Processor::usable_cores() const {
  return quota == 0 ? cores : std::clamp(quota, 1, cores);
}

Processor read_processor(const fs::path& root, const std::vector<int>& allowed) {
  Processor p;
  p.name = name_of(root);
  p.threads = std::max(1, int(allowed.size()));
  p.cores = count_cores(root, allowed);
  p.quota = quota_of(root);
  return p;
}

Processor this_processor() {
  return read_processor("/", affinity());
}

}  // namespace sbcnn::apps
