#include "apps/launcher.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <thread>

#include "apps/process.h"
#include "apps/shell.h"
#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using namespace std::chrono_literals;
using sbcnn::test::error_of;
using sbcnn::test::has;
using sbcnn::test::TemporaryFolder;

namespace {

// Lines that workers wrote.
class Lines {
 public:
  std::function<void(const std::string&)> sink() {
    return [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      lines_.push_back(line);
    };
  }
  bool contains(const std::string& line) {
    const std::lock_guard lock(mutex_);
    return std::find(lines_.begin(), lines_.end(), line) != lines_.end();
  }
  std::vector<std::string> all() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

template <class F>
bool eventually(F&& condition) {
  for (const auto end = Clock::now() + 20s; Clock::now() < end;) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

WorkerSpec local(int rank) {
  WorkerSpec w;
  w.rank = rank;
  w.at.host.name = "localhost";
  w.at.local = true;
  w.root = "127.0.0.1:1";
  return w;
}
WorkerSpec remote(int rank) {
  WorkerSpec w;
  w.rank = rank;
  w.at.host.name = "pi3";
  w.at.host.line = 4;
  w.root = "10.0.0.1:1";
  return w;
}

LauncherOptions options_for(const std::filesystem::path& binary, Lines& lines) {
  LauncherOptions options;
  options.world = 3;
  options.token = "secret";
  options.hostfile = "hosts";
  options.binary = binary;
  options.print = lines.sink();
  return options;
}

// The error that check() comes to throw.
std::string failure_of(Launcher& launcher) {
  std::string error;
  eventually([&] {
    error = error_of([&] { launcher.check(); });
    return !error.empty();
  });
  return error;
}

bool alive(pid_t pid) {
  return kill(pid, 0) == 0;
}
pid_t pid_in(const std::filesystem::path& file) {
  pid_t pid = 0;
  REQUIRE(eventually([&] { return bool(std::ifstream(file) >> pid); }));
  return pid;
}

// Waits for the end of its input, like a worker.
const char* kIdle = "cat >/dev/null";

}  // namespace

TEST_CASE("shell: command lines split into words") {
  using Words = std::vector<std::string>;
  CHECK(split_command("ssh") == Words{"ssh"});
  CHECK(split_command("  ssh  -i\tkey ") == Words{"ssh", "-i", "key"});
  CHECK(split_command("'a b' \"c d\" e\\ f") == Words{"a b", "c d", "e f"});
  CHECK(split_command("a'b'\"c\"d") == Words{"abcd"});
  CHECK(split_command("a '' \"\"") == Words{"a", "", ""});
  CHECK(split_command("'a\\b' \"a\\b\" \"a\\\"b\"") == Words{"a\\b", "a\\b", "a\"b"});
  CHECK(has(error_of([] { split_command("ssh 'x"); }), "a quote is not closed"));
  CHECK(has(error_of([] { split_command("ssh \"x"); }), "a quote is not closed"));
  CHECK(has(error_of([] { split_command("ssh \\"); }), "backslash"));
  CHECK(has(error_of([] { split_command(" "); }), "is empty"));
}

TEST_CASE("shell: a quoted word comes back from a real shell as it was") {
  for (const std::string word : {"plain", "", "two words", "it's", "$HOME", "`id`", "a\\b", "\"",
                                 "*", "a\nb", "-n", "~", "a;b", "#x", "'", "''"}) {
    CAPTURE(word);
    CHECK(split_command(quote(word)) == std::vector<std::string>{word});
    Process shell({"sh", "-c", "printf '%s|' " + quote(word)}, "");
    std::string text(256, '\0');
    std::size_t size = 0;
    ssize_t count = 0;
    while ((count = read(shell.output(), text.data() + size, text.size() - size)) > 0) {
      size += std::size_t(count);
    }
    text.resize(size);
    CHECK(text == word + "|");
  }
}

TEST_CASE("launcher: the ssh command line") {
  WorkerSpec w = remote(2);
  w.at.host.user = "me";
  w.at.host.port = 2222;
  w.at.host.binary = "/opt/my tools/sbcnn";
  w.arguments = {"--threads", "2"};
  LauncherOptions options;
  options.world = 4;
  options.token = "secret";
  options.binary = "/usr/bin/sbcnn";
  options.connect_timeout = 2500ms;
  const auto command = worker_command(w, options);
  const std::vector<std::string> tail(command.end() - 5, command.end());
  CHECK(command.front() == "ssh");
  CHECK(std::count(command.begin(), command.end(), "BatchMode=yes") == 1);
  CHECK(std::count(command.begin(), command.end(), "ConnectTimeout=3") == 1);
  CHECK(tail == std::vector<std::string>{
                    "-p", "2222", "me@pi3", "--",
                    "exec '/opt/my tools/sbcnn' worker --rank 2 --size 4 --root 10.0.0.1:1 "
                    "--threads 2"});
  for (const std::string& word : command) {
    CHECK_FALSE(has(word, "secret"));
  }
}

TEST_CASE("launcher: another agent gets host and command, as ssh would") {
  LauncherOptions options;
  options.rsh = "my-agent --in 'a b'";
  options.binary = "/usr/bin/sbcnn";
  CHECK(worker_command(remote(1), options) ==
        std::vector<std::string>{"my-agent", "--in", "a b", "pi3",
                                 "exec /usr/bin/sbcnn worker --rank 1 --size 1 --root 10.0.0.1:1"});
}

TEST_CASE("launcher: a local worker gets its arguments, and the token on stdin only") {
  const TemporaryFolder folder;
  Lines lines;
  const auto binary = folder.script(
      "w", "read token\necho \"args $*\"\necho \"token $token\" >&2\nenv | grep -c secret\ncat");
  Launcher launcher({local(1)}, options_for(binary, lines));
  CHECK(eventually([&] {
    return lines.contains("[1 localhost] args worker --rank 1 --size 3 --root 127.0.0.1:1") &&
           lines.contains("[1 localhost] token secret") && lines.contains("[1 localhost] 0");
  }));
  launcher.check();
}

TEST_CASE("launcher: output comes in whole lines with a prefix, however it was written") {
  const TemporaryFolder folder;
  Lines lines;
  const auto binary = folder.script(
      "w", "printf 'one '; sleep 0.05; printf 'line\\n\\ntwo\\r\\n'; printf 'no end'; exit 0");
  Launcher launcher({local(1), local(2)}, options_for(binary, lines));
  launcher.wait(Clock::now() + 20s);
  std::vector<std::string> of_two;
  for (const std::string& line : lines.all()) {
    if (line.starts_with("[2 ")) {
      of_two.push_back(line);
    }
  }
  CHECK(of_two == std::vector<std::string>{"[2 localhost] one line", "[2 localhost] ",
                                           "[2 localhost] two", "[2 localhost] no end"});
}

TEST_CASE("launcher: an endless line is cut, not hoarded") {
  const TemporaryFolder folder;
  Lines lines;
  const auto binary = folder.script("w", "head -c 100000 /dev/zero | tr '\\0' x");
  Launcher launcher({local(1)}, options_for(binary, lines));
  launcher.wait(Clock::now() + 20s);
  std::size_t total = 0;
  for (const std::string& line : lines.all()) {
    CAPTURE(line);
    CHECK(line.size() < 9000);
    total += line.size() - std::string("[1 localhost] ").size();
  }
  CHECK(total == 100000);
}

TEST_CASE("launcher: a failing worker is named with its status and its last line") {
  const TemporaryFolder folder;
  Lines lines;
  Launcher launcher(
      {local(2)},
      options_for(folder.script("w", "echo first; echo 'no memory' >&2; exit 3"), lines));
  CHECK(failure_of(launcher) == "rank 2 (localhost): exited with status 3: no memory");
}

TEST_CASE("launcher: a worker that ends too early is lost, even with status 0") {
  const TemporaryFolder folder;
  Lines lines;
  Launcher launcher({local(2)}, options_for(folder.script("w", "exit 0"), lines));
  CHECK(failure_of(launcher) ==
        "rank 2 (localhost): exited with status 0, before the end of the job");
}

TEST_CASE("launcher: a killed worker is named with the signal") {
  const TemporaryFolder folder;
  Lines lines;
  Launcher launcher({local(1)}, options_for(folder.script("w", "kill -9 $$"), lines));
  CHECK(failure_of(launcher) == "rank 1 (localhost): killed by signal 9 (Killed)");
}

TEST_CASE("launcher: of several failures the telling one is reported") {
  const TemporaryFolder folder;
  Lines lines;
  const auto binary =
      folder.script("w", "case \"$3\" in 2) kill -9 $$;; *) echo 'lost rank 2'; exit 1;; esac");
  Launcher launcher({local(1), local(2), local(3)}, options_for(binary, lines));
  CHECK(eventually([&] {  // as soon as all three have ended
    return error_of([&] { launcher.check(); }) == "rank 2 (localhost): killed by signal 9 (Killed)";
  }));
}

TEST_CASE("launcher: ssh's own failures are told apart") {
  const TemporaryFolder folder;
  Lines lines;
  const auto fail_with = [&](const std::string& body, bool connected) {
    LauncherOptions options = options_for("/usr/bin/sbcnn", lines);
    options.rsh = folder.script("agent", body).string();
    Launcher launcher({remote(2)}, options);
    if (connected) {
      launcher.note_connected();
    }
    return failure_of(launcher);
  };
  CHECK(fail_with("echo 'ssh: connect to host pi3 port 22: Connection refused' >&2; exit 255",
                  false) ==
        "rank 2: cannot reach pi3 (hosts:4): ssh: connect to host pi3 port 22: Connection refused");
  CHECK(fail_with("exit 255", true) ==
        "rank 2: lost the connection to pi3 (hosts:4), or sbcnn was killed there");
  CHECK(fail_with("exit 127", false) ==
        "rank 2: no sbcnn at /usr/bin/sbcnn on pi3 (hosts:4): install it or set binary=");
  CHECK(has(fail_with("echo 'Exec format error'; exit 126", false),
            "rank 2: cannot run /usr/bin/sbcnn on pi3 (hosts:4): "));
  CHECK(fail_with("echo bad; exit 1", false) == "rank 2 (pi3): exited with status 1: bad");
}

TEST_CASE("launcher: a missing binary behind a real shell") {
  const TemporaryFolder folder;
  Lines lines;
  LauncherOptions options = options_for(folder / "nowhere", lines);
  options.rsh = folder.script("agent", "shift\nexec sh -c \"$*\"").string();
  Launcher launcher({remote(2)}, options);
  CHECK(has(failure_of(launcher), "rank 2: no sbcnn at " + (folder / "nowhere").string() +
                                      " on pi3 (hosts:4): install it or set binary="));
}

TEST_CASE("launcher: what cannot be started is an error that names it, and nothing is left") {
  if (std::getenv("SBCNN_EMULATED") != nullptr) {
    std::printf("SKIP: launcher: what cannot be started: qemu's vfork hides a failed exec\n");
    return;
  }
  const TemporaryFolder folder;
  Lines lines;
  CHECK(has(error_of([&] { Launcher({local(1)}, options_for(folder / "nowhere", lines)); }),
            "rank 1 (localhost): cannot start '"));
  LauncherOptions options = options_for(
      folder.script("w", "echo $$ > " + (folder / "pid").string() + "; " + kIdle), lines);
  options.rsh = "no-such-agent-anywhere";
  CHECK(error_of([&] {
          Launcher({local(1), remote(2)}, options);
        }) ==
        "rank 2 (pi3 (hosts:4)): cannot start 'no-such-agent-anywhere': No such file or directory: "
        "install it or set --rsh");
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);  // no child at all
}

TEST_CASE("launcher: the destructor ends idle workers through their lifeline") {
  const TemporaryFolder folder;
  Lines lines;
  const auto binary = folder.script("w", "read t; echo ready; cat >/dev/null; echo 'lifeline cut'");
  {
    Launcher launcher({local(1), local(2)}, options_for(binary, lines));
    REQUIRE(eventually([&] { return lines.all().size() == 2; }));
    launcher.check();
  }
  CHECK(lines.contains("[1 localhost] lifeline cut"));
  CHECK(lines.contains("[2 localhost] lifeline cut"));
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("launcher: the destructor kills what does not listen, children included") {
  const TemporaryFolder folder;
  Lines lines;
  const auto pid_file = folder / "pid";
  const auto binary = folder.script("w", "trap '' TERM\nsleep 1000 &\necho $! > " +
                                             pid_file.string() + "\nwhile :; do sleep 1; done");
  pid_t grandchild = 0;
  {
    LauncherOptions options = options_for(binary, lines);
    options.grace = 100ms;
    Launcher launcher({local(1)}, options);
    grandchild = pid_in(pid_file);
    CHECK(alive(grandchild));
  }
  CHECK(waitpid(-1, nullptr, WNOHANG) == -1);
  CHECK(eventually([&] { return !alive(grandchild); }));
}

TEST_CASE("launcher: workers die with a parent that is killed") {
  const TemporaryFolder folder;
  const auto pid_file = folder / "pid";
  const auto binary = folder.script("w", "read t; echo $$ > " + pid_file.string() + "; " + kIdle);
  const pid_t parent = fork();
  if (parent == 0) {
    Lines lines;
    Launcher launcher({local(1)}, options_for(binary, lines));
    for (;;) {
      pause();
    }
  }
  const pid_t worker = pid_in(pid_file);
  CHECK(alive(worker));
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  CHECK(eventually([&] { return !alive(worker); }));
}

TEST_CASE("launcher: no worker holds another's lifeline") {
  const TemporaryFolder folder;
  const auto binary =
      folder.script("w", "ls -l /proc/self/fd | grep -c 'pipe:\\|eventfd'; " + std::string(kIdle));
  const auto counts = [&](const std::vector<WorkerSpec>& workers) {
    Lines lines;
    Launcher launcher(workers, options_for(binary, lines));
    REQUIRE(eventually([&] { return lines.all().size() == workers.size(); }));
    std::vector<std::string> found;
    for (const std::string& line : lines.all()) {
      found.push_back(line.substr(line.find(']')));
    }
    return found;
  };
  const std::string alone = counts({local(1)}).at(0);  // and what the test was started with
  CHECK(counts({local(1), local(2), local(3)}) == std::vector<std::string>(3, alone));
}

TEST_CASE("launcher: signals that we block or ignore are as usual in workers") {
  const TemporaryFolder folder;
  Lines lines;
  sigset_t block;
  sigset_t before;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &block, &before);
  const auto old = signal(SIGPIPE, SIG_IGN);
  const auto binary =
      folder.script("w", "grep -E '^Sig(Blk|Ign)' /proc/self/status; " + std::string(kIdle));
  {
    Launcher launcher({local(1)}, options_for(binary, lines));
    CHECK(eventually([&] { return lines.all().size() == 2; }));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  signal(SIGPIPE, old);
  for (const std::string& line : lines.all()) {
    CAPTURE(line);
    const auto mask = std::stoull(line.substr(line.find('\t')), nullptr, 16);
    CHECK((mask & ((1U << (SIGTERM - 1)) | (1U << (SIGPIPE - 1)))) == 0);
  }
}

TEST_CASE("launcher: wait returns at an orderly end and names who still runs or failed") {
  const TemporaryFolder folder;
  Lines lines;
  const auto binary = folder.script(
      "w", "case \"$3\" in 1) exit 0;; 2) echo broken; exit 4;; 3) cat >/dev/null;; esac");
  Launcher good({local(1)}, options_for(binary, lines));
  good.wait(Clock::now() + 20s);
  Launcher bad({local(1), local(2)}, options_for(binary, lines));
  CHECK(error_of([&] { bad.wait(Clock::now() + 20s); }) ==
        "rank 2 (localhost): exited with status 4: broken");
  Launcher slow({local(1), local(3)}, options_for(binary, lines));
  CHECK(error_of([&] { slow.wait(Clock::now() + 300ms); }) ==
        "rank 3 (localhost): still running at the end of the job");
}

TEST_CASE("launcher: no workers, nothing to do") {
  Lines lines;
  Launcher launcher({}, options_for("/bin/true", lines));
  launcher.check();
  launcher.wait(Clock::now() + 1s);
}
