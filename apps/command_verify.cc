// `sbcnn verify`: the same frames over several ranks, on one, and through the reference.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "apps/commands.h"
#include "apps/console.h"
#include "apps/inputs.h"
#include "core/error.h"
#include "core/model_file.h"

namespace sbcnn::apps {
namespace {

struct VerifyArguments {
  std::string model;
  std::vector<std::string> inputs;
  ClusterArguments cluster;
  PreprocessArguments preprocess;
  int random = 3;
  unsigned seed = 1;
  double tolerance = 1e-4;
};

struct Case {
  std::string name;
  Tensor input;
};

Tensor random_input(const Shape& shape, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  Tensor tensor(shape);
  for (float& v : tensor.view().flat()) {
    v = normal(engine);
  }
  return tensor;
}

std::vector<Case> cases_of(const VerifyArguments& a, const Model& model) {
  const Shape shape = model.shape(model.input());
  std::vector<Case> cases;
  std::mt19937 engine(a.seed);
  for (int i = 0; i < a.random; ++i) {
    cases.push_back({"random " + std::to_string(i), random_input(shape, engine)});
  }
  Inputs inputs(a.inputs, shape, a.preprocess.apply(model));
  while (auto input = inputs.next()) {
    cases.push_back({std::move(input->name), std::move(input->value)});
  }
  for (const std::string& failure : inputs.failures()) {
    print_line("sbcnn: " + failure);
  }
  if (cases.empty()) {
    throw Error(Error::Code::usage, "nothing to compare: give inputs, or --random 1 or more");
  }
  return cases;
}

std::vector<std::vector<float>> outputs_of(const Model& model, const SessionOptions& options,
                                           const std::vector<Case>& cases) {
  Session session(model, options);
  for (const std::string& warning : session.warnings()) {
    print_line("sbcnn: warning: " + warning);
  }
  std::vector<std::vector<float>> outputs;
  for (const Case& c : cases) {
    throw_if_interrupted();
    session.submit(c.input.view());
    while (session.pending() > std::size_t(options.in_flight)) {
      outputs.push_back(session.collect().output);
    }
  }
  while (session.pending() > 0) {
    outputs.push_back(session.collect().output);
  }
  session.close();
  return outputs;
}

// The largest difference, relative to the largest value of `b`.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  double apart = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) {
      largest = std::max(largest, std::isfinite(b[i]) ? std::abs(double(b[i])) : 0);
      continue;
    }
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      return std::numeric_limits<double>::infinity();
    }
    largest = std::max(largest, std::abs(double(b[i])));
    apart = std::max(apart, std::abs(double(a[i]) - double(b[i])));
  }
  return apart == 0 ? 0 : apart / std::max(largest, double(std::numeric_limits<float>::min()));
}

int verify(const VerifyArguments& a) {
  catch_signals();
  const Model model = load_model(a.model);
  const std::vector<Case> cases = cases_of(a, model);
  SessionOptions split = a.cluster.options();
  if (split.ranks == 0 && split.hostfile.empty()) {
    throw Error(Error::Code::usage, "verify wants -n N or --hostfile FILE");
  }
  SessionOptions one = split;
  one.ranks = 1;
  one.hostfile.clear();
  SessionOptions reference = one;
  reference.reference_kernels = true;

  const auto got = outputs_of(model, split, cases);
  const auto alone = outputs_of(model, one, cases);
  const auto exact = outputs_of(model, reference, cases);
  std::size_t width = 5;
  for (const Case& c : cases) {
    width = std::max(width, c.name.size());
  }
  std::string head = "input";
  head.resize(width, ' ');
  print(head + "  against one rank  against the reference\n");
  double worst = 0;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const double to_one = difference(got[i], alone[i]);
    const double to_reference = difference(got[i], exact[i]);
    worst = std::max({worst, to_one, to_reference});
    std::string name = cases[i].name;
    name.resize(width, ' ');
    char numbers[64];
    std::snprintf(numbers, sizeof numbers, "  %16.2e  %21.2e\n", to_one, to_reference);
    print(name + numbers);
  }
  char verdict[128];
  std::snprintf(verdict, sizeof verdict, "largest relative difference %.2e, tolerance %.0e: %s\n",
                worst, a.tolerance, worst <= a.tolerance ? "good" : "too large");
  print(verdict);
  return worst <= a.tolerance ? 0 : 1;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto a = std::make_shared<VerifyArguments>();
  CLI::App& c =
      *app.add_subcommand("verify", "compare a split network with one rank and the reference");
  c.add_option("MODEL", a->model, "an ONNX or .sbcnn file")->required();
  c.add_option("INPUT", a->inputs, "inputs as of `sbcnn run`, besides the random ones");
  a->cluster.add_to(c);
  c.add_option("--random", a->random, "random inputs to compare")
      ->check(CLI::Range(0, 10'000))
      ->capture_default_str()
      ->type_name("COUNT");
  c.add_option("--seed", a->seed, "of the random inputs")->capture_default_str()->type_name("SEED");
  c.add_option("--tolerance", a->tolerance,
               "largest difference allowed, relative to the output's largest value")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->type_name("T");
  a->preprocess.add_to(c);
  c.footer(
      "Exit status: 0 if all differences are within the tolerance, else 1.\n\n"
      "Example:\n  sbcnn verify net.onnx photo.jpg -n 4");
  c.callback([a, &action] { action = [a] { return verify(*a); }; });
}

}  // namespace sbcnn::apps
