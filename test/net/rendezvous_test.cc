// How processes become a world, and who is kept out.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <zmq.hpp>

#include "net/interface.h"
#include "net/rendezvous.h"
#include "peer_process.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const char* const kToken = "4f1c a secret";

// Rank 0 and those who join it, each in a thread; what each threw, by rank.
struct Meeting {
  explicit Meeting(RendezvousOptions options) : rendezvous(with_token(std::move(options))) {}

  static RendezvousOptions with_token(RendezvousOptions options) {
    options.token = kToken;
    options.bind = "127.0.0.1";
    return options;
  }

  JoinOptions guest(int rank, int size) const {
    return {.root = rendezvous.endpoint("127.0.0.1"),
            .rank = rank,
            .size = size,
            .token = kToken,
            .host = "pi" + std::to_string(rank)};
  }

  std::vector<std::string> run(const std::vector<JoinOptions>& guests,
                               milliseconds limit = seconds(30), const Check& check = {}) {
    std::vector<std::string> thrown(guests.size() + 1);
    const Deadline deadline = in(limit);
    std::vector<std::thread> threads;
    const auto note = [&](std::size_t at, const std::function<std::unique_ptr<Transport>()>& f) {
      try {
        Communicator comm(f());
        std::vector<float> one(1, 1.0F), total(1);
        comm.allreduce(one, total, soon());
        CHECK(total[0] == float(comm.size()));
      } catch (const std::exception& e) {
        thrown[at] = e.what();
      }
    };
    for (std::size_t i = 0; i < guests.size(); ++i) {
      threads.emplace_back([&, i] { note(i + 1, [&] { return join(guests[i], deadline); }); });
    }
    note(0, [&] { return rendezvous.accept(deadline, check); });
    for (auto& t : threads) {
      t.join();
    }
    return thrown;
  }

  Rendezvous rendezvous;
};

}  // namespace

TEST_CASE("rendezvous: worlds of every size come together") {
  for (const int size : {1, 2, 3, 4, 7}) {
    Meeting meeting({.size = size});
    std::vector<JoinOptions> guests;
    for (int r = size - 1; r >= 1; --r) {  // in any order
      guests.push_back(meeting.guest(r, size));
    }
    CHECK(meeting.run(guests) == std::vector<std::string>(std::size_t(size)));
    CHECK(meeting.rendezvous.ignored() == 0);
  }
}

TEST_CASE("rendezvous: ranks know each other's hosts") {
  Meeting meeting({.size = 2});
  std::unique_ptr<Transport> guest;
  std::thread other([&] { guest = join(meeting.guest(1, 2), soon()); });
  const auto root = meeting.rendezvous.accept(soon());
  other.join();
  CHECK(root->peer_name(1) == "rank 1 (pi1)");
  CHECK(guest->peer_name(1) == "rank 1 (pi1)");
}

TEST_CASE("rendezvous: names from the hostfile go before what a board calls itself") {
  Meeting meeting({.size = 2, .hosts = {"kitchen", "garage"}});
  std::unique_ptr<Transport> guest;
  std::thread other([&] { guest = join(meeting.guest(1, 2), soon()); });
  const auto root = meeting.rendezvous.accept(soon());
  other.join();
  CHECK(root->peer_name(1) == "rank 1 (garage)");
  CHECK(guest->peer_name(0) == "rank 0 (kitchen)");
}

TEST_CASE("rendezvous: another protocol version is refused, both sides named") {
  Meeting meeting({.size = 3});
  JoinOptions strange = meeting.guest(2, 3);
  strange.protocol = kProtocolVersion + 1;
  const auto thrown = meeting.run({meeting.guest(1, 3), strange});
  for (const auto& error : thrown) {
    INFO(error);
    CHECK(contains(error, "rank 2 on pi2 runs sbcnn protocol 2, rank 0 runs protocol 1"));
    CHECK(contains(error, "install the same version"));
  }
}

TEST_CASE("rendezvous: another world size is refused") {
  Meeting meeting({.size = 2});
  const auto thrown = meeting.run({meeting.guest(1, 5)});
  for (const auto& error : thrown) {
    CHECK(contains(error, "rank 1 on pi1 expects a world of 5 ranks, rank 0 one of 2"));
  }
}

TEST_CASE("rendezvous: a rank outside the world, and one taken twice, are refused") {
  for (const int rank : {0, 2, 1000}) {
    Meeting meeting({.size = 2});
    const auto thrown = meeting.run({meeting.guest(rank, 2)});
    CHECK(contains(thrown[0], "is outside the world of 2 ranks"));
    CHECK(contains(thrown[1], "is outside the world of 2 ranks"));
  }
  Meeting meeting({.size = 3});
  const auto thrown = meeting.run({meeting.guest(1, 3), meeting.guest(1, 3)});
  CHECK(contains(thrown[0], "rank 1 has joined already"));
}

