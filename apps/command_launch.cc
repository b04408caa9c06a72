// `sbcnn launch`, and the `sbcnn shepherd` that it starts on every board.
#include <CLI/CLI.hpp>
#include <memory>

#include "apps/commands.h"
#include "apps/launch.h"
#include "apps/shepherd.h"

namespace sbcnn::apps {

void add_launch(CLI::App& app, Action& action) {
  auto o = std::make_shared<LaunchOptions>();
  auto hostfile = std::make_shared<std::string>();
  auto network = std::make_shared<NetworkArguments>();
  CLI::App& c = *app.add_subcommand(
      "launch", "start any program once for each rank, as mpirun does: 'launch ... -- PROGRAM'");
  c.add_option("-n,--ranks", o->ranks, "ranks to start; without a hostfile all run here")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  c.add_option("--hostfile", *hostfile,
               "boards: one a line, 'host [slots=n] [port=p] [binary=path of sbcnn there]'")
      ->type_name("FILE");
  network->add_to(c);
  c.add_option("--root", o->root,
               "where rank 0 listens, ADDR or ADDR:PORT; else its address as other boards have it")
      ->type_name("ADDR");
  c.add_flag("--tag-output", o->tag_output, "put '[rank host] ' in front of each line");
  c.add_option("command", o->command, "the program and its arguments")
      ->required()
      ->type_name("PROGRAM ARGS...");
  c.footer(
      "Example:\n"
      "  sbcnn launch --hostfile boards.txt -- build/apps/examples/example_ring\n\n"
      "A program finds its place with sbcnn::world() (apps/world.h). The exit status is that of\n"
      "the first rank that failed; the others are ended then.");
  c.callback([o, hostfile, network, &action] {
    action = [o, hostfile, network] {
      o->hostfile = *hostfile;
      o->rsh = network->rsh;
      o->iface = network->iface;
      o->encryption = network->encryption();
      return launch(*o);
    };
  });
}

void add_shepherd(CLI::App& app, Action& action) {
  auto o = std::make_shared<ShepherdOptions>();
  auto directory = std::make_shared<std::string>();
  CLI::App& c = *app.add_subcommand("shepherd", "run one rank; `sbcnn launch` starts it");
  c.group("");  // hidden
  c.add_option("--rank", o->rank, "of the program")->required()->check(CLI::Range(0, 1023));
  c.add_option("--size", o->size, "ranks in all")->required()->check(CLI::Range(1, 1024));
  c.add_option("--root", o->root, "ADDR:PORT of rank 0")->required();
  c.add_option("--iface", o->iface, "interface or network to listen on");
  c.add_option("--directory", *directory, "to start in");
  c.add_option("command", o->command, "program and arguments")->required();
  c.callback([o, directory, &action] {
    action = [o, directory] {
      o->directory = *directory;
      return shepherd(*o);
    };
  });
}

}  // namespace sbcnn::apps
