// What `sbcnn launch` starts on every board: a process that starts one rank's program and sees to
// it that nothing of it stays. Any program, also one that knows nothing of sbcnn.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sbcnn::apps {

struct ShepherdOptions {
  int rank = 0, size = 1;
  std::string root;                 // ADDR:PORT of rank 0
  std::string iface;                // where to listen; may be empty
  std::filesystem::path directory;  // to start in, if it exists here
  std::vector<std::string> command;
};

// Reads the job's secret (lifeline.h), starts the program with SBCNN_RANK, SBCNN_SIZE,
// SBCNN_ROOT and SBCNN_IFACE in its environment and the secret on its standard input, and waits.
// When our own standard input ends, or SIGTERM, SIGINT or SIGHUP comes, the program and its process
// group get SIGTERM, a second later SIGKILL; when this process is killed, SIGKILL. Gives the
// program's exit status, 128 + N if signal N ended it, as shells do. A program that cannot be run
// is an Error(usage).
int shepherd(const ShepherdOptions&);

}  // namespace sbcnn::apps
