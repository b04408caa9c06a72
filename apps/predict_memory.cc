#include "apps/predict_memory.h"

#include <algorithm>

#include "apps/board.h"
#include "apps/job.h"
#include "apps/ranks.h"

namespace sbcnn::apps {
namespace {

constexpr std::size_t kKiB = 1024;

// Pages of the binary and its libraries that only a run touches, stacks, and what ZeroMQ takes; the
// part that hangs on nothing, and what each connection to another rank adds. Measured on Debian 12,
// x86-64, with a network of a few kilobytes over 1 to 8 ranks.
struct Overhead {
  std::size_t fixed, connection;

  std::size_t of(int world) const { return fixed + connection * std::size_t(world - 1); }
};
constexpr Overhead kAlone{1200 * kKiB, 0};
constexpr Overhead kRoot{2180 * kKiB, 120 * kKiB};
constexpr Overhead kWorker{2120 * kKiB, 75 * kKiB};
constexpr std::size_t kStreaming = 500 * kKiB;  // of it, what is not there while weights come in

std::size_t weights_in_memory(const Model& model) {
  std::size_t floats = 0;
  for (const Node& node : model.nodes()) {
    floats += node.weight.mapped ? 0 : node.weight.size() + node.bias.size();
  }
  return floats * sizeof(float);
}

}  // namespace

ProcessMemory::ProcessMemory() : start(resident_memory_of_self()) {}

void ProcessMemory::note_loaded() {
  loaded = resident_memory_of_self();
  most_of_loading = peak_memory_of_self();
}

std::vector<RankMemory> predict_memory(const Model& model, const Plan& plan,
                                       const std::vector<RankHost>& ranks,
                                       const SessionOptions& options,
                                       const ProcessMemory& process) {
  const auto less = [](std::size_t a, std::size_t b) { return a - std::min(a, b); };
  std::vector<RankMemory> all;
  for (int r = 0; r < plan.world; ++r) {
    const Program program = make_program(model, plan, r);
    const ComputeSettings settings =
        settle(wishes_for(ranks, r, options), "rank " + std::to_string(r) + ", planned here,");
    RankKernels kernels(settings, program);
    RankMemory m = memory_of(model, plan, program, kernels.factory(),
                             {options.in_flight, weight_window_bytes()});
    m.loading = less(m.loading, kStreaming);
    if (r == 0) {
      m.process = less(process.loaded, weights_in_memory(model)) +
                  (plan.world == 1 ? kAlone : kRoot).of(plan.world);
      m.loading = std::max(m.loading, less(process.most_of_loading, m.process));
    } else {
      m.process = process.start + kWorker.of(plan.world);
    }
    all.push_back(m);
  }
  return all;
}

}  // namespace sbcnn::apps
