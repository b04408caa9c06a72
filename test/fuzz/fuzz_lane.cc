// What comes on a plain lane, and invitations to lanes. The first byte says into what pieces the
// rest is cut: the frames in it are the same as in one piece.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/error.h"
#include "net/lane.h"
#include "net/lanes.h"

namespace {

using namespace sbcnn;

struct Heard {
  std::deque<net::WireFrame> frames;
  bool ended = false;
};

Heard hear(std::vector<std::byte> bytes, std::size_t piece) {
  net::Lane lane(Descriptor(), std::nullopt);
  Heard heard;
  for (std::span<std::byte> rest(bytes); !rest.empty() && !lane.ended();) {
    const auto some = rest.first(std::min(piece, rest.size()));
    lane.take(some, heard.frames);
    rest = rest.subspan(some.size());
  }
  heard.ended = lane.ended();
  return heard;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto all = std::as_bytes(std::span(data, size));
  if (const auto invitation = net::decode_invitation(all)) {
    require(std::ranges::equal(net::encode(*invitation), all), "an invitation changed");
  }
  if (size == 0) {
    return 0;
  }
  const std::vector<std::byte> bytes(all.begin() + 1, all.end());
  const Heard whole = hear(bytes, bytes.size()), cut = hear(bytes, 1 + std::size_t(data[0]));
  require(whole.ended == cut.ended && whole.frames.size() == cut.frames.size(),
          "other frames in pieces");
  for (std::size_t i = 0; i < whole.frames.size(); ++i) {
    require(whole.frames[i].header == cut.frames[i].header &&
                std::ranges::equal(whole.frames[i].payload, cut.frames[i].payload),
            "another frame in pieces");
  }
  return 0;
}
