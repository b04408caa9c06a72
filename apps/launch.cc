#include "apps/launch.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <random>

#include "apps/board.h"
#include "apps/console.h"
#include "apps/hostfile.h"
#include "apps/launcher.h"
#include "apps/process.h"
#include "apps/signals.h"
#include "core/error.h"
#include "core/ports.h"
#include "net/interface.h"
#include "net/secret.h"

namespace sbcnn::apps {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxLine = 1 << 16;
constexpr milliseconds kGrace{3'000};  // for shepherds, which give their program one second
constexpr milliseconds kDrain{500};    // for the last lines of a process that has ended
// Above the system's own choices (32768 to 60999 unless told otherwise).
constexpr int kFirstPort = 61000, kLastPort = 65535;

std::vector<RankHost> places(const LaunchOptions& o) {
  if (o.hostfile.empty()) {
    return place_ranks_here(std::max(1, o.ranks));
  }
  auto ranks =
      place_ranks(read_hostfile(o.hostfile), o.ranks > 0 ? std::optional(o.ranks) : std::nullopt,
                  o.hostfile.string());
  if (ranks.front().weight == 0) {  // this machine is not listed: nothing runs here
    ranks.erase(ranks.begin());
  }
  return ranks;
}

// Rank 0's address as the other boards have it.
std::string root_address(const std::vector<RankHost>& ranks, const std::string& iface) {
  const Host& root = ranks.front().host;
  if (!ranks.front().local && !iface.empty()) {
    throw Error(Error::Code::usage,
                "--iface " + iface + ": rank 0 runs on " + root.name +
                    ": say with --root which of its addresses the other boards are to use");
  }
  if (!ranks.front().local) {
    try {
      return net::route_to(root.name).remote;
    } catch (const Error& e) {
      throw Error(Error::Code::usage,
                  std::string(e.what()) + ": say with --root how other boards find rank 0");
    }
  }
  const auto remote = std::ranges::find_if(ranks, [](const RankHost& r) { return !r.local; });
  if (remote == ranks.end()) {
    return iface.empty() ? "127.0.0.1" : net::local_address_towards("127.0.0.1", iface);
  }
  try {
    return net::local_address_towards(remote->host.name, iface);
  } catch (const Error& e) {
    if (e.code() == Error::Code::usage) {  // there is no such interface
      throw;
    }
    // A name that only ssh knows. TEST-NET; nothing is sent.
    return net::local_address_towards("192.0.2.1");
  }
}

// Whether somebody could listen there now.
bool is_free(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return true;  // a name: whoever listens there finds out
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  const Descriptor fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd.get() < 0 || bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0;
}

std::string root_endpoint(const LaunchOptions& o, const std::vector<RankHost>& ranks) {
  std::string address = o.root.empty() ? root_address(ranks, o.iface) : o.root;
  try {
    net::split_host_and_port(address);
    return address;
  } catch (const Error&) {  // no port: ours to choose
  }
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  std::random_device source;
  std::uniform_int_distribution<int> any(kFirstPort, kLastPort);
  int port = any(source);
  for (int i = 0; i < 50 && ranks.front().local && !is_free(address, port); ++i) {
    port = any(source);
  }
  return net::host_and_port(address, port);
}

// One stream of a rank: passes its lines on to a descriptor of ours.
class Lines {
 public:
  Lines(int from, int to, std::string prefix) : from_(from), to_(to), prefix_(std::move(prefix)) {}

  int fd() const { return from_; }  // -1 at the end
  void read_some() {
    char buffer[16384];
    const ssize_t count = read(from_, buffer, sizeof buffer);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
      return;
    }
    if (count <= 0) {
      finish();
      return;
    }
    std::string out;
    for (const char c : std::string_view(buffer, std::size_t(count))) {
      partial_ += c;
      if (c == '\n' || partial_.size() == kMaxLine) {
        out += prefix_ + partial_;
        partial_.clear();
      }
    }
    put(out);
  }
  void finish() {
    if (!partial_.empty()) {
      put(prefix_ + partial_ + "\n");
      partial_.clear();
    }
    from_ = -1;
  }

 private:
  void put(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t n = write(to_, text.data(), text.size());
      if (n < 0 && errno != EINTR) {
        return;  // a full disk is the reader's; a closed pipe ends us
      }
      text.remove_prefix(std::size_t(std::max<ssize_t>(0, n)));
    }
  }

  int from_, to_;
  std::string prefix_, partial_;
};

