// The commands of `sbcnn`, one file each, and what several of them share.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "apps/session.h"
#include "core/model.h"

namespace CLI {
class App;
}

namespace sbcnn::apps {

// Set by the command that the command line names; gives the exit status.
using Action = std::function<int()>;

void add_run(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_info(CLI::App& app, Action& action);
void add_launch(CLI::App& app, Action& action);
void add_shepherd(CLI::App& app, Action& action);
void add_worker(CLI::App& app, Action& action);

// Options that say how images become inputs, and override what the model says about it.
struct PreprocessArguments {
  std::vector<float> mean, stddev;
  std::string order, fit;

  void add_to(CLI::App& command);
  bool given() const { return !(mean.empty() && stddev.empty() && order.empty() && fit.empty()); }
  // What the model says, and where it says nothing plain pixels, changed by the options.
  Preprocess apply(const Model& model) const;
};

// Options that say what ranks compute with.
struct KernelArguments {
  std::string isa, precision = "fp32";
  bool no_tune = false;

  void add_to(CLI::App& command);
  void apply_to(SessionOptions&) const;
};

// Options that say how boards talk to each other.
struct NetworkArguments {
  std::string rsh = "ssh", iface;
  bool insecure = false, encrypt = false;

  void add_to(CLI::App& command);
  Encryption encryption() const;
};

// Options that say where ranks run, and with what.
struct ClusterArguments {
  SessionOptions session;
  KernelArguments kernels;
  NetworkArguments network;
  std::string hostfile;
  double connect_timeout = 10, step_timeout = 30;  // seconds

  void add_to(CLI::App& command);
  void add_plan_options_to(CLI::App& command);  // those that a plan hangs on
  SessionOptions options() const;
};

// load_model, without what reading left behind in the allocator.
Model load(const std::string& path);

// After this SIGINT and SIGTERM no longer end the process but set `interrupted`; a second one
// ends it at once.
void catch_signals();
int caught_signal();  // 0: none
void throw_if_interrupted();

// Prints those of the session's warnings that are not in `told` yet, and adds them.
void tell_warnings(const Session&, std::vector<std::string>& told);

// Writes to standard output. Throws Error(io) if that fails (a full disk).
void print(const std::string& text);

}  // namespace sbcnn::apps
