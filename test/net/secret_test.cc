// Encrypted jobs: who comes in, and that nobody else changes anything.
#include "net/secret.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <zmq.hpp>

#include "net/rendezvous.h"
#include "net/wire.h"
#include "peer_process.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::uint64_t kJob = 0xfeed;

std::optional<CurveKeys> fresh_keys() {
  return keys_of(make_secret(Security::curve));
}

// Two ranks of an encrypted job, and rank 0's port.
struct Pair {
  explicit Pair(const std::string& host = "127.0.0.1") {
    options.on_refusal = [this](const std::string& line) { told.push_back(line); };
    ZmqEndpoint a("tcp://" + host + ":*", options), b("tcp://" + host + ":*", options);
    address = a.address();
    port = a.port();
    World world{0, kJob, {{a.address(), "board0"}, {b.address(), "board1"}}};
    std::thread other([&, b = std::move(b)]() mutable {
      World mine = world;
      mine.rank = 1;
      ranks[1] = std::move(b).connect(mine, soon());
    });
    ranks[0] = std::move(a).connect(world, soon());
    other.join();
  }

  // Until rank 0 has counted that many refusals; nothing may come to it meanwhile.
  bool refuses(std::uint64_t count) {
    const Deadline limit = soon();
    while (ranks[0]->dropped() < count && Clock::now() < limit) {
      CHECK(!ranks[0]->receive(in(milliseconds(10))));
    }
    return ranks[0]->dropped() >= count;
  }

