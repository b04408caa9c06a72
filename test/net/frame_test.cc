// Frames cut into the parts of a ZeroMQ message and put together again.
#include "net/frame.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>
#include <zmq.hpp>

#include "core/error.h"

using namespace sbcnn;
using namespace sbcnn::net;

namespace {

using Bytes = std::vector<std::byte>;

const Header kHeader{FrameKind::message, 3, 0x0123456789abcdefULL, {.frame = 5, .step = 6}};

std::shared_ptr<const Bytes> some_bytes(std::size_t count) {
  auto bytes = std::make_shared<Bytes>(count);
  std::mt19937 random(unsigned(count) + 1);
  std::ranges::generate(*bytes, [&] { return std::byte(random()); });
  return bytes;
}

std::vector<zmq::message_t> parts_with(std::initializer_list<Bytes> all) {
  std::vector<zmq::message_t> parts;
  for (const Bytes& one : all) {
    parts.emplace_back(one.data(), one.size());
  }
  return parts;
}

Bytes encoded(std::uint64_t payload) {
  Header header = kHeader;
  header.payload = payload;
  Bytes bytes(kHeaderBytes);
  encode(header, std::span(bytes).first<kHeaderBytes>());
  return bytes;
}

}  // namespace

TEST_CASE("a frame survives its parts, whatever their size, copied or shared") {
  for (const std::size_t longest : {kHeaderBytes + 1, std::size_t(1000), kHeaderBytes + 16 * 1024,
                                    std::numeric_limits<std::size_t>::max()}) {
    const std::size_t room = std::min<std::size_t>(longest - kHeaderBytes, 100'000);
    for (const std::size_t count : {std::size_t(0), std::size_t(1), room - 1, room, room + 1,
                                    std::size_t(20'000), std::size_t(50'000)}) {
      for (const bool shared : {false, true}) {
        CAPTURE(longest);
        CAPTURE(count);
        CAPTURE(shared);
        const auto bytes = some_bytes(count);
        auto parts = parts_of(kHeader, {*bytes, shared ? bytes : nullptr}, longest);
        CHECK(std::ranges::all_of(parts, [&](const auto& p) { return p.size() <= longest; }));
        const auto frame = frame_of(std::move(parts));
        REQUIRE(frame.has_value());
        CHECK(frame->header.payload == count);
        CHECK(frame->header.tag == kHeader.tag);
        CHECK(std::ranges::equal(frame->payload, *bytes));
      }
    }
  }
}

TEST_CASE("what is shared is not copied, neither on the way out nor in, and let go of") {
  constexpr auto kAny = std::numeric_limits<std::size_t>::max();
  auto bytes = some_bytes(kShortestShared);
  const std::weak_ptr<const Bytes> held = bytes;
  auto parts = parts_of(kHeader, {*bytes, bytes}, kAny);
  REQUIRE(parts.size() == 2);
  CHECK(parts[1].data() == bytes->data());
  auto frame = frame_of(std::move(parts));
  REQUIRE(frame.has_value());
  CHECK(frame->payload.data() == bytes->data());
  bytes.reset();
  CHECK(!held.expired());
  frame.reset();
  CHECK(held.expired());

  bytes = some_bytes(kShortestShared - 1);
  CHECK(parts_of(kHeader, {*bytes, bytes}, kAny).size() == 1);
  CHECK(bytes.use_count() == 1);
}

TEST_CASE("parts that are no frame are refused") {
  CHECK(!frame_of(parts_with({{}})));
  CHECK(!frame_of(parts_with({Bytes(kHeaderBytes)})));
  CHECK(!frame_of(parts_with({encoded(1)})));
  CHECK(frame_of(parts_with({encoded(0)})));
  CHECK(frame_of(parts_with({encoded(0), {}})));
  CHECK(frame_of(parts_with({encoded(2), Bytes(2)})));
  CHECK(!frame_of(parts_with({encoded(2), Bytes(1)})));
  CHECK(!frame_of(parts_with({encoded(2), Bytes(3)})));
  CHECK(!frame_of(parts_with({Bytes(kHeaderBytes), Bytes(3)})));
  CHECK(!frame_of(parts_with({Bytes(3), encoded(0)})));
  CHECK(frame_of(parts_with({encoded(3), Bytes(1), Bytes(2)})));
  CHECK(!frame_of(parts_with({encoded(3), Bytes(1), Bytes(1)})));
  CHECK_THROWS_AS((void)parts_of(kHeader, Payload(), kHeaderBytes), ContractViolation);
}
