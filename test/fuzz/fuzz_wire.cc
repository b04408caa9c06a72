// Frames: what decodes, encodes to the same bytes again.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "net/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  const auto frame = std::as_bytes(std::span(data, size));
  if (const auto header = net::decode(frame)) {
    std::array<std::byte, net::kHeaderBytes> again{};
    net::encode(*header, again);
    require(std::ranges::equal(again, frame.first(net::kHeaderBytes)), "a header changed");
  }
  return 0;
}
