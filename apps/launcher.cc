#include "apps/launcher.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "apps/console.h"
#include "apps/process.h"
#include "apps/shell.h"
#include "core/error.h"

namespace sbcnn::apps {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxLine = 8192;
constexpr milliseconds kDrain{500};  // for the last lines of a process that has ended
constexpr milliseconds kTick{10};    // between looks at processes that may have ended

std::string own_binary() {
  std::string path(4096, '\0');
  const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
  if (size <= 0 || size >= ssize_t(path.size())) {
    throw Error(Error::Code::io,
                std::string("cannot tell where sbcnn lies: ") + std::strerror(errno));
  }
  path.resize(std::size_t(size));
  return path;
}

// What one worker wrote. The reader thread fills it; `last` and `ended` are under its mutex.
struct Stream {
  int fd = -1;
  std::string prefix;
  std::string partial;
  std::string last;
  bool ended = false;
};

// Reads all streams line by line on one thread until each has ended or stop() is called.
class OutputReader {
 public:
  OutputReader(std::function<void(const std::string&)> print, std::size_t count)
      : print_(std::move(print)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), streams_(count) {
    if (wake_.get() < 0) {
      throw Error(Error::Code::io, std::string("cannot make an eventfd: ") + std::strerror(errno));
    }
  }
  ~OutputReader() { stop(); }
  OutputReader(OutputReader&&) = delete;

  void add(std::size_t i, int fd, std::string prefix) {
    streams_[i].fd = fd;
    streams_[i].prefix = std::move(prefix);
  }
  void start() {
    thread_ = std::thread([this] { run(); });
  }
  void stop() {
    if (thread_.joinable()) {
      const std::uint64_t one = 1;
      (void)!write(wake_.get(), &one, sizeof one);
      thread_.join();
    }
  }
  // Waits at most until `deadline` for the end of stream i; its last line that is not empty.
  std::string last_line(std::size_t i, Deadline deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return streams_[i].ended; });
    return streams_[i].last;
  }
  bool wait_all(Deadline deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] {
      return std::all_of(streams_.begin(), streams_.end(),
                         [](const Stream& s) { return s.ended || s.fd < 0; });
    });
  }

 private:
  void run();
  void read_from(Stream& stream);
  void put(Stream& stream, std::string line);

  std::function<void(const std::string&)> print_;
  Descriptor wake_;
  std::vector<Stream> streams_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

void OutputReader::run() {
  for (;;) {
    std::vector<pollfd> polls{{wake_.get(), POLLIN, 0}};
    std::vector<Stream*> open;
    for (Stream& s : streams_) {
      if (!s.ended && s.fd >= 0) {
        polls.push_back({s.fd, POLLIN, 0});
        open.push_back(&s);
      }
    }
    if (open.empty()) {
      return;
    }
    if (poll(polls.data(), nfds_t(polls.size()), -1) < 0) {
      continue;  // EINTR
    }
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (polls[i + 1].revents != 0) {
        read_from(*open[i]);
      }
    }
    if (polls[0].revents != 0) {
      return;
    }
  }
}

void OutputReader::read_from(Stream& stream) {
  char buffer[4096];
  const ssize_t count = read(stream.fd, buffer, sizeof buffer);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
    return;
  }
  if (count <= 0) {
    if (!stream.partial.empty()) {
      put(stream, std::exchange(stream.partial, {}));
    }
    const std::lock_guard lock(mutex_);
    stream.ended = true;
    changed_.notify_all();
    return;
  }
  for (const char c : std::string_view(buffer, std::size_t(count))) {
    if (c != '\n') {
      stream.partial += c;
    }
    if (c == '\n' || stream.partial.size() == kMaxLine) {
      put(stream, std::exchange(stream.partial, {}));
    }
  }
}

void OutputReader::put(Stream& stream, std::string line) {
  if (!line.empty() && line.back() == '\r') {
    line.pop_back();
  }
  print_(stream.prefix + line);
  if (line.find_first_not_of(" \t") != std::string::npos) {
    const std::lock_guard lock(mutex_);
    stream.last = std::move(line);
  }
}

}  // namespace

