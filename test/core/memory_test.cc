// What memory_of counts, on a factory whose kernels have known sizes.
#include "core/memory.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/pipeline.h"
#include "test/support/networks.h"

using namespace sbcnn;
using namespace sbcnn::test;

namespace {

constexpr std::size_t kPacked = 1000, kScratch = 77;

class FixedFactory final : public KernelFactory {
 public:
  KernelMemory memory(const KernelSpec&) const override { return {kPacked, kScratch}; }
  std::unique_ptr<Kernel> make(const KernelSpec&, Weights) override { return {}; }
};

const Model& network() {
  static const Model model = synthetic_networks()[4].model;  // residual, 4 groups
  return model;
}

RankMemory memory(const Model& model, int world, int rank, int in_flight = 2) {
  const Plan plan = make_plan(model, Cluster::equal(world));
  return memory_of(model, plan, make_program(model, plan, rank), FixedFactory(), {in_flight, 4096});
}

std::size_t kernels_of(const Program& program) {
  return std::size_t(std::ranges::count_if(program.actions, [](const Action& a) {
    const auto* task = std::get_if<Task>(&a);
    return task != nullptr && task->spec.output.size() > 0;
  }));
}

}  // namespace

TEST_CASE("memory: kernels add up, scratch is shared, arenas count once a frame in flight") {
  const Plan plan = make_plan(network(), Cluster::equal(3));
  const Program program = make_program(network(), plan, 1);
  const RankMemory two = memory(network(), 3, 1), four = memory(network(), 3, 1, 4);
  CHECK(two.weights == kPacked * kernels_of(program));
  CHECK(two.scratch == kScratch);
  CHECK(four.activations > two.activations + 2 * program.arena_size * sizeof(float) - 1);
  CHECK(two.activations == Pipeline::activation_floats(program, 2) * sizeof(float));
  CHECK(four.messages > two.messages);
}

TEST_CASE("memory: the peak is what is there in a run, or while weights come in") {
  RankMemory m;
  m.weights = 10;
  m.activations = 20;
  m.scratch = 3;
  m.messages = 4;
  m.process = 100;
  CHECK(m.peak() == 137);
  m.loading = 50;
  CHECK(m.peak() == 150);
}

TEST_CASE("memory: one rank has no messages, only frames that wait") {
  const std::size_t frame = network().shape(0).size() * sizeof(float);
  CHECK(memory(network(), 1, 0).messages == 4 * frame);
  CHECK(memory(network(), 3, 1).messages > 0);
}

TEST_CASE("memory: a model that lies in memory counts while it is handed out, on rank 0 alone") {
  const Model skeleton = skeleton_of(network());
  const std::size_t all = weight_bytes(network());
  const RankMemory with = memory(network(), 3, 0), without = memory(skeleton, 3, 0);
  CHECK(with.loading >= all);
  CHECK(with.loading > without.loading);
  CHECK(with.loading <= without.loading + all);
  CHECK(memory(network(), 3, 1).loading == memory(skeleton, 3, 1).loading);
}

TEST_CASE("memory: a model lets go of a node's weights, and copies keep theirs") {
  Model model = network();
  const Model copy = model;
  NodeId n = 0;
  while (model.node(n).weight.empty()) {
    ++n;
  }
  model.drop_weights(n);
  CHECK(model.node(n).weight.empty());
  CHECK(model.node(n).bias.empty());
  CHECK_FALSE(model.has_weights());
  CHECK(copy.has_weights());
}
