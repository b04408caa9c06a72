#include "bench/kernels_command.h"

#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "bench/compare.h"
#include "bench/networks.h"
#include "bench/report.h"
#include "kernels/flush_to_zero.h"
#include "kernels/isa.h"

namespace sbcnn::bench {
namespace {

struct Options {
  std::vector<std::string> networks{"*"};
  SideOptions side{1, std::string(kernels::name_of(kernels::best_isa()))};
  CompareOptions compare;
  std::string json;
  bool peers = true, list = false;
};

void write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << text).flush()) {
    throw Error(Error::Code::io, "cannot write " + path);
  }
}

// As the board or its processor calls itself.
std::string machine_name() {
  std::string line;
  if (std::getline(std::ifstream("/proc/device-tree/model"), line, '\0')) {
    return line;
  }
  std::ifstream file("/proc/cpuinfo");
  while (std::getline(file, line)) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown machine";
}

void run(const Options& options) {
  if (options.list) {
    for (const std::string& name : network_names()) {
      std::cout << name << "\n";
    }
    return;
  }
  if (options.compare.time_by == TimeBy::thread && options.side.threads > 1) {
    throw Error(Error::Code::usage, "--thread-time would miss what the other threads do");
  }
  const std::vector<Network> networks = networks_named(options.networks);
  // For all sides alike; threads that they start take it over.
  const kernels::FlushToZero flush;
  Report report;
  report.machine = machine_name();
  report.isa = options.side.isa;
  report.threads = options.side.threads;
  report.rounds = options.compare.rounds;
  report.time_by = options.compare.time_by;
  report.peak = measure_peak(report.isa, report.threads);
  const std::unique_ptr<Side> ours = make_ours(options.side);
  const Sides peers = options.peers ? make_peers(options.side, report.peers_missing) : Sides();
  for (const Network& network : networks) {
    report.networks.push_back(compare(network, *ours, peers, options.compare));
    std::cout << table(report.networks.back()) << std::flush;
  }
  std::cout << summary(report);
  if (!options.json.empty()) {
    write(options.json, json(report));
  }
}

}  // namespace

void add_kernels_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("kernels", "convolutions of whole networks, against other libraries");
  std::vector<std::string> isas, algorithms = make_ours(options->side)->algorithms();
  for (const kernels::Isa isa : kernels::available_isas()) {
    isas.emplace_back(kernels::name_of(isa));
  }
  command->add_option("--net", options->networks, "names or wildcards ('resnet34*'); default: all")
      ->delimiter(',');
  command->add_flag("--list", options->list, "only name the networks");
  command->add_option("--threads", options->side.threads)
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--isa", options->side.isa, "the most that ours and the others may use")
      ->check(CLI::IsMember(isas))
      ->capture_default_str();
  command->add_option("--algorithm", options->compare.our_algorithm, "ours, wherever it applies")
      ->check(CLI::IsMember(algorithms));
  command->add_option("--rounds", options->compare.rounds)
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_flag("!--no-peers", options->peers, "ours alone");
  command->add_flag("!--no-check", options->compare.check, "do not compare with the reference");
  command->add_flag_callback(
      "--thread-time", [options] { options->compare.time_by = TimeBy::thread; },
      "time that the calling thread ran, for one thread on a busy machine");
  command->add_option("--json", options->json, "also write a report for programs");
  command->callback([options] { run(*options); });
}

}  // namespace sbcnn::bench
