#include "net/wire.h"

namespace sbcnn::net {
namespace {

constexpr std::uint32_t kMagic = 0x4e434253;  // "SBCN"

template <class T>
void put(std::span<std::byte> to, std::size_t offset, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    to[offset + i] = std::byte(std::uint64_t(value) >> (8 * i));
  }
}

template <class T>
T get(std::span<const std::byte> from, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= std::uint64_t(from[offset + i]) << (8 * i);
  }
  return T(value);
}

}  // namespace

void encode(const Header& h, std::span<std::byte, kHeaderBytes> out) {
  put(out, 0, kMagic);
  put(out, 4, kWireVersion);
  put(out, 6, std::uint8_t(h.kind));
  put(out, 7, std::uint8_t(h.tag.context));
  put(out, 8, h.source);
  put(out, 12, h.tag.epoch);
  put(out, 16, h.job);
  put(out, 24, h.tag.frame);
  put(out, 28, h.tag.step);
  put(out, 30, h.tag.round);
  put(out, 32, h.payload);
}

std::optional<Header> decode(std::span<const std::byte> frame) {
  return frame.size() < kHeaderBytes
             ? std::nullopt
             : decode(frame.first<kHeaderBytes>(), frame.size() - kHeaderBytes);
}

std::optional<Header> decode(std::span<const std::byte, kHeaderBytes> frame, std::size_t payload) {
  if (get<std::uint32_t>(frame, 0) != kMagic || get<std::uint16_t>(frame, 4) != kWireVersion ||
      get<std::uint8_t>(frame, 6) >= kFrameKinds || get<std::uint8_t>(frame, 7) >= kContexts) {
    return std::nullopt;
  }
  Header h;
  h.kind = FrameKind(get<std::uint8_t>(frame, 6));
  h.tag.context = Context(get<std::uint8_t>(frame, 7));
  h.source = get<std::uint32_t>(frame, 8);
  h.tag.epoch = get<std::uint32_t>(frame, 12);
  h.job = get<std::uint64_t>(frame, 16);
  h.tag.frame = get<std::uint32_t>(frame, 24);
  h.tag.step = get<std::uint16_t>(frame, 28);
  h.tag.round = get<std::uint16_t>(frame, 30);
  h.payload = get<std::uint64_t>(frame, 32);
  if (h.payload != payload) {
    return std::nullopt;
  }
  return h;
}

}  // namespace sbcnn::net
