// What only a network can do: foreign frames, garbage, dead processes, closed ports.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <zmq.hpp>

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

// Two ranks over tcp, and the address of rank 0's port.
struct Pair {
  std::vector<std::unique_ptr<Transport>> ranks;
  std::string address;
  int port = 0;
};

Pair make_pair(ZmqOptions options = {}) {
  ZmqEndpoint a("tcp://127.0.0.1:*", options), b("tcp://127.0.0.1:*", options);
  Pair pair{{}, a.address(), a.port()};
  World world{0, kJob, {{a.address(), "board0"}, {b.address(), "board1"}}};
  pair.ranks.push_back(std::move(a).connect(world, soon()));
  world.rank = 1;
  pair.ranks.push_back(std::move(b).connect(world, soon()));
  return pair;
}

// A program that does not belong to the job.
struct Stranger {
  explicit Stranger(const std::string& address) : push(context, zmq::socket_type::push) {
    push.set(zmq::sockopt::linger, 1000);
    push.connect(address);
  }
  void send(std::span<const std::byte> bytes, bool more = false) {
    zmq::message_t frame(bytes.data(), bytes.size());
    push.send(frame, more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
  void send(const Header& header) {
    std::vector<std::byte> bytes(kHeaderBytes + 4);
    encode(header, std::span(bytes).first<kHeaderBytes>());
    send(bytes);
  }
  zmq::context_t context;
  zmq::socket_t push;
};

// Receives until `count` frames were dropped; what else came must be nothing.
void await_dropped(Transport& transport, std::uint64_t count) {
  const Deadline limit = soon();
  while (transport.dropped() < count && Clock::now() < limit) {
    CHECK(!transport.receive(in(milliseconds(10))));
  }
  CHECK(transport.dropped() == count);
}

void check_still_works(Pair& pair) {
  pair.ranks[1]->send(0, {.frame = 77}, {});
  const auto m = pair.ranks[0]->receive(soon());
  REQUIRE(m.has_value());
  CHECK(m->tag.frame == 77);
}

}  // namespace

TEST_CASE("zmq: random frames of a stranger are counted and dropped") {
  Pair pair = make_pair();
  Stranger stranger(pair.address);
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    std::vector<std::byte> bytes(random() % 200);
    for (auto& b : bytes) {
      b = std::byte(random());
    }
    stranger.send(bytes);
  }
  await_dropped(*pair.ranks[0], 1000);
  check_still_works(pair);
}

TEST_CASE("zmq: frames of another job, of no rank and of oneself are dropped") {
  Pair pair = make_pair();
  Stranger stranger(pair.address);
  stranger.send(Header{FrameKind::message, 1, kJob + 1, {}, 4});
  stranger.send(Header{FrameKind::goodbye, 1, kJob + 1, {}, 4});
  stranger.send(Header{FrameKind::abort, 1, kJob + 1, {}, 4});
  stranger.send(Header{FrameKind::message, 2, kJob, {}, 4});
  stranger.send(Header{FrameKind::message, 0xffffffffU, kJob, {}, 4});
  stranger.send(Header{FrameKind::message, 0, kJob, {}, 4});
  await_dropped(*pair.ranks[0], 6);
  CHECK(!pair.ranks[0]->has_left(1));
  check_still_works(pair);
}

TEST_CASE("zmq: messages of several parts are dropped whole") {
  Pair pair = make_pair();
  Stranger stranger(pair.address);
  std::vector<std::byte> good(kHeaderBytes);
  encode({FrameKind::message, 1, kJob, {}, 0}, std::span(good).first<kHeaderBytes>());
  stranger.send(good, true);
  stranger.send(good, true);
  stranger.send(good);
  await_dropped(*pair.ranks[0], 1);
  check_still_works(pair);
}

TEST_CASE("zmq: a program that talks no ZeroMQ changes nothing") {
  Pair pair = make_pair();
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(5000, '\xff'),
                                  std::string(64, '\0'), std::string()}) {
    send_raw(pair.port, text);
  }
  CHECK(!pair.ranks[0]->receive(in(milliseconds(300))));
  check_still_works(pair);
}

