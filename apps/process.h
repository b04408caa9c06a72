// A child process with a pipe on its standard input and one or two on its output.
//
// Nothing of ours leaks into it: descriptors are close-on-exec, signals are unblocked and back
// at their defaults, and it leads a process group of its own. One thread at a time.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.h"

namespace sbcnn::apps {

struct Pipe {
  Descriptor read, write;  // close-on-exec, and never 0, 1 or 2
};
Pipe make_pipe();  // throws Error(io)

struct Ending {
  bool signalled = false;
  int number = 0;  // of the signal, or the exit status
};

class Process {
 public:
  enum class Output { together, apart };
  // Starts `command` (its program is searched in PATH) with `input` waiting on its standard
  // input, at most 4096 bytes. Throws Error(io) that says why not.
  Process(const std::vector<std::string>& command, std::string_view input,
          Output = Output::together);
  // Kills what is left of the process group and reaps the child.
  ~Process();
  Process(Process&&) = delete;

  void close_input() { input_.reset(); }
  int output() const { return output_.get(); }  // stdout, and stderr if they are together
  int errors() const { return errors_.get(); }  // stderr if they are apart; else -1
  void signal_group(int signal) const;
  // How it ended, if it has. It stays a zombie until the destructor, so its group cannot be
  // mistaken for another.
  std::optional<Ending> ending() const;

 private:
  pid_t pid_ = -1;
  Descriptor input_, output_, errors_;
};

}  // namespace sbcnn::apps
