// Lanes: their cipher, their records, how they come to be, and who does not get one.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "net/lanes.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;
using std::chrono::milliseconds;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kJob = 0xbead;

Bytes noise(std::size_t count, unsigned seed = 1) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  std::ranges::generate(bytes, [&] { return std::byte(random()); });
  return bytes;
}

CipherKey key(unsigned seed) {
  CipherKey k{};
  std::ranges::copy(noise(k.size(), seed), k.begin());
  return k;
}

Bytes sealed(Cipher& cipher, Bytes text) {
  text.resize(text.size() + kTagBytes);
  cipher.seal(text);
  return text;
}

}  // namespace

TEST_CASE("cipher: what was sealed opens, in its order, elsewhere or where it lies") {
  Cipher out(key(1)), in(key(1));
  for (const std::size_t count : {1U, 63U, 64U, 65U, 1'000U, 32'808U}) {
    for (const bool in_place : {false, true}) {
      const Bytes text = noise(count);
      Bytes record = sealed(out, text);
      CHECK(!std::equal(text.begin(), text.end(), record.begin()));
      Bytes other(count);
      const std::span<std::byte> to = in_place ? std::span(record).first(count) : std::span(other);
      CHECK(in.open(record, to));
      CHECK(std::ranges::equal(to, text));
    }
  }
}

// The test vector of RFC 8439, 2.8.2, has another nonce; this one was made with Python's
// cryptography package: ChaCha20Poly1305(bytes(range(32))).encrypt(bytes(12), b"lane", None).
TEST_CASE("cipher: it is the one of RFC 8439, with the record's number as nonce") {
  CipherKey k{};
  for (std::size_t i = 0; i < k.size(); ++i) {
    k[i] = std::byte(i);
  }
  Cipher cipher(k);
  const std::string text = "lane";
  const Bytes record = sealed(cipher, Bytes(reinterpret_cast<const std::byte*>(text.data()),
                                            reinterpret_cast<const std::byte*>(text.data()) + 4));
  std::string hex;
  for (const std::byte b : record) {
    static constexpr char digits[] = "0123456789abcdef";
    hex += {digits[unsigned(b) >> 4], digits[unsigned(b) & 15]};
  }
  CHECK(hex == "74d92c5475eed0f2dca33ade581112ef23df4780");
}

TEST_CASE("cipher: changed, repeated, left out and foreign records do not open") {
  Bytes to(20);
  Cipher out(key(1));
  const Bytes first = sealed(out, noise(20)), second = sealed(out, noise(20));
  for (std::size_t i = 0; i < first.size(); ++i) {
    Bytes changed = first;
    changed[i] ^= std::byte(1);
    CHECK(!Cipher(key(1)).open(changed, to));
  }
  CHECK(!Cipher(key(1)).open(second, to));
  CHECK(!Cipher(key(2)).open(first, to));
  Cipher in(key(1));
  CHECK(in.open(first, to));
  CHECK(!in.open(first, to));
  CHECK(!Cipher(key(1)).open(std::span(first).first(kTagBytes), std::span(to).first(0)));
}

TEST_CASE("records: found in a stream, however it is cut") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const std::size_t overhead = round % 2 == 0 ? 0 : kTagBytes;
    std::vector<Bytes> records;
    Bytes stream;
    for (int i = 0; i < 8; ++i) {
      const std::size_t body = random() % 4 == 0 ? kLongestLaneBody : random() % 300;
      const Bytes record = noise(kHeaderBytes + body + overhead, unsigned(random()));
      for (std::size_t b = 0; b < kLengthBytes; ++b) {
        stream.push_back(std::byte(record.size() >> (8 * b)));
      }
      stream.insert(stream.end(), record.begin(), record.end());
      records.push_back(record);
    }
    RecordReader reader(overhead);
    std::vector<Bytes> found;
    for (std::size_t at = 0; at < stream.size();) {
      std::size_t some = std::min<std::size_t>(random() % 20'000 + 1, stream.size() - at);
      Bytes piece(stream.begin() + std::ptrdiff_t(at), stream.begin() + std::ptrdiff_t(at + some));
      at += some;
      std::span<std::byte> rest(piece);
      if (random() % 2 == 0) {  // as readv does: first where the rest of a record belongs
        const auto room = reader.room();
        const std::size_t first = std::min(room.size(), rest.size());
        std::ranges::copy(rest.first(first), room.begin());
        reader.filled(first);
        rest = rest.subspan(first);
      }
      while (const auto record = reader.next(rest)) {
        const auto owner = reader.owner();
        CHECK((owner == nullptr || owner.get() == record->data()));
        found.emplace_back(record->begin(), record->end());
      }
      CHECK(rest.empty());
    }
    CHECK(reader.good());
    CHECK(found == records);
  }
}

