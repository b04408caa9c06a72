// Frames as ZeroMQ's messages, which have one part or several.
//
// The header opens the first part, and what is copied follows it there. A shared payload
// (Payload::owner) is not copied: it gets parts of its own that point to where it lies, and holds
// its owner until libzmq has sent them or given up.
//
// Taking a frame out of its parts copies nothing if it has one, or one with the header and one with
// the payload; more are put together in one place.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "net/transport.h"
#include "net/wire.h"

namespace zmq {
class message_t;
}

namespace sbcnn::net {

// Smaller ones are copied, shared or not: libzmq itself copies what has less than 8 KiB, and
// counting references costs more than the copy.
inline constexpr std::size_t kShortestShared = 16 * 1024;

// `longest`: bytes of a part, more than a header has. Sets the header's payload.
std::vector<zmq::message_t> parts_of(Header, const Payload&, std::size_t longest);

struct WireFrame {
  Header header;
  std::span<const std::byte> payload;  // for as long as the owner lives
  std::shared_ptr<const void> owner;
};

// All parts of a message, at least one; nullopt if they are no frame.
std::optional<WireFrame> frame_of(std::vector<zmq::message_t> parts);

}  // namespace sbcnn::net
