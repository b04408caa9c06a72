// What libzmq asks the doorkeeper about a client: only who brings the key may enter. Each part of
// the request is a byte that says how long it is, and then that many.
#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "net/doorkeeper.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  constexpr std::string_view key = "0123456789abcdef0123456789abcdef";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> parts;
  while (!rest.empty()) {
    const auto length = std::size_t(std::uint8_t(rest.front()));
    parts.push_back(rest.substr(1, length));
    rest.remove_prefix(std::min(rest.size(), 1 + length));
  }
  if (net::may_enter(parts, key)) {
    require(parts.back() == key, "somebody without the key came in");
    require(!net::may_enter(parts, key.substr(1)), "somebody came in at two doors");
  }
  return 0;
}
