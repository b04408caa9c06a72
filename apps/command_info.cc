// `sbcnn info`: what a model holds, or what this sbcnn is.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "apps/board.h"
#include "apps/commands.h"
#include "apps/report.h"
#include "core/model_file.h"
#include "kernels/isa.h"

namespace sbcnn::apps {
namespace {

std::string text(const Shape& s) {
  return std::to_string(s.channels) + " x " + std::to_string(s.height) + " x " +
         std::to_string(s.width);
}

std::string text(const std::vector<float>& values) {
  std::string all;
  for (const float v : values) {
    char number[32];
    std::snprintf(number, sizeof number, "%g", double(v));
    all += (all.empty() ? "" : ",") + std::string(number);
  }
  return all;
}

std::string text(const Preprocess& p) {
  const char* order = p.order == Preprocess::Order::rgb   ? "rgb"
                      : p.order == Preprocess::Order::bgr ? "bgr"
                                                          : "grey";
  return std::string(order) + (p.fit == Preprocess::Fit::crop ? ", crop" : ", stretch") +
         ", mean " + text(p.mean) + ", std " + text(p.stddev);
}

std::string layers_of(const Model& model) {
  std::map<std::string, int> kinds;
  for (const Node& node : model.nodes()) {
    ++kinds[std::string(name_of(node.layer))];
  }
  std::string all;
  for (const auto& [kind, count] : kinds) {
    all += (all.empty() ? "" : ", ") + std::to_string(count) + " " + kind;
  }
  return all;
}

std::string about(const std::string& path) {
  const Model model = load_model(path);
  char macs[64];
  std::snprintf(macs, sizeof macs, "%.1f million", double(mac_count(model)) / 1e6);
  return "model         " + path + (model.name.empty() ? "" : " (" + model.name + ")") +
         "\ninput         " + text(model.shape(model.input())) + " (C x H x W)" +
         "\noutput        " + text(model.shape(model.output())) + "\nlayers        " +
         layers_of(model) + "\nweights       " + human_bytes(weight_bytes(model)) +
         "\nmultiply-adds " + macs + " per image" + "\npreprocessing " +
         (model.preprocess ? text(*model.preprocess) : "not said") + "\nlabels        " +
         (model.labels.empty() ? "none" : std::to_string(model.labels.size())) + "\n";
}

std::string about_this_board() {
  std::string isas;
  for (const kernels::Isa isa : kernels::available_isas()) {
    isas += " " + std::string(kernels::name_of(isa));
  }
  return "sbcnn         " + version() + "\nboard         " + host_name() + ", " +
         std::to_string(default_threads(1)) + " cores\nkernels       built for" + isas +
         ", using " + std::string(kernels::name_of(kernels::best_isa())) + "\n";
}

}  // namespace

void add_info(CLI::App& app, Action& action) {
  auto model = std::make_shared<std::string>();
  CLI::App& c = *app.add_subcommand("info", "say what a model holds, or what this sbcnn is");
  c.add_option("MODEL", *model, "an ONNX or .sbcnn file");
  c.footer("Example:\n  sbcnn info net.onnx");
  c.callback([model, &action] {
    action = [model] {
      print(model->empty() ? about_this_board() : about(*model));
      return 0;
    };
  });
}

}  // namespace sbcnn::apps
