// `sbcnn launch`: starts a program once for each rank of a hostfile, as mpirun does.
//
// On each board a shepherd (shepherd.h), our own binary, starts the program: directly here, through
// ssh elsewhere. Ranks follow the hostfile; if this machine is listed, its first slot is rank 0.
// The program starts in this folder where the board has it too, and a path in its name means the
// same file everywhere. What ranks write to stdout and stderr comes out on ours, in whole lines.
//
// When a rank fails, the others are ended; when this process ends, however, all are.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/encryption.h"

namespace sbcnn::apps {

struct LaunchOptions {
  int ranks = 0;  // 0: every slot of the hostfile; one without a hostfile
  std::filesystem::path hostfile = {};
  std::vector<std::string> command = {};  // program and arguments
  std::string rsh = "ssh";
  // Where rank 0 listens: ADDR, or ADDR:PORT. Empty: rank 0's address as the other boards have it,
  // and some port beyond those that the system hands out.
  std::string root = {};
  // Which of its addresses each board tells the others (SessionOptions::iface). Rank 0's is looked
  // up here, so it has to run here, or `root` is given.
  std::string iface = {};
  Encryption encryption = Encryption::automatic;
  bool tag_output = false;                            // "[rank host] " in front of each line
  std::chrono::milliseconds connect_timeout{10'000};  // of ssh
};

// Returns 0 when all ranks did; else the status of the first that failed, after one line on stderr
// that names it (128 + N when signal N ended it), or 128 + N when signal N ended this process.
// Throws Error(usage | io) when a rank cannot be started.
int launch(const LaunchOptions&);

}  // namespace sbcnn::apps
