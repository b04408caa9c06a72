#include "net/frame.h"

#include <algorithm>
#include <utility>
#include <zmq.hpp>

namespace sbcnn::net {
namespace {

using Owner = std::shared_ptr<const void>;

std::span<const std::byte> bytes_of(const zmq::message_t& part) {
  return {part.data<std::byte>(), part.size()};
}

// On whichever thread drops the last part.
void let_go(void*, void* held) {
  delete static_cast<Owner*>(held);
}

zmq::message_t pointing_to(std::span<const std::byte> bytes, const Owner& owner) {
  auto held = std::make_unique<Owner>(owner);
  // libzmq only reads it.
  zmq::message_t part(const_cast<std::byte*>(bytes.data()), bytes.size(), let_go, held.get());
  (void)held.release();
  return part;
}

// As many bytes as fit behind the header.
zmq::message_t opening(const Header& header, std::span<const std::byte> bytes) {
  zmq::message_t part(kHeaderBytes + bytes.size());
  const std::span to(part.data<std::byte>(), part.size());
  encode(header, to.first<kHeaderBytes>());
  std::ranges::copy(bytes, to.begin() + kHeaderBytes);
  return part;
}

std::shared_ptr<const zmq::message_t> joined(std::vector<zmq::message_t> parts) {
  if (parts.size() == 1) {
    return std::make_shared<zmq::message_t>(std::move(parts[0]));
  }
  std::size_t size = 0;
  for (const zmq::message_t& part : parts) {
    size += part.size();
  }
  auto whole = std::make_shared<zmq::message_t>(size);
  std::byte* to = whole->data<std::byte>();
  for (zmq::message_t& part : parts) {
    to = std::copy_n(part.data<std::byte>(), part.size(), to);
    part.rebuild();  // frees it
  }
  return whole;
}

}  // namespace

std::vector<zmq::message_t> parts_of(Header header, const Payload& payload, std::size_t longest) {
  require(longest > kHeaderBytes, "parts_of: a part has room for more than the header");
  header.payload = payload.bytes.size();
  const bool shared = payload.owner != nullptr && payload.bytes.size() >= kShortestShared;
  std::span<const std::byte> rest = payload.bytes;
  const std::size_t first = shared ? 0 : std::min(rest.size(), longest - kHeaderBytes);
  std::vector<zmq::message_t> parts;
  parts.push_back(opening(header, rest.first(first)));
  rest = rest.subspan(first);
  while (!rest.empty()) {
    const auto some = rest.first(std::min(rest.size(), longest - kHeaderBytes));
    parts.push_back(shared ? pointing_to(some, payload.owner)
                           : zmq::message_t(some.data(), some.size()));
    rest = rest.subspan(some.size());
  }
  return parts;
}

std::optional<WireFrame> frame_of(std::vector<zmq::message_t> parts) {
  require(!parts.empty(), "frame_of: a message has a part");
  std::optional<Header> header;
  std::span<const std::byte> payload;
  std::shared_ptr<const zmq::message_t> owner;
  if (parts.size() == 2 && parts[0].size() == kHeaderBytes) {
    owner = std::make_shared<zmq::message_t>(std::move(parts[1]));
    payload = bytes_of(*owner);
    header = decode(bytes_of(parts[0]).first<kHeaderBytes>(), payload.size());
  } else {
    owner = joined(std::move(parts));
    payload = bytes_of(*owner);
    payload = payload.subspan(std::min(kHeaderBytes, payload.size()));
    header = decode(bytes_of(*owner));
  }
  return header ? std::optional(WireFrame{*header, payload, std::move(owner)}) : std::nullopt;
}

}  // namespace sbcnn::net
