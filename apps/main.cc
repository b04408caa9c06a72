// The `sbcnn` command: parses the command line, runs one command, prints what went wrong.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>

#include "apps/board.h"
#include "apps/commands.h"
#include "apps/console.h"
#include "core/error.h"

namespace {

constexpr int kFailure = 1, kUsage = 2, kSignalled = 128;

int fail(int status, const std::string& what) {
  sbcnn::apps::print_line("sbcnn: " + what);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace sbcnn;
  apps::return_memory_early();
  CLI::App app{"Runs one convolutional network over several boards.", "sbcnn"};
  app.footer(
      "Examples:\n"
      "  sbcnn run net.onnx photo.jpg                        on this machine\n"
      "  sbcnn run net.onnx photos/ --hostfile boards.txt    over the boards of a hostfile\n"
      "  sbcnn plan net.onnx -n 4                            who would compute and send what\n\n"
      "'sbcnn COMMAND --help' explains a command.");
  app.set_version_flag("--version", "sbcnn " + apps::version());
  app.require_subcommand(1);
  apps::Action action;
  apps::add_run(app, action);
  apps::add_plan(app, action);
  apps::add_verify(app, action);
  apps::add_convert(app, action);
  apps::add_info(app, action);
  apps::add_launch(app, action);
  apps::add_shepherd(app, action);
  apps::add_worker(app, action);
  try {
    app.parse(argc, argv);
    return action();
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {
      return app.exit(e);  // --help, --version
    }
    const auto commands = app.get_subcommands();
    const std::string name = commands.empty() ? "" : " " + commands.front()->get_name();
    return fail(kUsage, std::string(e.what()) + " (see sbcnn" + name + " --help)");
  } catch (const Error& e) {
    if (apps::caught_signal() != 0) {
      return fail(kSignalled + apps::caught_signal(), "interrupted");
    }
    return fail(e.code() == Error::Code::usage ? kUsage : kFailure, e.what());
  } catch (const std::bad_alloc&) {
    return fail(kFailure, "out of memory: take fewer frames in flight, or more boards");
  } catch (const std::exception& e) {
    return fail(kFailure, std::string("a defect of sbcnn, please report it: ") + e.what());
  }
}
