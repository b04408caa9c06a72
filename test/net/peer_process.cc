#include "peer_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "net/rendezvous.h"
#include "world.h"

extern char** environ;

namespace sbcnn::net::test {
namespace {

// The helper program lies beside the test.
std::string peer_program() {
  std::string path(4096, '\0');
  const auto length = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(std::size_t(std::max<ssize_t>(length, 0)));
  return path.substr(0, path.rfind('/') + 1) + "net_peer";
}

pid_t start(std::vector<std::string> arguments, int output) {
  arguments.insert(arguments.begin(), peer_program());
  std::vector<char*> argv;
  for (auto& a : arguments) {
    argv.push_back(a.data());
  }
  argv.push_back(nullptr);
  pid_t child = 0;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  const int error = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw std::runtime_error("cannot start " + arguments[0]);
  }
  return child;
}

}  // namespace

PeerWorld::PeerWorld(int size, const std::string& secret) {
  std::vector<std::string> hosts;
  for (int r = 0; r < size; ++r) {
    hosts.push_back("board" + std::to_string(r));
  }
  Rendezvous meeting({.size = size, .bind = "127.0.0.1", .token = secret, .hosts = hosts});
  for (int r = 1; r < size; ++r) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      throw std::runtime_error("cannot make a pipe");
    }
    outputs_.push_back(ends[0]);
    children_.push_back(start(
        {meeting.endpoint("127.0.0.1"), std::to_string(r), std::to_string(size), secret}, ends[1]));
    close(ends[1]);
  }
  comm_ = std::make_unique<Communicator>(meeting.accept(soon()));
}

PeerWorld::~PeerWorld() {
  comm_.reset();
  for (const pid_t child : children_) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  for (const int fd : outputs_) {
    close(fd);
  }
}

std::string PeerWorld::last_words(int rank, Deadline deadline) {
  pollfd fd{outputs_[std::size_t(rank - 1)], POLLIN, 0};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  if (poll(&fd, 1, int(std::max<long>(left, 0))) != 1) {
    return {};
  }
  std::string words(4096, '\0');
  const ssize_t count = read(fd.fd, words.data(), words.size());
  words.resize(std::size_t(std::max<ssize_t>(count, 0)));
  return words;
}

void PeerWorld::ask(int rank, Request, std::chrono::milliseconds duration) {
  const std::vector<float> body = {float(duration.count())};
  comm_->send(rank, kPeerRequest, body);
  comm_->barrier(soon());  // the last thing it answers before it begins
}

void send_raw(int port, const std::string& bytes) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(std::uint16_t(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    throw std::runtime_error("cannot connect to the port");
  }
  (void)send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  close(fd);
}

}  // namespace sbcnn::net::test
