#include "apps/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(Error::Code::io, what + ": " + std::strerror(error));
}

// Moves a descriptor out of the way of the standard ones.
Descriptor above_standard(Descriptor d) {
  if (d.get() > STDERR_FILENO) {
    return d;
  }
  Descriptor moved(fcntl(d.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (moved.get() < 0) {
    fail("cannot make a pipe", errno);
  }
  return moved;
}

struct SpawnAttributes {
  SpawnAttributes() {
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&value);
    posix_spawnattr_setflags(
        &value, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&value, 0);
    posix_spawnattr_setsigmask(&value, &none);
    posix_spawnattr_setsigdefault(&value, &all);
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&value); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  posix_spawnattr_t value{};
};

struct SpawnActions {
  SpawnActions(int input, int output, int errors) {
    posix_spawn_file_actions_init(&value);
    posix_spawn_file_actions_adddup2(&value, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&value, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&value, errors, STDERR_FILENO);
  }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&value); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t value{};
};

}  // namespace

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    fail("cannot make a pipe", errno);
  }
  Descriptor read(ends[0]);
  Descriptor write(ends[1]);
  return {above_standard(std::move(read)), above_standard(std::move(write))};
}

Process::Process(const std::vector<std::string>& command, std::string_view input, Output output) {
  require(!command.empty(), "Process: no command");
  require(input.size() <= 4096, "Process: more input than a pipe surely holds");
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  Pipe apart = output == Output::apart ? make_pipe() : Pipe{};
  // Before the child exists: we hold the reading end, so this neither blocks nor raises SIGPIPE.
  if (write(in.write.get(), input.data(), input.size()) != ssize_t(input.size())) {
    fail("cannot write to a pipe", errno);
  }
  std::vector<char*> arguments;
  for (const std::string& word : command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  const SpawnAttributes attributes;
  const SpawnActions actions(in.read.get(), out.write.get(),
                             (output == Output::apart ? apart : out).write.get());
  const int error = posix_spawnp(&pid_, arguments[0], &actions.value, &attributes.value,
                                 arguments.data(), environ);
  if (error != 0) {
    fail("cannot start '" + command[0] + "'", error);
  }
  input_ = std::move(in.write);
  output_ = std::move(out.read);
  errors_ = std::move(apart.read);
}

Process::~Process() {
  close_input();
  signal_group(SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Process::signal_group(int signal) const {
  kill(-pid_, signal);
}

std::optional<Ending> Process::ending() const {
  siginfo_t info{};
  if (waitid(P_PID, id_t(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
    return std::nullopt;
  }
  return Ending{info.si_code != CLD_EXITED, info.si_status};
}

}  // namespace sbcnn::apps
