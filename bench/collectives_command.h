// `sbcnn-bench collectives`.
#pragma once

#include <CLI/CLI.hpp>

namespace sbcnn::bench {

void add_collectives_command(CLI::App&);

}  // namespace sbcnn::bench