TEST_CASE("records: a length that no record has ends them") {
  for (const std::size_t overhead : {std::size_t(0), kTagBytes}) {
    for (const std::size_t length :
         {std::size_t(0), kHeaderBytes + overhead - 1,
          kHeaderBytes + kLongestLaneBody + overhead + 1, std::size_t(0xffffffff)}) {
      RecordReader reader(overhead);
      Bytes stream(kLengthBytes + 100);
      for (std::size_t b = 0; b < kLengthBytes; ++b) {
        stream[b] = std::byte(length >> (8 * b));
      }
      std::span<std::byte> rest(stream);
      CHECK(!reader.next(rest));
      CHECK(!reader.good());
      CHECK(reader.room().empty());
      rest = stream;
      CHECK(!reader.next(rest));
    }
  }
}

TEST_CASE("invitations come out as they went in; others are none") {
  Invitation i{4711, {}, key(1), key(2)};
  std::ranges::copy(noise(kTokenBytes, 9), i.token.begin());
  const Bytes bytes = encode(i);
  CHECK(decode_invitation(bytes) == i);
  CHECK(!decode_invitation(std::span(bytes).first(bytes.size() - 1)));
  CHECK(!decode_invitation(Bytes(bytes.size())));  // port 0
  CHECK(!decode_invitation({}));
}

namespace {

// The lanes of one rank, as its transport drives them.
struct Rank {
  Rank(int rank, int size, bool sealed) : lanes(rank, size, kJob, sealed, poller) {}
  void serve(milliseconds timeout = milliseconds(1)) {
    for (const Poller::Event& event : poller.wait(timeout)) {
      lanes.serve(event);
    }
  }
  Poller poller;
  Lanes lanes;
};

Header header(int source, std::uint32_t frame) {
  return {FrameKind::message, std::uint32_t(source), kJob, {.frame = frame}, 0};
}

// Serves them until it is so; false when that takes long.
bool serve_until(std::vector<Rank*> ranks, const std::function<bool()>& so) {
  const Deadline limit = soon();
  while (!so()) {
    if (Clock::now() > limit) {
      return false;
    }
    for (Rank* const rank : ranks) {
      rank->serve();
    }
  }
  return true;
}

// Two ranks with a lane between them.
struct Pair {
  explicit Pair(bool sealed, const std::string& address = "127.0.0.1")
      : host(std::make_unique<Rank>(1, 2, sealed)), guest(std::make_unique<Rank>(0, 2, sealed)) {
    invitation = host->lanes.invite(0, address);
    REQUIRE(invitation.has_value());
    guest->lanes.follow(1, address, *invitation);
    REQUIRE(serve_until({host.get(), guest.get()}, [&] { return works(); }));
  }

  // Whether a message gets through, each way.
  bool works() {
    bool good = true;
    for (const auto& [from, to, rank] :
         {std::tuple(host.get(), guest.get(), 1), std::tuple(guest.get(), host.get(), 0)}) {
      if (!from->lanes.send(1 - rank, header(rank, 99), {})) {
        good = false;
        continue;
      }
      std::optional<WireFrame> frame;
      good = serve_until({to}, [&] { return (frame = to->lanes.next()).has_value(); }) &&
             frame->header.tag.frame == 99 && good;
    }
    return good;
  }

