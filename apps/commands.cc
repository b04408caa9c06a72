#include "apps/commands.h"

#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "apps/board.h"
#include "apps/compute.h"
#include "apps/console.h"
#include "core/error.h"
#include "core/model_file.h"

namespace sbcnn::apps {
namespace {

std::atomic<int> g_signal{0};  // a signal handler has nothing else to write to
static_assert(std::atomic<int>::is_always_lock_free);

std::chrono::milliseconds to_milliseconds(double seconds) {
  return std::chrono::milliseconds(std::llround(seconds * 1000));
}

}  // namespace

void PreprocessArguments::add_to(CLI::App& command) {
  command
      .add_option("--mean", mean, "subtracted from pixels of 0..255: one number, or one a channel")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("M,...");
  command.add_option("--std", stddev, "then divided by: one number, or one a channel")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("S,...");
  command.add_option("--order", order, "the network's channels: rgb, bgr, grey")
      ->check(CLI::IsMember({"rgb", "bgr", "grey"}))
      ->type_name("ORDER");
  command.add_option("--fit", fit, "how images fit the network: stretch, or crop the centre")
      ->check(CLI::IsMember({"stretch", "crop"}))
      ->type_name("FIT");
}

Preprocess PreprocessArguments::apply(const Model& model) const {
  Preprocess how;
  const int channels = model.shape(model.input()).channels;
  how.order = channels == 1 ? Preprocess::Order::grey : Preprocess::Order::rgb;
  if (model.preprocess) {
    how = *model.preprocess;
  }
  const auto spread = [&](const std::vector<float>& values, std::vector<float>& to,
                          float fallback) {
    if (!values.empty()) {
      to = values;
    }
    if (to.size() < 2 && channels > 0) {
      to.assign(std::size_t(channels), to.empty() ? fallback : to.front());
    }
    if (to.size() != std::size_t(channels)) {
      throw Error(Error::Code::usage, "--mean and --std want one number, or " +
                                          std::to_string(channels) + ": one a channel");
    }
  };
  spread(mean, how.mean, 0);
  spread(stddev, how.stddev, 1);
  for (const float s : how.stddev) {
    if (!std::isfinite(s) || s == 0) {
      throw Error(Error::Code::usage, "--std wants numbers other than 0");
    }
  }
  if (!order.empty()) {
    how.order = order == "rgb"   ? Preprocess::Order::rgb
                : order == "bgr" ? Preprocess::Order::bgr
                                 : Preprocess::Order::grey;
  }
  if (!fit.empty()) {
    how.fit = fit == "crop" ? Preprocess::Fit::crop : Preprocess::Fit::stretch;
  }
  return how;
}

void KernelArguments::add_to(CLI::App& command) {
  std::vector<std::string> isas;
  for (const kernels::Isa i : kernels::all_isas()) {
    isas.emplace_back(name_of(i));
  }
  command
      .add_option("--isa", isa,
                  "instruction set of the kernels, which every board has to have: sse2, avx2, "
                  "avx512, neon; else each board takes its best")
      ->check(CLI::IsMember(isas))
      ->type_name("NAME");
  command
      .add_option("--precision", precision,
                  "what layers multiply in: fp32, or fp16 on boards that have it")
      ->check(CLI::IsMember({"fp32", "fp16"}))
      ->capture_default_str()
      ->type_name("P");
  command.add_flag("--no-tune", no_tune,
                   "choose algorithms by rules; else each board measures which is fastest for each "
                   "layer, once, and keeps that in its cache folder");
}

void KernelArguments::apply_to(SessionOptions& o) const {
  o.isa = kernels::isa_named(isa);
  o.precision = kernels::precision_named(precision).value_or(kernels::Precision::fp32);
  o.tune = !no_tune;
}

void ClusterArguments::add_plan_options_to(CLI::App& command) {
  command
      .add_option("-n,--ranks", session.ranks,
                  "ranks that compute; without a hostfile all run here")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command
      .add_option(
          "--hostfile", hostfile,
          "boards: one a line, 'host [slots=n] [port=p] [threads=t] [weight=w] [binary=path]'")
      ->type_name("FILE");
  command
      .add_option(
          "--threads", session.threads,
          "compute threads of each rank; 0: the board's physical cores, shared by its ranks")
      ->check(CLI::Range(0, 1024))
      ->type_name("T");
  command.add_option("--in-flight", session.in_flight, "frames under way at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->type_name("K");
  kernels.add_to(command);
}

void NetworkArguments::add_to(CLI::App& command) {
  command.add_option("--rsh", rsh, "command that reaches other boards instead of ssh")
      ->type_name("CMD");
  command
      .add_option("--iface", iface,
                  "which address each board tells the others: an interface's (eth0), or the one "
                  "within a network (192.168.0.0/24); else the one on the route to rank 0")
      ->type_name("NAME|CIDR");
  CLI::Option* const plain = command.add_flag(
      "--insecure", insecure,
      "do not encrypt what travels between boards, and believe whoever reaches their ports");
  command
      .add_flag("--encrypt", encrypt,
                "encrypt between ranks on this board, too; else only jobs with other boards are")
      ->excludes(plain);
}

Encryption NetworkArguments::encryption() const {
  return insecure ? Encryption::never : encrypt ? Encryption::always : Encryption::automatic;
}

void ClusterArguments::add_to(CLI::App& command) {
  add_plan_options_to(command);
  network.add_to(command);
  command.add_option("--connect-timeout", connect_timeout, "seconds for all boards to join")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str()
      ->type_name("S");
  command.add_option("--step-timeout", step_timeout, "seconds that one exchange may take")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str()
      ->type_name("S");
}

SessionOptions ClusterArguments::options() const {
  SessionOptions o = session;
  kernels.apply_to(o);
  o.hostfile = hostfile;
  o.connect_timeout = to_milliseconds(connect_timeout);
  o.step_timeout = to_milliseconds(step_timeout);
  o.rsh = network.rsh;
  o.iface = network.iface;
  o.encryption = network.encryption();
  o.tell = [](const std::string& line) { print_line("sbcnn: warning: " + line); };
  o.interrupted = [] { return caught_signal() != 0; };
  return o;
}

Model load(const std::string& path) {
  Model model = load_model(path);
  give_memory_back();
  return model;
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { g_signal = signal; };
  action.sa_flags = int(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

int caught_signal() {
  return g_signal;
}

void throw_if_interrupted() {
  if (caught_signal() != 0) {
    throw Error(Error::Code::usage, "interrupted");
  }
}

void tell_warnings(const Session& session, std::vector<std::string>& told) {
  for (const std::string& warning : session.warnings()) {
    if (std::ranges::find(told, warning) == told.end()) {
      print_line("sbcnn: warning: " + warning);
      told.push_back(warning);
    }
  }
}

void print(const std::string& text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(Error::Code::io,
                std::string("cannot write to standard output: ") + std::strerror(errno));
  }
}

}  // namespace sbcnn::apps
