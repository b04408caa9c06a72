#include "bench/floor_command.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "net/communicator.h"
#include "net/secret.h"
#include "net/zmq_transport.h"

namespace sbcnn::bench {
namespace {

constexpr auto kTimeout = std::chrono::seconds(30);

struct Options {
  int ranks = 4, rounds = 15;
  std::vector<std::size_t> bytes{64, 1024, 16384};
  double seconds = 0.1;
};

[[noreturn]] void fail(const char* what) {
  throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(std::uint16_t(port));
  return address;
}

// One way to send everybody so many bytes and to take as many from everybody.
class Side {
 public:
  virtual ~Side() = default;
  virtual void alltoall(const std::vector<std::byte>& block) = 0;
};

// Plain sockets, one a pair of ranks. Listening ones are made before the ranks part.
class Sockets final : public Side {
 public:
  struct Door {
    int fd = -1, port = 0;
  };
  static Door open_door() {
    Door door{::socket(AF_INET, SOCK_STREAM, 0), 0};
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (door.fd < 0 || ::bind(door.fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(door.fd, 64) != 0 ||
        ::getsockname(door.fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      fail("cannot listen");
    }
    door.port = ntohs(address.sin_port);
    return door;
  }

  Sockets(int rank, const std::vector<Door>& doors) : rank_(rank), fds_(doors.size(), -1) {
    for (int peer = 0; peer < rank; ++peer) {
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = loopback(doors[std::size_t(peer)].port);
      if (fd < 0 ||
          ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        fail("cannot connect");
      }
      fds_[std::size_t(peer)] = fd;
      const auto mine = std::uint8_t(rank);
      if (::send(fd, &mine, 1, MSG_NOSIGNAL) != 1) {
        fail("cannot send");
      }
    }
    for (std::size_t i = std::size_t(rank) + 1; i < doors.size(); ++i) {
      const int fd = ::accept(doors[std::size_t(rank)].fd, nullptr, nullptr);
      std::uint8_t theirs = 0;
      if (fd < 0 || ::recv(fd, &theirs, 1, 0) != 1 || theirs >= doors.size()) {
        fail("cannot accept");
      }
      fds_[theirs] = fd;
    }
    for (const int fd : fds_) {
      const int yes = 1;
      if (fd >= 0 && ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0) {
        fail("cannot set up a socket");
      }
    }
  }
  ~Sockets() override {
    for (const int fd : fds_) {
      ::close(fd);
    }
  }

  void alltoall(const std::vector<std::byte>& block) override {
    const std::size_t size = fds_.size();
    in_.resize(block.size());
    std::vector<std::size_t> sent(size, 0), received(size, 0);
    sent[std::size_t(rank_)] = received[std::size_t(rank_)] = block.size();
    std::vector<pollfd> polls(size);
    while (true) {
      bool done = true;
      for (std::size_t k = 1; k < size; ++k) {
        const std::size_t p = (std::size_t(rank_) + k) % size;
        push(p, block, sent);
      }
      for (std::size_t p = 0; p < size; ++p) {
        const short events = short((sent[p] < block.size() ? POLLOUT : 0) |
                                   (received[p] < block.size() ? POLLIN : 0));
        polls[p] = {events == 0 ? -1 : fds_[p], events, 0};
        done = done && events == 0;
      }
      if (done) {
        return;
      }
      if (::poll(polls.data(), nfds_t(size), int(std::chrono::milliseconds(kTimeout).count())) <=
          0) {
        fail("a rank is silent");
      }
      for (std::size_t p = 0; p < size; ++p) {
        if (polls[p].revents != 0 && received[p] < block.size()) {
          const ssize_t n = ::recv(fds_[p], in_.data(), block.size() - received[p], MSG_DONTWAIT);
          if (n == 0 || (n < 0 && errno != EAGAIN)) {
            fail("a rank has ended");
          }
          received[p] += std::size_t(std::max<ssize_t>(n, 0));
        }
      }
    }
  }

  // What every rank says, by rank.
  std::vector<double> allgather(double mine) {
    std::vector<double> all(fds_.size(), mine);
    for (std::size_t p = 0; p < fds_.size(); ++p) {
      if (fds_[p] >= 0 && ::send(fds_[p], &mine, sizeof mine, MSG_NOSIGNAL) != sizeof mine) {
        fail("cannot send");
      }
    }
    for (std::size_t p = 0; p < fds_.size(); ++p) {
      if (fds_[p] >= 0 && ::recv(fds_[p], &all[p], sizeof all[p], MSG_WAITALL) != sizeof all[p]) {
        fail("a rank has ended");
      }
    }
    return all;
  }

 private:
  void push(std::size_t p, const std::vector<std::byte>& block, std::vector<std::size_t>& sent) {
    if (sent[p] < block.size()) {
      const ssize_t n = ::send(fds_[p], block.data() + sent[p], block.size() - sent[p],
                               MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) {
        fail("a rank has ended");
      }
      sent[p] += std::size_t(std::max<ssize_t>(n, 0));
    }
  }

  int rank_;
  std::vector<int> fds_;
  std::vector<std::byte> in_;
};

// libzmq as our transport uses it: one PULL, a PUSH for each peer, and nothing else.
class Libzmq final : public Side {
 public:
  Libzmq(int rank, Sockets& others) : rank_(rank), pull_(context_, zmq::socket_type::pull) {
    pull_.set(zmq::sockopt::rcvtimeo, int(std::chrono::milliseconds(kTimeout).count()));
    pull_.bind("tcp://127.0.0.1:*");
    const std::string address = pull_.get(zmq::sockopt::last_endpoint);
    const auto ports = others.allgather(std::stod(address.substr(address.rfind(':') + 1)));
    for (std::size_t p = 0; p < ports.size(); ++p) {
      zmq::socket_t& push = push_.emplace_back(context_, zmq::socket_type::push);
      push.set(zmq::sockopt::linger, 0);
      if (int(p) != rank) {
        push.connect("tcp://127.0.0.1:" + std::to_string(int(ports[p])));
      }
    }
  }

  // A message says which repetition it is of, for a peer may be one ahead.
  void alltoall(const std::vector<std::byte>& block) override {
    for (std::size_t k = 1; k < push_.size(); ++k) {
      zmq::message_t message(block.size() + 1);
      std::copy(block.begin(), block.end(), message.data<std::byte>());
      message.data<std::byte>()[block.size()] = std::byte(turn_ % 2);
      push_[(std::size_t(rank_) + k) % push_.size()].send(message, zmq::send_flags::none);
    }
    while (here_[turn_ % 2] + 1 < push_.size()) {
      zmq::message_t message;
      if (!pull_.recv(message)) {
        throw std::runtime_error("libzmq: a rank is silent");
      }
      ++here_[std::size_t(message.data<std::byte>()[message.size() - 1])];
    }
    here_[turn_++ % 2] = 0;
  }

 private:
  zmq::context_t context_;
  int rank_;
  zmq::socket_t pull_;
  std::vector<zmq::socket_t> push_;
  std::array<std::size_t, 2> here_{};
  std::size_t turn_ = 0;
};

class Ours final : public Side {
 public:
  Ours(int rank, Sockets& others, const std::string& secret) {
    net::ZmqOptions options;
    options.keys = net::keys_of(secret);
    net::ZmqEndpoint endpoint("tcp://127.0.0.1:*", options);
    net::World world{rank, 1, {}};
    for (const double port : others.allgather(endpoint.port())) {
      world.peers.push_back({"tcp://127.0.0.1:" + std::to_string(int(port)), ""});
    }
    comm_ = std::make_unique<net::Communicator>(
        std::move(endpoint).connect(world, Clock::now() + kTimeout));
  }
  void alltoall(const std::vector<std::byte>& block) override {
    const std::size_t size = block.size() * std::size_t(comm_->size());
    in_.resize(size);
    out_.resize(size);
    comm_->alltoall(in_, out_, Clock::now() + kTimeout);
  }

 private:
  std::unique_ptr<net::Communicator> comm_;
  std::vector<std::byte> in_, out_;
};

struct Secrets {
  std::string plain = net::make_secret(net::Security::plain);
  std::string curve = net::make_secret(net::Security::curve);
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// What one rank does; rank 0 tells what came out.
void take_part(int rank, const std::vector<Sockets::Door>& doors, const Secrets& secrets,
               const Options& o) {
  Sockets sockets(rank, doors);
  Libzmq libzmq(rank, sockets);
  Ours plain(rank, sockets, secrets.plain), curve(rank, sockets, secrets.curve);
  const std::array<std::pair<const char*, Side*>, 4> sides = {
      {{"sockets", &sockets}, {"libzmq", &libzmq}, {"sbcnn plain", &plain}, {"sbcnn", &curve}}};
  for (const std::size_t bytes : o.bytes) {
    const std::vector<std::byte> block(bytes);
    std::map<const char*, std::vector<double>> times;
    for (int round = 0; round < o.rounds; ++round) {
      for (const auto& [name, side] : sides) {
        const auto run = [&](int count) {
          sockets.allgather(0);
          const auto begin = Clock::now();
          for (int i = 0; i < count; ++i) {
            side->alltoall(block);
          }
          const double mine = std::chrono::duration<double>(Clock::now() - begin).count() / count;
          return std::ranges::max(sockets.allgather(mine));
        };
        const double once = run(20);
        times[name].push_back(run(std::clamp(int(o.seconds / once), 20, 100'000)) * 1e6);
      }
    }
    if (rank == 0) {
      const double floor = median(times[sides[0].first]);
      for (const auto& [name, side] : sides) {
        const double us = median(times[name]);
        std::printf("%10zu  %-12s %9.1f us  %5.2f\n", bytes, name, us, us / floor);
      }
      std::fflush(stdout);
    }
  }
}

void run(const Options& o) {
  std::vector<Sockets::Door> doors;
  for (int r = 0; r < o.ranks; ++r) {
    doors.push_back(Sockets::open_door());
  }
  const Secrets secrets;
  std::vector<pid_t> children;
  for (int r = 1; r < o.ranks; ++r) {
    const pid_t child = ::fork();
    if (child < 0) {
      fail("cannot start a rank");
    }
    if (child == 0) {
      int status = 0;
      try {
        take_part(r, doors, secrets, o);
      } catch (const std::exception& e) {
        std::fprintf(stderr, "rank %d: %s\n", r, e.what());
        status = 1;
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  std::printf("%10s  %-12s %12s  of sockets\n", "bytes", "by", "all-to-all");
  std::fflush(stdout);
  take_part(0, doors, secrets, o);
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) {
      throw std::runtime_error("a rank failed");
    }
  }
}

}  // namespace

void add_floor_command(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App& c = *app.add_subcommand(
      "floor",
      "all-to-all between processes here, repeated at once: by plain TCP sockets, by bare "
      "libzmq, by the communicator");
  c.add_option("-n,--ranks", o->ranks, "processes")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  c.add_option("--bytes", o->bytes, "for each pair")->delimiter(',')->check(CLI::Range(1, 1 << 24));
  c.add_option("--rounds", o->rounds, "of all in turn; medians are told")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  c.add_option("--seconds", o->seconds, "about, for each in a round")
      ->check(CLI::Range(0.001, 10.0))
      ->capture_default_str();
  c.callback([o] { run(*o); });
}

}  // namespace sbcnn::bench