TEST_CASE("zmq: a frame beyond the largest message is not taken in") {
  Pair pair = make_pair({.max_message = 100'000});
  Stranger stranger(pair.address);
  stranger.send(std::vector<std::byte>(200'000));
  CHECK(!pair.ranks[0]->receive(in(milliseconds(300))));
  CHECK(pair.ranks[0]->dropped() == 0);
  check_still_works(pair);
  CHECK_THROWS_AS(pair.ranks[1]->send(0, {}, std::vector<std::byte>(100'000)), ContractViolation);
}

TEST_CASE("zmq: a peer that cannot be reached is named, with its address") {
  int port = 0;
  {
    const ZmqEndpoint gone("tcp://127.0.0.1:*");
    port = gone.port();
  }
  ZmqEndpoint mine("tcp://127.0.0.1:*");
  const World world{0, kJob, {{}, {"tcp://127.0.0.1:" + std::to_string(port), "pi9"}}};
  try {
    std::move(mine).connect(world, in(milliseconds(300)));
    FAIL("connected to nobody");
  } catch (const Error& e) {
    CHECK(e.code() == Error::Code::timeout);
    CHECK(std::string(e.what()).find("cannot reach rank 1 (pi9) at tcp://127.0.0.1:") !=
          std::string::npos);
  }
}

TEST_CASE("zmq: an endpoint that makes no sense is an Error") {
  ZmqEndpoint mine("tcp://127.0.0.1:*");
  const World world{0, kJob, {{}, {"nonsense", "pi9"}}};
  CHECK_THROWS_AS(std::move(mine).connect(world, soon()), Error);
  CHECK_THROWS_AS(ZmqEndpoint("tcp://256.1.1.1:*"), Error);
  const ZmqEndpoint first("tcp://127.0.0.1:*");
  CHECK_THROWS_AS(ZmqEndpoint(first.address()), Error);
}

TEST_CASE("zmq: every interface, IPv4 and IPv6, on a free port") {
  ZmqEndpoint all("tcp://*:*"), other("tcp://127.0.0.1:*");
  CHECK(all.port() > 0);
  World world{1, kJob, {{"tcp://127.0.0.1:" + std::to_string(all.port()), ""}, {"", ""}}};
  const auto b = std::move(other).connect(world, soon());
  ZmqEndpoint six("tcp://[::1]:*");
  world.peers[0].endpoint = "tcp://[::1]:" + std::to_string(all.port());
  const auto c = std::move(six).connect(world, soon());
  CHECK(b->size() == 2);
  CHECK(c->size() == 2);
}

namespace {

// The error of rank 0, that waits in a barrier.
std::string error_in_barrier(Communicator& comm) {
  try {
    for (int i = 0; i < 3; ++i) {  // somebody's part of the next one may be here already
      comm.barrier(soon());
    }
  } catch (const Error& e) {
    CHECK(e.code() == Error::Code::peer_lost);
    return e.what();
  }
  return "nothing thrown";
}

double seconds_since(Deadline begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

TEST_CASE("zmq: a process that is killed or frozen is named by every rank, within two seconds") {
  for (const Security security : {Security::plain, Security::curve}) {
    for (const int signal : {SIGKILL, SIGSTOP}) {
      PeerWorld world(4, make_secret(security));
      world.comm().barrier(soon());
      std::this_thread::sleep_for(milliseconds(500));  // so that heartbeats have come and gone
      const Deadline begin = Clock::now();
      world.signal(2, signal);
      const std::string error = error_in_barrier(world.comm());
      const double took = seconds_since(begin);
      MESSAGE(std::string(strsignal(signal)), " is named after ", took, " s: ", error);
      CHECK(error.find("rank 2 (board2) is lost") != std::string::npos);
      CHECK(error.find("barrier number") != std::string::npos);  // where
      // Since when. Whoever told us first may never have had a message from it.
      CHECK((error.find("last message") != std::string::npos ||
             error.find("no message before") != std::string::npos));
      CHECK(took < 2.0);
      for (const int rank : {1, 3}) {  // rank 0 has told nobody: its communicator lives
        const std::string words = world.last_words(rank, begin + milliseconds(2500));
        CHECK(words.find("rank 2 (board2) is lost") != std::string::npos);
        CHECK(seconds_since(begin) < 2.3);  // they print it, and we read it
      }
    }
  }
}

TEST_CASE("zmq: a process that freezes while a long message is on its way to it is named, too") {
  for (const Security security : {Security::plain, Security::curve}) {
    PeerWorld world(3, make_secret(security));
    world.comm().barrier(soon());
    world.signal(2, SIGSTOP);
    const Deadline begin = Clock::now();
    const std::vector<std::byte> big(64'000'000, std::byte(1));  // more than kernels take
    world.comm().send(2, {.frame = 1}, big);
    const std::string error = error_in_barrier(world.comm());
    const double took = seconds_since(begin);
    MESSAGE("frozen, with a message under way: named after ", took, " s: ", error);
    CHECK(error.find("rank 2 (board2) is lost") != std::string::npos);
    CHECK(took < 2.5);  // a part of that was copying
  }
}

TEST_CASE("zmq: ranks that wait use less than a hundredth of a processor") {
  // Sum over all threads of a process.
  const auto cpu_seconds = [](pid_t pid) {
    double nanoseconds = 0;
    for (const auto& task :
         std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
      double spent = 0;
      std::ifstream(task.path() / "schedstat") >> spent;
      nanoseconds += spent;
    }
    return nanoseconds * 1e-9;
  };
  for (const Security security : {Security::plain, Security::curve}) {
    PeerWorld world(4, make_secret(security));
    world.comm().barrier(soon());
    const double before[] = {cpu_seconds(getpid()), cpu_seconds(world.process(1))};
    if (before[1] == 0) {
      MESSAGE("SKIP: CPU time of processes: this kernel counts none");
      return;
    }
    const auto nobody_sends = [&] { world.comm().recv(3, {.frame = 9}, in(seconds(4))); };
    CHECK_THROWS_AS(nobody_sends(), Error);
    const double shares[] = {(cpu_seconds(getpid()) - before[0]) / 4,
                             (cpu_seconds(world.process(1)) - before[1]) / 4};
    MESSAGE("CPU of a waiting rank: ", shares[0] * 100, " % in recv, ", shares[1] * 100,
            " % in barrier");
    CHECK(shares[0] < 0.01);
    CHECK(shares[1] < 0.01);
  }
}

TEST_CASE("zmq: a rank that computes for long is not taken for dead") {
  PeerWorld world(2);
  world.comm().barrier(soon());
  world.ask(1, PeerWorld::compute, seconds(6));
  world.comm().barrier(soon());  // waits for it
  CHECK(true);
}

TEST_CASE("zmq: a message that takes longer than a heartbeat is no loss") {
  // The peer takes nothing in for a while: kernel buffers fill, and pings queue up behind.
  PeerWorld world(2);
  world.comm().barrier(soon());
  const std::vector<std::byte> big(64'000'000, std::byte(1));
  world.ask(1, PeerWorld::compute, seconds(5));
  world.comm().send(1, {.frame = 1}, big);
  world.comm().barrier(soon());
  CHECK(true);
}
