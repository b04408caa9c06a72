// `sbcnn-bench floor`: what a small all-to-all costs by sockets alone, by libzmq alone, and by us.
#pragma once

#include <CLI/CLI.hpp>

namespace sbcnn::bench {

void add_floor_command(CLI::App&);

}  // namespace sbcnn::bench
