// `sbcnn verify`: the same frames over several ranks, on one, and through the reference.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <random>

#include "apps/commands.h"
#include "apps/console.h"
#include "apps/inputs.h"
#include "apps/report.h"
#include "core/error.h"

namespace sbcnn::apps {
namespace {

struct VerifyArguments {
  std::string model;
  std::vector<std::string> inputs;
  ClusterArguments cluster;
  PreprocessArguments preprocess;
  int random = 3;
  unsigned seed = 1;
  std::optional<double> tolerance;
};

constexpr double kTolerance = 1e-4;
// Halves have 11 bits. Rounding errors of many products cancel for the most part, so that what is
// left after a deep network is some tens of 2^-11 of its largest output.
constexpr double kHalfTolerance = 2e-2;

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

struct Outputs {
  std::vector<std::vector<float>> values;  // by case
  std::vector<BoardInfo> boards;
};

Outputs outputs_of(const Model& model, const SessionOptions& options,
                   const std::vector<Case>& cases, std::vector<std::string>& warnings) {
  Session session(model, options);
  tell_warnings(session, warnings);
  Outputs outputs;
  for (const Case& c : cases) {
    throw_if_interrupted();
    session.submit(c.input.view());
    while (session.pending() > std::size_t(options.in_flight)) {
      outputs.values.push_back(session.collect().output);
    }
  }
  while (session.pending() > 0) {
    outputs.values.push_back(session.collect().output);
  }
  session.close();
  tell_warnings(session, warnings);
  outputs.boards = session.boards();
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

// One case: the split network against one rank and against the reference.
struct Comparison {
  double to_one = 0, to_reference = 0;
  bool same_top1 = true;
  int same_top5 = 0, of_top5 = 0;  // classes that both have among their best five
};

Comparison compare(const std::vector<float>& got, const std::vector<float>& alone,
                   const std::vector<float>& exact) {
  Comparison c{difference(got, alone), difference(got, exact)};
  const auto a = top_k(got, 5, true), b = top_k(exact, 5, true);
  c.same_top1 = a.empty() || a.front().index == b.front().index;
  c.of_top5 = int(a.size());
  c.same_top5 = int(std::ranges::count_if(a, [&](const Guess& x) {
    return std::ranges::any_of(b, [&](const Guess& y) { return x.index == y.index; });
  }));
  return c;
}

// A table; `guesses` adds what multiplying in fp16 changed about the best classes.
void print_comparisons(const std::vector<Case>& cases, const std::vector<Comparison>& all,
                       bool guesses) {
  std::size_t width = 5;
  for (const Case& c : cases) {
    width = std::max(width, c.name.size());
  }
  const auto padded = [&](std::string name) {
    name.resize(width, ' ');
    return name;
  };
  print(padded("input") + "  against one rank  against the reference" +
        (guesses ? "      top-1   top-5" : "") + "\n");
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Comparison& c = all[i];
    char text[128];
    std::snprintf(text, sizeof text, "  %16.2e  %21.2e", c.to_one, c.to_reference);
    std::string line = padded(cases[i].name) + text;
    if (guesses) {
      std::snprintf(text, sizeof text, "  %9s  %d of %d", c.same_top1 ? "same" : "differs",
                    c.same_top5, c.of_top5);
      line += text;
    }
    print(line + "\n");
  }
}

int judge(const std::vector<Comparison>& all, double tolerance, bool guesses) {
  double worst = 0;
  std::size_t same = 0;
  for (const Comparison& c : all) {
    worst = std::max({worst, c.to_one, c.to_reference});
    same += c.same_top1 ? 1 : 0;
  }
  if (guesses) {
    print("fp16: top-1 as of the fp32 reference for " + std::to_string(same) + " of " +
          std::to_string(all.size()) + " inputs\n");
  }
  char verdict[128];
  std::snprintf(verdict, sizeof verdict, "largest relative difference %.2e, tolerance %.0e: %s\n",
                worst, tolerance, worst <= tolerance ? "good" : "too large");
  print(verdict);
  return worst <= tolerance ? 0 : 1;
}

int verify(const VerifyArguments& a) {
  catch_signals();
  const Model model = load(a.model);
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

  std::vector<std::string> warnings;
  const Outputs got = outputs_of(model, split, cases, warnings);
  const Outputs alone = outputs_of(model, one, cases, warnings);
  const Outputs exact = outputs_of(model, reference, cases, warnings);
  std::vector<Comparison> all;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    all.push_back(compare(got.values[i], alone.values[i], exact.values[i]));
  }
  const auto in_halves = [](const BoardInfo& b) { return b.precision != kernels::Precision::fp32; };
  const bool halves =
      std::ranges::any_of(got.boards, in_halves) || std::ranges::any_of(alone.boards, in_halves);
  const bool guesses = halves && model.shape(model.output()).pixels() == 1;
  print_comparisons(cases, all, guesses);
  return judge(all, a.tolerance.value_or(halves ? kHalfTolerance : kTolerance), guesses);
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
               "largest difference allowed, relative to the output's largest value (1e-4; where a "
               "board computes in fp16 2e-2)")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("T");
  a->preprocess.add_to(c);
  c.footer(
      "With --precision fp16 the table says what that costs: the differences, whether the best "
      "class "
      "is the fp32 reference's, and how many of its best five are there.\n"
      "Exit status: 0 if all differences are within the tolerance, else 1.\n\n"
      "Example:\n  sbcnn verify net.onnx photo.jpg -n 4");
  c.callback([a, &action] { action = [a] { return verify(*a); }; });
}

}  // namespace sbcnn::apps
