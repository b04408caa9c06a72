// `sbcnn plan`: shows how a network would be split, without running it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "apps/commands.h"
#include "apps/console.h"
#include "apps/hostfile.h"
#include "core/describe.h"
#include "core/error.h"
#include "core/model_file.h"
#include "core/plan.h"

namespace sbcnn::apps {
namespace {

struct PlanArguments {
  std::string model, hostfile;
  int ranks = 0;
  std::vector<int> weights;
  bool json = false;
};

Cluster cluster_of(const PlanArguments& a) {
  if (!a.weights.empty()) {
    if (a.ranks > 0 && std::size_t(a.ranks) != a.weights.size()) {
      throw Error(Error::Code::usage, "--weights has " + std::to_string(a.weights.size()) +
                                          " numbers for -n " + std::to_string(a.ranks));
    }
    return {a.weights};
  }
  if (a.hostfile.empty()) {
    return Cluster::equal(std::max(1, a.ranks));
  }
  Cluster cluster;
  const auto ranks = a.ranks > 0 ? std::optional(a.ranks) : std::nullopt;
  for (const RankHost& r : place_ranks(read_hostfile(a.hostfile), ranks, a.hostfile)) {
    cluster.weights.push_back(r.weight);
  }
  return cluster;
}

int plan(const PlanArguments& a) {
  const Model model = load_model(a.model);
  const Plan plan = make_plan(model, cluster_of(a));
  for (const int rank : plan.idle_ranks()) {
    print_line("sbcnn: warning: rank " + std::to_string(rank) +
               " has nothing to compute: the network splits over fewer ranks");
  }
  std::string text = a.json ? describe_json(model, plan) : describe(model, plan);
  if (!text.ends_with('\n')) {
    text += '\n';
  }
  print(text);
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto a = std::make_shared<PlanArguments>();
  CLI::App& c = *app.add_subcommand("plan", "show who would compute and send what");
  c.add_option("MODEL", a->model, "an ONNX or .sbcnn file")->required();
  c.add_option("-n,--ranks", a->ranks, "ranks that compute")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  auto* weights = c.add_option("--weights", a->weights,
                               "relative speed of each rank, whole numbers; 0 computes nothing")
                      ->delimiter(',')
                      ->allow_extra_args(false)
                      ->check(CLI::Range(0, 1'000'000))
                      ->type_name("W,...");
  c.add_option("--hostfile", a->hostfile, "take ranks and weights from this hostfile")
      ->excludes(weights)
      ->type_name("FILE");
  c.add_flag("--json", a->json, "one JSON document instead of text");
  c.footer("Example:\n  sbcnn plan net.onnx --weights 2,1,1");
  c.callback([a, &action] { action = [a] { return plan(*a); }; });
}

}  // namespace sbcnn::apps
