// The frame header and the handshake messages, on good and on arbitrary bytes.
#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "net/handshake.h"
#include "net/wire.h"

using namespace sbcnn::net;

namespace {

using Bytes = std::vector<std::byte>;

Bytes frame(const Header& h) {
  Bytes bytes(kHeaderBytes + h.payload);
  encode(h, std::span(bytes).first<kHeaderBytes>());
  return bytes;
}

Header some_header() {
  return {FrameKind::abort,
          3,
          0x0123456789abcdefULL,
          {Context::control, 0xaabbccddU, 0x11223344U, 0x5566U, 0x7788U},
          5};
}

Bytes random_bytes(std::mt19937& random, std::size_t longest) {
  Bytes bytes(random() % (longest + 1));
  for (auto& b : bytes) {
    b = std::byte(random());
  }
  return bytes;
}

}  // namespace

TEST_CASE("a header survives the wire") {
  CHECK(decode(frame(some_header())) == some_header());
}

TEST_CASE("the wire is little endian and starts with its magic") {
  const Bytes bytes = frame(some_header());
  CHECK(char(bytes[0]) == 'S');
  CHECK(char(bytes[3]) == 'N');
  CHECK(bytes[8] == std::byte(3));
  CHECK(bytes[16] == std::byte(0xef));
  CHECK(bytes[23] == std::byte(0x01));
}

TEST_CASE("a truncated or lengthened frame is none") {
  Bytes whole = frame(some_header());
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CHECK(!decode(std::span(whole).first(n)));
  }
  whole.push_back({});
  CHECK(!decode(whole));
}

TEST_CASE("a wrong magic, version, kind, context or size is refused") {
  for (const std::size_t at : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 32U, 35U, 39U}) {
    Bytes bytes = frame(some_header());
    bytes[at] ^= std::byte(0x80);
    CAPTURE(at);
    CHECK(!decode(bytes));
  }
}

TEST_CASE("random bytes are no frames") {
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    CHECK(!decode(random_bytes(random, 64)));
  }
}

TEST_CASE("random damage never makes a header of an impossible size, kind or context") {
  std::mt19937 random(2);
  int accepted = 0;
  for (int i = 0; i < 100'000; ++i) {
    Bytes bytes = frame(some_header());
    bytes[random() % bytes.size()] ^= std::byte(1U << (random() % 8));
    if (const auto h = decode(bytes)) {
      ++accepted;  // damage of an ordinary field or of the payload
      CHECK(h->payload == 5);
      CHECK(int(h->kind) < kFrameKinds);
      CHECK(int(h->tag.context) < kContexts);
    }
  }
  CHECK(accepted > 0);
}

TEST_CASE("hello, welcome and refusal survive the wire") {
  const Hello hello{kProtocolVersion, "secret", 3, "pi3", "1.2.3", 7, "tcp://10.0.0.3:4711"};
  const auto h = std::get<Hello>(decode_handshake(encode(hello)).value());
  CHECK(h.protocol == kProtocolVersion);
  CHECK(h.token == "secret");
  CHECK(h.rank == 3);
  CHECK(h.host == "pi3");
  CHECK(h.version == "1.2.3");
  CHECK(h.size == 7);
  CHECK(h.endpoint == "tcp://10.0.0.3:4711");

  const Welcome welcome{~0ULL, {{"tcp://*:1", "pi0"}, {"tcp://[fd00::7]:2", ""}}};
  const auto w = std::get<Welcome>(decode_handshake(encode(welcome)).value());
  CHECK(w.job == ~0ULL);
  REQUIRE(w.peers.size() == 2);
  CHECK(w.peers[0].host == "pi0");
  CHECK(w.peers[1].endpoint == "tcp://[fd00::7]:2");

  const auto r = std::get<Refusal>(decode_handshake(encode(Refusal{"because"})).value());
  CHECK(r.reason == "because");
}

TEST_CASE("a world as large as may be can be welcomed") {
  const Welcome welcome{1, std::vector<Peer>(kLargestWorld, {"tcp://10.0.0.3:4711", "host"})};
  const auto back = decode_handshake(encode(welcome));
  REQUIRE(back.has_value());
  CHECK(std::get<Welcome>(*back).peers.size() == kLargestWorld);
}

TEST_CASE("an endpoint is one host and one port, and nothing else that libzmq may read in it") {
  for (const char* good : {"tcp://10.0.0.3:4711", "tcp://[fd00::7]:1", "tcp://[fe80::1%eth0]:65535",
                           "tcp://pi-3.local:4711"}) {
    CHECK(is_endpoint(good));
  }
  for (const std::string bad :
       {"", "10.0.0.3:4711", "ipc:///tmp/x", "tcp://*:4711", "tcp://10.0.0.3", "tcp://10.0.0.3:0",
        "tcp://10.0.0.3:04711", "tcp://eth0;10.0.0.3:4711", "tcp://[10.0.0.3]:4711",
        "tcp://fd00::7:1", "tcp://10.0.0.3/a:1", "tcp:// 10.0.0.3:1", "tcp://a\nb:1"}) {
    INFO(bad);
    CHECK(!is_endpoint(bad));
  }
  // Whoever reads up to the 0 connects to another port than whoever reads all.
  CHECK(!is_endpoint(std::string("tcp://[::1]:4711\0]:4712", 23)));
}

