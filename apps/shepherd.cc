#include "apps/shepherd.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "apps/lifeline.h"
#include "apps/process.h"
#include "apps/signals.h"
#include "core/error.h"
#include "core/ports.h"

namespace sbcnn::apps {
namespace {

constexpr std::chrono::seconds kGrace{1};  // between SIGTERM and SIGKILL

// The child's side of fork: becomes the program, or says why not.
[[noreturn]] void become(const std::vector<std::string>& command, int input, int trouble,
                         pid_t parent, const sigset_t& mask) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    _exit(1);  // it died before we could ask for that
  }
  dup2(input, STDIN_FILENO);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  std::vector<char*> words;
  for (const std::string& word : command) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  execvp(words[0], words.data());
  const int error = errno;
  (void)!write(trouble, &error, sizeof error);
  _exit(127);
}

class Child {
 public:
  Child(const std::vector<std::string>& command, const std::string& input, const sigset_t& mask) {
    Pipe in = make_pipe();
    Pipe trouble = make_pipe();
    // We hold the reading end, and a pipe holds more than the longest secret.
    if (write(in.write.get(), input.data(), input.size()) != ssize_t(input.size())) {
      throw Error(Error::Code::io, std::string("cannot write to a pipe: ") + std::strerror(errno));
    }
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) {
      throw Error(Error::Code::io, std::string("cannot fork: ") + std::strerror(errno));
    }
    if (pid_ == 0) {
      become(command, in.read.get(), trouble.write.get(), parent, mask);
    }
    setpgid(pid_, pid_);  // whoever of us two comes first
    trouble.write.reset();
    int error = 0;
    if (read(trouble.read.get(), &error, sizeof error) == ssize_t(sizeof error)) {
      reap();
      throw Error(Error::Code::usage, "cannot run '" + command[0] + "': " + std::strerror(error));
    }
    input_ = std::move(in.write);
  }
  ~Child() { reap(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool ended() const {
    siginfo_t info{};
    return waitid(P_PID, id_t(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
  }
  void signal(int number) const { kill(-pid_, number); }
  // Once it has ended. What it started and left goes first, while its number is still taken.
  int reap() {
    if (pid_ > 0) {
      signal(SIGKILL);
      while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
      }
      pid_ = -1;
    }
    return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
  Descriptor input_;  // its lifeline
};

// Whether standard input has ended, or failed.
bool at_end_of_input() {
  char bytes[256];
  const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
  return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

}  // namespace

int shepherd(const ShepherdOptions& o) {
  const std::string secret = read_secret("`sbcnn launch` starts this, and hands it a secret");
  Signals signals;
  if (!o.directory.empty()) {
    (void)!chdir(o.directory.c_str());
  }
  setenv("SBCNN_RANK", std::to_string(o.rank).c_str(), 1);
  setenv("SBCNN_SIZE", std::to_string(o.size).c_str(), 1);
  setenv("SBCNN_ROOT", o.root.c_str(), 1);
  if (!o.iface.empty()) {
    setenv("SBCNN_IFACE", o.iface.c_str(), 1);
  }
  Child child(o.command, secret + "\n", signals.before());
  std::optional<Deadline> kill_at;
  bool lifeline = true;
  while (!child.ended()) {
    pollfd polls[] = {{signals.fd(), POLLIN, 0}, {lifeline ? STDIN_FILENO : -1, POLLIN, 0}};
    using std::chrono::milliseconds;
    const auto left = std::chrono::ceil<milliseconds>(kill_at.value_or(Deadline{}) - Clock::now());
    poll(polls, 2, kill_at ? int(std::max<long>(0, left.count())) : -1);
    bool end = false;
    for (int number = 0; (number = signals.next()) != 0;) {
      end = end || number != SIGCHLD;
    }
    if (polls[1].revents != 0 && at_end_of_input()) {
      lifeline = false;
      end = true;
    }
    if (end && !kill_at) {
      child.signal(SIGTERM);
      kill_at = Clock::now() + kGrace;
    }
    if (kill_at && Clock::now() >= *kill_at) {
      child.signal(SIGKILL);
      kill_at = Clock::now() + kGrace;
    }
  }
  return child.reap();
}

}  // namespace sbcnn::apps
