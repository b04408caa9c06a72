// `sbcnn convert`: writes a model in our own format.
#include <CLI/CLI.hpp>
#include <memory>

#include "apps/commands.h"
#include "apps/inputs.h"
#include "apps/report.h"
#include "core/error.h"
#include "core/model_file.h"

namespace sbcnn::apps {
namespace {

struct ConvertArguments {
  std::string model, output, labels;
  PreprocessArguments preprocess;
};

int convert(const ConvertArguments& a) {
  Model model = load_model(a.model);
  std::error_code unknown;
  if (std::filesystem::equivalent(a.model, a.output, unknown)) {
    throw Error(Error::Code::usage, a.output + ": would overwrite the model that is being read");
  }
  if (a.preprocess.given()) {
    model.preprocess = a.preprocess.apply(model);
  }
  if (!a.labels.empty()) {
    model.labels = read_labels(a.labels);
  }
  write_model(model, a.output);
  print(a.output + ": " + std::to_string(model.nodes().size()) + " layers, " +
        human_bytes(weight_bytes(model)) + " of weights\n");
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  auto a = std::make_shared<ConvertArguments>();
  CLI::App& c =
      *app.add_subcommand("convert", "write a model as .sbcnn, which boards map and stream");
  c.add_option("MODEL", a->model, "an ONNX or .sbcnn file")->required();
  c.add_option("OUT", a->output, "the .sbcnn file to write")->required();
  c.add_option("--labels", a->labels, "names of the classes, one a line")->type_name("FILE");
  a->preprocess.add_to(c);
  c.footer(
      "Example:\n"
      "  sbcnn convert net.onnx net.sbcnn --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375 "
      "\\\n"
      "      --fit crop --labels names.txt");
  c.callback([a, &action] { action = [a] { return convert(*a); }; });
}

}  // namespace sbcnn::apps