TEST_CASE("rendezvous: who is missing is named, with its host, to everybody") {
  Meeting meeting({.size = 4, .hosts = {"pi0", "pi1", "pi2", "pi3"}});
  const auto thrown = meeting.run({meeting.guest(1, 4)}, milliseconds(700));
  CHECK(contains(thrown[0], "rank 2 (pi2), rank 3 (pi3) did not join in time"));
  const bool told = contains(thrown[1], "rank 2 (pi2), rank 3 (pi3) did not join in time") ||
                    contains(thrown[1], "did not answer");  // its own deadline is the same
  CHECK(told);
}

TEST_CASE("rendezvous: a wrong token is not answered, and counted") {
  Meeting meeting({.size = 2});
  for (const std::string& token : {std::string(), std::string("4f1c a secreT"),
                                   std::string("4f1c a secret "), std::string(2000, 'x')}) {
    JoinOptions stranger = meeting.guest(1, 2);
    stranger.token = token;
    std::thread intruder([&] {
      CHECK_THROWS_WITH_AS(join(stranger, in(milliseconds(400))),
                           doctest::Contains("did not answer rank 1 (pi1) in time"), Error);
    });
    CHECK_THROWS_AS(Meeting({.size = 2}).rendezvous.accept(in(milliseconds(1))), Error);
    intruder.join();
  }
  CHECK(meeting.run({meeting.guest(1, 2)}) == std::vector<std::string>(2));
  CHECK(meeting.rendezvous.ignored() == 4);
}

TEST_CASE("rendezvous: garbage from a raw connection, a PUSH and a DEALER changes nothing") {
  Meeting meeting({.size = 2});
  const int port = meeting.rendezvous.port();
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(5000, '\xff'),
                                  std::string(64, '\0'), std::string()}) {
    send_raw(port, text);
  }
  zmq::context_t context;
  std::vector<zmq::socket_t> strangers;
  std::mt19937 random(4);
  for (const auto type : {zmq::socket_type::push, zmq::socket_type::dealer}) {
    auto& socket = strangers.emplace_back(context, type);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::sndtimeo, 0);
    socket.connect("tcp://127.0.0.1:" + std::to_string(port));
    for (int i = 0; i < 200; ++i) {
      zmq::message_t frame(random() % 100);
      for (std::size_t k = 0; k < frame.size(); ++k) {
        frame.data<unsigned char>()[k] = static_cast<unsigned char>(random());
      }
      const auto more = i % 3 == 0 ? zmq::send_flags::sndmore : zmq::send_flags::none;
      (void)socket.send(frame, more | zmq::send_flags::dontwait);
    }
  }
  std::this_thread::sleep_for(milliseconds(200));
  CHECK(meeting.run({meeting.guest(1, 2)}) == std::vector<std::string>(2));
  CHECK(meeting.rendezvous.ignored() > 0);
}

TEST_CASE("rendezvous: the check ends the wait, and the guests are told") {
  Meeting meeting({.size = 3});
  const auto begin = Clock::now();
  const auto thrown = meeting.run({meeting.guest(1, 3)}, seconds(30), [&] {
    if (Clock::now() > begin + milliseconds(500)) {
      throw Error(Error::Code::peer_lost, "rank 2 (pi2): ssh: connection refused");
    }
  });
  CHECK(contains(thrown[0], "rank 2 (pi2): ssh: connection refused"));
  CHECK(contains(thrown[1], "rank 2 (pi2): ssh: connection refused"));
  CHECK(Clock::now() - begin < seconds(15));
}