  std::unique_ptr<Rank> host, guest;
  std::optional<Invitation> invitation;
};

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(std::uint16_t(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

void say(int fd, const Bytes& bytes) {
  CHECK(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == ssize_t(bytes.size()));
}

// Whether the other end has hung up.
bool ended(int fd) {
  char c = 0;
  const ssize_t n = ::recv(fd, &c, 1, MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

Bytes plain_record(const Header& h, std::span<const std::byte> body) {
  Bytes record(kLengthBytes + kHeaderBytes);
  Header whole = h;
  whole.payload = body.size();
  encode(whole, std::span(record).subspan(kLengthBytes).first<kHeaderBytes>());
  record.insert(record.end(), body.begin(), body.end());
  for (std::size_t b = 0; b < kLengthBytes; ++b) {
    record[b] = std::byte((record.size() - kLengthBytes) >> (8 * b));
  }
  return record;
}

// What a guest says first on a plain lane.
Bytes plain_hello(int rank, const Invitation& invitation) {
  Bytes hello{std::byte(rank), {}, {}, {}};
  const Bytes record =
      plain_record({FrameKind::hello, std::uint32_t(rank), kJob, {}, 0}, invitation.token);
  hello.insert(hello.end(), record.begin(), record.end());
  return hello;
}

}  // namespace

TEST_CASE("lanes: messages of every length get through, both ways, over IPv4 and IPv6") {
  for (const bool sealed : {false, true}) {
    for (const std::string address : {"127.0.0.1", "::1"}) {
      Pair pair(sealed, address);
      std::uint32_t number = 0;
      for (const std::size_t count :
           {std::size_t(0), std::size_t(1), std::size_t(4'000), kLongestLaneBody}) {
        for (const int from : {0, 1}) {
          Rank& out = from == 0 ? *pair.guest : *pair.host;
          Rank& in = from == 0 ? *pair.host : *pair.guest;
          const Bytes body = noise(count, ++number);
          REQUIRE(out.lanes.send(1 - from, header(from, number), body));
          std::optional<WireFrame> frame;
          REQUIRE(serve_until({&out, &in}, [&] { return (frame = in.lanes.next()).has_value(); }));
          CHECK(frame->header.tag.frame == number);
          CHECK(int(frame->header.source) == from);
          CHECK(std::ranges::equal(frame->payload, body));
        }
      }
      CHECK(!pair.host->lanes.send(0, header(1, 1), Bytes(kLongestLaneBody + 1)));
      CHECK(pair.works());
    }
  }
}

TEST_CASE("lanes: a peer that is behind gets no more, and all that was taken") {
  for (const bool sealed : {false, true}) {
    Pair pair(sealed);
    std::uint32_t sent = 0;
    const Bytes body = noise(20'000);
    while (pair.host->lanes.send(0, header(1, sent), body)) {
      REQUIRE(++sent < 10'000);  // 200 MB
    }
    CHECK(sent > 0);
    std::uint32_t received = 0;
    REQUIRE(serve_until({pair.host.get(), pair.guest.get()}, [&] {
      while (const auto frame = pair.guest->lanes.next()) {
        CHECK(frame->header.tag.frame == received++);
        CHECK(std::ranges::equal(frame->payload, body));
      }
      return received == sent;
    }));
    CHECK(serve_until({pair.host.get(), pair.guest.get()}, [&] { return pair.works(); }));
  }
}

TEST_CASE("lanes: who finishes, ends its lane after its last message, and nothing is lost") {
  for (const bool sealed : {false, true}) {
    Pair pair(sealed);
    REQUIRE(pair.host->lanes.send(0, header(1, 1), noise(30'000)));
    pair.host->lanes.finish();
    CHECK(!pair.host->lanes.send(0, header(1, 2), {}));
    std::optional<Lanes::Ended> end;
    const auto guest_is_told = [&] { return !pair.guest->lanes.open(1); };
    CHECK(!guest_is_told());
    std::vector<Rank*> both{pair.host.get(), pair.guest.get()};
    REQUIRE(serve_until(both, [&] { return pair.host->lanes.delivered(); }));
    pair.host.reset();
    REQUIRE(serve_until({pair.guest.get()}, guest_is_told));
    const auto frame = pair.guest->lanes.next();
    REQUIRE(frame.has_value());
    CHECK(frame->payload.size() == 30'000);
    end = pair.guest->lanes.next_ended();
    REQUIRE(end.has_value());
    CHECK(end->peer == 1);
    CHECK(!end->broken);
    CHECK(!pair.guest->lanes.next_ended());
    CHECK(!pair.guest->lanes.send(1, header(0, 3), {}));
  }
}

TEST_CASE("lanes: who finishes while its lanes come about breaks none") {
  for (int served = 0; served < 12; ++served) {  // so many times before
    for (const bool guest_finishes : {true, false}) {
      auto host = std::make_unique<Rank>(1, 2, true);
      auto guest = std::make_unique<Rank>(0, 2, true);
      guest->lanes.follow(1, "127.0.0.1", *host->lanes.invite(0, "127.0.0.1"));
      for (int i = 0; i < served; ++i) {
        (i % 2 == 0 ? guest : host)->serve(milliseconds(5));
      }
      auto& leaver = guest_finishes ? guest : host;
      auto& other = guest_finishes ? host : guest;
      leaver->lanes.finish();
      REQUIRE(serve_until({leaver.get(), other.get()}, [&] { return leaver->lanes.delivered(); }));
      const bool was_open = other->lanes.open(guest_finishes ? 0 : 1);
      leaver.reset();
      const Deadline limit = in(milliseconds(20));
      while (Clock::now() < limit) {
        other->serve();
      }
      CHECK(serve_until({other.get()}, [&] { return !other->lanes.open(guest_finishes ? 0 : 1); }));
      const auto end = other->lanes.next_ended();
      CHECK((!was_open || end.has_value()));
      CHECK((!end || !end->broken));
    }
  }
}

TEST_CASE("lanes: one that ends without a goodbye is broken") {
  for (const bool sealed : {false, true}) {
    Pair pair(sealed);
    pair.guest.reset();
    REQUIRE(serve_until({pair.host.get()}, [&] { return !pair.host->lanes.open(0); }));
    const auto end = pair.host->lanes.next_ended();
    REQUIRE(end.has_value());
    CHECK(end->broken);
  }
}

TEST_CASE("lanes: a host that nobody listens for, or that hangs up, costs nothing but the lane") {
  Rank guest(0, 3, true);
  Invitation nobody{1, {}, {}, {}};
  {
    Rank host(1, 3, true);
    nobody = *host.lanes.invite(0, "127.0.0.1");
  }
  guest.lanes.follow(1, "127.0.0.1", nobody);
  guest.lanes.follow(2, "no address", nobody);
  REQUIRE(serve_until({&guest}, [&] { return !guest.lanes.open(1) && !guest.lanes.open(2); }));
  while (const auto end = guest.lanes.next_ended()) {
    CHECK(!end->broken);
  }
  CHECK(!guest.lanes.send(1, header(0, 1), {}));
  Rank deaf(1, 2, true);
  CHECK(!deaf.lanes.invite(0, "192.0.2.1"));  // not an address of ours
}

TEST_CASE("lanes: strangers are turned away, and the guest comes in") {
  for (const bool sealed : {false, true}) {
    Rank host(1, 2, sealed), guest(0, 2, sealed);
    const auto invitation = host.lanes.invite(0, "127.0.0.1");
    REQUIRE(invitation.has_value());
    Invitation guessed = *invitation;
    guessed.token[31] ^= std::byte(1);
    std::vector<Bytes> sayings = {noise(500),
                                  noise(10),
                                  Bytes(200),
                                  plain_hello(0, guessed),
                                  plain_hello(1, *invitation),
                                  plain_hello(200, *invitation)};
    if (sealed) {
      sayings.push_back(plain_hello(0, *invitation));
    }
    std::vector<int> fds;
    for (const Bytes& saying : sayings) {
      fds.push_back(connect_to(invitation->port));
      say(fds.back(), saying);
      if (saying.size() < 100) {  // not enough for a hello
        ::shutdown(fds.back(), SHUT_WR);
      }
    }
    const int silent = connect_to(invitation->port);
    CHECK(serve_until({&host}, [&] {
      return host.lanes.refused() == sayings.size() && std::ranges::all_of(fds, ended);
    }));
    CHECK(!host.lanes.open(0));
    CHECK(!ended(silent));

    guest.lanes.follow(1, "127.0.0.1", *invitation);
    CHECK(serve_until({&host, &guest},
                      [&] { return host.lanes.send(0, header(1, 5), {}) && guest.lanes.open(1); }));
    std::optional<WireFrame> frame;
    CHECK(serve_until({&host, &guest}, [&] { return (frame = guest.lanes.next()).has_value(); }));
    // All are here: the port is closed, and who waited there is gone.
    CHECK(serve_until({&host}, [&] { return ended(silent); }));
    CHECK(connect_to(invitation->port) == -1);
    for (const int fd : fds) {
      ::close(fd);
    }
    ::close(silent);
  }
}

TEST_CASE("lanes: a crowd at the port holds few descriptors, and does not keep the guest out") {
  Rank host(1, 2, true), guest(0, 2, true);
  const auto invitation = host.lanes.invite(0, "127.0.0.1");
  std::vector<int> crowd;
  for (int i = 0; i < 300; ++i) {
    crowd.push_back(connect_to(invitation->port));
    host.serve(milliseconds(0));
  }
  CHECK(serve_until({&host}, [&] { return std::ranges::count_if(crowd, ended) >= 236; }));
  CHECK(host.lanes.refused() >= 236);
  guest.lanes.follow(1, "127.0.0.1", *invitation);
  CHECK(serve_until({&host, &guest}, [&] { return host.lanes.send(0, header(1, 5), {}); }));
  for (const int fd : crowd) {
    ::close(fd);
  }
}

TEST_CASE("lanes: a guest that says what it may not say is hung up on, and what it said dropped") {
  const Header good = header(0, 1);
  Header other_job = good, other_source = good, other_kind = good;
  ++other_job.job;
  other_source.source = 1;
  other_kind.kind = FrameKind::abort;
  const Bytes no_frame = [] {
    Bytes record = plain_record(header(0, 1), {});
    record[kLengthBytes] ^= std::byte(1);
    return record;
  }();
  for (const Bytes& saying :
       {plain_record(other_job, {}), plain_record(other_source, {}), plain_record(other_kind, {}),
        no_frame, Bytes(kLengthBytes), Bytes(kLengthBytes, std::byte(0xff))}) {
    Rank host(1, 2, false);
    const auto invitation = host.lanes.invite(0, "127.0.0.1");
    const int fd = connect_to(invitation->port);
    say(fd, plain_hello(0, *invitation));
    say(fd, plain_record(good, {}));
    std::optional<WireFrame> frame;
    REQUIRE(serve_until({&host}, [&] { return (frame = host.lanes.next()).has_value(); }));
    say(fd, saying);
    REQUIRE(serve_until({&host}, [&] { return !host.lanes.open(0); }));
    CHECK(!host.lanes.next());
    const auto end = host.lanes.next_ended();
    REQUIRE(end.has_value());
    CHECK(end->broken);
    ::close(fd);
  }
}

TEST_CASE("lanes: a small message overtakes a large one, if lanes are wanted") {
  for (const Kind kind : {Kind::tcp, Kind::curve}) {
    for (const bool wanted : {true, false}) {
      ZmqOptions options;
      options.lanes = wanted;
      auto ranks = make_world(kind, 2, options);
      bool overtook = false;
      const Deadline limit = wanted ? soon() : in(milliseconds(500));
      for (std::uint32_t i = 0; !overtook && Clock::now() < limit; i += 2) {
        ranks[1]->send(0, {.frame = i}, Bytes(8'000'000));
        ranks[1]->send(0, {.frame = i + 1}, {});
        const auto first = ranks[0]->receive(soon()), second = ranks[0]->receive(soon());
        REQUIRE((first && second));
        overtook = first->tag.frame == i + 1;
        CHECK(first->tag.frame + second->tag.frame == 2 * i + 1);
        CHECK(!ranks[1]->receive(in(milliseconds(1))));  // which brings lanes about
      }
      CHECK(overtook == wanted);
    }
  }
}
