#include "apps/board.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "apps/processor.h"
#include "core/error.h"

namespace sbcnn::apps {

namespace {

// Not getrusage: its figure survives exec, so that a worker would show its parent's peak.
std::size_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name)) {
      return std::strtoull(line.c_str() + name.size(), nullptr, 10) * 1024;
    }
  }
  return 0;
}

}  // namespace

std::string version() {
  return SBCNN_VERSION;
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "this board";
}

int default_threads(int slots) {
  return std::max(1, this_processor().usable_cores() / std::max(1, slots));
}

std::size_t peak_memory_of_self() {
  return status_bytes("VmHWM:");
}

std::size_t resident_memory_of_self() {
  return status_bytes("VmRSS:");
}

void return_memory_early() {
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

void give_memory_back() {
  malloc_trim(0);
}

std::filesystem::path worker_binary(const std::filesystem::path& wanted) {
  namespace fs = std::filesystem;
  if (!wanted.empty()) {
    return fs::absolute(wanted);
  }
  std::error_code ignored;
  const fs::path self = fs::read_symlink("/proc/self/exe", ignored);
  if (self.filename() == "sbcnn") {
    return self;
  }
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder) / "sbcnn";
    if (access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
  }
  throw Error(Error::Code::usage,
              "no sbcnn in PATH to run the other ranks: install it, or set SessionOptions::binary");
}

}  // namespace sbcnn::apps
