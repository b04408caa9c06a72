// `sbcnn-bench kernels`: the convolutions of whole networks, ours against other libraries'.
#pragma once

#include <CLI/CLI.hpp>

namespace sbcnn::bench {

// Adds the command; it runs when it is parsed. What goes wrong is thrown.
void add_kernels_command(CLI::App&);

}  // namespace sbcnn::bench
