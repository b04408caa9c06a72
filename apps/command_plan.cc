// `sbcnn plan`: shows how a network would be split, without running it.
#include <CLI/CLI.hpp>
#include <memory>

#include "apps/commands.h"
#include "apps/console.h"
#include "apps/predict_memory.h"
#include "apps/ranks.h"
#include "core/describe.h"
#include "core/error.h"
#include "core/plan.h"

namespace sbcnn::apps {
namespace {

struct PlanArguments {
  std::string model;
  ClusterArguments cluster;
  std::vector<int> weights;
  bool json = false;
};

std::vector<RankHost> ranks_of(const PlanArguments& a, const SessionOptions& options) {
  if (a.weights.empty()) {
    return place_ranks(options);
  }
  if (options.ranks > 0 && std::size_t(options.ranks) != a.weights.size()) {
    throw Error(Error::Code::usage, "--weights has " + std::to_string(a.weights.size()) +
                                        " numbers for -n " + std::to_string(options.ranks));
  }
  std::vector<RankHost> ranks = place_ranks_here(int(a.weights.size()));
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    ranks[r].weight = a.weights[r];
  }
  return ranks;
}

int plan(const PlanArguments& a) {
  const SessionOptions options = a.cluster.options();
  const std::vector<RankHost> ranks = ranks_of(a, options);
  ProcessMemory process;
  const Model model = load(a.model);
  process.note_loaded();
  const Plan plan = make_plan(model, cluster_of(ranks));
  for (const int rank : plan.idle_ranks()) {
    print_line("sbcnn: warning: rank " + std::to_string(rank) +
               " has nothing to compute: the network splits over fewer ranks");
  }
  if (!supports(options.isa.value_or(kernels::best_isa()), options.precision)) {
    print_line("sbcnn: warning: this board has no " + std::string(name_of(options.precision)) +
               ": memory is that of fp32");
  }
  const auto memory = predict_memory(model, plan, ranks, options, process);
  std::string text = a.json ? describe_json(model, plan, memory) : describe(model, plan, memory);
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
  a->cluster.add_plan_options_to(c);
  c.add_option("--weights", a->weights,
               "relative speed of each rank, whole numbers; 0 computes nothing")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0, 1'000'000))
      ->excludes("--hostfile")
      ->type_name("W,...");
  c.add_flag("--json", a->json, "one JSON document instead of text");
  c.footer(
      "Memory is what `sbcnn run` with the same options has resident at most on boards like this "
      "one, with inputs of the network's size; nothing is measured for it. What earlier runs "
      "measured is taken from the cache folder.\n\n"
      "Example:\n  sbcnn plan net.onnx --weights 2,1,1");
  c.callback([a, &action] { action = [a] { return plan(*a); }; });
}

}  // namespace sbcnn::apps
