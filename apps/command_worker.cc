// `sbcnn worker`: what the launcher starts on every board; not for people.
#include <CLI/CLI.hpp>
#include <memory>

#include "apps/commands.h"
#include "apps/worker.h"

namespace sbcnn::apps {

void add_worker(CLI::App& app, Action& action) {
  auto options = std::make_shared<WorkerOptions>();
  auto seconds = std::make_shared<double>(10);
  CLI::App& c = *app.add_subcommand("worker", "serve rank 0 of a job; `sbcnn run` starts it");
  c.group("");  // hidden
  c.add_option("--rank", options->rank, "of this worker")->required()->check(CLI::Range(1, 4096));
  c.add_option("--size", options->size, "ranks in all")->required()->check(CLI::Range(2, 4096));
  c.add_option("--root", options->root, "ADDR:PORT of rank 0")->required();
  c.add_option("--iface", options->iface, "interface or network to listen on");
  c.add_option("--connect-timeout", *seconds, "seconds to join")->check(CLI::Range(0.1, 3600.0));
  c.footer("Example:\n  echo SECRET | sbcnn worker --rank 1 --size 4 --root 192.168.0.1:4711");
  c.callback([options, seconds, &action] {
    action = [options, seconds] {
      options->connect_timeout = std::chrono::milliseconds(long(*seconds * 1000));
      work(*options);
      return 0;
    };
  });
}

}  // namespace sbcnn::apps
