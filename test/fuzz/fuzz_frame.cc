// A message of any parts: what is a frame, comes out the same when it is cut and put together
// again. Each part is two bytes that say how long it is, little endian, and then that many.
#include "net/frame.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>
#include <zmq.hpp>

#include "core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  std::span<const std::byte> rest = std::as_bytes(std::span(data, size));
  std::vector<zmq::message_t> parts;
  while (rest.size() >= 2) {
    const auto length = std::size_t(rest[0]) + 256 * std::size_t(rest[1]);
    rest = rest.subspan(2);
    const auto part = rest.first(std::min(length, rest.size()));
    parts.emplace_back(part.data(), part.size());
    rest = rest.subspan(part.size());
  }
  if (parts.empty()) {
    return 0;
  }
  if (const auto frame = net::frame_of(std::move(parts))) {
    const std::size_t longest = net::kHeaderBytes + 1 + size % 100;
    for (const auto& owner : {frame->owner, decltype(frame->owner)()}) {
      const auto again =
          net::frame_of(net::parts_of(frame->header, {frame->payload, owner}, longest));
      require(again && again->header == frame->header &&
                  std::ranges::equal(again->payload, frame->payload),
              "a frame changed");
    }
  }
  return 0;
}