TEST_CASE("rendezvous: nobody there, no such host, no address") {
  const auto error_of = [](const std::string& root) {
    try {
      join({.root = root, .rank = 2, .size = 3, .host = "pi2"}, in(milliseconds(200)));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(contains(error_of("127.0.0.1:1"), "rank 0 at 127.0.0.1:1 did not answer rank 2 (pi2)"));
  CHECK(contains(error_of("no-such-host.invalid:4711"), "'no-such-host.invalid'"));
  for (const char* bad :
       {"", "pi0", "pi0:", ":4711", "pi0:0", "pi0:65536", "pi0:47x", "fd00::1:5"}) {
    CHECK(contains(error_of(bad), "write HOST:PORT"));
  }
}

TEST_CASE("rendezvous: a port that is taken is an Error") {
  const Rendezvous first({.bind = "127.0.0.1"});
  CHECK_THROWS_AS(Rendezvous({.bind = "127.0.0.1", .port = first.port()}), Error);
}

TEST_CASE("rendezvous: over IPv6") {
  Rendezvous meeting({.size = 2, .bind = "[::1]", .token = kToken});
  CHECK(meeting.endpoint("::1") == "[::1]:" + std::to_string(meeting.port()));
  std::unique_ptr<Transport> guest;
  std::thread other([&] {
    guest = join({.root = meeting.endpoint("::1"), .rank = 1, .size = 2, .token = kToken}, soon());
  });
  const auto root = meeting.accept(soon());
  other.join();
  guest->send(0, {.frame = 3}, {});
  CHECK(root->receive(soon())->tag.frame == 3);
}

TEST_CASE("interface: the way to oneself is by the loopback") {
  CHECK(local_address_towards("127.0.0.1") == "127.0.0.1");
  CHECK(local_address_towards("::1") == "::1");
  const Route route = route_to("localhost");
  CHECK(route.local == route.remote);
  CHECK_THROWS_WITH_AS(route_to("no-such-host.invalid"), doctest::Contains("no-such-host.invalid"),
                       Error);
}

TEST_CASE("interface: the address to advertise, by name and by network") {
  const std::vector<Interface> all{{"lo", "127.0.0.1", 8},
                                   {"docker0", "172.17.0.1", 16},
                                   {"eth0", "fd00::7", 64},
                                   {"eth0", "192.168.0.7", 24},
                                   {"wlan0", "192.168.1.9", 24},
                                   {"virbr0", "192.168.122.1", 24},
                                   {"br-0123456789ab", "172.18.0.1", 16}};
  CHECK(select_address(all, "eth0") == "192.168.0.7");
  CHECK(select_address(all, "eth0", "fd00::1") == "fd00::7");
  CHECK(select_address(all, "wlan0", "fd00::1") == "192.168.1.9");
  CHECK(select_address(all, "192.168.1.0/24") == "192.168.1.9");
  CHECK(select_address(all, "192.168.0.0/16") == "192.168.0.7");
  CHECK(select_address(all, "192.168.1.9") == "192.168.1.9");
  CHECK(select_address(all, "0.0.0.0/0") == "127.0.0.1");
  CHECK(select_address(all, "fd00::/8") == "fd00::7");
  CHECK(select_address(all, "192.168.1.8/31") == "192.168.1.9");
  const auto error_of = [&](const std::string& wanted) {
    try {
      return "chose " + select_address(all, wanted);
    } catch (const Error& e) {
      CHECK(e.code() == Error::Code::usage);
      return std::string(e.what());
    }
  };
  for (const char* inside : {"docker0", "virbr0", "172.16.0.0/12", "192.168.122.0/24"}) {
    CHECK(contains(error_of(inside), "leads to containers or virtual machines"));
  }
  for (const char* nowhere : {"10.0.0.0/8", "192.168.1.8", "192.168.1.10/31", "fe80::/10"}) {
    CHECK(contains(error_of(nowhere), "no address of this board lies there; there are: lo (127.0"));
  }
  for (const char* nonsense : {"", "eth1", "192.168.0.0/33", "192.168.0.0/", "192.168.0/24", "/8",
                               "192.168.0.0/8x", "fd00::/129", "192.168.0.0/-1"}) {
    CHECK(contains(error_of(nonsense), "no such interface"));
  }
}

TEST_CASE("interface: what leads inside a board, and what does not") {
  for (const char* name :
       {"docker0", "docker_gwbridge", "virbr0", "virbr0-nic", "veth12ab", "vnet3",
        "br-0123456789ab", "lxcbr0", "lxdbr0", "podman1", "cni0", "flannel.1"}) {
    CHECK(leads_inside(name));
  }
  for (const char* name : {"eth0", "enp3s0", "wlan0", "end0", "br0", "br-lan", "br-0123456789ag",
                           "bond0", "wg0", "tun0", "lo", ""}) {
    CHECK(!leads_inside(name));
  }
}

TEST_CASE("interface: this board's, and a guest that listens where it is told") {
  const auto all = local_interfaces();
  const auto loopback = std::ranges::find(all, "127.0.0.1", &Interface::address);
  REQUIRE(loopback != all.end());
  CHECK(loopback->prefix == 8);
  CHECK(local_address_towards("192.0.2.1", "127.0.0.0/8") == "127.0.0.1");
  CHECK(local_address_towards("no-such-host.invalid", loopback->name) == "127.0.0.1");

  Meeting meeting({.size = 2});
  JoinOptions guest = meeting.guest(1, 2);
  guest.iface = "127.0.0.0/8";
  CHECK(meeting.run({guest}) == std::vector<std::string>(2));
  guest.iface = "no-such-interface";
  CHECK_THROWS_WITH_AS(join(guest, in(milliseconds(200))), doctest::Contains("no-such-interface"),
                       Error);
}

TEST_CASE("interface: host and port go together and come apart") {
  CHECK(host_and_port("10.0.0.7", 80) == "10.0.0.7:80");
  CHECK(host_and_port("fd00::7", 80) == "[fd00::7]:80");
  for (const char* text : {"10.0.0.7:80", "[fd00::7]:80", "pi7.local:80"}) {
    const HostPort at = split_host_and_port(text);
    CHECK(host_and_port(at.host, at.port) == text);
    CHECK(split_host_and_port(std::string("tcp://") + text).host == at.host);
  }
  // The last but one is a name in the brackets of an address; the last, what a fuzzer found.
  for (const char* text :
       {"", "pi7", "pi7:", ":80", "pi7:0", "pi7:65536", "pi7:80x", "pi 7:80", "fd00::7:80", "*:80",
        "eth0;pi7:80", "[]:80", "[fd00::7:80", "[pi7]:80", "[[\x01\xf7]\x01\xf7]]:2"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(split_host_and_port(text), Error);
  }
}