std::vector<std::string> worker_command(const WorkerSpec& worker, const LauncherOptions& options) {
  const Host& host = worker.at.host;
  const std::string fallback = options.binary.empty() ? own_binary() : options.binary.string();
  std::vector<std::string> there{host.binary.empty() ? fallback : host.binary,
                                 "worker",
                                 "--rank",
                                 std::to_string(worker.rank),
                                 "--size",
                                 std::to_string(options.world),
                                 "--root",
                                 worker.root};
  there.insert(there.end(), worker.arguments.begin(), worker.arguments.end());
  return command_at(worker.at, there, options);
}

std::vector<std::string> command_at(const RankHost& at, const std::vector<std::string>& there,
                                    const LauncherOptions& options) {
  const Host& host = at.host;
  if (at.local) {
    return there;
  }
  std::vector<std::string> command = split_command(options.rsh);
  const bool is_ssh = std::filesystem::path(command[0]).filename() == "ssh";
  if (is_ssh) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(options.connect_timeout).count();
    for (const std::string& option :
         {std::string("BatchMode=yes"),
          "ConnectTimeout=" + std::to_string(std::max<long>(1, seconds)),
          std::string("ServerAliveInterval=5"), std::string("ServerAliveCountMax=2")}) {
      command.insert(command.end(), {"-o", option});
    }
    command.emplace_back("-T");
  }
  if (host.port != 0) {
    command.insert(command.end(), {"-p", std::to_string(host.port)});
  }
  command.push_back(host.user.empty() ? host.name : host.user + "@" + host.name);
  if (is_ssh) {
    command.emplace_back("--");
  }
  std::string line = "exec";
  for (const std::string& word : there) {
    line += ' ' + quote(word);
  }
  command.push_back(std::move(line));
  return command;
}

class Launcher::Impl {
 public:
  Impl(const std::vector<WorkerSpec>& workers, LauncherOptions options);
  ~Impl();
  Impl(Impl&&) = delete;

  void check() { report(false); }
  void wait(Deadline deadline);

  bool connected = false;

 private:
  bool all_ended(Deadline deadline);
  void report(bool zero_is_fine);
  std::string where(const WorkerSpec&) const;  // "pi3 (hosts:4)"
  std::string describe(std::size_t i, Ending);

  const std::vector<WorkerSpec> workers_;
  const LauncherOptions options_;
  OutputReader reader_;
  std::deque<Process> processes_;  // of workers_, as far as they were started
};

Launcher::Impl::Impl(const std::vector<WorkerSpec>& workers, LauncherOptions options)
    : workers_(workers),
      options_(std::move(options)),
      reader_(
          options_.print ? options_.print : [](const std::string& line) { print_line(line); },
          workers.size()) {
  require(
      options_.token.find_first_of("\r\n") == std::string::npos && options_.token.size() <= 1024,
      "Launcher: bad token");
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const WorkerSpec& w = workers_[i];
    try {
      processes_.emplace_back(worker_command(w, options_), options_.token + "\n");
    } catch (const Error& e) {
      const char* advice = w.at.local ? "" : ": install it or set --rsh";
      throw Error(e.code(),
                  "rank " + std::to_string(w.rank) + " (" + where(w) + "): " + e.what() + advice);
    }
    reader_.add(i, processes_.back().output(),
                "[" + std::to_string(w.rank) + " " + w.at.host.name + "] ");
  }
  reader_.start();
}

Launcher::Impl::~Impl() {
  for (Process& p : processes_) {
    p.close_input();
  }
  if (!all_ended(Clock::now() + options_.grace)) {
    for (const Process& p : processes_) {
      p.signal_group(SIGTERM);
    }
    all_ended(Clock::now() + options_.grace);
  }
  for (const Process& p : processes_) {
    p.signal_group(SIGKILL);
  }
  reader_.wait_all(Clock::now() + kDrain);  // a daemon that ssh left may hold a pipe open
  reader_.stop();
}

