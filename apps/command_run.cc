// `sbcnn run`: feeds inputs through the network and reports.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>
#include <memory>
#include <optional>

#include "apps/commands.h"
#include "apps/console.h"
#include "apps/idx.h"
#include "apps/inputs.h"
#include "apps/npy.h"
#include "apps/report.h"
#include "core/error.h"

namespace sbcnn::apps {
namespace {

constexpr std::size_t kFewInputs = 50;  // whose guesses are shown unasked
constexpr int kFewGuesses = 5;

struct RunArguments {
  std::string model;
  std::vector<std::string> inputs;
  ClusterArguments cluster;
  PreprocessArguments preprocess;
  std::optional<int> top;
  std::string labels, expect, output;
  bool json = false;
};

std::vector<int> read_expected(const std::string& path, std::size_t inputs, const Shape& output) {
  const std::vector<int> expected = read_idx_labels(path);
  if (expected.size() != inputs) {
    throw Error(Error::Code::usage, path + ": " + std::to_string(expected.size()) + " labels for " +
                                        std::to_string(inputs) + " inputs");
  }
  const int most = expected.empty() ? 0 : *std::max_element(expected.begin(), expected.end());
  if (output.pixels() != 1 || most >= output.channels) {
    throw Error(Error::Code::usage, path + ": label " + std::to_string(most) +
                                        ", but the network tells " +
                                        std::to_string(output.channels) + " classes");
  }
  return expected;
}

// Feeds the session as fast as it takes frames and hands out results in the same order.
class Stream {
 public:
  Stream(Session& session, Inputs& inputs, RunReport& report, NpyWriter* output, int in_flight)
      : session_(session),
        inputs_(inputs),
        report_(report),
        output_(output),
        in_flight_(std::size_t(in_flight)),
        progress_(inputs.count()) {}

  double run() {
    const auto begin = std::chrono::steady_clock::now();
    while (auto input = inputs_.next()) {
      tell_failures();
      throw_if_interrupted();
      session_.submit(std::as_const(input->value).view());
      inputs_.reuse(std::move(input->value));
      names_.push_back({std::move(input->name), input->index});
      while (session_.pending() > in_flight_) {
        collect();
      }
    }
    tell_failures();
    while (session_.pending() > 0) {
      collect();
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  struct Name {
    std::string name;
    std::size_t index;
  };

  void collect() {
    const Result result = session_.collect();
    throw_if_interrupted();
    const Name of = std::move(names_.front());
    names_.pop_front();
    if (output_ != nullptr) {
      output_->add(result.output);
    }
    const std::string lines =
        report_.add(of.name, of.index, session_.output_shape(), result.output, result.latency);
    if (!lines.empty()) {
      progress_.hide();
      print(lines + "\n");
    }
    progress_.update(report_.frames() + inputs_.failures().size());
  }

  void tell_failures() {
    for (; told_ < inputs_.failures().size(); ++told_) {
      print_line("sbcnn: " + inputs_.failures()[told_]);
    }
  }

  Session& session_;
  Inputs& inputs_;
  RunReport& report_;
  NpyWriter* output_;
  std::size_t in_flight_;
  Progress progress_;
  std::deque<Name> names_;  // of frames under way
  std::size_t told_ = 0;
};

ReportOptions report_options(const RunArguments& a, const Model& model, std::size_t inputs) {
  ReportOptions o;
  o.top = a.top ? *a.top : a.json || inputs <= kFewInputs ? kFewGuesses : 0;
  o.json = a.json;
  o.probabilities = ends_in_softmax(model);
  o.labels = a.labels.empty() ? model.labels : read_labels(a.labels);
  if (!a.expect.empty()) {
    o.expected = read_expected(a.expect, inputs, model.shape(model.output()));
  }
  return o;
}

int run(const RunArguments& a) {
  catch_signals();
  const SessionOptions options = a.cluster.options();
  Model model = load(a.model);
  Inputs inputs(a.inputs, model.shape(model.input()), a.preprocess.apply(model));
  if (inputs.has_images() && !model.preprocess && !a.preprocess.given()) {
    print_line("sbcnn: note: " + a.model +
               " does not say how images become inputs: pixels 0..255 are fed as they are "
               "(see --mean, --std, --order, --fit)");
  }
  RunReport report(report_options(a, model, inputs.count()));
  std::unique_ptr<NpyWriter> output;
  if (!a.output.empty()) {
    output = std::make_unique<NpyWriter>(a.output, model.shape(model.output()));
  }
  Session session(std::move(model), options);  // which drops the weights it has handed out
  RunFacts facts{a.model, {}, session.bytes_per_frame(), 0, {}, {}};
  tell_warnings(session, facts.warnings);
  facts.seconds = Stream(session, inputs, report, output.get(), options.in_flight).run();
  session.close();
  if (output) {
    output->close();
  }
  tell_warnings(session, facts.warnings);  // of boards at their end
  facts.boards = session.boards();
  facts.failures = inputs.failures();
  print(report.finish(facts));
  if (report.frames() == 0 && !facts.failures.empty()) {
    throw Error(Error::Code::format,
                "none of the " + std::to_string(facts.failures.size()) + " files could be read");
  }
  return facts.failures.empty() ? 0 : 1;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto a = std::make_shared<RunArguments>();
  CLI::App& c = *app.add_subcommand("run", "run a network on images, over one board or several");
  c.add_option("MODEL", a->model, "an ONNX or .sbcnn file")->required();
  c.add_option(
       "INPUT", a->inputs,
       "image files (JPEG, PNG, PPM, PGM), folders of them, IDX files (.gz too), .npy files "
       "(N x C x H x W float32, fed as they are)")
      ->required();
  a->cluster.add_to(c);
  c.add_option("--top", a->top, "guesses shown for each input (5; for more than 50 inputs 0)")
      ->check(CLI::Range(0, 1000))
      ->type_name("K");
  c.add_option("--labels", a->labels, "names of the classes, one a line")->type_name("FILE");
  c.add_option("--expect", a->expect, "right classes, an IDX file of labels: shows the accuracy")
      ->type_name("FILE");
  c.add_option("--output", a->output, "write the network's outputs there, N x C float32")
      ->type_name("Y.npy");
  c.add_flag("--json", a->json, "one JSON document instead of text");
  a->preprocess.add_to(c);
  c.footer(
      "Examples:\n"
      "  sbcnn run net.onnx photos/ -n 2 --labels names.txt\n"
      "  sbcnn run net.onnx t10k-images-idx3-ubyte.gz --expect t10k-labels-idx1-ubyte.gz \\\n"
      "      --hostfile boards.txt");
  c.callback([a, &action] { action = [a] { return run(*a); }; });
}

}  // namespace sbcnn::apps
