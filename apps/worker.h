// What a board other than rank 0's runs: `sbcnn worker`, started by the launcher.
#pragma once

#include <chrono>
#include <string>

namespace sbcnn::apps {

struct WorkerOptions {
  int rank = 1, size = 2;
  std::string root;   // ADDR:PORT of rank 0
  std::string iface;  // where to listen; empty: on the route to rank 0
  std::chrono::milliseconds connect_timeout{10'000};
};

// Reads the job's secret from the first line of standard input, joins, and serves frames until rank
// 0 says stop. Standard input is the lifeline: at its end the process exits at once, whatever it is
// doing, for then rank 0 is gone. Throws Error.
void work(const WorkerOptions&);

}  // namespace sbcnn::apps