  void check_works() {
    ranks[1]->send(0, {.frame = 77}, std::vector<std::byte>(100'000, std::byte(7)));
    const auto m = ranks[0]->receive(soon());
    REQUIRE(m.has_value());
    CHECK(m->tag.frame == 77);
    CHECK(m->body.size() == 100'000);
    CHECK(m->body.back() == std::byte(7));
  }

  ZmqOptions options{.keys = fresh_keys()};
  std::vector<std::string> told;  // on rank 0's thread, after the start
  std::unique_ptr<Transport> ranks[2];
  std::string address;
  int port = 0;
};

// A frame that would be good if it came from the job.
std::vector<std::byte> good_frame() {
  std::vector<std::byte> bytes(kHeaderBytes);
  encode({FrameKind::abort, 1, kJob, {}, 0}, std::span(bytes).first<kHeaderBytes>());
  return bytes;
}

// A PUSH of no rank: plain, or with keys that the caller sets.
struct Stranger {
  Stranger() : push(context, zmq::socket_type::push) {
    push.set(zmq::sockopt::linger, 0);
    push.set(zmq::sockopt::ipv6, true);
    push.set(zmq::sockopt::immediate, false);
  }
  void send_to(const std::string& address) {
    push.connect(address);
    const auto frame = good_frame();
    for (int i = 0; i < 100; ++i) {
      push.send(zmq::buffer(frame), zmq::send_flags::dontwait);
    }
  }
  zmq::context_t context;
  zmq::socket_t push;
};

struct KeyPair {
  KeyPair() {
    char p[41], s[41];
    REQUIRE(zmq_curve_keypair(p, s) == 0);
    public_key = p;
    secret_key = s;
  }
  std::string public_key, secret_key;
};

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(std::uint16_t(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

// Whether the other side has hung up; swallows what it said before.
bool has_ended(int fd) {
  char words[1024];
  ssize_t count = 0;
  do {
    count = recv(fd, words, sizeof words, MSG_DONTWAIT);
  } while (count > 0);
  return count == 0 || errno == ECONNRESET;
}

std::size_t open_files() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

std::size_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") {
      std::size_t kilobytes = 0;
      status >> kilobytes;
      return kilobytes;
    }
  }
  return 0;
}

// What rank 0 and its guest threw.
std::pair<std::string, std::string> meet(const std::string& secret, const std::string& guest_secret,
                                         milliseconds limit,
                                         const std::string& host = "127.0.0.1") {
  std::pair<std::string, std::string> thrown;
  Rendezvous meeting({.size = 2,
                      .bind = host.find(':') == std::string::npos ? host : "[" + host + "]",
                      .token = secret});
  const auto talk = [](std::unique_ptr<Transport> transport) {
    Communicator comm(std::move(transport));
    std::vector<float> one(1000, 1.0F), total(1000);
    comm.allreduce(one, total, soon());
    CHECK(total[999] == 2.0F);
  };
  std::thread other([&] {
    try {
      talk(join({.root = meeting.endpoint(host), .rank = 1, .size = 2, .token = guest_secret},
                in(limit)));
    } catch (const Error& e) {
      thrown.second = e.what();
    }
  });
  try {
    talk(meeting.accept(in(limit)));
  } catch (const Error& e) {
    thrown.first = e.what();
  }
  other.join();
  CHECK((meeting.ignored() > 0) == (token_of(secret) != token_of(guest_secret)));
  return thrown;
}

}  // namespace

TEST_CASE("secret: one line without blanks, never twice the same, and what lies in it") {
  for (const Security security : {Security::plain, Security::curve}) {
    const std::string a = make_secret(security), b = make_secret(security);
    CHECK(a != b);
    CHECK(token_of(a) != token_of(b));
    CHECK(token_of(a).size() == 32);
    CHECK(a.size() <= 128);
    CHECK(std::ranges::all_of(a, [](char c) { return c > ' ' && c <= '~'; }));
    CHECK(keys_of(a).has_value() == (security == Security::curve));
  }
  const std::string secret = make_secret(Security::curve);
  const auto keys = keys_of(secret);
  CHECK(keys->public_key.size() == 40);
  CHECK(keys->secret_key.size() == 40);
  CHECK(keys->public_key != keys->secret_key);
  CHECK(secret.find(keys->public_key) == std::string::npos);
  CHECK(token_of(secret).find(keys->secret_key) == std::string::npos);
  CHECK(token_of("any text") == "any text");
  CHECK(!keys_of("any text"));
  for (const std::string& bad :
       {std::string("curve:"), secret.substr(0, 40), "curve:" + std::string(80, ' ')}) {
    CHECK_THROWS_WITH_AS(keys_of(bad), doctest::Contains("is not whole"), Error);
    CHECK(token_of(bad).size() <= bad.size());
  }
}

TEST_CASE("secret: ranks with the same secret meet, over IPv4 and IPv6") {
  const std::string secret = make_secret(Security::curve);
  for (const std::string host : {"127.0.0.1", "::1"}) {
    const auto thrown = meet(secret, secret, seconds(30), host);
    CHECK(thrown.first == "");
    CHECK(thrown.second == "");
  }
}

TEST_CASE("secret: a rank with another secret, or a plain one, does not come in") {
  const std::string secret = make_secret(Security::curve);
  const std::string other = make_secret(Security::curve);
  for (const std::string& guest : {other, make_secret(Security::plain), token_of(secret) + "x"}) {
    const auto thrown = meet(secret, guest, milliseconds(500));
    CHECK(thrown.first.find("rank 1 did not join in time") != std::string::npos);
    CHECK(thrown.second.find("did not answer rank 1") != std::string::npos);
  }
}

TEST_CASE("secret: a rank with keys does not talk to a rank 0 that has none") {
  Rendezvous meeting({.size = 2, .bind = "127.0.0.1", .token = "plain"});
  std::thread other([&] {
    CHECK_THROWS_WITH_AS(join({.root = meeting.endpoint("127.0.0.1"),
                               .rank = 1,
                               .size = 2,
                               .token = make_secret(Security::curve)},
                              in(milliseconds(500))),
                         doctest::Contains("did not answer"), Error);
  });
  CHECK_THROWS_AS(meeting.accept(in(milliseconds(500))), Error);
  other.join();
}

TEST_CASE("secret: plain peers and wrong keys bring nothing in, and are told once") {
  for (const std::string host : {"127.0.0.1", "[::1]"}) {
    Pair pair(host);
    CHECK(pair.told.empty());
    const KeyPair mine, wrong;
    Stranger plain, wrong_server, wrong_client;
    plain.send_to(pair.address);
    CHECK(pair.refuses(1));

    wrong_server.push.set(zmq::sockopt::curve_serverkey, wrong.public_key);
    wrong_server.push.set(zmq::sockopt::curve_publickey, pair.options.keys->public_key);
    wrong_server.push.set(zmq::sockopt::curve_secretkey, pair.options.keys->secret_key);
    const auto before = pair.ranks[0]->dropped();
    wrong_server.send_to(pair.address);
    CHECK(pair.refuses(before + 1));

    // It knows whom it talks to, but has a key of its own: only the doorkeeper stops it.
    wrong_client.push.set(zmq::sockopt::curve_serverkey, pair.options.keys->public_key);
    wrong_client.push.set(zmq::sockopt::curve_publickey, mine.public_key);
    wrong_client.push.set(zmq::sockopt::curve_secretkey, mine.secret_key);
    plain.push.close();
    wrong_server.push.close();
    CHECK(!pair.ranks[0]->receive(in(milliseconds(300))));
    const auto then = pair.ranks[0]->dropped();
    wrong_client.send_to(pair.address);
    CHECK(pair.refuses(then + 1));

    CHECK(!pair.ranks[0]->has_left(1));
    REQUIRE(pair.told.size() == 1);
    CHECK(pair.told[0].find("port " + std::to_string(pair.port)) != std::string::npos);
    pair.check_works();
  }
}

TEST_CASE("secret: who has the key comes in, so the tests above can fail") {
  Pair pair;
  Stranger friendly;
  friendly.push.set(zmq::sockopt::curve_serverkey, pair.options.keys->public_key);
  friendly.push.set(zmq::sockopt::curve_publickey, pair.options.keys->public_key);
  friendly.push.set(zmq::sockopt::curve_secretkey, pair.options.keys->secret_key);
  friendly.send_to(pair.address);
  CHECK_THROWS_AS(
      [&] {
        const Deadline limit = soon();
        while (Clock::now() < limit) {
          pair.ranks[0]->receive(limit);
        }
      }(),
      Error);
}

TEST_CASE("secret: garbage, half-open connections and floods leave nothing behind") {
  Pair pair;
  std::mt19937 random(3);
  const auto garbage = [&](std::size_t count) {
    std::string text(count, '\0');
    std::ranges::generate(text, [&] { return char(random()); });
    return text;
  };
  // The greeting of a ZMTP 3 peer that wants CURVE, and then nonsense.
  std::string greeting(
      "\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01"
      "CURVE",
      17);
  greeting.resize(64, '\0');
  const auto knock = [&](int times) {
    std::vector<int> half_open;
    for (int i = 0; i < times; ++i) {
      const int fd = connect_to(pair.port);
      const std::string text = i % 4 == 0   ? std::string()
                               : i % 4 == 1 ? garbage(random() % 2000)
                               : i % 4 == 2 ? greeting
                                            : greeting + garbage(200);
      (void)send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (i % 2 == 0) {
        half_open.push_back(fd);
      } else {
        close(fd);
      }
    }
    pair.check_works();  // in the middle of it
    // Hung up on without a word from us.
    const Deadline limit = soon();
    for (const int fd : half_open) {
      while (Clock::now() < limit && !has_ended(fd)) {
        pair.ranks[0]->receive(in(milliseconds(5)));
      }
      close(fd);
    }
    CHECK(Clock::now() < limit);
  };
  knock(400);  // what allocators and tables keep is taken once
  const std::size_t files = open_files(), memory = resident_kilobytes();
  knock(400);
  const Deadline limit = soon();
  while (open_files() > files && Clock::now() < limit) {
    pair.ranks[0]->receive(in(milliseconds(20)));
  }
  CHECK(open_files() <= files);
  MESSAGE("400 knocks at the door grew memory by ", long(resident_kilobytes()) - long(memory),
          " KiB");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep what is freed
  CHECK(resident_kilobytes() < memory + 2048);
#endif
  CHECK(pair.told.size() == 1);
  pair.check_works();
}
