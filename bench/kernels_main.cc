// sbcnn-bench: times parts of sbcnn by themselves.
//
//   sbcnn-bench kernels    every layer of a ResNet, in network order: each has weights of its own,
//                          so caches are as cold as they are in use
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "bench/resnet.h"
#include "kernels/fast.h"
#include "kernels/reference.h"

namespace sbcnn::bench {
namespace {

struct Options {
  std::string network = "resnet34", isa;
  int size = 224, groups = 1, threads = 1, rounds = 11;
  double width = 1;
  bool cpu_time = false, json = false;
};

// Seconds on the clock, or those that the calling thread ran: on a busy machine the latter repeat
// better, but they miss what other threads do.
double now(bool cpu_time) {
  std::timespec t{};
  ::clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

struct Timing {
  std::string layer;
  int count = 0;
  double flops = 0;
  std::vector<double> seconds;  // by round, all layers of this name together

  double median() const {
    std::vector<double> sorted = seconds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  double least() const { return *std::ranges::min_element(seconds); }
};

Weights random_weights(const Step& step, std::mt19937& engine) {
  const WeightShape shape = weight_shape(step.spec.layer, step.spec.inputs[0]);
  Weights weights;
  // He's initialisation keeps the values of a deep chain within bounds.
  const double inputs = double(shape.weight) / double(step.spec.output.channels);
  std::normal_distribution<float> normal(0, float(std::sqrt(1 / std::max(1.0, inputs))));
  for (std::size_t i = 0; i < shape.weight; ++i) {
    weights.weight.push_back(normal(engine));
  }
  weights.bias.assign(shape.bias, 0.1f);
  return weights;
}

class Runner {
 public:
  Runner(const Network& network, KernelFactory& factory) : network_(network) {
    std::mt19937 engine(1);
    for (std::size_t i = 0; i < network.values.size(); ++i) {
      values_.emplace_back(network.values[i], network.borders[i]);
    }
    const View<float> image = values_[0].view();
    for (int y = 0; y < image.shape().height; ++y) {
      std::generate_n(image.at(y, 0), image.shape().width * image.shape().channels,
                      [&] { return float(engine()) * 0x1p-32f; });
    }
    for (const Step& step : network.steps) {
      kernels_.push_back(factory.make(step.spec, random_weights(step, engine)));
    }
  }

  // Runs the network once; seconds by step.
  std::vector<double> run(bool cpu_time) {
    std::vector<double> seconds;
    double before = now(cpu_time);
    for (std::size_t i = 0; i < kernels_.size(); ++i) {
      std::vector<View<const float>> inputs;
      for (const int value : network_.steps[i].inputs) {
        inputs.push_back(values_[std::size_t(value)].view());
      }
      kernels_[i]->run(inputs, values_[std::size_t(network_.steps[i].output)].view());
      const double after = now(cpu_time);
      seconds.push_back(after - before);
      before = after;
    }
    return seconds;
  }

 private:
  const Network& network_;
  std::vector<Tensor> values_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
};

std::vector<Timing> time_layers(const Network& network, KernelFactory& factory,
                                const Options& options) {
  Runner runner(network, factory);
  std::vector<Timing> timings;
  std::map<std::string, std::size_t> index;
  std::vector<std::size_t> timing_of;
  Timing convolutions{"all convolutions", 0, 0, {}}, all{"all", 0, 0, {}};
  for (const Step& step : network.steps) {
    const double flops = 2 * double(mac_count(step.spec.layer, step.spec.inputs));
    const auto [at, added] = index.try_emplace(describe(step.spec), timings.size());
    if (added) {
      timings.push_back({at->first, 0, 0, {}});
    }
    timing_of.push_back(at->second);
    const bool conv = std::holds_alternative<Conv>(step.spec.layer);
    for (Timing* t : {&timings[at->second], conv ? &convolutions : nullptr, &all}) {
      if (t != nullptr) {
        ++t->count;
        t->flops += flops;
      }
    }
  }
  runner.run(options.cpu_time);
  for (int round = 0; round < options.rounds; ++round) {
    const std::vector<double> seconds = runner.run(options.cpu_time);
    for (Timing& t : timings) {
      t.seconds.push_back(0);
    }
    double conv_sum = 0, sum = 0;
    for (std::size_t i = 0; i < seconds.size(); ++i) {
      timings[timing_of[i]].seconds.back() += seconds[i];
      sum += seconds[i];
      if (std::holds_alternative<Conv>(network.steps[i].spec.layer)) {
        conv_sum += seconds[i];
      }
    }
    convolutions.seconds.push_back(conv_sum);
    all.seconds.push_back(sum);
  }
  timings.push_back(convolutions);
  timings.push_back(all);
  return timings;
}

void print_table(const std::vector<Timing>& timings) {
  std::printf("%-36s %5s %10s %10s %9s\n", "layer", "count", "median ms", "min ms", "GFLOP/s");
  for (const Timing& t : timings) {
    std::printf("%-36s %5d %10.3f %10.3f %9.1f\n", t.layer.c_str(), t.count, t.median() * 1e3,
                t.least() * 1e3, t.flops / t.median() * 1e-9);
  }
}

void print_json(const Options& options, const std::vector<Timing>& timings) {
  nlohmann::json out{{"network", options.network},       {"size", options.size},
                     {"width", options.width},           {"groups", options.groups},
                     {"threads", options.threads},       {"isa", options.isa},
                     {"layers", nlohmann::json::array()}};
  for (const Timing& t : timings) {
    out["layers"].push_back({{"layer", t.layer},
                             {"count", t.count},
                             {"median_ms", t.median() * 1e3},
                             {"min_ms", t.least() * 1e3},
                             {"gflops", t.flops / t.median() * 1e-9}});
  }
  std::cout << out.dump() << "\n";
}

int run_kernels(Options options) {
  const Network network = make_resnet(options.network, options.size, options.width, options.groups);
  std::unique_ptr<KernelFactory> factory;
  if (options.isa == "reference") {
    factory = kernels::make_reference_kernels();
  } else {
    kernels::KernelOptions kernel_options{options.threads, kernels::best_isa()};
    for (const kernels::Isa isa : kernels::available_isas()) {
      if (kernels::name_of(isa) == options.isa) {
        kernel_options.isa = isa;
      }
    }
    options.isa = kernels::name_of(kernel_options.isa);
    factory = kernels::make_kernels(kernel_options);
  }
  const std::vector<Timing> timings = time_layers(network, *factory, options);
  options.json ? print_json(options, timings) : print_table(timings);
  return 0;
}

}  // namespace
}  // namespace sbcnn::bench

int main(int argc, char** argv) {
  CLI::App app("Times parts of sbcnn by themselves.");
  app.require_subcommand(1);
  sbcnn::bench::Options options;
  CLI::App* kernels = app.add_subcommand("kernels", "layers of a ResNet, in network order");
  std::vector<std::string> isas{"reference"};
  for (const sbcnn::kernels::Isa isa : sbcnn::kernels::available_isas()) {
    isas.emplace_back(sbcnn::kernels::name_of(isa));
  }
  kernels->add_option("--network", options.network)
      ->check(CLI::IsMember({"resnet34", "resnet50"}))
      ->capture_default_str();
  kernels->add_option("--size", options.size, "edge of the image")
      ->check(CLI::Range(32, 2048))
      ->capture_default_str();
  kernels->add_option("--width", options.width, "factor on all channels")
      ->check(CLI::Range(0.125, 8.0))
      ->capture_default_str();
  kernels->add_option("--groups", options.groups)->check(CLI::Range(1, 64))->capture_default_str();
  kernels->add_option("--threads", options.threads)
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  kernels->add_option("--isa", options.isa, "default: the best of this machine")
      ->check(CLI::IsMember(isas));
  kernels->add_option("--rounds", options.rounds)
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  kernels->add_flag("--cpu-time", options.cpu_time,
                    "time that the calling thread ran, for one thread on a busy machine");
  kernels->add_flag("--json", options.json);
  try {
    CLI11_PARSE(app, argc, argv);
    return sbcnn::bench::run_kernels(options);
  } catch (const std::exception& e) {
    std::cerr << "sbcnn-bench: " << e.what() << "\n";
    return 1;
  }
}