class Job {
 public:
  Job(const LaunchOptions& options, std::vector<RankHost> ranks)
      : options_(options), ranks_(std::move(ranks)) {
    LauncherOptions reach;
    reach.rsh = options.rsh;
    reach.connect_timeout = options.connect_timeout;
    const std::string here = worker_binary({}).string();
    const std::string root = root_endpoint(options, ranks_);
    const bool alone = std::ranges::all_of(ranks_, [](const RankHost& r) { return r.local; });
    const bool encrypted = encrypts(options.encryption, alone);
    if (!alone && !encrypted) {
      print_line(std::string("sbcnn: warning: ") + kNotEncrypted);
    }
    const std::string secret =
        net::make_secret(encrypted ? net::Security::curve : net::Security::plain) + "\n";
    std::vector<std::string> program = options.command;
    if (program[0].find('/') != std::string::npos) {
      program[0] = std::filesystem::absolute(program[0]).lexically_normal();
    }
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const Host& host = ranks_[r].host;
      std::vector<std::string> there{host.binary.empty() ? here : host.binary,
                                     "shepherd",
                                     "--rank",
                                     std::to_string(r),
                                     "--size",
                                     std::to_string(ranks_.size()),
                                     "--root",
                                     root,
                                     "--directory",
                                     std::filesystem::current_path()};
      if (!options.iface.empty()) {
        there.insert(there.end(), {"--iface", options.iface});
      }
      there.emplace_back("--");
      there.insert(there.end(), program.begin(), program.end());
      try {
        processes_.emplace_back(command_at(ranks_[r], there, reach), secret,
                                Process::Output::apart);
      } catch (const Error& e) {
        throw Error(e.code(), name(r) + ": " + e.what());
      }
      const std::string tag =
          options.tag_output ? "[" + std::to_string(r) + " " + host.name + "] " : "";
      streams_.emplace_back(processes_.back().output(), STDOUT_FILENO, tag);
      streams_.emplace_back(processes_.back().errors(), STDERR_FILENO, tag);
    }
  }

  int run() {
    std::optional<Deadline> end;  // of what is left to do
    while (!(running_ == 0 && (streams_ended() || (end && Clock::now() >= *end)))) {
      pump(end);
      for (int number = 0; (number = signals_.next()) != 0;) {
        if (number != SIGCHLD && status_ == 0) {
          status_ = 128 + number;
          print_line("sbcnn: interrupted");
        }
      }
      look_for_ended();
      if (status_ != 0 && !ending_) {
        end_all();
        end = Clock::now() + kGrace;
      } else if (running_ == 0 && !drained_) {
        drained_ = true;
        end = Clock::now() + kDrain;  // a daemon that ssh left may hold a pipe open
      } else if (end && running_ > 0 && Clock::now() >= *end) {
        for (const Process& p : processes_) {
          p.signal_group(SIGKILL);
        }
        end = Clock::now() + kGrace;
      }
    }
    for (Lines& s : streams_) {
      s.finish();
    }
    return status_;
  }

 private:
  // Waits for output, a signal or the deadline, and passes output on.
  void pump(const std::optional<Deadline>& deadline) {
    std::vector<pollfd> polls{{signals_.fd(), POLLIN, 0}};
    for (const Lines& s : streams_) {
      polls.push_back({s.fd(), POLLIN, 0});
    }
    int wait = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<milliseconds>(*deadline - Clock::now());
      wait = int(std::max<long>(0, left.count()));
    }
    if (poll(polls.data(), nfds_t(polls.size()), wait) <= 0) {
      return;
    }
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      if (polls[i + 1].revents != 0) {
        streams_[i].read_some();
      }
    }
  }

  bool streams_ended() const {
    return std::ranges::all_of(streams_, [](const Lines& s) { return s.fd() < 0; });
  }

  // Of several that failed since the last look, one that a signal ended explains the others.
  void look_for_ended() {
    std::size_t failed = 0;
    int worst = 0;  // status; those above 128 tell of signals
    std::size_t running = 0;
    for (std::size_t r = 0; r < processes_.size(); ++r) {
      const std::optional<Ending> e = processes_[r].ending();
      running += e ? 0 : 1;
      const int status = e ? status_of(*e) : 0;
      if (worst == 0 ? status != 0 : worst <= 128 && status > 128) {
        failed = r;
        worst = status;
      }
    }
    running_ = running;
    if (worst != 0 && status_ == 0) {
      status_ = worst;
      print_line("sbcnn: " + describe(failed, worst));
    }
  }

  void end_all() {
    ending_ = true;
    for (Process& p : processes_) {
      p.close_input();
    }
  }

  static int status_of(const Ending& e) { return e.signalled ? 128 + e.number : e.number; }

  std::string name(std::size_t r) const {
    const Host& host = ranks_[r].host;
    return "rank " + std::to_string(r) + " (" + host.name +
           (host.line == 0 ? ""
                           : ", " + options_.hostfile.string() + ":" + std::to_string(host.line)) +
           ")";
  }

  std::string describe(std::size_t r, int status) const {
    const bool remote = !ranks_[r].local;
    if (remote && status == 255) {
      return name(r) + ": cannot be reached, or was lost, or exited with status 255";
    }
    if (remote && (status == 126 || status == 127)) {
      return name(r) + ": exited with status " + std::to_string(status) +
             ": is there an sbcnn for that board, at the path that it has here or at binary=?";
    }
    if (status > 128 && status <= 128 + SIGRTMAX) {
      return name(r) + ": killed by signal " + std::to_string(status - 128) + " (" +
             strsignal(status - 128) + ")";
    }
    return name(r) + ": exited with status " + std::to_string(status);
  }

  const LaunchOptions options_;
  const std::vector<RankHost> ranks_;
  Signals signals_;
  std::deque<Process> processes_;  // by rank
  std::vector<Lines> streams_;
  std::size_t running_ = 1;
  int status_ = 0;
  bool ending_ = false, drained_ = false;
};

}  // namespace

int launch(const LaunchOptions& options) {
  require(!options.command.empty(), "launch: no command");
  return Job(options, places(options)).run();
}

}  // namespace sbcnn::apps
