// sbcnn-bench: times parts of sbcnn by themselves.
#include <exception>
#include <iostream>

#include "bench/collectives_command.h"
#include "bench/floor_command.h"
#include "bench/kernels_command.h"

int main(int argc, char** argv) {
  CLI::App app("Times parts of sbcnn by themselves.");
  app.require_subcommand(1);
  sbcnn::bench::add_kernels_command(app);
  sbcnn::bench::add_collectives_command(app);
  sbcnn::bench::add_floor_command(app);
  try {
    CLI11_PARSE(app, argc, argv);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "sbcnn-bench: " << e.what() << "\n";
    return 1;
  }
}