bool Launcher::Impl::all_ended(Deadline deadline) {
  for (;;) {
    if (std::all_of(processes_.begin(), processes_.end(),
                    [](const Process& p) { return p.ending().has_value(); })) {
      return true;
    }
    if (Clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(kTick);
  }
}

std::string Launcher::Impl::where(const WorkerSpec& w) const {
  const Host& host = w.at.host;
  return host.line == 0
             ? host.name
             : host.name + " (" + options_.hostfile + ":" + std::to_string(host.line) + ")";
}

std::string Launcher::Impl::describe(std::size_t i, Ending ending) {
  const WorkerSpec& w = workers_[i];
  const std::string rank = "rank " + std::to_string(w.rank);
  const std::string last = reader_.last_line(i, Clock::now() + kDrain);
  const std::string because = last.empty() ? "" : ": " + last;
  if (ending.signalled) {
    return rank + " (" + w.at.host.name + "): killed by signal " + std::to_string(ending.number) +
           " (" + strsignal(ending.number) + ")";
  }
  if (!w.at.local) {
    const std::string binary =
        w.at.host.binary.empty() ? options_.binary.string() : w.at.host.binary;
    switch (ending.number) {
      case 255:
        return connected ? rank + ": lost the connection to " + where(w) +
                               ", or sbcnn was killed there" + because
                         : rank + ": cannot reach " + where(w) + because;
      case 127:
        return rank + ": no sbcnn at " + binary + " on " + where(w) +
               ": install it or set binary=" + (last.empty() ? "" : " (" + last + ")");
      case 126:
        return rank + ": cannot run " + binary + " on " + where(w) +
               ": install sbcnn built for that board or set binary=" +
               (last.empty() ? "" : " (" + last + ")");
      default:
        break;
    }
  }
  return rank + " (" + w.at.host.name + "): exited with status " + std::to_string(ending.number) +
         (ending.number == 0 ? ", before the end of the job" : "") + because;
}

// Of several workers that have ended, one that was killed or could not be reached explains
// those that gave up because of it.
void Launcher::Impl::report(bool zero_is_fine) {
  std::optional<std::size_t> culprit;
  Ending how;
  int most = 0;
  for (std::size_t i = 0; i < processes_.size(); ++i) {
    const std::optional<Ending> e = processes_[i].ending();
    if (!e || (zero_is_fine && !e->signalled && e->number == 0)) {
      continue;
    }
    const bool agent =
        !workers_[i].at.local && (e->number == 126 || e->number == 127 || e->number == 255);
    const int telling = e->signalled ? 4 : agent ? 3 : e->number != 0 ? 2 : 1;
    if (telling > most) {
      most = telling;
      culprit = i;
      how = *e;
    }
  }
  if (culprit) {
    throw Error(Error::Code::peer_lost, describe(*culprit, how));
  }
}

void Launcher::Impl::wait(Deadline deadline) {
  while (!all_ended(std::min(deadline, Clock::now() + kTick))) {
    report(true);
    if (Clock::now() >= deadline) {
      std::string ranks;
      for (std::size_t i = 0; i < processes_.size(); ++i) {
        if (!processes_[i].ending()) {
          ranks += (ranks.empty() ? "rank " : ", rank ") + std::to_string(workers_[i].rank) + " (" +
                   workers_[i].at.host.name + ")";
        }
      }
      throw Error(Error::Code::timeout, ranks + ": still running at the end of the job");
    }
  }
  report(true);
  reader_.wait_all(Clock::now() + kDrain);
}

Launcher::Launcher(const std::vector<WorkerSpec>& workers, LauncherOptions options) {
  if (options.binary.empty()) {
    options.binary = own_binary();
  }
  impl_ = std::make_unique<Impl>(workers, std::move(options));
}
Launcher::~Launcher() = default;
Launcher::Launcher(Launcher&&) noexcept = default;
Launcher& Launcher::operator=(Launcher&&) noexcept = default;

void Launcher::check() {
  impl_->check();
}
void Launcher::note_connected() {
  impl_->connected = true;
}
void Launcher::wait(Deadline deadline) {
  impl_->wait(deadline);
}

}  // namespace sbcnn::apps
