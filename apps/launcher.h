// Starts the worker processes of a job and makes sure that none outlives it.
//
// A local worker is our own binary; a remote one is `ssh [options] [user@]host -- 'exec BINARY
// worker ...'`. Each gets `worker --rank R --size N --root ADDR:PORT` on its command line and the
// job's secret as the first line of its standard input, where no `ps` shows it. Standard
// input then stays open as a lifeline: a worker that reads its end must exit. So whatever ends
// rank 0, SIGKILL and a closed terminal included, ends the workers. What workers write, to
// stdout or stderr, comes out line by line with a "[rank host] " in front.
//
// Workers run in process groups of their own: ctrl-C reaches rank 0 alone, which then tears down
// in order. No signal handlers are set. Threads: one reader thread inside; callers use a Launcher
// from one thread at a time.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/hostfile.h"
#include "core/ports.h"

namespace sbcnn::apps {

struct WorkerSpec {
  int rank = 0;
  RankHost at;
  std::string root;                    // ADDR:PORT under which this worker reaches rank 0
  std::vector<std::string> arguments;  // more of them, after --root
};

struct LauncherOptions {
  int world = 1;
  std::string token;                  // the secret: no line breaks, at most 1024 bytes
  std::string rsh = "ssh";            // split as a shell would, no expansions
  std::string hostfile;               // its name, for errors
  std::filesystem::path binary = {};  // sbcnn; empty: the running one
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds grace{1'000};  // to exit by themselves, and again after SIGTERM
  // Gets each line of the workers (no line break), on the reader thread; default: stderr.
  std::function<void(const std::string& line)> print = {};
};

class Launcher {
 public:
  // Throws Error(usage | io) if a worker cannot be started; what was started ends then.
  Launcher(const std::vector<WorkerSpec>& workers, LauncherOptions options);
  // Closes the lifelines, waits for `grace`, kills what is left, reaps everything.
  ~Launcher();
  Launcher(Launcher&&) noexcept;
  Launcher& operator=(Launcher&&) noexcept;

  // Throws Error(peer_lost), naming rank and host, if a worker has ended.
  void check();
  // All workers have been in touch: if ssh fails from now on, a connection was lost.
  void note_connected();
  // Waits until all workers have ended by themselves. Throws Error(peer_lost) if one failed and
  // Error(timeout) naming those that run still.
  void wait(Deadline deadline);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The command, program first, that runs `there` on a board: as it is, or through options.rsh.
std::vector<std::string> command_at(const RankHost& at, const std::vector<std::string>& there,
                                    const LauncherOptions& options);
// The command, program first, that starts `worker`.
std::vector<std::string> worker_command(const WorkerSpec& worker, const LauncherOptions& options);

}  // namespace sbcnn::apps
