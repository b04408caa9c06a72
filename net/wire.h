// The frame that travels between two ranks: a header of 40 bytes, then the payload.
//
// All integers are little endian.
//
//   offset  size
//        0     4  magic "SBCN"
//        4     2  version of this format
//        6     1  kind
//        7     1  context of the tag
//        8     4  source rank
//       12     4  plan epoch
//       16     8  job: a random number that the ranks of one job share
//       24     4  frame
//       28     2  step
//       30     2  round
//       32     8  bytes of payload that follow
//
// Both directions are pure functions; decode takes whatever a socket brings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "net/transport.h"

namespace sbcnn::net {

inline constexpr std::size_t kHeaderBytes = 40;
inline constexpr std::uint16_t kWireVersion = 1;

enum class FrameKind : std::uint8_t {
  message,
  goodbye,     // no payload; the sender has closed
  abort,       // payload: why, as text
  invitation,  // to a lane, see lanes.h
  hello,       // the first on a lane, either way; payload: the invitation's token
};
inline constexpr int kFrameKinds = 5;

struct Header {
  FrameKind kind = FrameKind::message;
  std::uint32_t source = 0;
  std::uint64_t job = 0;
  Tag tag;
  std::uint64_t payload = 0;

  friend bool operator==(const Header&, const Header&) = default;
};

void encode(const Header&, std::span<std::byte, kHeaderBytes>);

// The header of a whole frame; nullopt unless magic, version, kind, context and size are right.
std::optional<Header> decode(std::span<const std::byte> frame);
// The same where `payload` bytes lie elsewhere.
std::optional<Header> decode(std::span<const std::byte, kHeaderBytes> header, std::size_t payload);

}  // namespace sbcnn::net
