// `sbcnn info`: what a model holds, or what this sbcnn is.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "apps/board.h"
#include "apps/commands.h"
#include "apps/compute.h"
#include "apps/processor.h"
#include "apps/report.h"
#include "apps/tuning_cache.h"
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

std::string plural(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string text(const Processor& p) {
  std::string all = p.name + ", " + plural(std::size_t(p.cores), "core") + ", " +
                    plural(std::size_t(p.threads), "hardware thread");
  if (p.quota > 0) {
    all += ", of which control groups grant " + std::to_string(p.quota);
  }
  return all + "; by default " + plural(std::size_t(p.usable_cores()), "compute thread");
}

std::string isas_text() {
  using namespace kernels;
  return "built for " + names_of(built_isas()) + "; here " + names_of(available_isas()) +
         "; uses " + std::string(name_of(best_isa()));
}

std::string precisions_text() {
  using namespace kernels;
  std::string halves;
  for (const Isa isa : available_isas()) {
    if (supports(isa, Precision::fp16)) {
      halves += (halves.empty() ? "" : ", ") + std::string(name_of(isa));
    }
  }
  return "fp32; fp16 " + (halves.empty() ? "not on this board" : "with " + halves);
}

std::string cache_text() {
  const std::filesystem::path folder = default_cache_folder();
  if (folder.empty()) {
    return "nowhere: neither XDG_CACHE_HOME nor HOME names a folder";
  }
  const TuningCount count = count_tunings(folder);
  return folder.string() + ": " + plural(count.choices, "choice") + " in " +
         plural(count.files, "file");
}

std::string about_this_board() {
  return "sbcnn         " + version() + "\nboard         " + host_name() + "\nprocessor     " +
         text(this_processor()) + "\nkernels       " + isas_text() + "\nprecision     " +
         precisions_text() + "\ntuning cache  " + cache_text() + "\n";
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
