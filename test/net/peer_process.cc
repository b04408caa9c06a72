#include "peer_process.h"

#include <arpa/inet.h>
#include <netinet/in.h>
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

pid_t start(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), peer_program());
  std::vector<char*> argv;
  for (auto& a : arguments) {
    argv.push_back(a.data());
  }
  argv.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, argv[0], nullptr, nullptr, argv.data(), environ) != 0) {
    throw std::runtime_error("cannot start " + arguments[0]);
  }
  return child;
}

}  // namespace

PeerWorld::PeerWorld(int size) {
  std::vector<std::string> hosts;
  for (int r = 0; r < size; ++r) {
    hosts.push_back("board" + std::to_string(r));
  }
  Rendezvous meeting({.size = size, .bind = "127.0.0.1", .token = kPeerToken, .hosts = hosts});
  for (int r = 1; r < size; ++r) {
    children_.push_back(
        start({meeting.endpoint("127.0.0.1"), std::to_string(r), std::to_string(size)}));
  }
  comm_ = std::make_unique<Communicator>(meeting.accept(soon()));
}

PeerWorld::~PeerWorld() {
  comm_.reset();
  for (const pid_t child : children_) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
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
