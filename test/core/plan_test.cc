// Every network, split over any number of ranks, gives what one rank gives.
#include "core/plan.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/describe.h"
#include "core/program.h"
#include "core/weight_slice.h"
#include "test/support/networks.h"
#include "test/support/world.h"

using namespace sbcnn;
using namespace sbcnn::test;

namespace {

const std::vector<Network>& networks() {
  static const std::vector<Network> all = synthetic_networks();
  return all;
}

std::vector<std::vector<float>> frames(const Model& model, int count) {
  std::vector<std::vector<float>> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(noise(model.shape(0).size(), unsigned(1000 + i)));
  }
  return all;
}

void check_same(const std::vector<std::vector<float>>& a,
                const std::vector<std::vector<float>>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t f = 0; f < a.size(); ++f) {
    REQUIRE(a[f].size() == b[f].size());
    float largest = 0, difference = 0;
    for (std::size_t i = 0; i < a[f].size(); ++i) {
      largest = std::max(largest, std::abs(a[f][i]));
      difference = std::max(difference, std::abs(a[f][i] - b[f][i]));
    }
    CAPTURE(f);
    CHECK(largest > 0);
    CHECK(difference <= 1e-5f * largest);
  }
}

Cluster weighted(int size) {
  Cluster c;
  for (int r = 0; r < size; ++r) {
    c.weights.push_back(1 + (r * 5) % 4);
  }
  return c;
}

void check_split(const Network& n, const Cluster& cluster) {
  CAPTURE(n.name);
  CAPTURE(cluster.size());
  const auto inputs = frames(n.model, 3);
  check_same(run_world(n.model, Cluster::equal(1), inputs), run_world(n.model, cluster, inputs));
}

}  // namespace

TEST_CASE("a network over 2 to 8 equal ranks gives one rank's answer") {
  for (const Network& n : networks()) {
    SUBCASE(n.name.c_str()) {
      for (int size = 2; size <= 8; ++size) {
        check_split(n, Cluster::equal(size));
      }
    }
  }
}

TEST_CASE("unequal ranks give one rank's answer") {
  for (const Network& n : networks()) {
    for (int size = 2; size <= 5; ++size) {
      check_split(n, weighted(size));
    }
  }
}

TEST_CASE("a rank 0 that only feeds and collects gives one rank's answer") {
  for (const Network& n : networks()) {
    for (int size = 2; size <= 4; ++size) {
      Cluster c = Cluster::equal(size);
      c.weights[0] = 0;
      check_split(n, c);
    }
  }
}

TEST_CASE("the number of frames in flight does not change a bit") {
  for (const Network& n : networks()) {
    CAPTURE(n.name);
    const auto inputs = frames(n.model, 7);
    const auto one = run_world(n.model, Cluster::equal(3), inputs, {.in_flight = 1});
    for (const int in_flight : {2, 3, 5}) {
      CHECK(run_world(n.model, Cluster::equal(3), inputs, {.in_flight = in_flight}) == one);
    }
  }
}

TEST_CASE("outputs written straight into messages, pieces of any width, are one rank's answer") {
  for (const Network& n : networks()) {
    CAPTURE(n.name);
    const auto inputs = frames(n.model, 4);
    const auto one = run_world(n.model, Cluster::equal(1), inputs);
    for (const int size : {1, 2, 3, 4, 5, 7}) {
      CAPTURE(size);
      for (const int in_flight : {1, 2, 3}) {
        const WorldOptions options{.in_flight = in_flight, .narrowest_piece = 1};
        check_same(one, run_world(n.model, Cluster::equal(size), inputs, options));
      }
      check_same(one, run_world(n.model, weighted(size), inputs, {.narrowest_piece = 1}));
    }
  }
}

