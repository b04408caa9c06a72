// Cores, quotas and names, read from trees that look like other boards' /sys and /proc.
#include "apps/processor.h"

#include <doctest/doctest.h>

#include "apps/board.h"
#include "test/apps/temporary.h"

using namespace sbcnn::apps;
using sbcnn::test::TemporaryFolder;

namespace {

struct Board {
  TemporaryFolder root;

  void topology(int thread, const std::string& file, const std::string& content) const {
    root.write("sys/devices/system/cpu/cpu" + std::to_string(thread) + "/topology/" + file,
               content + "\n");
  }
  void siblings(int thread, const std::string& list) const {
    topology(thread, "thread_siblings_list", list);
  }
  void core(int thread, const std::string& package, const std::string& id) const {
    topology(thread, "physical_package_id", package);
    topology(thread, "core_id", id);
  }
  void groups(const std::string& lines) const { root.write("proc/self/cgroup", lines); }
  void group_file(const std::string& path, const std::string& content) const {
    root.write("sys/fs/cgroup/" + path, content + "\n");
  }
  Processor read(const std::vector<int>& allowed = {0, 1, 2, 3}) const {
    return read_processor(root.path(), allowed);
  }
};

}  // namespace

TEST_CASE("processor: hyperthreads share a core") {
  const Board b;
  for (int i = 0; i < 4; ++i) {
    b.siblings(i, i % 2 == 0 ? "0,2" : "1,3");
  }
  CHECK(b.read().threads == 4);
  CHECK(b.read().cores == 2);
  CHECK(b.read().usable_cores() == 2);
  CHECK(b.read({1, 3}).cores == 1);
  CHECK(b.read({0, 1}).cores == 2);
}

TEST_CASE("processor: a board without hyperthreads has as many cores as threads") {
  const Board b;
  for (int i = 0; i < 4; ++i) {
    b.siblings(i, std::to_string(i));
  }
  CHECK(b.read().cores == 4);
}

TEST_CASE("processor: without lists of siblings the numbers of core and package tell") {
  const Board b;
  b.core(0, "0", "0");
  b.core(1, "0", "0");
  b.core(2, "0", "1");
  b.core(3, "1", "1");  // the same number on another package
  CHECK(b.read().cores == 3);
}

TEST_CASE("processor: where nothing is said every hardware thread is a core") {
  const Board b;
  CHECK(b.read().cores == 4);
  b.core(0, "-1", "-1");
  b.core(1, "-1", "-1");
  CHECK(b.read().cores == 4);
  CHECK(b.read({}).cores == 1);
  CHECK(b.read().quota == 0);
  CHECK(b.read().name == "unknown");
}

TEST_CASE("processor: quotas of control groups, version 2") {
  const Board b;
  b.groups("0::/\n");
  CHECK(b.read().quota == 0);
  b.group_file("cpu.max", "max 100000");
  CHECK(b.read().quota == 0);
  b.group_file("cpu.max", "150000 100000");
  CHECK(b.read().quota == 2);
  CHECK(b.read().usable_cores() == 2);
  b.group_file("cpu.max", "200000 100000");
  CHECK(b.read().quota == 2);
  b.group_file("cpu.max", "1000 100000");
  CHECK(b.read().quota == 1);
  b.group_file("cpu.max", "6400000 100000");
  CHECK(b.read().usable_cores() == 4);
}

TEST_CASE("processor: the limits of groups above count, too") {
  const Board b;
  b.groups("0::/user.slice/job.scope\n");
  b.group_file("user.slice/job.scope/cpu.max", "300000 100000");
  CHECK(b.read().quota == 3);
  b.group_file("user.slice/cpu.max", "200000 100000");
  CHECK(b.read().quota == 2);
}

TEST_CASE("processor: in a container the mount's root counts, whatever /proc calls the group") {
  const Board b;
  b.groups("0::/docker/0123456789abcdef\n");
  b.group_file("cpu.max", "100000 100000");
  CHECK(b.read().quota == 1);
}

TEST_CASE("processor: quotas of control groups, version 1") {
  const Board b;
  b.groups("5:cpuset:/\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n");
  b.group_file("cpu,cpuacct/job/cpu.cfs_quota_us", "-1");
  b.group_file("cpu,cpuacct/job/cpu.cfs_period_us", "100000");
  CHECK(b.read().quota == 0);
  b.group_file("cpu,cpuacct/job/cpu.cfs_quota_us", "250000");
  CHECK(b.read().quota == 3);
  b.groups("1:cpu:/\n");
  b.group_file("cpu/cpu.cfs_quota_us", "50000");
  b.group_file("cpu/cpu.cfs_period_us", "100000");
  CHECK(b.read().quota == 1);
}

TEST_CASE("processor: malformed files are no limit and no error") {
  const Board b;
  b.groups("nonsense\n0::\n0::no-slash\n7:cpu:/\n");
  b.group_file("cpu.max", "many much");
  b.group_file("cpu/cpu.cfs_quota_us", "100000");
  b.group_file("cpu/cpu.cfs_period_us", "0");
  CHECK(b.read().quota == 0);
  b.group_file("cpu.max", "");
  CHECK(b.read().quota == 0);
}

TEST_CASE("processor: names") {
  const Board b;
  b.root.write("proc/cpuinfo",
               "processor\t: 0\nmodel name\t: Good CPU @ 2 GHz\n\n"
               "processor\t: 1\nmodel name\t: Good CPU @ 2 GHz\n");
  CHECK(b.read().name == "Good CPU @ 2 GHz");
  b.root.write("proc/cpuinfo",
               "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
               "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n");
  CHECK(b.read().name == "Cortex-A72");
  b.root.write("proc/cpuinfo",
               "CPU implementer\t: 0x41\nCPU part\t: 0xd03\n"
               "CPU implementer\t: 0x41\nCPU part\t: 0xd09\n");
  CHECK(b.read().name == "Cortex-A53 + Cortex-A73");
  b.root.write("proc/cpuinfo", "CPU implementer\t: 0x99\nCPU part\t: 0x123\n");
  CHECK(b.read().name == "implementer 0x99 part 0x123");
}

TEST_CASE("processor: this board has a core, and its ranks share the cores") {
  const Processor p = this_processor();
  CHECK(p.cores >= 1);
  CHECK(p.threads >= p.cores);
  CHECK(p.usable_cores() >= 1);
  CHECK_FALSE(p.name.empty());
  CHECK(default_threads(1) == p.usable_cores());
  CHECK(default_threads(1000) == 1);
}