TEST_CASE("the world of a welcome: rank 0 is where it was found") {
  const Welcome welcome{7, {{"tcp://*:4711", "pi0"}, {"tcp://10.0.0.3:4712", "pi1"}}};
  auto world = world_of(welcome, 1, 2, "fd00::7");
  REQUIRE(world.has_value());
  CHECK(world->rank == 1);
  CHECK(world->job == 7);
  CHECK(world->peers[0].endpoint == "tcp://[fd00::7]:4711");
  CHECK(world->peers[0].host == "pi0");
  CHECK(world->peers[1].endpoint == "tcp://10.0.0.3:4712");
  world = world_of(welcome, 1, 2, "10.0.0.2");
  REQUIRE(world.has_value());
  CHECK(world->peers[0].endpoint == "tcp://10.0.0.2:4711");

  CHECK(!world_of(welcome, 1, 3, "10.0.0.2"));
  Welcome fixed = welcome, strange = welcome;
  fixed.peers[0].endpoint = "tcp://10.0.0.9:4711";
  CHECK(!world_of(fixed, 1, 2, "10.0.0.2"));
  strange.peers[1].endpoint = "tcp://*:4712";
  CHECK(!world_of(strange, 1, 2, "10.0.0.2"));
}

TEST_CASE("a hello of another protocol version is read as far as all versions agree") {
  Hello hello{kProtocolVersion + 1, "secret", 3, "pi3", "2.0", 7, "quic://?"};
  const auto h = std::get<Hello>(decode_handshake(encode(hello)).value());
  CHECK(h.protocol == kProtocolVersion + 1);
  CHECK(h.host == "pi3");
  CHECK(h.endpoint.empty());
}

TEST_CASE("truncated handshakes and trailing bytes are refused") {
  for (const Handshake& message : {Handshake(Hello{1, "secret", 3, "pi3", "1", 7, "tcp://a:1"}),
                                   Handshake(Welcome{5, {{"tcp://a:1", "a"}, {"tcp://b:1", "b"}}}),
                                   Handshake(Refusal{"because"})}) {
    Bytes bytes = encode(message);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      CHECK(!decode_handshake(std::span(bytes).first(n)));
    }
    bytes.push_back({});
    CHECK(!decode_handshake(bytes));
  }
}

TEST_CASE("handshakes with wrong types, negative ranks or absurd sizes are refused") {
  const auto text = [](std::initializer_list<int> bytes) {
    Bytes b;
    for (const int v : bytes) {
      b.push_back(std::byte(v));
    }
    return b;
  };
  CHECK(!decode_handshake(encode(Hello{1, "t", -1, "h", "v", 2, "e"})));
  CHECK(!decode_handshake(encode(Hello{1, "t", 1, "h", "v", -2, "e"})));
  CHECK(
      !decode_handshake(encode(Hello{1, std::string(kLongestText + 1, 'x'), 1, "h", "v", 2, "e"})));
  CHECK(!decode_handshake(text({0xdd, 0xff, 0xff, 0xff, 0xff})));  // array of 2^32 - 1
  CHECK(!decode_handshake(text({0xdb, 0xff, 0xff, 0xff, 0xff})));  // string of 2^32 - 1
  CHECK(!decode_handshake(text({0x93, 0xa1, 'x', 0x01, 0x02})));   // another name
  CHECK(!decode_handshake(text({0xc0})));                          // nil
  CHECK(!decode_handshake(Bytes(2000, std::byte(0x91))));          // nested arrays
  Bytes hello = encode(Hello{1, "t", 1, "h", "v", 2, "e"});
  hello[0] = std::byte(0x99 - 1);  // one field less
  CHECK(!decode_handshake(hello));
}

TEST_CASE("random bytes and random damage never make a handshake crash") {
  std::mt19937 random(3);
  int accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    accepted += decode_handshake(random_bytes(random, 64)) ? 1 : 0;
  }
  CHECK(accepted == 0);
  for (int i = 0; i < 50'000; ++i) {
    Bytes bytes = encode(Welcome{5, {{"tcp://a:1", "a"}, {"tcp://b:1", "b"}}});
    bytes[random() % bytes.size()] = std::byte(random());
    accepted += decode_handshake(bytes) ? 1 : 0;
  }
  CHECK(accepted > 0);  // a changed letter of a name is still a handshake
}