TEST_CASE("what a rank sends to a peer is what the peer expects") {
  for (const Network& n : networks()) {
    for (int size = 1; size <= 9; ++size) {
      const Plan plan = make_plan(n.model, weighted(size));
      std::vector<Program> programs;
      for (int r = 0; r < size; ++r) {
        programs.push_back(make_program(n.model, plan, r));
      }
      for (std::size_t s = 0; s < plan.steps.size(); ++s) {
        if (!std::holds_alternative<Exchange>(plan.steps[s])) {
          continue;
        }
        for (int a = 0; a < size; ++a) {
          for (int b = 0; b < size; ++b) {
            const auto& from = std::get<Transfer>(programs[std::size_t(a)].actions[s]);
            const auto& to = std::get<Transfer>(programs[std::size_t(b)].actions[s]);
            CHECK(from.send_counts[std::size_t(b)] == to.receive_counts[std::size_t(a)]);
          }
        }
      }
    }
  }
}

TEST_CASE("ranks hold all weights between them, and the plan knows their sizes") {
  for (const Network& n : networks()) {
    CAPTURE(n.name);
    for (int size = 1; size <= 6; ++size) {
      const Plan plan = make_plan(n.model, Cluster::equal(size));
      for (int s = 0; s < int(plan.steps.size()); ++s) {
        const auto* c = std::get_if<Compute>(&plan.steps[std::size_t(s)]);
        if (c == nullptr) {
          continue;
        }
        std::size_t floats = 0;
        for (int r = 0; r < size; ++r) {
          const Weights w = slice_weights(n.model, plan, s, r);
          const WeightShape shape = slice_shape(n.model, plan, s, r);
          CHECK(w.weight.size() == shape.weight);
          CHECK(w.bias.size() == shape.bias);
          floats += w.weight.size() + w.bias.size();
        }
        const WeightShape whole =
            weight_shape(n.model.node(c->node).layer, n.model.input_shapes(c->node)[0]);
        CHECK(floats >= whole.weight + whole.bias);
        if (!std::holds_alternative<ScaleShift>(n.model.node(c->node).layer)) {
          CHECK(floats == whole.weight + whole.bias);
        }
      }
    }
  }
}

TEST_CASE("a plan is the same wherever it is made, and hashes tell plans apart") {
  const Model& model = networks()[4].model;
  CHECK(make_plan(model, Cluster::equal(4)).hash() == make_plan(model, Cluster::equal(4)).hash());
  CHECK(make_plan(model, Cluster::equal(4)).hash() != make_plan(model, Cluster::equal(3)).hash());
  CHECK(make_plan(model, Cluster::equal(4)).hash() != make_plan(model, {{3, 1, 1, 1}}).hash());
  CHECK(make_plan(model, Cluster::equal(4)).hash() !=
        make_plan(networks()[1].model, Cluster::equal(4)).hash());
}

TEST_CASE("DeCNN's pattern: grouped stages stay local, one all-to-all a shuffle") {
  const Plan plan = make_plan(networks()[4].model, Cluster::equal(4));
  std::vector<Collective> ops;
  for (const Step& s : plan.steps) {
    if (const auto* x = std::get_if<Exchange>(&s)) {
      ops.push_back(x->op);
    }
  }
  CHECK(ops == std::vector<Collective>{Collective::broadcast, Collective::alltoall,
                                       Collective::alltoall, Collective::reduce});
}

TEST_CASE("ranks beyond what the network can use are named") {
  CHECK(make_plan(networks()[1].model, Cluster::equal(4)).idle_ranks().empty());
  const Plan plan = make_plan(networks()[4].model, Cluster::equal(6));
  CHECK(plan.idle_ranks() == std::vector<int>{4, 5});
  CHECK(make_plan(networks()[4].model, Cluster::equal(8)).idle_ranks().empty());  // half groups
}

TEST_CASE("a cluster without anybody who computes is refused") {
  CHECK_THROWS_AS(make_plan(networks()[0].model, {{0, 0}}), Error);
  CHECK_THROWS_AS(make_plan(networks()[0].model, {{1, -1}}), Error);
}

TEST_CASE("descriptions name steps and amounts") {
  const Model& model = networks()[4].model;
  const Plan plan = make_plan(model, Cluster::equal(4));
  const std::string text = describe(model, plan);
  CHECK(text.find("> alltoall") != std::string::npos);
  CHECK(text.find("g4 + residual Relu") != std::string::npos);
  const std::string json = describe_json(model, plan);
  CHECK(json.find("\"bytes_sent\"") != std::string::npos);
}
